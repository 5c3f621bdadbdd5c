/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pin: from a file offset to pinned ranges. A hit takes the inode's lock for one look-up and
 * nothing of the window, unless the pin is a long one; what follows a miss is in setup.c.
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
	index_remove(r);
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

/* A range's part of the file may end at 2^64, so no sums of offset and length here and below. */
static bool covers(const struct window_range *r, uint64_t file_off)
{
	return file_off - r->file_off < cover_bytes(r->inode->w, r);
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

static bool long_charge(struct window_range *r)
{
	struct window *w = r->inode->w;
	bool fits;

	pthread_mutex_lock(&w->lock);
	fits = r->long_pins ? r->long_pins < UINT16_MAX : long_has_room(w, r->order);
	if (fits && !r->long_pins++)
		w->stats.bytes_pinned += long_share(w, r->order);
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

static inline bool serves(const struct window_range *r, uint64_t file_off, unsigned flags)
{
	return file_off - r->file_off < r->len_bytes && r->live &&
	       (!(flags & WINDOW_WRITE) || r->writable);
}

static inline bool pin_range(struct window_range *r, unsigned flags, struct window_pin *pin)
{
	if (flags & WINDOW_LONG && !long_charge(r)) {
		pin->over_budget = true;
		return false;
	}
	if (!try_pin(r)) {
		if (flags & WINDOW_LONG)
			long_release(r);
		return false;
	}
	atomic_store_explicit(&r->hits, atomic_load_explicit(&r->hits, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	return true;
}

/* True: nobody has pinned it before. */
static inline bool note_use(struct window_range *r)
{
	uint8_t ref = atomic_load_explicit(&r->ref, memory_order_relaxed);

	if (ref == (REF_RECENT | REF_USED))
		return false;
	atomic_store_explicit(&r->ref, REF_RECENT | REF_USED, memory_order_relaxed);
	return !(ref & REF_USED);
}

/* The range that goes on where `r` ends, in the file and in the window; or NULL. */
static struct window_range *next_of_extent(const struct window_range *r, unsigned flags)
{
	uint64_t end = r->file_off + r->len_bytes;
	struct window_range *next = index_find(r->inode, end);

	if (!next || next->file_off != end || next->win_off != r->win_off + r->len_bytes ||
	    !serves(next, end, flags) || is_dying(next))
		return NULL;
	return next;
}

static void pin_rest(const struct request *q, uint64_t want, struct window_pin *pin)
{
	struct window_range *r = pin->range;

	while (pin->len_bytes < want && pin->nmore < WINDOW_PIN_RANGES - 1) {
		r = next_of_extent(r, q->flags);
		if (!r || !pin_range(r, q->flags, pin))
			return;
		pin->first |= note_use(r);
		pin->more[pin->nmore++] = r;
		pin->len_bytes += MIN(r->len_bytes, want - pin->len_bytes);
	}
}

/* A pin that is there at once. */
static bool pin_hit(struct window_range *r, const struct request *q, struct window_pin *pin)
{
	uint64_t want = MIN(q->len_bytes, q->map_end - q->file_off), skip;

	if (!r || !serves(r, q->file_off, q->flags) || !pin_range(r, q->flags, pin))
		return false;
	skip = q->file_off - r->file_off;
	pin->va = r->inode->w->va + r->win_off + skip;
	pin->len_bytes = MIN(r->len_bytes - skip, want);
	pin->range = r;
	pin->nmore = 0;
	pin->first = note_use(r);
	pin->counted = q->flags & WINDOW_LONG;
	if (pin->len_bytes < want)
		pin_rest(q, want, pin);
	return true;
}

/* All of it, in one extent of no more ranges than a pin holds. */
static bool span_is_there(struct window_inode *inode, const struct request *q)
{
	struct window_range *r = map_floor(inode, q->file_off);
	uint64_t len;

	if (!r || !serves(r, q->file_off, q->flags))
		return false;
	len = r->len_bytes - (q->file_off - r->file_off);
	for (int n = 1; len < q->len_bytes; n++) {
		if (n == WINDOW_PIN_RANGES || !(r = next_of_extent(r, q->flags)))
			return false;
		len += r->len_bytes;
	}
	return true;
}

/* ---- misses: inode lock held, and released ---- */

enum window_result wait_for_setup(struct window_range *r, const struct request *q)
{
	if (!may_wait(q))
		return WINDOW_QUEUE;
	list_push_back(&r->waiters, &q->waiter->link);
	count(&r->inode->w->waits);
	return WINDOW_PENDING;
}

static enum window_result pin_miss(struct window_inode *inode, const struct request *q,
				   struct window_pin *pin)
{
	bool write = q->flags & WINDOW_WRITE;
	struct window_range *old = map_floor(inode, q->file_off);
	enum window_result result = WINDOW_QUEUE;
	bool evicted = false;

	if (old && !covers(old, q->file_off))
		old = NULL;
	if (old && !old->live) {
		result = wait_for_setup(old, q);
		goto unlock;
	}
	count(&inode->w->misses);
	if (q->flags & WINDOW_PROBE || policy_refused(inode, q->file_size, write))
		goto unlock;
	if (!old) {
		if (!(q->flags & WINDOW_MUST) &&
		    !admission_ask(inode, q->file_off, q->len_bytes, q->map_end, write, &evicted))
			goto unlock;
	} else if (q->file_off - old->file_off >= old->len_bytes) {
		uint64_t len = MIN(cover_bytes(inode->w, old), q->map_end - old->file_off);

		if (!policy_regrow(old, len))
			goto unlock;
	}
	return setup_start(inode, old, q, pin);
unlock:
	pthread_mutex_unlock(&inode->lock);
	if (evicted)
		window_kick(inode->w);
	return result;
}

static enum window_result span_miss(struct window_inode *inode, const struct request *q,
				    struct window_pin *pin)
{
	count(&inode->w->misses);
	if (q->flags & WINDOW_PROBE ||
	    policy_refused(inode, q->file_size, q->flags & WINDOW_WRITE)) {
		pthread_mutex_unlock(&inode->lock);
		return WINDOW_QUEUE;
	}
	return setup_start_span(inode, q, pin);
}

/* ---- */

/* Takes the inode's lock, under which nobody starts to wait behind window_fail()'s back. False, and
 * not locked: the inode is kept out of the window, or everybody is. */
static bool enter(struct window_inode *inode)
{
	struct window *w = inode->w;

	pthread_mutex_lock(&inode->lock);
	if (!inode->blocked && !atomic_load_explicit(&w->closed, memory_order_relaxed))
		return true;
	pthread_mutex_unlock(&inode->lock);
	count(&w->blocked);
	return false;
}

static enum window_result pin_span(struct window_inode *inode, const struct request *q,
				   struct window_pin *pin)
{
	bool hit;

	if (q->len_bytes > q->map_end - q->file_off)
		return WINDOW_QUEUE;
	while (enter(inode)) {
		if (!span_is_there(inode, q))
			return span_miss(inode, q, pin);
		hit = pin_hit(index_find(inode, q->file_off), q, pin);
		pthread_mutex_unlock(&inode->lock);
		if (hit && pin->len_bytes == q->len_bytes)
			return WINDOW_PINNED;
		if (hit)
			window_unpin(pin);
		if (pin->over_budget)
			break;
		/* One of its ranges was evicted since we looked, which the next look sees. */
	}
	return WINDOW_QUEUE;
}

enum window_result window_pin(struct window_inode *inode, uint64_t file_off, uint64_t len_bytes,
			      uint64_t file_size, unsigned flags, struct window_pin *pin,
			      struct window_waiter *waiter)
{
	const struct request q = {
		.file_off = file_off,
		.len_bytes = len_bytes,
		.file_size = file_size,
		.map_end = round_down(file_size, inode->w->len_unit),
		.flags = flags,
		.waiter = waiter,
	};

	pin->over_budget = false;
	if (!len_bytes || file_off >= q.map_end)
		return WINDOW_QUEUE;
	if (flags & WINDOW_SPAN)
		return pin_span(inode, &q, pin);
	if (!enter(inode))
		return WINDOW_QUEUE;
	if (!pin_hit(index_find(inode, file_off), &q, pin)) {
		if (!pin->over_budget)
			return pin_miss(inode, &q, pin);
		pthread_mutex_unlock(&inode->lock);
		return WINDOW_QUEUE;
	}
	pthread_mutex_unlock(&inode->lock);
	return WINDOW_PINNED;
}

static void unpin_rest(struct window_pin *pin)
{
	if (pin->counted) {
		long_release(pin->range);
		for (unsigned i = 0; i < pin->nmore; i++)
			long_release(pin->more[i]);
	}
	while (pin->nmore)
		range_put(pin->more[--pin->nmore]);
}

void window_unpin(struct window_pin *pin)
{
	struct window_range *r = pin->range;

	if (pin->nmore || pin->counted)
		unpin_rest(pin);
	pin->range = NULL;
	range_put(r);
}
