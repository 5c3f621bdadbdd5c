/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/queue: what queue.c, queue_reap.c, queue_path.c and queue_fd.c share.
 *
 *   FREE ─ prep_* ─> PREPARED ─ submit ─> TO_SEND ─> AT_DEVICE ─> DONE ─ reap ─> FREE
 *                                            ^                     │
 *                                            └─ more messages ────┘
 *
 * Entries belong to the queue's thread, but for those at the device: done() comes on any thread and
 * passes its entry to the list `done`, under the lock; the thread takes them from there to `taken`.
 */
#ifndef VFSDAX_LIB_QUEUE_H
#define VFSDAX_LIB_QUEUE_H

#include "lib/internal.h"

#define DEPTH_MAX 4096

struct queue_entry {
	struct share_call sent;
	struct vfsdax_queue *queue;
	struct list link; /* of one of the queue's lists */
	struct vfsdax_file *file;
	uint64_t user_data;
	uint32_t opcode;
	void *buf;	  /* GETATTR, LOOKUP: a struct stat */
	size_t len, done; /* READ, WRITE: the whole, and how much of it is done */
	uint64_t off;	  /* FSYNC: its flags */

	struct io_request io;	/* one piece of a READ or WRITE; else only `args` */
	struct path_stat *walk; /* LOOKUP: what it needs */
	int answer;		/* LOOKUP: what share_call() would have returned */
	union {
		struct fuse_getattr_in getattr;
		struct fuse_fsync_in fsync;
	} in;
	struct fuse_attr_out attr;

	uint64_t until_ns; /* TO_SEND: when it ends unsent */
	bool more;	   /* a message of it is done, another may follow */
	bool asked;	   /* a message was sent for it */
	int64_t result;
};

struct vfsdax_queue {
	struct vfsdax *share;
	struct lane *lane;
	struct waiter waiter;
	struct list free, prepared, to_send, taken;
	unsigned depth, n_prepared;
	unsigned n_open; /* submitted, and not reaped */

	pthread_mutex_t lock; /* of the three below */
	struct list done;
	unsigned n_done;
	bool inside; /* its thread is in submit or reap, and reads `done` before it leaves */

	/* What vfsdax_queue_fd() gives: an epoll descriptor over the lanes' calls, `wake_fd`
	 * (results that another thread collected) and `timer_fd` (time-outs). -1: not asked for. */
	_Atomic int fd;
	int wake_fd, timer_fd;
	uint64_t timer_ns; /* when it expires; 0: it is not set */
	unsigned devices;  /* away.devices, when the lanes' calls were added to it */
};

/* queue.c: its thread; no lock is held */

/* The entry is to be sent, as soon as there is a buffer. */
void queue_await_buffer(struct vfsdax_queue *q, struct queue_entry *e);
/* Sends what finds a buffer, with one kick. */
void queue_send(struct vfsdax_queue *q);

/* queue_path.c: a stat by path, one message after the other */

/* `path` is copied; `dir`: NULL: the root. 0, then queue_stat_next() follows, or -errno. */
int queue_stat_begin(struct queue_entry *e, struct vfsdax_file *dir, const char *path, int flags);
/* True: it is over, with e->result; false: e->io.args is to be sent. No lock is held. */
bool queue_stat_next(struct queue_entry *e);
/* The same, after the answer: e->answer. */
bool queue_stat_take(struct queue_entry *e);

/* queue_fd.c */

static inline bool queue_has_fd(struct vfsdax_queue *q)
{
	return atomic_load_explicit(&q->fd, memory_order_relaxed) >= 0;
}
/* The queue's thread begins to work. With `reap`: clears what made the descriptor readable. */
void queue_fd_enter(struct vfsdax_queue *q, bool reap);
/* The thread leaves: from here on the descriptor signals results, also those that are there
 * already. */
void queue_fd_leave(struct vfsdax_queue *q);
/* For a new result, under the lock. */
void queue_fd_signal(struct vfsdax_queue *q);
void queue_fd_close(struct vfsdax_queue *q);

#endif
