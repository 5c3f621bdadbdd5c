/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/wait: how a thread waits for an answer of the device.
 *
 * First one thread of a lane polls it, where and as long as base/spin.h allows, and not with more
 * such threads than spare CPUs. Then one thread of the share leads: it reaps all lanes, since one
 * request may depend on the answer to another, and blocks in epoll on their calls. The others block
 * each on its own state, and are woken by done(), or by a leader that leaves.
 *
 *   RUNS ── BLOCKS (futex) ─┐
 *     └──── LEADS (epoll) ──┴─ WOKEN        set by done() from anywhere; nothing follows it
 *
 * No wake-up is lost: a thread that is about to block does a compare-and-swap from RUNS, which a
 * done() that was there before makes fail. A thread that leaves a share without a leader runs
 * another waiter.
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

/* A bound against our own mistakes. */
#define BLOCK_MAX_MS 1000
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
	unsigned n = lane->bridge ? bridge_lane_reap(lane->bridge) : 0;

	/* An operation that continued may have put a request on the ring. */
	if (n)
		bridge_lane_flush(lane->bridge);
	return n;
}

unsigned lane_reap(struct lane *lane)
{
	unsigned n;

	/* The holder of the lock reaps, or sends and will reap afterwards. */
	if (pthread_mutex_trylock(&lane->lock))
		return 0;
	n = lane_reap_locked(lane);
	pthread_mutex_unlock(&lane->lock);
	return n;
}

/* Unlocks `lane` (NULL: before the first) and locks the next one that has a device; NULL after the
 * last. */
static struct lane *lock_next_lane(struct vfsdax *s, struct lane *lane)
{
	if (lane)
		pthread_mutex_unlock(&lane->lock);
	for (lane = lane ? lane + 1 : s->lanes; lane < s->lanes + s->n_lanes; lane++) {
		pthread_mutex_lock(&lane->lock);
		if (lane->bridge)
			return lane;
		pthread_mutex_unlock(&lane->lock);
	}
	return NULL;
}

/* Each lane under its lock, while the device is there; without break or return. */
#define for_each_lane_locked(lane, s) \
	for (struct lane *lane = NULL; (lane = lock_next_lane(s, lane));)

unsigned share_reap(struct vfsdax *s)
{
	unsigned n = 0;

	for_each_lane_locked (lane, s)
		n += lane_reap_locked(lane);
	return n;
}

uint64_t share_deadline(struct vfsdax *s)
{
	uint64_t first = UINT64_MAX;

	for_each_lane_locked (lane, s) {
		uint64_t deadline = UINT64_MAX;

		bridge_lane_busy(lane->bridge, &deadline);
		first = MIN(first, deadline);
	}
	return first;
}

bool share_calls_on(struct vfsdax *s)
{
	bool there = false;

	for_each_lane_locked (lane, s) {
		/* (a request whose wait timed out may have been put on the ring) */
		bridge_lane_flush(lane->bridge);
		there |= bridge_lane_calls_on(lane->bridge);
	}
	return there;
}

/* But for lanes whose calls a queue's descriptor needs. */
static void share_calls_off(struct vfsdax *s)
{
	for_each_lane_locked (lane, s)
		if (!atomic_load(&lane->watchers))
			bridge_lane_calls_off(lane->bridge);
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

	/* `w` may be gone: a wake that reaches another thread is spurious. */
	if (before == WAITER_BLOCKS)
		futex_wake(&w->state);
	else if (before == WAITER_LEADS)
		eventfd_write(s->wake_fd, 1);
}

static bool waiter_change(struct waiter *w, uint32_t from, uint32_t to)
{
	return atomic_compare_exchange_strong(&w->state, &from, to);
}

/* Called with wait_lock held, without a leader: one that blocks is to lead. */
static void run_another(struct vfsdax *s)
{
	list_for_each (pos, &s->waiters) {
		struct waiter *w = container_of(pos, struct waiter, link);

		if (waiter_change(w, WAITER_BLOCKS, WAITER_RUNS)) {
			futex_wake(&w->state);
			return;
		}
	}
}

/* ------------------------------------------------------------------ polling */

/* Called by the thread that has claimed lane->spin. */
static void poll_lane(struct vfsdax *s, struct waiter *w, struct lane *lane)
{
	unsigned others = 0; /* the answer may depend on a request of another lane */

	while (!waiter_woken(w)) {
		if (lane_reap(lane) || lane_reap(&s->lanes[others++ % s->n_lanes]))
			continue;
		if (!spin_again(&lane->spin))
			break;
	}
}

/* One CPU is left to the device, or to the thread that collects the answer. */
static bool may_poll(struct vfsdax *s)
{
	if (atomic_fetch_add(&s->pollers, 1) + 1 < s->cpus)
		return true;
	atomic_fetch_sub(&s->pollers, 1);
	return false;
}

/* ------------------------------------------------------------------ blocking */

/* The time-out for epoll. */
static int block_ms(struct vfsdax *s, uint64_t now, uint64_t until_ns)
{
	uint64_t most = s->no_calls ? POLL_MS : BLOCK_MAX_MS;

	if (until_ns <= now)
		return 0;
	return (int)MIN((until_ns - now) / NS_PER_MS + 1, most);
}

/* Called by the leader only, without a lock. */
static void block_on_calls(struct vfsdax *s, struct waiter *w, uint64_t until_ns)
{
	struct epoll_event events[8];
	eventfd_t count;

	if (!waiter_change(w, WAITER_RUNS, WAITER_LEADS))
		return;
	if (!share_calls_on(s)) {
		uint64_t deadline = MIN(until_ns, share_deadline(s));

		epoll_wait(s->epoll_fd, events, 8, block_ms(s, clock_now_ns(), deadline));
		eventfd_read(s->wake_fd, &count);
	}
	waiter_change(w, WAITER_LEADS, WAITER_RUNS);
	share_calls_off(s);
}

static void lead_waiters(struct vfsdax *s, struct waiter *w, uint64_t until_ns)
{
	while (!waiter_woken(w) && clock_now_ns() < until_ns) {
		if (share_reap(s) == 0)
			block_on_calls(s, w, until_ns);
	}
}

/* The leader reaps for all; the bound is against our own mistakes. */
static void follow_leader(struct waiter *w, struct lane *lane, uint64_t until_ns)
{
	uint64_t now = clock_now_ns();

	if (now < until_ns)
		futex_wait(&w->state, WAITER_BLOCKS, MIN(until_ns - now, BLOCK_MAX_MS * NS_PER_MS));
	if (waiter_change(w, WAITER_BLOCKS, WAITER_RUNS))
		lane_reap(lane);
}

static void block_waiter(struct vfsdax *s, struct waiter *w, struct lane *lane, uint64_t until_ns)
{
	pthread_mutex_lock(&s->wait_lock);
	list_push_back(&s->waiters, &w->link);
	while (!waiter_woken(w) && clock_now_ns() < until_ns) {
		if (!s->leader) {
			s->leader = w;
			pthread_mutex_unlock(&s->wait_lock);
			lead_waiters(s, w, until_ns);
			pthread_mutex_lock(&s->wait_lock);
			s->leader = NULL;
		} else if (waiter_change(w, WAITER_RUNS, WAITER_BLOCKS)) {
			pthread_mutex_unlock(&s->wait_lock);
			follow_leader(w, lane, until_ns);
			pthread_mutex_lock(&s->wait_lock);
		}
	}
	list_del(&w->link);
	if (!s->leader)
		run_another(s);
	pthread_mutex_unlock(&s->wait_lock);
}

void share_pause(struct vfsdax *s, struct lane *lane, uint64_t until_ns)
{
	struct waiter nobody;

	waiter_init(&nobody);
	share_wait(s, &nobody, lane, until_ns);
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
		block_waiter(s, w, lane, until_ns);
	}
	if (claimed) {
		/* (a wait that timed out is no sample of the time of an answer) */
		if (waiter_woken(w))
			spin_event(&lane->spin);
		else
			spin_forget(&lane->spin);
		atomic_flag_clear_explicit(&lane->polled, memory_order_release);
	}
	return waiter_woken(w);
}

/* ------------------------------------------------------------------ open, close */

static int watch_fd(int epoll_fd, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.fd = fd};

	/* Lanes may share a call. */
	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 && errno != EEXIST ? -errno : 0;
}

/* In several epoll sets: edge-triggered and never read. */
int wait_watch_edge(int epoll_fd, int fd)
{
	return watch_fd(epoll_fd, fd, EPOLLIN | EPOLLET);
}

int wait_watch(struct vfsdax *s, int epoll_fd, const int *fds, unsigned n)
{
	int err = 0;

	for (unsigned i = 0; i < n && !err; i++)
		err = watch_fd(epoll_fd, fds[i], EPOLLIN);
	for_each_lane_locked (lane, s) {
		int fd = bridge_lane_call_fd(lane->bridge);

		if (fd >= 0 && !err)
			err = wait_watch_edge(epoll_fd, fd);
	}
	return err;
}

int wait_open(struct vfsdax *s)
{
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->epoll_fd < 0 || s->wake_fd < 0)
		return -errno;
	return wait_watch(s, s->epoll_fd, &s->wake_fd, 1);
}

void wait_close(struct vfsdax *s)
{
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	if (s->epoll_fd >= 0)
		close(s->epoll_fd);
	s->wake_fd = s->epoll_fd = -1;
}
