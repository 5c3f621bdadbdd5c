/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * setup: from a miss to a new range: its place in the window, its set-up, the device's answer. The
 * window's lock nests inside the inode's; the device is called after both are released.
 */
#include <assert.h>
#include <errno.h>

#include "base/bytes.h"
#include "window/internal.h"

#define REFUSAL_FIRST_NS NS_PER_S
#define REFUSAL_LAST_NS	 (64 * NS_PER_S)

/* ---- refusals: inode lock ---- */

static bool is_refused(const struct window_inode *inode, const struct pin_request *q)
{
	const struct refusal *r = &inode->refusal[!!(q->flags & WINDOW_WRITE)];

	return r->until_ns && r->file_size == q->file_size && clock_now_ns() < r->until_ns;
}

static void note_refusal(struct window_inode *inode, const struct window_range *range)
{
	struct refusal *r = &inode->refusal[range->writable];

	r->backoff_ns = r->backoff_ns ? MIN(2 * r->backoff_ns, REFUSAL_LAST_NS) : REFUSAL_FIRST_NS;
	r->file_size = range->file_size;
	r->until_ns = clock_now_ns() + r->backoff_ns;
}

/* ---- a new range: inode and window lock ---- */

/* The ranges in the way stay mapped as long as they are pinned; the device may have a part of a
 * file twice. */
static void take_out_of_way(struct window_inode *inode, const struct file_extent *e, bool *writable)
{
	struct window *w = inode->w;
	struct window_range *r;

	for (r = map_first(inode, e->file_off); is_in_the_way(r, e);
	     r = map_ceil(inode, e->file_off)) {
		*writable |= r->writable;
		range_detach(r);
		if (range_kill(r))
			range_retire(w, r, NULL);
	}
}

static struct window_range *range_alloc(struct window_inode *inode, const struct file_extent *e,
					uint64_t win_off, const struct pin_request *q)
{
	struct window *w = inode->w;
	struct list *link = list_pop_front(&w->spare);
	struct window_range *r =
		link ? container_of(link, struct window_range, link) : &w->pool[w->pool_used++];

	RANGE_SHOW(r);
	*r = (struct window_range){
		.inode = inode,
		.file_off = e->file_off,
		.win_off = win_off,
		.len_bytes = MIN(e->cover_bytes, q->map_end - e->file_off),
		.order = (uint8_t)e->order,
		.cover = (uint32_t)(e->cover_bytes >> w->space.min_shift),
		.file_size = q->file_size,
		.in_map = true,
	};
	atomic_init(&r->pins, 1);
	atomic_init(&r->ref, REF_RECENT);
	list_init(&r->link);
	list_init(&r->inode_link);
	list_init(&r->waiters);
	return r;
}

/* Gives a new range its place in the window, in the file and on the lists. NULL: no space now. */
static struct window_range *range_place(struct window_inode *inode, struct file_extent e,
					const struct pin_request *q)
{
	struct window *w = inode->w;
	bool writable = q->flags & WINDOW_WRITE;
	struct window_range *r;
	uint64_t win_off;
	unsigned got;

	if (!space_claim(w, e.order, e.span && e.order, &got, &win_off))
		return NULL;
	if (got < e.order)
		extent_shrink(w, &e, got, q->file_off);
	take_out_of_way(inode, &e, &writable);
	r = range_alloc(inode, &e, win_off, q);
	if (omap_insert(&inode->map, r->file_off, r)) {
		range_free(w, r);
		space_give(&w->space, win_off, got);
		w->nranges--;
		return NULL;
	}
	w->stats.upgrades += e.renew;
	r->writable = writable;
	list_push_back(&w->ranges, &r->link);
	if (w->policy->placed && !(q->flags & (WINDOW_MUST | WINDOW_SPAN)))
		w->policy->placed(w, r, q);
	inode->nranges++;
	atomic_fetch_add_explicit(&inode->refs, 1, memory_order_relaxed);
	return r;
}

/* Does a range in the way have a long pin? */
static bool meets_long_pin(struct window_inode *inode, const struct file_extent *e)
{
	struct window_range *r = map_first(inode, e->file_off);

	while (is_in_the_way(r, e) && !r->long_pins)
		r = map_ceil(inode, r->file_off + 1);
	return is_in_the_way(r, e);
}

static bool may_set_up(struct window_inode *inode, const struct file_extent *e,
		       const struct pin_request *q, struct window_pin *pin)
{
	struct window *w = inode->w;
	uint64_t ahead;

	if (!is_open(w))
		return false;
	if (q->flags & WINDOW_LONG && !long_has_room(w, e->order)) {
		pin->over_budget = true;
		return false;
	}
	if (e->span)
		return e->renew || !meets_long_pin(inode, e);
	ahead = MIN(e->cover_bytes - (q->file_off - e->file_off), q->map_end - q->file_off);
	if (e->renew || q->flags & WINDOW_MUST || w->policy->admit(w, q, ahead))
		return true;
	w->stats.declined++;
	return false;
}

/* ---- the set-up: inode lock held, and released ---- */

static enum window_result wait_for_setup(struct window_range *r, const struct pin_request *q)
{
	if (!may_wait(q))
		return WINDOW_QUEUE;
	list_push_back(&r->waiters, &q->waiter->link);
	count(&r->inode->w->waits);
	return WINDOW_PENDING;
}

static enum window_result setup_start(struct window_inode *inode, const struct file_extent *e,
				      const struct pin_request *q, struct window_pin *pin)
{
	enum window_result result = WINDOW_QUEUE;
	struct window *w = inode->w;
	struct window_range *r = NULL;
	struct window_map map;
	struct list wakes;

	list_init(&wakes);
	pthread_mutex_lock(&w->lock);
	if (may_set_up(inode, e, q, pin)) {
		r = range_place(inode, *e, q);
		space_expire(w, clock_now_ns(), &wakes);
		if (r && e->span)
			space_wake(w, &wakes); /* a reservation may be over */
		else if (!r && may_wait(q) &&
			 space_wait(w, e->order, e->span && e->order, q->waiter))
			result = WINDOW_PENDING;
	}
	pthread_mutex_unlock(&w->lock);

	if (r) {
		if (!e->span) {
			inode->last_order = r->order;
			/* Wraps to 0, "none", for the last block of all. */
			inode->last_end = r->file_off + block_bytes(w, r->order);
		}
		result = wait_for_setup(r, q);
		map = (struct window_map){inode->nodeid, r->file_off, r->win_off, r->len_bytes,
					  r->writable};
	}
	pthread_mutex_unlock(&inode->lock);
	window_kick(q->by, w);
	wake_all(q->by, &wakes);
	if (r)
		w->ops->setup(w->ctx, q->by, r, &map);
	return result;
}

/* The one to wait for before anything is taken out. */
static struct window_range *first_not_live(struct window_inode *inode, const struct file_extent *e)
{
	struct window_range *r = map_first(inode, e->file_off);

	while (is_in_the_way(r, e) && r->live)
		r = map_ceil(inode, r->file_off + 1);
	return is_in_the_way(r, e) ? r : NULL;
}

/*
 * A set-up anew is two round trips to the device. A log that grows by a line at a time would pay
 * them for each line read; its last pages are cheaper through the queue until they are many.
 */
static bool is_worth_growing(const struct window_range *r, const struct pin_request *q)
{
	uint64_t len = MIN(cover_bytes(r->inode->w, r), q->map_end - r->file_off);

	return q->flags & WINDOW_SPAN || q->file_off - r->file_off < r->len_bytes ||
	       len - r->len_bytes >= MAX(r->len_bytes / 8, 64 * KIB);
}

enum window_result pin_miss(struct window_inode *inode, const struct pin_request *q,
			    struct window_pin *pin)
{
	struct window_range *old = map_floor(inode, q->file_off), *pending = NULL;
	enum window_result result = WINDOW_QUEUE;
	bool span = q->flags & WINDOW_SPAN;
	struct file_extent e;

	if (old && !covers(old, q->file_off))
		old = NULL;
	if (span) {
		if (!extent_for_span(inode, q, &e))
			goto unlock;
		pending = first_not_live(inode, &e);
	} else {
		e = extent_for(inode, old, q);
		pending = old && !old->live ? old : NULL;
	}
	if (pending) {
		result = wait_for_setup(pending, q);
		goto unlock;
	}
	count(&inode->w->misses);
	if (q->flags & WINDOW_PROBE || is_refused(inode, q) || (old && !is_worth_growing(old, q)))
		goto unlock;
	return setup_start(inode, &e, q, pin);
unlock:
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

/* Inode lock. */
static void setup_refused(struct window_range *r, int err, struct list *gone)
{
	struct window *w = r->inode->w;

	note_refusal(r->inode, r);
	range_detach(r);
	pthread_mutex_lock(&w->lock);
	count_refusal(&w->stats, err);
	range_retire_unmapped(w, r, gone);
	pthread_mutex_unlock(&w->lock);
}

static void setup_accepted(struct window_range *r)
{
	struct window *w = r->inode->w;

	r->inode->refusal[r->writable] = (struct refusal){0};
	atomic_store_explicit(&r->born_ms, (uint32_t)(clock_now_ns() / NS_PER_MS),
			      memory_order_relaxed);
	r->live = true;
	pthread_mutex_lock(&w->lock);
	w->stats.setups++;
	w->stats.ranges_live++;
	w->stats.bytes_mapped += r->len_bytes;
	pthread_mutex_unlock(&w->lock);
}

void window_setup_done(void *by, struct window_range *r, int err)
{
	struct window_inode *inode = r->inode;
	struct window *w = inode->w;
	struct list wakes, gone, *pos;

	list_init(&wakes);
	list_init(&gone);
	DELAY_POINT("window.setup_done");
	pthread_mutex_lock(&inode->lock);
	if (list_empty(&r->waiters)) /* no waiter will pin it at once: a victim like any other */
		atomic_store_explicit(&r->ref, REF_RECENT | REF_USED, memory_order_relaxed);
	while ((pos = r->waiters.next) != &r->waiters)
		wake_later(&wakes, container_of(pos, struct window_waiter, link), err);
	if (err)
		setup_refused(r, err, &gone);
	else
		setup_accepted(r);
	pthread_mutex_unlock(&inode->lock);

	/* Wake before the set-up's own pin is dropped: a waiter that pins at once finds the range.
	 */
	wake_all(by, &wakes);
	if (err)
		range_settle(by, w, &gone, 0);
	else
		range_put(by, r);
}
