/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/queue_fd: a queue's descriptor for poll(2). The library has no thread to collect results, so
 * the device's calls make it readable: it is an epoll descriptor over
 *
 *   the call of each lane   edge-triggered; any lane, since a request may wait for another's set-up
 *   wake_fd                 results that another thread collected, or that were there at once
 *   timer_fd                when a request has taken too long
 *   away.back_fd            there is another device: the lanes have other calls
 *
 * Readable means "reap", not "a result is there".
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "lib/queue.h"

static void close_queue_fds(struct vfsdax_queue *q, int epoll_fd)
{
	if (q->wake_fd >= 0)
		close(q->wake_fd);
	if (q->timer_fd >= 0)
		close(q->timer_fd);
	if (epoll_fd >= 0)
		close(epoll_fd);
	q->wake_fd = q->timer_fd = -1;
}

static int queue_fd_open(struct vfsdax_queue *q)
{
	int fd = atomic_load(&q->fd), err = 0;

	if (fd >= 0)
		return fd;
	IN_SCOPE_OF(q->share);
	fd = epoll_create1(EPOLL_CLOEXEC);
	q->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	q->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (fd < 0 || q->wake_fd < 0 || q->timer_fd < 0)
		err = -errno;
	q->devices = atomic_load(&q->share->away.devices);
	if (!err)
		err = wait_watch(q->share, fd, (int[]){q->wake_fd, q->timer_fd}, 2);
	if (!err && q->share->goes_on)
		err = wait_watch_edge(fd, q->share->away.back_fd);
	if (err) {
		close_queue_fds(q, fd);
		return err;
	}
	for (unsigned i = 0; i < q->share->n_lanes; i++)
		atomic_fetch_add(&q->share->lanes[i].watchers, 1);
	/* (a done() on another thread reads it) */
	pthread_mutex_lock(&q->lock);
	atomic_store(&q->fd, fd);
	pthread_mutex_unlock(&q->lock);
	/* For what is under way already. */
	queue_fd_leave(q);
	return fd;
}

int vfsdax_queue_fd(struct vfsdax_queue *q)
{
	return (int)NOTED(queue_fd_open(q), NULL);
}

void queue_fd_signal(struct vfsdax_queue *q)
{
	if (queue_has_fd(q) && !q->inside)
		eventfd_write(q->wake_fd, 1);
}

static void clear_queue_fd(struct vfsdax_queue *q)
{
	struct epoll_event events[8];
	uint64_t n;

	eventfd_read(q->wake_fd, &n);
	if (read(q->timer_fd, &n, sizeof(n)) == sizeof(n))
		q->timer_ns = 0;
	/* Each edge is reported once. */
	while (epoll_wait(atomic_load(&q->fd), events, 8, 0) == 8)
		;
}

/* Where the calls cannot be added a poll finds results when another thread collects them. */
static void watch_other_device(struct vfsdax_queue *q)
{
	unsigned devices = atomic_load(&q->share->away.devices);

	if (devices == q->devices)
		return;
	q->devices = devices;
	wait_watch(q->share, atomic_load(&q->fd), NULL, 0);
}

void queue_fd_enter(struct vfsdax_queue *q, bool reap)
{
	if (!queue_has_fd(q))
		return;
	pthread_mutex_lock(&q->lock);
	q->inside = true;
	pthread_mutex_unlock(&q->lock);
	if (reap)
		clear_queue_fd(q);
	watch_other_device(q);
}

/* For a silent device: the timer expires at the latest when something must be reaped. A later
 * deadline does not change it. */
static void set_queue_timer(struct vfsdax_queue *q)
{
	uint64_t at = q->n_open ? share_deadline(q->share) : UINT64_MAX;
	struct itimerspec when = {0};

	/* Nothing signals a buffer that another thread frees. */
	if (!list_empty(&q->to_send) || (q->share->no_calls && q->n_open))
		at = MIN(at, clock_now_ns() + NS_PER_MS);
	if (at == UINT64_MAX || (q->timer_ns && q->timer_ns <= at))
		return;
	q->timer_ns = MAX(at, 1u);
	when.it_value.tv_sec = (time_t)(q->timer_ns / NS_PER_S);
	when.it_value.tv_nsec = (long)(q->timer_ns % NS_PER_S);
	timerfd_settime(q->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

void queue_fd_leave(struct vfsdax_queue *q)
{
	bool there;

	if (!queue_has_fd(q))
		return;
	set_queue_timer(q);
	there = share_calls_on(q->share);
	pthread_mutex_lock(&q->lock);
	q->inside = false;
	if (there || q->n_done || !list_empty(&q->taken))
		queue_fd_signal(q);
	pthread_mutex_unlock(&q->lock);
}

void queue_fd_close(struct vfsdax_queue *q)
{
	int fd = atomic_load(&q->fd);

	if (fd < 0)
		return;
	for (unsigned i = 0; i < q->share->n_lanes; i++)
		atomic_fetch_sub(&q->share->lanes[i].watchers, 1);
	close_queue_fds(q, fd);
}
