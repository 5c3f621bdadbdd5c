/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reserve: a whole block for WINDOW_SPAN. The ranges in it are evicted, and until all of it is free
 * smaller claims are refused: they would take it away again, piece by piece, faster than the device
 * can remove. Window lock throughout.
 */
#include <stdlib.h>

#include "base/bytes.h"
#include "window/internal.h"

#define COST_NEVER UINT64_MAX	    /* lost, or pinned for long */
#define COST_LATER (UINT64_MAX - 1) /* pinned now */

static uint64_t eviction_cost(const struct window *w, const struct window_range *r)
{
	uint64_t bytes = block_bytes(w, r->order);

	if (r->long_pins)
		return COST_NEVER;
	/* Sequentially consistent: see window.space_waiting. */
	if (atomic_load(&r->pins))
		return COST_LATER;
	if (range_is_awaited(r))
		return 8 * bytes;
	return atomic_load_explicit(&r->ref, memory_order_relaxed) & REF_RECENT ? 4 * bytes : bytes;
}

/* Adds a range's cost to those of the `n` blocks of this order that it has a part of. */
static void add_cost(const struct window *w, const struct window_range *r, unsigned order,
		     uint64_t cost, uint64_t *costs, size_t n)
{
	unsigned shift = w->space.min_shift + order;
	uint64_t last = (r->win_off + block_bytes(w, r->order) - 1) >> shift;

	for (uint64_t i = r->win_off >> shift; i <= last && i < n; i++) {
		if (cost >= COST_LATER || costs[i] >= COST_LATER)
			costs[i] = MAX(costs[i], cost);
		else
			costs[i] += cost;
	}
}

static void evict_in_block(struct window *w, unsigned order, size_t block)
{
	uint64_t start = (uint64_t)block << (w->space.min_shift + order);
	uint64_t end = start + block_bytes(w, order);
	struct list *pos = w->ranges.next;

	while (pos != &w->ranges) {
		struct window_range *r = container_of(pos, struct window_range, link);

		pos = pos->next;
		if (r->win_off < end && start < r->win_off + block_bytes(w, r->order))
			range_evict(w, r);
	}
}

/* The block that is reserved, if it can still be had, or the cheapest to empty. */
static size_t choose_block(const struct window *w, unsigned order, uint64_t *costs, size_t n)
{
	size_t best = w->reserve.order ? w->reserve.block : 0;

	list_for_each (pos, &w->lost)
		add_cost(w, container_of(pos, struct window_range, link), order, COST_NEVER, costs,
			 n);
	list_for_each (pos, &w->ranges) {
		const struct window_range *r = container_of(pos, struct window_range, link);

		add_cost(w, r, order, eviction_cost(w, r), costs, n);
	}
	if (w->reserve.order && costs[best] != COST_NEVER)
		return best;
	for (size_t i = 0; i < n; i++)
		if (costs[i] < costs[best])
			best = i;
	return best;
}

bool reserve_block(struct window *w, unsigned order)
{
	size_t n = w->space.order[order].blocks, block;
	bool kept = w->reserve.order;
	uint64_t *costs, cost;

	if (kept && w->reserve.order != order)
		return true; /* one at a time */
	costs = calloc(n, sizeof(*costs));
	if (!costs)
		return false;
	block = choose_block(w, order, costs, n);
	cost = costs[block];
	free(costs);
	kept = kept && block == w->reserve.block;
	if (cost == COST_NEVER || (cost == COST_LATER && !kept))
		return cost != COST_NEVER;
	if (!kept)
		w->reserve = (struct reserve){order, block, clock_now_ns() + SPACE_WAIT_NS};
	evict_in_block(w, order, block);
	return true;
}

void reserve_expire(struct window *w, uint64_t now_ns)
{
	if (now_ns >= w->reserve.until_ns)
		w->reserve.order = 0;
}

bool reserve_refuses(struct window *w, unsigned order, bool exact)
{
	if (w->reserve.order)
		reserve_expire(w, clock_now_ns());
	return w->reserve.order && (!exact || order < w->reserve.order);
}
