/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lock: file locks of the guest's processes, as locks on the host's files, so that they hold
 * against the host's processes and other guests too.
 *
 * An owner is what has locks on one file: a guest's process (POSIX), one of its open files (OFD),
 * or one of its open files with a BSD lock. POSIX and OFD owners look alike on the wire, a number
 * in SETLK; each gets an open file description of its own, whose OFD locks are its locks. A BSD
 * lock is taken on the handle's description.
 *
 * An owner ends with what it belongs to:
 *
 *   POSIX  FLUSH names the process                             (lock_flush)
 *   OFD    nothing names it: with the handle that it came by   (lock_release)
 *   BSD    with its handle                                     (lock_release)
 *
 * A guest's close(2) waits for FLUSH and not for RELEASE, which another queue may bring after the
 * next SETLK. So a lock whose handle has seen a FLUSH a moment ago may be gone already in the
 * guest: a SETLK that it refuses is not answered before the RELEASE has come, or LOCK_CLOSING_NS
 * are over and it is clear that only a duplicate was closed.
 *
 * What each owner has is also written down here (lock_held.c): the host's kernel says of an OFD
 * lock neither its process nor that two owners wait for each other.
 *
 * A lock that blocks is waited for by a thread of its own, so that no queue stands still. It ends
 * by getting the lock, by FUSE_INTERRUPT, with its handle, or by lock_table_clear.
 */
#ifndef VFSDAX_DEVICE_FS_LOCK_H
#define VFSDAX_DEVICE_FS_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/list.h"

struct fs;
struct fuse_file_lock;
struct handle;
struct request;

#define LOCK_ORDERS	 64
#define LOCK_BUCKETS	 1024
#define LOCK_WAITERS_MAX 64
#define LOCK_EARLY_MAX	 16
/* Ranges that all owners together may have; the host's kernel does not bound them. */
#define LOCK_HELD_MAX	 16384
/* On one file: the host's kernel walks through all of a file's for each that is set or cleared. */
#define LOCK_FILE_MAX	 4096
#define LOCK_CLOSING_NS	 (300 * NS_PER_MS)

struct lock_table {
	/*
	 * One for a part of the files: the host's locks and what is written down of them change
	 * under it together. Held while the host is asked, never while it is waited for; taken
	 * outside of `mutex`.
	 */
	pthread_mutex_t order[LOCK_ORDERS];
	/* Guards everything below. A leaf: nothing is taken, and nothing blocks, under it. */
	pthread_mutex_t mutex;
	struct list files[LOCK_BUCKETS];  /* by nodeid */
	struct list owners[LOCK_BUCKETS]; /* by nodeid and number */
	unsigned n_held;
	struct list waiters;  /* threads that block */
	struct list finished; /* threads that are about to end, to be joined */
	unsigned n_waiters;
	pthread_cond_t changed; /* a waiter has ended, or an owner */
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

/* What SETLK, SETLKW and GETLK ask for. */
struct lock_wish {
	struct handle *handle;
	uint64_t owner; /* the guest's number; of no use for a BSD lock */
	uint32_t pid;	/* the guest's */
	bool bsd;
	bool look;	      /* GETLK: only what stands against it */
	short type;	      /* F_RDLCK, F_WRLCK, F_UNLCK */
	uint64_t first, last; /* last is INT64_MAX for "to the end" */
};

/* SETLK: 0, -EAGAIN where another owner or the host stands against it, or another error. */
int lock_set(struct fs *fs, const struct lock_wish *wish);
/* GETLK: 0 and what stands against it, or F_UNLCK. */
int lock_get(struct fs *fs, const struct lock_wish *wish, struct fuse_file_lock *out);
/* Asked before lock_set(): until when what stands against it may turn out to be closed; 0: it is
 * not. */
uint64_t lock_closing_until(struct fs *fs, const struct lock_wish *wish);

/*
 * Waits in a thread, which answers the request: for the lock (`until_ns` 0), or until then for an
 * owner to end. -ENOLCK when too many wait, -EINTR when the request was interrupted already,
 * -EDEADLK when it would wait for itself: then the request is still the caller's.
 */
int lock_wait_start(struct fs *fs, struct request *req, uint64_t unique,
		    const struct lock_wish *wish, uint64_t until_ns);
/* FUSE_INTERRUPT. Returns when the request has been answered, if it was blocked here. */
void lock_interrupt(struct fs *fs, uint64_t unique);

/* FLUSH: all POSIX locks of the owner on the file are gone, and the handle may be closed. */
void lock_flush(struct fs *fs, struct handle *handle, uint64_t owner);
/* RELEASE: all locks that came by the handle are gone, and its waits are over. */
void lock_release(struct fs *fs, struct handle *handle);

#endif
