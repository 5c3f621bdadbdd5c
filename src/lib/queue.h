/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/queue: what queue.c and queue_fd.c share.
 *
 *   FREE ─ vfsdax_prep_* ─> PREPARED ─ vfsdax_submit ─> TO_SEND ─> AT_DEVICE ─> DONE ─ vfsdax_reap
 * ─> FREE ^             │ └─ a piece of a longer one
 *
 * Entries belong to the queue's thread, but for those at the device: done() comes on any thread,
 * and hands its entry back through the list `done`, under the lock.
 */
#ifndef VFSDAX_LIB_QUEUE_H
#define VFSDAX_LIB_QUEUE_H

#include "lib/internal.h"

#define DEPTH_MAX 64

struct entry {
	struct bridge_call call;
	struct vfsdax_queue *queue;
	struct list link; /* of one of the queue's lists */
	struct vfsdax_file *file;
	uint64_t user_data;
	uint32_t opcode;
	/* READ, WRITE: the whole, and how much of it is done. GETATTR: `st`. FSYNC: `datasync`. */
	uint8_t *buf;
	size_t len, done, asked;
	uint64_t off;
	uint64_t until_ns; /* TO_SEND: when it is given up */
	struct stat *st;
	bool datasync;
	bool more; /* the device is through with a piece of it */
	int64_t result;
};

struct vfsdax_queue {
	struct vfsdax *share;
	struct lane *lane;
	struct waiter waiter;
	struct list free, prepared, to_send;
	unsigned depth, n_prepared;
	unsigned n_open; /* submitted, and not reaped */

	pthread_mutex_t lock; /* of the three below */
	struct list done;
	unsigned n_done;
	bool inside; /* its thread will look at `done` by itself */

	/* What vfsdax_queue_fd() gives: an epoll descriptor over the lanes' calls, `wake_fd`
	 * (results that another thread collected) and `timer_fd` (time-outs). -1: not asked for. */
	_Atomic int fd;
	int wake_fd, timer_fd;
	uint64_t timer_ns; /* when it is set to go off; 0: it is not set */
};

/* queue_fd.c */

static inline bool queue_has_fd(struct vfsdax_queue *q)
{
	return atomic_load_explicit(&q->fd, memory_order_relaxed) >= 0;
}
/* The queue's thread goes to work. With `reap`: takes what made it readable. */
void queue_fd_enter(struct vfsdax_queue *q, bool reap);
/* It goes away: from here on the descriptor tells what comes, and what is there already. */
void queue_fd_leave(struct vfsdax_queue *q);
/* In hand_back(), under the lock: somebody may be polling. */
void queue_fd_signal(struct vfsdax_queue *q);
void queue_fd_close(struct vfsdax_queue *q);

#endif
