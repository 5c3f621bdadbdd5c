/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/wait: how a thread waits for an answer of the device.
 *
 * First one thread of a lane polls it, where and as long as base/spin.h says, and not with more such
 * threads than spare CPUs. Then one thread of the share leads: it reaps all lanes, since what one waits
 * for may hang on the answer to another's message, and blocks in epoll on their calls. The others block
 * each on its own state, and are woken by done(), or by a leader that leaves.
 *
 *   RUNS ── SLEEPS (futex) ─┐
 *     └──── LEADS (epoll) ──┴─ WOKEN        set by done() from anywhere; nothing follows it
 *
 * No wake-up is lost: a thread that is about to block does a compare-and-swap from RUNS, which a done()
 * that was there before makes fail. A thread that leaves a share without a leader runs another waiter.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "lib/internal.h"

/* A bound on everything that was overlooked. */
#define SLEEP_MAX_MS 1000
/* Between reaps, where the device cannot call. */
#define POLL_MS	     1

/* ------------------------------------------------------------------ lanes */

struct lane *share_lane(struct vfsdax *s)
{
	int cpu = s->n_lanes > 1 ? sched_getcpu() : 0;

	return &s->lanes[cpu < 0 ? 0 : (unsigned)cpu % s->n_lanes];
}

unsigned lane_reap_locked(struct lane *lane)
{
	unsigned n = bridge_lane_reap(lane->bridge);

	/* What went on after a wait may have put a request on the ring. */
	if (n)
		bridge_lane_flush(lane->bridge);
	return n;
}

unsigned lane_reap(struct lane *lane)
{
	unsigned n;

	/* Whoever has the lock is at it, or sends and will look afterwards. */
	if (pthread_mutex_trylock(&lane->lock))
		return 0;
	n = lane_reap_locked(lane);
	pthread_mutex_unlock(&lane->lock);
	return n;
}

unsigned share_reap(struct vfsdax *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n_lanes; i++) {
		pthread_mutex_lock(&s->lanes[i].lock);
		n += lane_reap_locked(&s->lanes[i]);
		pthread_mutex_unlock(&s->lanes[i].lock);
	}
	return n;
}

uint64_t share_deadline(struct vfsdax *s)
{
	uint64_t first = UINT64_MAX;

	for (unsigned i = 0; i < s->n_lanes; i++) {
		uint64_t deadline = UINT64_MAX;

		pthread_mutex_lock(&s->lanes[i].lock);
		bridge_lane_busy(s->lanes[i].bridge, &deadline);
		pthread_mutex_unlock(&s->lanes[i].lock);
		first = MIN(first, deadline);
	}
	return first;
}

bool share_calls_on(struct vfsdax *s)
{
	bool there = false;

	for (unsigned i = 0; i < s->n_lanes; i++) {
		pthread_mutex_lock(&s->lanes[i].lock);
		/* (the wait of a request may have ended with its time, and it gone out) */
		bridge_lane_flush(s->lanes[i].bridge);
		there |= bridge_lane_calls_on(s->lanes[i].bridge);
		pthread_mutex_unlock(&s->lanes[i].lock);
	}
	return there;
}

/* Not where a program sleeps on the calls itself. */
static void calls_off(struct vfsdax *s)
{
	for (unsigned i = 0; i < s->n_lanes; i++) {
		struct lane *lane = &s->lanes[i];

		pthread_mutex_lock(&lane->lock);
		if (!atomic_load(&lane->watchers))
			bridge_lane_calls_off(lane->bridge);
		pthread_mutex_unlock(&lane->lock);
	}
}

/* ------------------------------------------------------------------ waking */

static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t ns)
{
	struct timespec ts = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};

	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &ts, NULL, 0);
}

void waiter_wake(struct vfsdax *s, struct waiter *w)
{
	uint32_t before = atomic_exchange(&w->state, WAITER_WOKEN);

	/* From here on only the address counts: a wake that finds somebody else is spurious. */
	if (before == WAITER_SLEEPS)
		futex_wake(&w->state);
	else if (before == WAITER_LEADS)
		eventfd_write(s->wake_fd, 1);
}

static bool change(struct waiter *w, uint32_t from, uint32_t to)
{
	return atomic_compare_exchange_strong(&w->state, &from, to);
}

/* Called with wait_lock held, nobody leads: lets one of those that sleep see it. */
static void run_another(struct vfsdax *s)
{
	list_for_each (pos, &s->waiters) {
		struct waiter *w = container_of(pos, struct waiter, link);

		if (change(w, WAITER_SLEEPS, WAITER_RUNS)) {
			futex_wake(&w->state);
			return;
		}
	}
}

/* ------------------------------------------------------------------ polling */

/* Called by the thread that has claimed lane->spin. True: woken. */
static bool poll_lane(struct vfsdax *s, struct waiter *w, struct lane *lane)
{
	unsigned others = 0; /* what is waited for may hang on one of them */

	while (!waiter_woken(w)) {
		if (lane_reap(lane) || lane_reap(&s->lanes[others++ % s->n_lanes]))
			continue;
		if (!spin_again(&lane->spin))
			break;
	}
	return waiter_woken(w);
}

/* One CPU is for the device, or for the thread that collects what we wait for. */
static bool may_poll(struct vfsdax *s)
{
	if (atomic_fetch_add(&s->pollers, 1) + 1 < s->cpus)
		return true;
	atomic_fetch_sub(&s->pollers, 1);
	return false;
}

/* ------------------------------------------------------------------ blocking */

/* Milliseconds to sleep, for epoll. */
static int sleep_ms(struct vfsdax *s, uint64_t now, uint64_t until_ns)
{
	uint64_t most = s->no_calls ? POLL_MS : SLEEP_MAX_MS;

	if (until_ns <= now)
		return 0;
	return (int)MIN((until_ns - now) / NS_PER_MS + 1, most);
}

/* Called by the leader only, without a lock. */
static void sleep_on_calls(struct vfsdax *s, struct waiter *w, uint64_t until_ns)
{
	struct epoll_event events[8];
	eventfd_t count;

	if (!change(w, WAITER_RUNS, WAITER_LEADS))
		return;
	if (!share_calls_on(s)) {
		uint64_t deadline = MIN(until_ns, share_deadline(s));

		/* A signal is as good a reason to look as any. */
		epoll_wait(s->epoll_fd, events, 8, sleep_ms(s, clock_now_ns(), deadline));
		eventfd_read(s->wake_fd, &count);
	}
	change(w, WAITER_LEADS, WAITER_RUNS);
	calls_off(s);
}

static void lead(struct vfsdax *s, struct waiter *w, uint64_t until_ns)
{
	while (!waiter_woken(w) && clock_now_ns() < until_ns) {
		if (share_reap(s) == 0)
			sleep_on_calls(s, w, until_ns);
	}
}

/* The leader sees to everything; the bound is one on our own mistakes. */
static void follow(struct waiter *w, struct lane *lane, uint64_t until_ns)
{
	uint64_t now = clock_now_ns();

	if (now < until_ns)
		futex_wait(&w->state, WAITER_SLEEPS, MIN(until_ns - now, SLEEP_MAX_MS * NS_PER_MS));
	if (change(w, WAITER_SLEEPS, WAITER_RUNS))
		lane_reap(lane);
}

static void block(struct vfsdax *s, struct waiter *w, struct lane *lane, uint64_t until_ns)
{
	pthread_mutex_lock(&s->wait_lock);
	list_push_back(&s->waiters, &w->link);
	while (!waiter_woken(w) && clock_now_ns() < until_ns) {
		if (!s->leader) {
			s->leader = w;
			pthread_mutex_unlock(&s->wait_lock);
			lead(s, w, until_ns);
			pthread_mutex_lock(&s->wait_lock);
			s->leader = NULL;
		} else if (change(w, WAITER_RUNS, WAITER_SLEEPS)) {
			pthread_mutex_unlock(&s->wait_lock);
			follow(w, lane, until_ns);
			pthread_mutex_lock(&s->wait_lock);
		}
	}
	list_del(&w->link);
	if (!s->leader)
		run_another(s);
	pthread_mutex_unlock(&s->wait_lock);
}

bool share_wait(struct vfsdax *s, struct waiter *w, struct lane *lane, uint64_t until_ns)
{
	bool claimed;

	if (waiter_woken(w))
		return true;
	claimed = !atomic_flag_test_and_set_explicit(&lane->polled, memory_order_acquire);
	if (claimed && may_poll(s)) {
		poll_lane(s, w, lane);
		atomic_fetch_sub(&s->pollers, 1);
	}
	if (!waiter_woken(w)) {
		lane_reap(lane);
		block(s, w, lane, until_ns);
	}
	if (claimed) {
		/* (a wait that came to its end without an answer says nothing of answers) */
		if (waiter_woken(w))
			spin_event(&lane->spin);
		else
			spin_forget(&lane->spin);
		atomic_flag_clear_explicit(&lane->polled, memory_order_release);
	}
	return waiter_woken(w);
}

/* ------------------------------------------------------------------ open, close */

static int watch(struct vfsdax *s, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.fd = fd};

	/* Lanes may share a call. */
	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

int wait_open(struct vfsdax *s)
{
	cpu_set_t set;
	int err;

	s->cpus = sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : (unsigned)CPU_COUNT(&set);
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->epoll_fd < 0 || s->wake_fd < 0)
		return -errno;
	err = watch(s, s->wake_fd, EPOLLIN);
	for (unsigned i = 0; i < s->n_lanes && !err; i++) {
		int fd = bridge_lane_call_fd(s->lanes[i].bridge);

		/* Others sleep on it, too: edge-triggered and never read. */
		if (fd < 0)
			s->no_calls = true;
		else
			err = watch(s, fd, EPOLLIN | EPOLLET);
	}
	return err;
}

void wait_close(struct vfsdax *s)
{
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	if (s->epoll_fd >= 0)
		close(s->epoll_fd);
	s->wake_fd = s->epoll_fd = -1;
}
