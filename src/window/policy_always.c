/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy_always: each miss is mapped, the range that was not used for longest is evicted. The
 * simplest policy that there is, for data that fits into the window, and the one to copy.
 */
#include "base/bytes.h"
#include "window/internal.h"

#define STEPS 256 /* ranges that are looked at when no request waits */

const struct window_policy_ops *const window_policies[] = {
	[WINDOW_ADMIT_ALWAYS] = &policy_always,
	[WINDOW_ADMIT_AUTO] = &policy_auto,
};

struct window_range *policy_next_in_turn(struct window *w)
{
	struct window_range *r = container_of(w->ranges.next, struct window_range, link);

	list_del(&r->link);
	list_push_back(&w->ranges, &r->link);
	return r;
}

/* CLOCK: window.ranges is the circle, its front the hand. */
struct window_range *policy_clock_victim(struct window *w, bool must)
{
	unsigned live = w->nranges - w->nretired;
	unsigned steps = must ? 3 * live : MIN(2 * live, (unsigned)STEPS);

	for (unsigned i = 0; i < steps && !list_empty(&w->ranges); i++) {
		struct window_range *r = policy_next_in_turn(w);

		if (atomic_load_explicit(&r->pins, memory_order_relaxed))
			continue;
		/* The third time round: all are in use all the time. */
		if (i >= 2 * live && !range_is_awaited(r))
			return r;
		if (!(atomic_fetch_and_explicit(&r->ref, (uint8_t)~REF_RECENT,
						memory_order_relaxed) &
		      REF_RECENT))
			return r;
	}
	return NULL;
}

static bool admit_all(struct window *w, const struct pin_request *q, uint64_t ahead_bytes)
{
	(void)w;
	(void)q;
	(void)ahead_bytes;
	return true;
}

const struct window_policy_ops policy_always = {
	.admit = admit_all,
	.victim = policy_clock_victim,
};
