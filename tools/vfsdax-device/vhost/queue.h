/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * queue: one virtqueue at work: its thread, which takes requests off the ring and runs them through
 * fs_handle(), or buffers for notifications and gives them to fs_offer(), and the way back,
 * request_complete().
 *
 *   setup (main thread)    start          stop
 *   idle -------------------> running ---------> idle ...
 *                              |    ^
 *                              v    |  the thread: run -> spin -> arm -> block
 *                             request in flight, perhaps on another thread
 *
 * This part does not know the vhost-user protocol or FUSE, nor what is in a request (slot.h).
 */
#ifndef VFSDAX_DEVICE_QUEUE_H
#define VFSDAX_DEVICE_QUEUE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/spin.h"
#include "vfsdax-device/fs/request.h"
#include "event.h"
#include "ring.h"

struct queue {
	unsigned index;
	struct space *space;
	struct fs *fs;

	/*
	 * Guards the ring, the pool, `held`, `running` and the counts.
	 * Held for short accesses only, never while waiting for the front end or running a
	 * request. The space's read lock is taken inside it.
	 */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* while stopping: a request completed or the thread ended */
	struct ring ring;
	struct list pool; /* struct queue_slot, last used first: its cache lines are warm */
	struct list held; /* completed while the ring stood still; for the next start */
	unsigned in_flight, direct;
	uint64_t requests; /* taken off the ring since queue_count() */
	bool running;	   /* the ring may be written */
	bool thread_alive;
	bool offers; /* what comes is buffers for notifications; main thread, while it stands still
		      */
	struct event kick, call, err;

	pthread_t thread;
	bool joinable; /* main thread: there is a thread to join */
	_Atomic bool stopping;
	_Atomic bool recall; /* for the thread: a call may have been lost, make one */
	int wake_fd;	     /* our own eventfd: readable when one of the two has been set */

	/* Of the thread. */
	struct spin spin;
	bool complained; /* of a request that lies in no memory */
	struct chain chain;
};

int queue_init(struct queue *q, unsigned index, struct space *space, struct fs *fs);
/* Stopped, and nothing in flight. */
void queue_fini(struct queue *q);

/* ---- Main thread. */

/* Takes the descriptor over; -1: none. A running queue must be stopped to change its kick. */
void queue_set_kick(struct queue *q, int fd);
void queue_set_call(struct queue *q, int fd);
void queue_set_err(struct queue *q, int fd);

/* Starts the thread on a ring that ring_setup() and ring_start() prepared. -errno of the thread. */
int queue_start(struct queue *q);

/*
 * Takes nothing more off the ring and waits until the thread has ended and no direct request is in
 * flight. 0, or -ETIMEDOUT: a request is stuck in the file system; call again. Small requests that
 * another thread still works on do not count: they touch nothing of the guest.
 */
int queue_stop(struct queue *q, unsigned timeout_ms);
bool queue_running(struct queue *q);

/* What happened on the queue; all of it counts up. */
struct queue_counts {
	uint64_t requests, kicks, calls;
};
/* Adds what was since the last time. */
void queue_count(struct queue *q, struct queue_counts *sum);

/* Drops what completed while the queue stood still. After fs_reset(); returns what is in flight
 * all the same, which should be 0. */
unsigned queue_forget(struct queue *q);

/* ---- Between queue.c (the thread, starting and stopping) and queue_run.c (the requests). */

struct queue_slot;

/*
 * Takes one request off the ring and runs it. 1; 0: the ring is empty; -errno: try again after the
 * next kick (-EFAULT, -ETIMEDOUT), after the next start (-EPROTO), soon (-ENOMEM, -ECANCELED).
 */
int queue_run_one(struct queue *q);
/* The locks under which the ring is accessed. */
void queue_enter(struct queue *q);
void queue_leave(struct queue *q);
/* With the lock: the slot is free again; what queue_stop() waits for has changed. */
void slot_retire(struct queue *q, struct queue_slot *slot);
void queue_changed(struct queue *q);

#endif
