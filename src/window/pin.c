/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pin: from a file offset to a pinned range. A hit takes the inode's lock for one look-up and
 * nothing of the window, unless the pin is a long one; a miss continues in setup.c.
 */
#include <assert.h>

#include "base/bytes.h"
#include "window/internal.h"

/* ---- the inode's map: inode lock ---- */

void range_detach(struct window_range *r)
{
	if (!r->in_map)
		return;
	omap_remove(&r->inode->map, r->file_off);
	r->in_map = false;
	list_push_back(&r->inode->detached, &r->inode_link);
}

static bool is_dying(const struct window_range *r)
{
	return atomic_load_explicit(&r->pins, memory_order_relaxed) & PIN_DYING;
}

struct window_range *map_floor(struct window_inode *inode, uint64_t file_off)
{
	struct window_range *r;

	while ((r = omap_floor(&inode->map, file_off, NULL)) && is_dying(r))
		range_detach(r);
	return r;
}

struct window_range *map_ceil(struct window_inode *inode, uint64_t file_off)
{
	struct window_range *r;

	while ((r = omap_ceil(&inode->map, file_off, NULL)) && is_dying(r))
		range_detach(r);
	return r;
}

struct window_range *map_first(struct window_inode *inode, uint64_t file_off)
{
	struct window_range *r = map_floor(inode, file_off);

	return r && covers(r, file_off) ? r : map_ceil(inode, file_off);
}

/* ---- long pins ---- */

/* Few of the ranges that the device may have are as bad for the others as few bytes. */
static uint64_t long_share(const struct window *w, unsigned order)
{
	return MAX(block_bytes(w, order), w->len_bytes / w->ranges_max);
}

bool long_has_room(const struct window *w, unsigned order)
{
	return w->stats.bytes_pinned + long_share(w, order) <= w->long_max;
}

static bool long_charge(struct window_range *r, struct window_pin *pin)
{
	struct window *w = r->inode->w;
	bool fits;

	pthread_mutex_lock(&w->lock);
	fits = r->long_pins ? r->long_pins < UINT16_MAX : long_has_room(w, r->order);
	if (fits && !r->long_pins++)
		w->stats.bytes_pinned += long_share(w, r->order);
	pin->long_bytes = long_share(w, r->order);
	pin->long_left = w->long_max - MIN(w->stats.bytes_pinned, w->long_max);
	pthread_mutex_unlock(&w->lock);
	return fits;
}

static void long_release(struct window_range *r)
{
	struct window *w = r->inode->w;

	pthread_mutex_lock(&w->lock);
	assert(r->long_pins);
	if (!--r->long_pins)
		w->stats.bytes_pinned -= long_share(w, r->order);
	pthread_mutex_unlock(&w->lock);
}

/* ---- pins: inode lock ---- */

static bool try_pin(struct window_range *r)
{
	uint32_t pins = atomic_load_explicit(&r->pins, memory_order_relaxed);

	do {
		if (pins & PIN_DYING)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		&r->pins, &pins, pins + 1, memory_order_acquire, memory_order_relaxed));
	return true;
}

static inline bool range_serves(const struct window_range *r, const struct pin_request *q)
{
	uint64_t skip = q->file_off - r->file_off;

	return skip < r->len_bytes && r->live && (!(q->flags & WINDOW_WRITE) || r->writable) &&
	       (!(q->flags & WINDOW_SPAN) || q->len_bytes <= r->len_bytes - skip);
}

static inline void note_use(struct window_range *r)
{
	atomic_store_explicit(&r->hits, atomic_load_explicit(&r->hits, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	if (atomic_load_explicit(&r->ref, memory_order_relaxed) != (REF_RECENT | REF_USED))
		atomic_store_explicit(&r->ref, REF_RECENT | REF_USED, memory_order_relaxed);
}

static bool pin_hit(struct window_range *r, const struct pin_request *q, struct window_pin *pin)
{
	uint64_t skip;

	if (!r || !range_serves(r, q))
		return false;
	pin->counted = q->flags & WINDOW_LONG;
	if (pin->counted && !long_charge(r, pin)) {
		pin->over_budget = true;
		return false;
	}
	DELAY_POINT("window.pin");
	if (!try_pin(r)) {
		if (pin->counted)
			long_release(r);
		return false;
	}
	skip = q->file_off - r->file_off;
	pin->va = r->inode->w->va + r->win_off + skip;
	pin->len_bytes = MIN(r->len_bytes - skip, MIN(q->len_bytes, q->map_end - q->file_off));
	pin->range = r;
	note_use(r);
	return true;
}

enum window_result window_pin(void *by, struct window_inode *inode, uint64_t file_off,
			      uint64_t len_bytes, uint64_t file_size, unsigned flags,
			      struct window_pin *pin, struct window_waiter *waiter)
{
	struct window *w = inode->w;
	const struct pin_request q = {
		.by = by,
		.inode = inode,
		.file_off = file_off,
		.len_bytes = len_bytes,
		.file_size = file_size,
		.map_end = window_map_end(w, file_size),
		.flags = flags,
		.waiter = waiter,
	};
	enum window_result result = WINDOW_QUEUE;

	pin->over_budget = pin->blocked = false;
	if (!len_bytes || file_off >= q.map_end ||
	    (flags & WINDOW_SPAN && len_bytes > q.map_end - file_off))
		return WINDOW_QUEUE;
	pthread_mutex_lock(&inode->lock);
	/* Under this lock, since window_fail() wakes the waiters for a set-up under it. */
	pin->blocked = inode->blocked;
	if (inode->blocked || !is_open(w))
		count(&w->blocked);
	else if (pin_hit(omap_floor(&inode->map, file_off, NULL), &q, pin))
		result = WINDOW_PINNED;
	else if (!pin->over_budget)
		return pin_miss(inode, &q, pin);
	pthread_mutex_unlock(&inode->lock);
	return result;
}

void window_unpin(void *by, struct window_pin *pin)
{
	struct window_range *r = pin->range;

	if (pin->counted)
		long_release(r);
	pin->range = NULL;
	range_put(by, r);
}
