/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/away: a share that goes on with another device (VFSDAX_ATTACH_RECONNECT). What the program
 * has open is in a struct bridge_kept, as with a mount; what the device has not answered is with
 * its caller, who has the message, and waits as if it were under way.
 *
 *     the device fails ─> leave_device() ─> attempts ─> serve() ─> ...
 *
 *   share_hold()     puts a call on the list: one that came back, or one that found no device
 *   leave_device()   nobody is inside any more; the bridge ends, its maps keep the memory only
 *   serve()          the calls on the list go out first, in the order in which they went out once:
 *                    what was done of them, the device finds out by looking (wire/agreement.h)
 *
 * All of it is done by one thread, which waits for the device's end in between.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "lib/internal.h"

/* As tools/vfsdax-mount/away.c. */
#define ATTEMPT_MS     2000u
#define PAUSE_MIN_MS   5
#define PAUSE_MAX_MS   250
#define PAUSE_LATER_MS 1000 /* when nobody waits any more */
/* Between looks at a device that may end without a sign. */
#define LOOK_MS	       1000

/* ------------------------------------------------------------------ what waits */

/* Before the first one that was sent later. */
static void insert_held(struct list *held, struct share_call *c)
{
	struct list *at = held;

	while (at->prev != held &&
	       container_of(at->prev, struct share_call, link)->order > c->order)
		at = at->prev;
	list_push_back(at, &c->link);
}

void share_hold(struct bridge_call *call)
{
	struct share_call *c = container_of(call, struct share_call, call);
	struct away *a = &c->share->away;
	bool refuses;

	pthread_mutex_lock(&a->lock);
	refuses = a->refuses;
	if (!refuses)
		insert_held(&a->held, c);
	pthread_mutex_unlock(&a->lock);
	if (refuses)
		call->done(call, -EIO, NULL, 0);
}

static struct share_call *pop_held(struct away *a)
{
	struct list *l;

	pthread_mutex_lock(&a->lock);
	l = list_pop_front(&a->held);
	pthread_mutex_unlock(&a->lock);
	return l ? container_of(l, struct share_call, link) : NULL;
}

static void set_refuses(struct vfsdax *s, bool refuses)
{
	struct share_call *c;

	pthread_mutex_lock(&s->away.lock);
	s->away.refuses = refuses;
	pthread_mutex_unlock(&s->away.lock);
	while (refuses && (c = pop_held(&s->away)))
		c->call.done(&c->call, -EIO, NULL, 0);
}

bool share_is_away(struct vfsdax *s)
{
	struct lane *lane = share_enter(s);
	bool lost;

	if (!lane)
		return true;
	lost = device_may_return(s);
	gate_unlock(s, lane);
	return lost;
}

/* ------------------------------------------------------------------ gone */

static void lock_gates(struct vfsdax *s)
{
	for (unsigned i = 0; i < s->n_lanes; i++)
		pthread_rwlock_wrlock(&s->lanes[i].gate);
}

static void unlock_gates(struct vfsdax *s)
{
	for (unsigned i = s->n_lanes; i-- > 0;)
		pthread_rwlock_unlock(&s->lanes[i].gate);
}

static void lock_lanes(struct vfsdax *s)
{
	for (unsigned i = 0; i < s->n_lanes; i++)
		pthread_mutex_lock(&s->lanes[i].lock);
}

static void unlock_lanes(struct vfsdax *s)
{
	for (unsigned i = s->n_lanes; i-- > 0;)
		pthread_mutex_unlock(&s->lanes[i].lock);
}

static void leave_device(struct vfsdax *s)
{
	struct device *d = s->device;

	lock_gates(s);
	s->bridge = NULL;
	unlock_gates(s);
	/* While what it waits for can be reaped. */
	bridge_hear_no_more(d->bridge);
	lock_lanes(s);
	for (unsigned i = 0; i < s->n_lanes; i++)
		s->lanes[i].bridge = NULL;
	unlock_lanes(s);
	/* The program's callbacks; it may unmap, here and on other threads. */
	bridge_fail_maps(d->bridge, -ENODEV);
	lock_gates(s);
	bridge_abandon_maps(d->bridge);
	s->device = NULL;
	unlock_gates(s);
	device_leave(d, true);
	device_put(d);
}

/* ------------------------------------------------------------------ back */

/* Under the lock of all lanes. A device that has no buffer for so long as an answer may take is not
 * waited for any longer. */
static void send_held(struct vfsdax *s)
{
	uint64_t until = clock_now_ns() + s->timeout_ms * NS_PER_MS;
	struct lane *lane = &s->lanes[0];
	struct share_call *c;
	struct list held;

	list_init(&held);
	pthread_mutex_lock(&s->away.lock);
	list_splice_back(&held, &s->away.held);
	pthread_mutex_unlock(&s->away.lock);
	while (!list_empty(&held)) {
		c = container_of(list_pop_front(&held), struct share_call, link);
		while (!lane_send(lane, c)) {
			if (clock_now_ns() >= until) {
				c->call.done(&c->call, fs_caller_error(-ETIMEDOUT), NULL, 0);
				break;
			}
			lane_flush(lane);
			if (!lane_reap_locked(lane))
				nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
		}
	}
	lane_flush(lane);
}

static void serve(struct vfsdax *s, struct device *d)
{
	/* Before anybody has maps of it. */
	bridge_hear(d->bridge);
	lock_lanes(s);
	for (unsigned i = 0; i < s->n_lanes; i++)
		s->lanes[i].bridge = bridge_lane(d->bridge, i);
	lock_gates(s);
	s->device = d;
	s->bridge = d->bridge;
	share_describe(s, d);
	unlock_gates(s);
	set_refuses(s, false);
	send_held(s);
	unlock_lanes(s);
	forget_held(s, d->bridge);
	/* Who sleeps has not seen the calls of this one. */
	wait_watch(s, s->epoll_fd, NULL, 0);
	wait_again(s);
	atomic_fetch_add(&s->away.devices, 1);
	eventfd_write(s->away.back_fd, 1);
}

/* ------------------------------------------------------------------ the thread */

/* Attempts fail by the hundred, and what they say is kept as the reason; threads that they have
 * begun say on what they have to say. */
static void hear_attempt(enum log_level level, const char *line, void *ctx)
{
	struct vfsdax *s = ctx;

	if (!pthread_equal(pthread_self(), s->away.thread))
		s->log.handler(level, line, s->log.ctx);
	else if (level <= LOG_WARN)
		snprintf(s->away.reason, sizeof(s->away.reason), "%s", line);
}

static int attempt(struct vfsdax *s, struct device **d)
{
	int err;

	s->away.reason[0] = '\0';
	log_swap_thread(&s->away.log);
	err = device_open(s, NULL, MIN(s->timeout_ms, ATTEMPT_MS), d);
	log_swap_thread(&s->log);
	return err;
}

static uint64_t away_ms(const struct vfsdax *s)
{
	return (clock_now_ns() - s->away.since_ns) / NS_PER_MS;
}

/* False: the share is to end. */
static bool pause_for(struct vfsdax *s, int timeout_ms)
{
	struct pollfd p = {.fd = s->away.event_fd, .events = POLLIN};
	eventfd_t n;

	/* A device that was there for an attempt only has signalled its end as well. */
	if (poll(&p, 1, timeout_ms) == 1)
		eventfd_read(p.fd, &n);
	return !atomic_load(&s->ends);
}

static bool come_back(struct vfsdax *s)
{
	int pause_ms = PAUSE_MIN_MS;
	struct device *d = NULL;
	bool waiting = true;

	while (pause_for(s, pause_ms)) {
		if (attempt(s, &d) == 0) {
			log_info("%s is back after %" PRIu64 " ms", s->info.source, away_ms(s));
			serve(s, d);
			return true;
		}
		pause_ms = waiting ? MIN(2 * pause_ms, PAUSE_MAX_MS) : PAUSE_LATER_MS;
		if (waiting && away_ms(s) >= s->away.wait_ms) {
			log_error("%s has not come back within %" PRIu64
				  " ms (%s): calls are EIO until it "
				  "does",
				  s->info.source, s->away.wait_ms, s->away.reason);
			waiting = false;
			set_refuses(s, true);
		}
	}
	return false;
}

/* True: the device has failed; false: the share is to end. */
static bool await_failure(struct vfsdax *s)
{
	while (!transport_failed(s->device->transport)) {
		if (!pause_for(s, fs_session_watched(s->device->session) ? LOOK_MS : -1))
			return false;
		fs_session_look(s->device->session);
	}
	return !atomic_load(&s->ends);
}

static void *away_main(void *arg)
{
	struct vfsdax *s = arg;

	log_swap_thread(&s->log);
	while (await_failure(s)) {
		if (!transport_may_return(s->device->transport)) {
			bridge_fail_maps(s->bridge, -ENODEV);
			break;
		}
		s->away.since_ns = clock_now_ns();
		log_warn("%s is gone: calls wait for it", s->info.source);
		leave_device(s);
		if (!come_back(s))
			break;
	}
	set_refuses(s, true);
	return NULL;
}

/* ------------------------------------------------------------------ begin, end */

int away_init(struct vfsdax *s)
{
	struct away *a = &s->away;

	pthread_mutex_init(&a->lock, NULL);
	list_init(&a->held);
	list_init(&a->forgets);
	a->log = (struct log_sink){.handler = s->log.handler ? hear_attempt : NULL, .ctx = s};
	a->event_fd = a->back_fd = -1;
	if (!s->goes_on)
		return 0;
	a->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	a->back_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return a->event_fd < 0 || a->back_fd < 0 ? -errno : 0;
}

void away_free(struct vfsdax *s)
{
	struct away *a = &s->away;

	forget_held(s, NULL);
	if (a->event_fd >= 0)
		close(a->event_fd);
	if (a->back_fd >= 0)
		close(a->back_fd);
	pthread_mutex_destroy(&a->lock);
}

int away_start(struct vfsdax *s)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = -pthread_create(&s->away.thread, NULL, away_main, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

void away_stop(struct vfsdax *s)
{
	bridge_kept_end(s->kept);
	eventfd_write(s->away.event_fd, 1);
	pthread_join(s->away.thread, NULL);
}
