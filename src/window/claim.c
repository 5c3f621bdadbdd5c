/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * claim: window space for a new range: claiming it, evicting for it, waiting for it. Which range is
 * evicted the policy decides. Window lock throughout.
 */
#include <errno.h>

#include "base/bytes.h"
#include "window/internal.h"

#define EVICT_BATCH 10 /* ranges on their way out for one claim, at most */
#define TRIES	    4  /* victims that were pinned since the policy chose them */

bool budget_left(const struct window *w)
{
	return w->nranges + w->nlost < w->ranges_max;
}

bool space_has(const struct window *w, unsigned order)
{
	for (unsigned k = order; k < w->space.orders; k++)
		if (w->space.order[k].free)
			return true;
	return false;
}

static bool evict_one(struct window *w, bool must)
{
	struct window_range *r;

	for (int i = 0; i < TRIES && (r = w->policy->victim(w, must)); i++)
		if (range_evict(w, r))
			return true;
	return false;
}

/* Lets a block of this order become free, if it can. False: it never can. */
static bool make_room(struct window *w, unsigned order, bool exact)
{
	if (exact && !space_has(w, order))
		return reserve_block(w, order);
	if (!exact && w->reserve.order)
		return true; /* what is freed now is not for this claim */
	while (w->nretired < EVICT_BATCH && w->retired_bytes < block_bytes(w, order))
		if (!evict_one(w, w->nretired == 0))
			break;
	return true;
}

bool space_claim(struct window *w, unsigned order, bool exact, unsigned *got, uint64_t *win_off)
{
	unsigned lowest = exact ? order : 0;

	if (budget_left(w) && !reserve_refuses(w, order, exact))
		for (unsigned k = order + 1; k-- > lowest;)
			if (space_take(&w->space, k, win_off)) {
				*got = k;
				w->nranges++;
				if (exact)
					w->reserve.order = 0;
				return true;
			}
	make_room(w, order, exact);
	return false;
}

bool space_wait(struct window *w, unsigned order, bool exact, struct window_waiter *waiter)
{
	if (!w->nranges)
		return false;
	atomic_fetch_add(&w->space_waiting, 1);
	/* Again, now that an unpin can see us. */
	if (!make_room(w, order, exact)) {
		atomic_fetch_sub(&w->space_waiting, 1);
		return false;
	}
	waiter->deadline_ns = clock_now_ns() + SPACE_WAIT_NS;
	waiter->order = exact ? order : 0;
	list_push_back(&w->space_waiters, &waiter->link);
	count(&w->waits);
	return true;
}

uint64_t space_expire(struct window *w, uint64_t now_ns, struct list *wakes)
{
	reserve_expire(w, now_ns);
	while (!list_empty(&w->space_waiters)) {
		struct window_waiter *first =
			container_of(w->space_waiters.next, struct window_waiter, link);

		if (first->deadline_ns > now_ns)
			return first->deadline_ns;
		wake_later(wakes, first, -ETIMEDOUT);
		atomic_fetch_sub(&w->space_waiting, 1);
	}
	return UINT64_MAX;
}

/* One that needs a whole block is woken for that, or when nothing is on its way any more. */
static bool is_served(const struct window *w, const struct window_waiter *waiter)
{
	return !waiter->order || !w->nretired || space_has(w, waiter->order) || !is_open(w);
}

void space_wake(struct window *w, struct list *wakes)
{
	struct list *pos = w->space_waiters.next;

	while (pos != &w->space_waiters) {
		struct window_waiter *waiter = container_of(pos, struct window_waiter, link);

		pos = pos->next;
		if (!is_served(w, waiter))
			continue;
		wake_later(wakes, waiter, w->fail_err);
		atomic_fetch_sub(&w->space_waiting, 1);
	}
}

void space_pin_gone(void *by, struct window *w)
{
	unsigned order = 0;
	bool any = false;

	pthread_mutex_lock(&w->lock);
	list_for_each (pos, &w->space_waiters) {
		const struct window_waiter *waiter = container_of(pos, struct window_waiter, link);

		if (waiter->order)
			order = waiter->order;
		else
			any = true;
	}
	if (is_open(w)) {
		if (order)
			make_room(w, order, true);
		if (any)
			make_room(w, 0, false);
	}
	pthread_mutex_unlock(&w->lock);
	window_kick(by, w);
}
