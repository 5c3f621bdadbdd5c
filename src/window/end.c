/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * end: the two states that follow WINDOW_OPEN: drained and failed. Both begin with "no new pins".
 */
#include <assert.h>
#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "window/internal.h"

#define DRAIN_NAP_NS (50 * NS_PER_US)

/* The inode behind `prev` (NULL: the first), with a reference; drops the one on `prev`. An inode
 * stays on the list as long as there is a reference. */
static struct window_inode *inode_next(struct window *w, struct window_inode *prev)
{
	struct window_inode *inode = NULL;
	struct list *pos;

	pthread_mutex_lock(&w->lock);
	for (pos = prev ? prev->link.next : w->inodes.next; pos != &w->inodes; pos = pos->next) {
		struct window_inode *at = container_of(pos, struct window_inode, link);
		unsigned refs = atomic_load(&at->refs);

		while (refs && !atomic_compare_exchange_weak(&at->refs, &refs, refs + 1))
			;
		if (refs) {
			inode = at;
			break;
		}
	}
	pthread_mutex_unlock(&w->lock);
	if (prev)
		inode_put(prev);
	return inode;
}

/* Window lock: no more pins and set-ups; every range dies, and those without pins are retired. */
static void kill_all_ranges(struct window *w, enum window_state state, struct list *gone,
			    struct list *wakes)
{
	struct list *pos = w->ranges.next;

	if (atomic_load_explicit(&w->state, memory_order_relaxed) < state)
		atomic_store_explicit(&w->state, state, memory_order_relaxed);
	while (pos != &w->ranges) {
		struct window_range *r = container_of(pos, struct window_range, link);

		pos = pos->next;
		if (range_kill(r))
			range_retire(w, r, gone);
	}
	space_wake(w, wakes);
}

static void wake_list(struct list *waiters, int err, struct list *wakes)
{
	struct list *pos;

	while ((pos = waiters->next) != waiters)
		wake_later(wakes, container_of(pos, struct window_waiter, link), err);
}

/* Inode lock: all that wait for a set-up or a block. */
static void wake_inode(struct window_inode *inode, int err, struct list *wakes)
{
	struct window_range *r;

	list_for_each (at, &inode->detached)
		wake_list(&container_of(at, struct window_range, inode_link)->waiters, err, wakes);
	for (uint64_t key = 0; (r = omap_ceil(&inode->map, key, NULL)); key = r->file_off + 1)
		wake_list(&r->waiters, err, wakes);
	wake_list(&inode->block_waiters, err, wakes);
}

void window_fail(void *by, struct window *w, int err)
{
	struct window_inode *inode = NULL;
	struct list gone, wakes;

	assert(err < 0);
	list_init(&gone);
	list_init(&wakes);
	pthread_mutex_lock(&w->lock);
	if (w->fail_err) {
		pthread_mutex_unlock(&w->lock);
		return;
	}
	w->fail_err = err;
	kill_all_ranges(w, WINDOW_FAILED, &gone, &wakes);
	list_splice_back(&gone, &w->queue);
	list_splice_back(&gone, &w->batch); /* a late window_remove_done() finds it empty */
	pthread_mutex_unlock(&w->lock);

	DELAY_POINT("window.fail");
	range_settle(by, w, &gone, err);
	while ((inode = inode_next(w, inode))) {
		pthread_mutex_lock(&inode->lock);
		wake_inode(inode, err, &wakes);
		pthread_mutex_unlock(&inode->lock);
	}
	wake_all(by, &wakes);
}

static bool is_drained(struct window *w)
{
	bool drained;

	pthread_mutex_lock(&w->lock);
	drained = !w->nranges && !w->removal_out;
	pthread_mutex_unlock(&w->lock);
	return drained;
}

int window_drain(void *by, struct window *w, int (*progress)(void *ctx), void *ctx,
		 unsigned timeout_ms)
{
	const struct timespec nap = {.tv_nsec = DRAIN_NAP_NS};
	uint64_t deadline = clock_now_ns() + timeout_ms * NS_PER_MS;
	struct list gone, wakes;
	int done, err;

	list_init(&gone);
	list_init(&wakes);
	pthread_mutex_lock(&w->lock);
	kill_all_ranges(w, WINDOW_DRAINED, &gone, &wakes);
	err = w->fail_err;
	pthread_mutex_unlock(&w->lock);
	window_kick(by, w);
	range_settle(by, w, &gone, err);
	wake_all(by, &wakes);

	while (!is_drained(w)) {
		if (clock_now_ns() >= deadline)
			return -ETIMEDOUT;
		done = progress ? progress(ctx) : 0;
		if (done < 0)
			return done;
		if (!done)
			nanosleep(&nap, NULL);
	}
	return 0;
}
