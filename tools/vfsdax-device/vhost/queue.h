/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * queue: one virtqueue at work: its thread, which waits for the driver, takes requests off
 * the ring and runs them through fs_handle(), and the way back, request_complete().
 *
 *   setup (main thread)    start          stop
 *   idle -------------------> running ---------> idle ...
 *                              |    ^
 *                              v    |  the thread: drain -> spin -> listen -> block
 *                             request in flight, perhaps on another thread
 *
 * Requests come in two kinds. A *small* one (metadata; everything that may block for long) is
 * copied: its pieces are buffers of its own, and what was written is copied out, through a fresh
 * translation, when it completes. So it holds nothing of the guest while it runs. A *direct* one
 * (data) points into guest memory and pins it until it completes.
 *
 * This part does not know the vhost-user protocol or FUSE.
 */
#ifndef VFSDAX_DEVICE_VHOST_QUEUE_H
#define VFSDAX_DEVICE_VHOST_QUEUE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "vfsdax-device/fs/request.h"
#include "ring.h"

/* What is small. The readable side of SETLKW or of a long name fits, and so does a page of reply. */
#define SMALL_READABLE_BYTES 1024u
#define SMALL_WRITABLE_BYTES 4096u

/* Waiting for the driver without sleeping: how long, and whether that pays. Queue thread only. */
struct spin {
	uint64_t gap_ns;      /* smoothed time from running dry to the next request */
	uint64_t dry_since;   /* when the ring ran dry; 0: it did not */
	uint64_t not_before;  /* no spinning until then: somebody else wants this CPU */
	uint64_t penalty_ns;
	bool alone; /* one CPU: whoever we wait for needs it */
};

struct queue {
	unsigned index;
	struct space *space;
	struct fs *fs;

	/*
	 * Guards the ring, the pool, `held`, `running`, the counts and the descriptors' values.
	 * Held for short accesses only, never while waiting for the front end or running a
	 * request. The space's read lock is taken inside it.
	 */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a request completed or the thread ended */
	struct ring ring;
	struct list pool; /* struct ring_request, last used first: its cache lines are warm */
	struct list held; /* completed while the ring stood still; for the next start */
	unsigned in_flight, direct;
	bool running; /* the ring may be written */
	bool thread_alive;
	int kick_fd, call_fd, err_fd; /* -1: none */

	pthread_t thread;
	bool joinable; /* main thread: there is a thread to join */
	_Atomic bool stopping;
	int wake_fd; /* eventfd: readable while stopping */
	struct spin spin;
	bool complained; /* of a request that lies in no memory */
	struct chain chain; /* scratch of the queue thread */
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

/* Drops what completed while the queue stood still. After fs_reset(); returns what is in flight
 * all the same, which should be 0. */
unsigned queue_forget(struct queue *q);

#endif
