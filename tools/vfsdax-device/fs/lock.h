/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lock: file locks of the guest's processes, as locks on the host's files, so that they hold
 * against the host's processes and other guests too.
 *
 * A POSIX lock belongs to a process and an inode; an OFD lock belongs to an open file description.
 * So each (inode, lock owner) has a description of its own, closed when the owner closes any
 * descriptor of the file (FLUSH), which is what POSIX wants. A BSD lock belongs to a description
 * on both sides: it is taken on the handle's own.
 *
 * A lock that blocks is waited for by a thread of its own, so that no queue stands still. It ends
 * by getting the lock, by FUSE_INTERRUPT, or by lock_cancel_all.
 */
#ifndef VFSDAX_DEVICE_FS_LOCK_H
#define VFSDAX_DEVICE_FS_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct fs;
struct handle;
struct inode;
struct request;
struct flock;

#define LOCK_BUCKETS	 64
#define LOCK_WAITERS_MAX 64
#define LOCK_EARLY_MAX	 16

struct lock_table {
	/* Guards everything below. A leaf: nothing is taken, and nothing blocks, under it. */
	pthread_mutex_t mutex;
	struct list owners[LOCK_BUCKETS];
	struct list waiters;  /* threads that block */
	struct list finished; /* threads that are about to end, to be joined */
	unsigned n_waiters;
	pthread_cond_t waiter_gone;
	/* Interrupts that came before their request: through the other queue. */
	struct {
		uint64_t unique;
		uint64_t at_ns; /* 0: empty */
	} early[LOCK_EARLY_MAX];
	unsigned early_next;
};

/* Also installs the handler of the signal that wakes a blocked thread. */
int lock_table_init(struct fs *fs);
/*
 * Answers all blocked locks with -EINTR and forgets owners. Bounded: a thread that does not wake
 * within seconds (a dead network file system below) loses its request, which is completed for it.
 * False when there was such a thread; it still uses `fs`.
 */
bool lock_table_clear(struct fs *fs);
void lock_table_fini(struct fs *fs);

/* Who has locks on a file. A reference keeps the descriptor open. */
struct lock_owner;

/* Finds, or makes when `create`, the owner's description of the file. -ENOENT without `create`. */
int lock_owner_get(struct fs *fs, struct inode *inode, uint64_t owner, bool create,
		   struct lock_owner **out);
void lock_owner_put(struct fs *fs, struct lock_owner *owner);
int lock_owner_fd(const struct lock_owner *owner);

/* All POSIX locks of the owner on the file, gone. */
void lock_drop_owner(struct fs *fs, uint64_t nodeid, uint64_t owner);

/* What a thread is to wait for: a POSIX lock (`owner` set) or a BSD lock (`handle` set). */
struct lock_wait {
	struct lock_owner *owner;
	short type;
	int64_t start, len;
	struct handle *handle;
	int operation;
};

/*
 * Waits in a thread, which answers the request; takes the reference in `wait` then. -ENOLCK when
 * too many wait, -EINTR when the request was interrupted already: the reference stays.
 */
int lock_wait_start(struct fs *fs, struct request *req, uint64_t unique,
		    const struct lock_wait *wait);
/* FUSE_INTERRUPT. Returns when the request has been answered, if it was blocked here. */
void lock_interrupt(struct fs *fs, uint64_t unique);

#endif
