/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hold: a whole block for a span. Its ranges are evicted, and what becomes free of it is held back
 * until all of it is: or those who want less would take it away again, piece by piece, faster than
 * the device can remove. Window lock throughout.
 */
#include "base/bytes.h"
#include "base/clock.h"
#include "window/internal.h"

#define COST_NEVER UINT64_MAX	    /* lost, or pinned for long */
#define COST_LATER (UINT64_MAX - 1) /* pinned now */

/* Calls `visit` for each range with a part of the block; ends with its first result that is not 0.
 */
static uint64_t for_each_in_block(struct window *w, unsigned order, size_t block,
				  uint64_t (*visit)(struct window *w, struct window_range *r),
				  uint64_t *sum)
{
	size_t at = block << order, end = (block + 1) << order;

	while (at < end) {
		uint32_t owner = w->owner[at];
		struct window_range *r;
		uint64_t cost;

		if (owner == OWNER_LOST)
			return COST_NEVER;
		if (!owner || owner == OWNER_HELD) {
			at++;
			continue;
		}
		r = &w->pool[owner - 1];
		cost = visit(w, r);
		if (cost >= COST_LATER)
			return cost;
		*sum += cost;
		at = (size_t)(r->win_off >> w->space.min_shift) + ((size_t)1 << r->order);
	}
	return 0;
}

/* What it costs to be without the range; nothing when it is leaving anyway. */
static uint64_t cost_of_range(struct window *w, struct window_range *r)
{
	/* Sequentially consistent: see window.space_waiting. */
	uint32_t pins = atomic_load(&r->pins);
	uint64_t bytes = block_bytes(w, r->order);

	if (r->long_pins)
		return COST_NEVER;
	if (pins)
		return pins == PIN_DYING ? 0 : COST_LATER;
	if (range_is_awaited(r))
		return 8 * bytes;
	return atomic_load_explicit(&r->ref, memory_order_relaxed) & REF_RECENT ? 4 * bytes : bytes;
}

static uint64_t evict_range(struct window *w, struct window_range *r)
{
	range_evict(w, r);
	return 0;
}

/* The block of this order that is the cheapest to empty. */
static uint64_t cheapest(struct window *w, unsigned order, size_t *block)
{
	uint64_t best = COST_NEVER;

	for (size_t i = 0; i < w->space.order[order].blocks; i++) {
		uint64_t sum = 0;
		uint64_t cost = for_each_in_block(w, order, i, cost_of_range, &sum);

		cost = MAX(cost, sum);
		if (cost < best) {
			best = cost;
			*block = i;
		}
	}
	return best;
}

/* Takes what is free of blocks first .. end out of circulation. */
static void collect(struct window *w, size_t first, size_t end)
{
	for (size_t at = first; at < end; at++) {
		if (w->owner[at] ||
		    !space_take_at(&w->space, 0, (uint64_t)at << w->space.min_shift))
			continue;
		w->owner[at] = OWNER_HELD;
		w->hold.held++;
	}
}

static size_t hold_end(const struct window *w)
{
	return w->hold.first + ((size_t)1 << w->hold.order);
}

bool hold_is_whole(const struct window *w, unsigned order)
{
	return order && w->hold.order == order && w->hold.held == (size_t)1 << order;
}

bool hold_claim(struct window *w, unsigned order, uint64_t *win_off)
{
	if (!hold_is_whole(w, order))
		return false;
	*win_off = (uint64_t)w->hold.first << w->space.min_shift;
	w->hold = (struct hold){0};
	return true;
}

void hold_freed(struct window *w, uint64_t win_off, unsigned order)
{
	size_t first = (size_t)(win_off >> w->space.min_shift);

	if (w->hold.order)
		collect(w, MAX(first, w->hold.first),
			MIN(first + ((size_t)1 << order), hold_end(w)));
}

static void release(struct window *w)
{
	for (size_t at = w->hold.first; at < hold_end(w); at++) {
		if (w->owner[at] != OWNER_HELD)
			continue;
		w->owner[at] = 0;
		space_give(&w->space, (uint64_t)at << w->space.min_shift, 0);
	}
	w->hold = (struct hold){0};
}

void hold_expire(struct window *w, uint64_t now_ns)
{
	if (w->hold.order && now_ns >= w->hold.until_ns)
		release(w);
}

bool hold_block(struct window *w, unsigned order)
{
	size_t block = w->hold.first >> order;
	uint64_t sum = 0, cost;

	/* The one that is held, if it can still be had. */
	cost = w->hold.order == order ? for_each_in_block(w, order, block, cost_of_range, &sum)
				      : COST_NEVER;
	if (cost == COST_NEVER) {
		cost = cheapest(w, order, &block);
		if (cost >= COST_LATER)
			return cost != COST_NEVER;
		if (w->hold.order == order)
			release(w);
		if (!w->hold.order) {
			w->hold = (struct hold){
				.order = order,
				.first = block << order,
				.until_ns = clock_now_ns() + SPACE_WAIT_NS,
			};
			collect(w, w->hold.first, hold_end(w));
		}
	}
	for_each_in_block(w, order, block, evict_range, &sum);
	return true;
}
