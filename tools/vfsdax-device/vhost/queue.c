/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "queue.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/delay.h"
#include "base/log.h"
#include "slot.h"

/* FORGETs come in bursts and have no reply: after one, the next are collected for a while without
 * kicks, which cost the driver a system call and this side a wake-up each. */
#define HIPRIO_COLLECT_MS 1
/* When a thread that does not stop is taken out of calls on the front end's descriptors. */
#define PATIENCE_MS	  200
#define INTERRUPT_MS	  5
/* After a failure that will pass. */
#define RETRY_MS	  20

/* ------------------------------------------------------------------ the thread */

static int queue_listen(struct queue *q, bool on)
{
	struct misses misses = {.n = 0};
	int rc;

	/* There "off" is an index that the driver has passed. */
	if (!on && q->ring.event_idx)
		return 0;
	queue_enter(q);
	rc = ring_listen(&q->ring, on, &misses);
	queue_leave(q);
	return rc;
}

/* wake_fd: the flag that it stands for is set before it is written, and looked at after it was
 * read. */
static void wake_give(struct queue *q)
{
	uint64_t one = 1;
	ssize_t unused = write(q->wake_fd, &one, sizeof(one));

	(void)unused; /* it is full: as good */
}

static void wake_take(struct queue *q)
{
	uint64_t count;
	ssize_t unused = read(q->wake_fd, &count, sizeof(count));

	(void)unused; /* it was empty */
}

/*
 * Blocks until the driver kicks, the queue is stopped or the time is over (-1: never). False: the
 * kick descriptor is no good.
 */
static bool queue_block(struct queue *q, int timeout_ms)
{
	struct pollfd p[2] = {{.fd = q->kick.fd, .events = POLLIN},
			      {.fd = q->wake_fd, .events = POLLIN}};
	int rc;

	while (poll(p, 2, timeout_ms) < 0)
		if (errno != EINTR)
			return false;
	if (p[1].revents)
		wake_take(q);
	if (!p[0].revents || p[1].revents)
		return true;
	rc = event_clear(&q->kick);
	if (!rc || rc == -EAGAIN || rc == -EINTR)
		return true;
	log_error("queue %u stopped: its kick descriptor cannot be read: %s", q->index,
		  strerror(-rc));
	return false;
}

/* After queue_run_one() said `rc`: arms the kick and blocks. False: as queue_block(). */
static bool queue_sleep(struct queue *q, int rc)
{
	int armed = 0;

	DELAY_POINT("device.before_listen");
	if (rc == 0 || rc == -EFAULT || rc == -ETIMEDOUT)
		armed = queue_listen(q, true);
	/* -EAGAIN: the IOTLB lost the ring in between, and the next turn asks for it again. Where
	 * that has just failed there is nothing to arm, and the next kick is the next try. */
	if (rc == 0 && (armed > 0 || armed == -EAGAIN))
		return true;
	DELAY_POINT("device.before_block");
	/* Short of memory, or the device is half-way through a stop: try again soon. */
	return queue_block(q, rc == -ENOMEM || rc == -ECANCELED ? RETRY_MS : -1);
}

static void queue_loop(struct queue *q)
{
	bool collect = false; /* kicks are off and a request came since */

	queue_listen(q, false);
	while (!atomic_load_explicit(&q->stopping, memory_order_relaxed)) {
		int rc = queue_run_one(q);

		if (atomic_load_explicit(&q->recall, memory_order_relaxed)) {
			atomic_store(&q->recall, false);
			event_signal(&q->call);
		}
		if (rc > 0) {
			spin_event(&q->spin);
			collect = q->index == VIRTIO_FS_QUEUE_HIPRIO;
			continue;
		}
		if (rc == -EPROTO)
			return;
		if (rc == 0 && spin_again(&q->spin))
			continue;
		if (!(rc == 0 && collect ? queue_block(q, HIPRIO_COLLECT_MS) : queue_sleep(q, rc)))
			return;
		collect = false;
		queue_listen(q, false);
	}
}

/* What completed while the ring stood still. */
static void release_held(struct queue *q)
{
	struct list held;
	struct list *l;

	list_init(&held);
	pthread_mutex_lock(&q->lock);
	list_splice_back(&held, &q->held);
	pthread_mutex_unlock(&q->lock);
	while ((l = list_pop_front(&held))) {
		struct queue_slot *slot = container_of(l, struct queue_slot, link);

		if (slot->direct) {
			/* Its pin was given back when it completed. */
			slot->direct = false;
			slot->n_writable = 0;
		}
		request_complete(&slot->req, slot->written);
	}
}

static void *queue_main(void *arg)
{
	struct queue *q = arg;
	char name[16];

	snprintf(name, sizeof(name),
		 q->offers  ? "notify"
		 : q->index ? "queue %u"
			    : "hiprio",
		 q->index);
	pthread_setname_np(pthread_self(), name);
	release_held(q);
	spin_init(&q->spin,
		  q->offers || q->index == VIRTIO_FS_QUEUE_HIPRIO ? SPIN_NEVER : SPIN_AUTO);
	queue_loop(q);
	if (!atomic_load(&q->stopping))
		event_signal(&q->err);
	pthread_mutex_lock(&q->lock);
	q->thread_alive = false;
	queue_changed(q);
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

/* ------------------------------------------------------------------ main thread */

int queue_init(struct queue *q, unsigned index, struct space *space, struct fs *fs)
{
	memset(q, 0, sizeof(*q));
	q->index = index;
	q->space = space;
	q->fs = fs;
	event_init(&q->kick);
	event_init(&q->call);
	event_init(&q->err);
	q->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->wake_fd < 0)
		return -errno;
	list_init(&q->pool);
	list_init(&q->held);
	ring_init(&q->ring, space, index);
	pthread_mutex_init(&q->lock, NULL);
	clock_cond_init(&q->changed);
	return 0;
}

void queue_set_kick(struct queue *q, int fd)
{
	event_set(&q->kick, fd);
}

void queue_set_call(struct queue *q, int fd)
{
	event_set(&q->call, fd);
	/* A call that went to the old descriptor may have been lost on the way. */
	atomic_store(&q->recall, true);
	if (queue_running(q))
		wake_give(q);
}

void queue_set_err(struct queue *q, int fd)
{
	event_set(&q->err, fd);
}

static void slots_free(struct list *head)
{
	struct list *l;

	while ((l = list_pop_front(head)))
		slot_free(container_of(l, struct queue_slot, link));
}

void queue_fini(struct queue *q)
{
	event_fini(&q->kick);
	event_fini(&q->call);
	event_fini(&q->err);
	close(q->wake_fd);
	slots_free(&q->pool);
	slots_free(&q->held);
	ring_fini(&q->ring);
	pthread_mutex_destroy(&q->lock);
	pthread_cond_destroy(&q->changed);
}

bool queue_running(struct queue *q)
{
	bool running;

	pthread_mutex_lock(&q->lock);
	running = q->running;
	pthread_mutex_unlock(&q->lock);
	return running;
}

int queue_start(struct queue *q)
{
	int rc;

	atomic_store(&q->stopping, false);
	atomic_store(&q->recall, false);
	wake_take(q);
	q->complained = false;
	pthread_mutex_lock(&q->lock);
	q->running = q->thread_alive = true;
	pthread_mutex_unlock(&q->lock);
	rc = pthread_create(&q->thread, NULL, queue_main, q);
	if (!rc) {
		q->joinable = true;
		return 0;
	}
	pthread_mutex_lock(&q->lock);
	q->running = q->thread_alive = false;
	pthread_mutex_unlock(&q->lock);
	log_error("queue %u: no thread for it: %s", q->index, strerror(rc));
	return -rc;
}

/* With the lock: what queue_stop() waits for, until `deadline` at most. */
static bool wait_still(struct queue *q, uint64_t deadline)
{
	struct timespec until = clock_timespec(deadline);
	int rc = 0;

	while ((q->thread_alive || q->direct) && !rc)
		rc = pthread_cond_timedwait(&q->changed, &q->lock, &until);
	return !q->thread_alive && !q->direct;
}

/* Threads that the front end keeps in a call on its descriptors. */
static void queue_interrupt(struct queue *q)
{
	event_interrupt(&q->kick);
	event_interrupt(&q->call);
	event_interrupt(&q->err);
}

int queue_stop(struct queue *q, unsigned timeout_ms)
{
	uint64_t deadline = clock_now_ns() + timeout_ms * NS_PER_MS;
	uint64_t look = clock_now_ns() + PATIENCE_MS * NS_PER_MS;
	bool still;

	atomic_store(&q->stopping, true);
	wake_give(q);
	space_nudge(q->space);
	pthread_mutex_lock(&q->lock);
	while (!(still = wait_still(q, MIN(look, deadline))) && look < deadline) {
		queue_interrupt(q);
		look += INTERRUPT_MS * NS_PER_MS;
	}
	q->running = q->running && !still;
	pthread_mutex_unlock(&q->lock);
	if (still && q->joinable) {
		pthread_join(q->thread, NULL);
		q->joinable = false;
	}
	return still ? 0 : -ETIMEDOUT;
}

void queue_count(struct queue *q, struct queue_counts *sum)
{
	pthread_mutex_lock(&q->lock);
	sum->requests += q->requests;
	q->requests = 0;
	pthread_mutex_unlock(&q->lock);
	sum->kicks += event_counted(&q->kick);
	sum->calls += event_counted(&q->call);
}

unsigned queue_forget(struct queue *q)
{
	unsigned left;

	pthread_mutex_lock(&q->lock);
	while (!list_empty(&q->held)) {
		struct list *l = list_pop_front(&q->held);

		slot_retire(q, container_of(l, struct queue_slot, link));
	}
	left = q->in_flight;
	pthread_mutex_unlock(&q->lock);
	return left;
}
