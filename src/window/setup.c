/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * setup: from a miss to a new range: its part of the file, its place in the window, the device's
 * answer. The window's lock nests inside the inode's; the device is called after both are released.
 *
 * Ranges of one inode never overlap in the file. Each has a number of blocks of order 0 there
 * (window_range.cover), at a multiple of their size, so that a block of order 0 fits around
 * any offset that no range has. Usually that number is its block's, and it begins at a multiple of
 * it; a span begins where it must and ends where the next range does.
 */
#include <assert.h>
#include <errno.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "window/internal.h"

/* Where a range is to be. */
struct place {
	uint64_t file_off, cover_bytes;
	unsigned order;
	bool span; /* the whole block or none; what is in the way goes */
	bool anew; /* what is in the way is the same range, mapped too short or read-only */
};

/* ---- the place: inode lock ---- */

/* The largest order up to `order` whose block around file_off touches no other range. */
static unsigned fit_order(struct window_inode *inode, uint64_t file_off, unsigned order)
{
	const struct window *w = inode->w;
	const struct window_range *prev = map_floor(inode, file_off);
	const struct window_range *next = map_ceil(inode, file_off);

	for (; order > 0; order--) {
		uint64_t size = block_bytes(w, order);
		uint64_t start = round_down(file_off, size);

		if (prev &&
		    (prev->file_off >= start || start - prev->file_off < cover_bytes(w, prev)))
			continue;
		if (next && next->file_off - start < size)
			continue;
		break;
	}
	return order;
}

static struct place place_for(struct window_inode *inode, const struct window_range *old,
			      const struct request *q)
{
	const struct window *w = inode->w;
	unsigned order;

	if (old)
		return (struct place){
			.file_off = old->file_off,
			.cover_bytes = cover_bytes(w, old),
			.order = old->order,
			.anew = true,
		};
	order = fit_order(inode, q->file_off, policy_order(inode, q->file_off, q->map_end));
	return (struct place){
		.file_off = round_down(q->file_off, block_bytes(w, order)),
		.cover_bytes = block_bytes(w, order),
		.order = order,
	};
}

/* False: too large for a span. */
static bool place_for_span(struct window_inode *inode, const struct request *q, struct place *p)
{
	const struct window *w = inode->w;
	uint64_t start = round_down(q->file_off, block_bytes(w, 0));
	uint64_t need = round_up(q->file_off - start + q->len_bytes, block_bytes(w, 0));
	const struct window_range *r = map_first(inode, q->file_off);
	unsigned order = 0;

	/* One range has it all, but will not do. */
	if (r && r->file_off <= start && start - r->file_off < cover_bytes(w, r) &&
	    need <= cover_bytes(w, r) - (start - r->file_off)) {
		*p = place_for(inode, r, q);
		p->span = true;
		return true;
	}
	while (order + 1 < w->space.orders && block_bytes(w, order) < need)
		order++;
	if (block_bytes(w, order) < need || block_bytes(w, order) > w->len_bytes / 2)
		return false;
	*p = (struct place){
		.file_off = start,
		.cover_bytes = block_bytes(w, order),
		.order = order,
		.span = true,
	};
	/* What is behind it, up to the block's end, comes along if nobody else has it. */
	r = u64_add(start, need, &start) ? map_ceil(inode, start) : NULL;
	if (r)
		p->cover_bytes = MIN(p->cover_bytes, r->file_off - p->file_off);
	return true;
}

static bool is_in_the_way(const struct window_range *r, const struct place *p)
{
	return r && (r->file_off <= p->file_off || r->file_off - p->file_off < p->cover_bytes);
}

/* The one to wait for before anything is taken out. */
static struct window_range *first_not_live(struct window_inode *inode, const struct place *p)
{
	struct window_range *r = map_first(inode, p->file_off);

	while (is_in_the_way(r, p) && r->live)
		r = map_ceil(inode, r->file_off + 1);
	return is_in_the_way(r, p) ? r : NULL;
}

/* Window lock, too. */
static bool has_long_pins(struct window_inode *inode, const struct place *p)
{
	struct window_range *r = map_first(inode, p->file_off);

	while (is_in_the_way(r, p) && !r->long_pins)
		r = map_ceil(inode, r->file_off + 1);
	return is_in_the_way(r, p);
}

/* Where the range would go on from a neighbour in the window as it does in the file. */
static uint64_t place_beside(struct window_inode *inode, const struct place *p)
{
	const struct window *w = inode->w;
	const struct window_range *prev = p->file_off ? map_floor(inode, p->file_off - 1) : NULL;
	const struct window_range *next = map_ceil(inode, p->file_off + 1);
	uint64_t size = block_bytes(w, p->order), at = UINT64_MAX;

	if (prev && prev->len_bytes == block_bytes(w, prev->order) &&
	    p->file_off - prev->file_off == prev->len_bytes)
		at = prev->win_off + prev->len_bytes;
	else if (next && p->cover_bytes == size && next->file_off - p->file_off == size &&
		 next->win_off >= size)
		at = next->win_off - size;
	return at % size ? UINT64_MAX : at;
}

/* ---- inode and window lock ---- */

/* They stay mapped for whoever is inside; the device may have a part of a file twice. */
static void take_out(struct window_inode *inode, const struct place *p, bool *writable)
{
	struct window *w = inode->w;
	struct window_range *r;

	for (r = map_first(inode, p->file_off); is_in_the_way(r, p);
	     r = map_ceil(inode, p->file_off)) {
		*writable |= r->writable;
		r->due = 0; /* not a failure of the range */
		range_detach(r);
		if (range_kill(r))
			range_retire(w, r, NULL);
	}
}

/* Of a smaller block than the place is for: the part around file_off. */
static void shrink(const struct window *w, struct place *p, unsigned order, uint64_t file_off)
{
	uint64_t size = block_bytes(w, order), block = round_down(file_off, size);
	uint64_t start = MAX(block, p->file_off);

	p->cover_bytes = MIN(size - (start - block), p->cover_bytes - (start - p->file_off));
	p->file_off = start;
	p->order = order;
}

/* Gives a new range its place in the window, in the file and on the lists. NULL: no space now. */
static struct window_range *range_place(struct window_inode *inode, struct place p,
					const struct space_want *want, const struct request *q)
{
	struct window *w = inode->w;
	bool writable = q->flags & WINDOW_WRITE;
	struct window_range *r;
	uint64_t win_off;
	unsigned got;

	if (!space_claim(w, want, &got, &win_off))
		return NULL;
	if (got < p.order)
		shrink(w, &p, got, q->file_off);
	take_out(inode, &p, &writable);
	w->stats.upgrades += p.anew;
	r = range_alloc(w, win_off, got);
	r->inode = inode;
	r->file_off = p.file_off;
	r->cover = (uint32_t)(p.cover_bytes >> w->space.min_shift);
	r->len_bytes = MIN(p.cover_bytes, q->map_end - p.file_off);
	r->file_size = q->file_size;
	r->writable = writable;
	r->epoch = w->epoch;
	list_push_back(&w->ranges, &r->link);
	if (!(q->flags & (WINDOW_MUST | WINDOW_SPAN)))
		admission_placed(r, q->len_bytes,
				 policy_sequential(inode, q->file_off, q->len_bytes),
				 q->flags & WINDOW_WRITE);
	inode->nranges++;
	atomic_fetch_add_explicit(&inode->refs, 1, memory_order_relaxed);
	return r;
}

/* ---- the set-up: inode lock held, and released ---- */

static enum window_result start(struct window_inode *inode, const struct place *p,
				const struct request *q, struct window_pin *pin)
{
	struct window *w = inode->w;
	enum window_result result = WINDOW_QUEUE;
	const struct space_want want = {
		.inode = inode,
		.order = p->order,
		.exact = p->span && p->order,
		.near = p->anew ? UINT64_MAX : place_beside(inode, p),
	};
	struct window_range *r = NULL;
	struct list wakes, gone;
	struct window_map map;
	unsigned live;

	list_init(&wakes);
	list_init(&gone);
	pthread_mutex_lock(&w->lock);
	if (atomic_load_explicit(&w->closed, memory_order_relaxed))
		goto unlock;
	if (q->flags & WINDOW_LONG && !long_has_room(w, p->order)) {
		pin->over_budget = true;
		goto unlock;
	}
	if (p->span && !p->anew && has_long_pins(inode, p))
		goto unlock;
	r = range_place(inode, *p, &want, q);
	if (!r) {
		space_expire(w, clock_now_ns(), &wakes);
		if (may_wait(q) && space_wait(w, &want, q->waiter))
			result = WINDOW_PENDING;
	} else if (omap_insert(&inode->map, r->file_off, r)) {
		/* No memory. It ends like a set-up that was refused, without having begun. */
		range_retire_unmapped(w, r, &gone);
		r = NULL;
	}
unlock:
	live = w->nranges - w->nretired;
	pthread_mutex_unlock(&w->lock);

	if (r) {
		r->in_map = true;
		index_add(r);
		if (!p->span)
			policy_mapped(inode, r);
		if (may_wait(q))
			result = wait_for_setup(r, q);
		map = (struct window_map){
			.nodeid = inode->nodeid,
			.file_off = r->file_off,
			.win_off = r->win_off,
			.len_bytes = r->len_bytes,
			.writable = r->writable,
			.live = live - 1,
		};
	}
	pthread_mutex_unlock(&inode->lock);
	window_kick(w);
	range_settle(w, &gone, 0);
	wake_all(&wakes);
	if (r)
		w->ops->setup(w->ctx, r, &map);
	return result;
}

enum window_result setup_start(struct window_inode *inode, struct window_range *old,
			       const struct request *q, struct window_pin *pin)
{
	const struct place p = place_for(inode, old, q);

	return start(inode, &p, q, pin);
}

enum window_result setup_start_span(struct window_inode *inode, const struct request *q,
				    struct window_pin *pin)
{
	enum window_result result = WINDOW_QUEUE;
	struct window_range *other = NULL;
	struct place p;
	bool fits = place_for_span(inode, q, &p);

	if (fits)
		other = first_not_live(inode, &p);
	if (fits && !other)
		return start(inode, &p, q, pin);
	if (other)
		result = wait_for_setup(other, q);
	pthread_mutex_unlock(&inode->lock);
	return result;
}

/* ---- the answer to a set-up ---- */

static void count_refusal(struct window_stats *st, int err)
{
	unsigned i = 0;

	st->refused_total++;
	while (i < WINDOW_REFUSAL_ERRNOS - 1 && st->refusals[i].err && st->refusals[i].err != -err)
		i++;
	if (i < WINDOW_REFUSAL_ERRNOS - 1)
		st->refusals[i].err = -err;
	st->refusals[i].count++;
}

static void setup_refused(struct window_range *r, int err, struct list *gone)
{
	struct window *w = r->inode->w;

	pthread_mutex_lock(&w->lock);
	count_refusal(&w->stats, err);
	range_retire_unmapped(w, r, gone);
	pthread_mutex_unlock(&w->lock);
}

static void setup_accepted(struct window_range *r)
{
	struct window *w = r->inode->w;

	pthread_mutex_lock(&w->lock);
	w->stats.setups++;
	w->stats.ranges_live++;
	w->stats.bytes_mapped += r->len_bytes;
	pthread_mutex_unlock(&w->lock);
}

void window_setup_done(struct window_range *r, int err)
{
	struct window_inode *inode = r->inode;
	struct window *w = inode->w;
	struct list wakes, gone, *pos;

	list_init(&wakes);
	list_init(&gone);
	pthread_mutex_lock(&inode->lock);
	if (list_empty(&r->waiters)) /* nobody will come at once: a victim like any other */
		atomic_store_explicit(&r->ref, REF_RECENT | REF_USED, memory_order_relaxed);
	while ((pos = r->waiters.next) != &r->waiters)
		wake_later(&wakes, container_of(pos, struct window_waiter, link), err);
	if (err) {
		policy_refuse(inode, r->file_size, r->writable);
		range_detach(r);
		setup_refused(r, err, &gone);
	} else {
		policy_accept(inode, r->writable);
		atomic_store_explicit(&r->born_ms, now_ms(), memory_order_relaxed);
		r->live = true;
		setup_accepted(r);
	}
	pthread_mutex_unlock(&inode->lock);

	/* Wake before the set-up's own pin is dropped: who pins at once finds the range there. */
	wake_all(&wakes);
	if (err)
		range_settle(w, &gone, 0);
	else
		range_put(r);
}
