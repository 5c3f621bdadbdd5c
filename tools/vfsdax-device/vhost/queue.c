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

/*
 * Blocks until the driver kicks, the queue is stopped or the time is over (-1: never). False: the
 * kick descriptor is no good.
 */
static bool queue_block(struct queue *q, int timeout_ms)
{
	struct pollfd p[2] = {{.fd = q->kick_fd, .events = POLLIN},
			      {.fd = q->wake_fd, .events = POLLIN}};
	uint64_t count;
	ssize_t n;

	while (poll(p, 2, timeout_ms) < 0)
		if (errno != EINTR)
			return false;
	if (!p[0].revents || p[1].revents)
		return true;
	n = read(q->kick_fd, &count, sizeof(count));
	if (n == (ssize_t)sizeof(count) || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return true;
	log_error("queue %u stopped: its kick descriptor cannot be read: %s", q->index,
		  n < 0 ? strerror(errno) : "end of file");
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

	snprintf(name, sizeof(name), q->index ? "queue %u" : "hiprio", q->index);
	pthread_setname_np(pthread_self(), name);
	release_held(q);
	spin_init(&q->spin, q->index == VIRTIO_FS_QUEUE_HIPRIO ? SPIN_NEVER : SPIN_AUTO);
	queue_loop(q);
	pthread_mutex_lock(&q->lock);
	if (!atomic_load(&q->stopping))
		signal_eventfd(q->err_fd);
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
	q->kick_fd = q->call_fd = q->err_fd = -1;
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

static void set_fd(struct queue *q, int *slot, int fd)
{
	int old;

	pthread_mutex_lock(&q->lock);
	old = *slot;
	*slot = fd;
	pthread_mutex_unlock(&q->lock);
	if (old >= 0)
		close(old);
}

void queue_set_kick(struct queue *q, int fd)
{
	set_fd(q, &q->kick_fd, fd);
}

void queue_set_call(struct queue *q, int fd)
{
	set_fd(q, &q->call_fd, fd);
	/* A call that went to the old descriptor may have been lost on the way. */
	if (queue_running(q))
		signal_eventfd(fd);
}

void queue_set_err(struct queue *q, int fd)
{
	set_fd(q, &q->err_fd, fd);
}

static void slots_free(struct list *head)
{
	struct list *l;

	while ((l = list_pop_front(head)))
		slot_free(container_of(l, struct queue_slot, link));
}

void queue_fini(struct queue *q)
{
	queue_set_kick(q, -1);
	queue_set_call(q, -1);
	queue_set_err(q, -1);
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
	uint64_t count;
	ssize_t unused;
	int rc;

	atomic_store(&q->stopping, false);
	unused = read(q->wake_fd, &count, sizeof(count));
	(void)unused;
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

int queue_stop(struct queue *q, unsigned timeout_ms)
{
	struct timespec until = clock_timespec(clock_now_ns() + timeout_ms * NS_PER_MS);
	int rc = 0;

	atomic_store(&q->stopping, true);
	signal_eventfd(q->wake_fd);
	space_nudge(q->space);
	pthread_mutex_lock(&q->lock);
	while ((q->thread_alive || q->direct) && !rc)
		rc = pthread_cond_timedwait(&q->changed, &q->lock, &until);
	rc = q->thread_alive || q->direct ? -ETIMEDOUT : 0;
	if (!rc)
		q->running = false;
	pthread_mutex_unlock(&q->lock);
	if (!rc && q->joinable) {
		pthread_join(q->thread, NULL);
		q->joinable = false;
	}
	return rc;
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
