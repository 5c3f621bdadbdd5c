/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pin: from a file offset to a pinned range, and what keeps a part of a file out of the window.
 * A hit takes the inode's lock for one look-up and nothing of the window; what follows a miss nests
 * the window's lock inside it and calls the device after both are released.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/clock.h"
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

static bool is_dying(struct window_range *r)
{
	return atomic_load_explicit(&r->pins, memory_order_relaxed) & PIN_DYING;
}

/* The neighbours of file_off that are to stay; what an evictor left in the map goes out. */
static struct window_range *map_floor(struct window_inode *inode, uint64_t file_off)
{
	struct window_range *r;

	while ((r = omap_floor(&inode->map, file_off, NULL)) && is_dying(r))
		range_detach(r);
	return r;
}

static struct window_range *map_ceil(struct window_inode *inode, uint64_t file_off)
{
	struct window_range *r;

	while ((r = omap_ceil(&inode->map, file_off, NULL)) && is_dying(r))
		range_detach(r);
	return r;
}

/* The block may end at 2^64, so no sums of offset and length here and below. */
static bool block_covers(const struct window_range *r, uint64_t file_off)
{
	return file_off - r->file_off < block_bytes(r->inode->w, r->order);
}

/* The largest order up to `order` whose block around file_off touches no other. Blocks are aligned
 * to their size and none covers file_off, so order 0 always fits. */
static unsigned fit_order(struct window_inode *inode, uint64_t file_off, unsigned order)
{
	const struct window_range *prev = map_floor(inode, file_off);
	const struct window_range *next = map_ceil(inode, file_off);

	for (; order > 0; order--) {
		uint64_t size = block_bytes(inode->w, order);
		uint64_t start = round_down(file_off, size);

		if (prev && (prev->file_off >= start || block_covers(prev, start)))
			continue;
		if (next && next->file_off - start < size)
			continue;
		break;
	}
	return order;
}

/* ---- pins ---- */

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

struct request {
	uint64_t file_off, len_bytes;
	uint64_t file_size, map_end; /* map_end: whole units inside file_size */
	unsigned flags;
	struct window_waiter *waiter;
};

static bool may_wait(const struct request *q)
{
	return !(q->flags & (WINDOW_NOWAIT | WINDOW_PROBE)) && q->waiter;
}

static enum window_result wait_for_setup(struct window_range *r, const struct request *q)
{
	if (!may_wait(q))
		return WINDOW_QUEUE;
	list_push_back(&r->waiters, &q->waiter->link);
	count(&r->inode->w->waits);
	return WINDOW_PENDING;
}

static void fill_pin(struct window_pin *pin, struct window_range *r, const struct request *q)
{
	uint64_t skip = q->file_off - r->file_off;
	uint64_t len = MIN(r->len_bytes - skip, q->map_end - q->file_off);

	pin->va = r->inode->w->va + r->win_off + skip;
	pin->len_bytes = MIN(len, q->len_bytes);
	pin->range = r;
}

/* A pin that is there at once. */
static bool pin_hit(struct window_range *r, const struct request *q, struct window_pin *pin)
{
	uint8_t ref;

	if (!r || q->file_off - r->file_off >= r->len_bytes || !r->live)
		return false;
	if (q->flags & WINDOW_WRITE && !r->writable)
		return false;
	if (!try_pin(r))
		return false;
	pin->first = false;
	ref = atomic_load_explicit(&r->ref, memory_order_relaxed);
	if (ref != (REF_RECENT | REF_USED)) {
		atomic_store_explicit(&r->ref, REF_RECENT | REF_USED, memory_order_relaxed);
		pin->first = !(ref & REF_USED);
	}
	atomic_store_explicit(&r->hits, atomic_load_explicit(&r->hits, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	fill_pin(pin, r, q);
	return true;
}

/* ---- set-up ---- */

static struct window_range *range_new(struct window_inode *inode, const struct request *q)
{
	struct window_range *r = malloc(sizeof(*r));

	if (!r)
		return NULL;
	*r = (struct window_range){.inode = inode, .file_size = q->file_size};
	atomic_init(&r->pins, 1);
	atomic_init(&r->ref, REF_RECENT);
	atomic_init(&r->hits, 0);
	list_init(&r->link);
	list_init(&r->inode_link);
	list_init(&r->waiters);
	return r;
}

/*
 * Gives the new range its place in the window, in the file and on the lists, and takes `old` (may
 * be NULL), whose block it replaces, out of the map. Inode and window lock.
 */
static bool range_place(struct window_range *r, unsigned order, struct window_range *old,
			const struct request *q)
{
	struct window_inode *inode = r->inode;
	struct window *w = inode->w;
	unsigned got;

	if (!space_claim(w, order, &got, &r->win_off))
		return false;
	r->order = (uint8_t)got;
	r->file_off = round_down(q->file_off, block_bytes(w, got));
	r->len_bytes = MIN(block_bytes(w, got), q->map_end - r->file_off);
	r->writable = q->flags & WINDOW_WRITE || (old && old->writable);
	if (old) {
		range_detach(old);
		old->due = 0; /* not a failure of the range */
		if (range_kill(old))
			range_retire(w, old, NULL);
		w->stats.upgrades++;
	}
	list_push_back(&w->ranges, &r->link);
	admission_placed(r, q->len_bytes, policy_sequential(inode, q->file_off, q->len_bytes),
			 q->flags & WINDOW_WRITE);
	inode->nranges++;
	atomic_fetch_add_explicit(&inode->refs, 1, memory_order_relaxed);
	return true;
}

/*
 * The miss. Inode lock held, and released. `old` is the live range, if any, whose block covers the
 * offset but which will not do: mapped too short, or read-only.
 */
static enum window_result start_setup(struct window_inode *inode, struct window_range *old,
				      const struct request *q)
{
	struct window *w = inode->w;
	enum window_result result = WINDOW_QUEUE;
	struct window_range *r = range_new(inode, q);
	struct list wakes, gone;
	struct window_map map;
	bool placed = false;
	unsigned order, live;

	list_init(&wakes);
	list_init(&gone);
	if (!r)
		goto unlock;
	order = old ? old->order
		    : fit_order(inode, q->file_off, policy_order(inode, q->file_off, q->map_end));

	pthread_mutex_lock(&w->lock);
	placed = !atomic_load_explicit(&w->closed, memory_order_relaxed) &&
		 range_place(r, order, old, q);
	if (!placed && !atomic_load_explicit(&w->closed, memory_order_relaxed)) {
		space_expire(w, clock_now_ns(), &wakes);
		if (may_wait(q) && space_wait(w, q->waiter))
			result = WINDOW_PENDING;
	}
	if (placed && omap_insert(&inode->map, r->file_off, r)) {
		/* No memory. It ends like a set-up that was refused, without having begun. */
		range_retire_unmapped(w, r, &gone);
		placed = false;
	}
	live = w->nranges - w->nretired;
	pthread_mutex_unlock(&w->lock);

	if (!placed) {
		if (list_empty(&gone))
			free(r);
		goto unlock;
	}
	r->in_map = true;
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
unlock:
	pthread_mutex_unlock(&inode->lock);
	window_kick(w);
	range_settle(w, &gone, 0);
	wake_all(&wakes);
	if (placed)
		w->ops->setup(w->ctx, r, &map);
	return result;
}

/* What cannot be pinned at once. Inode lock held, and released. */
static enum window_result pin_miss(struct window_inode *inode, const struct request *q)
{
	bool write = q->flags & WINDOW_WRITE;
	struct window_range *old = map_floor(inode, q->file_off);
	enum window_result result = WINDOW_QUEUE;
	bool evicted = false;

	if (old && !block_covers(old, q->file_off))
		old = NULL;
	if (old && !old->live) {
		result = wait_for_setup(old, q);
		goto unlock;
	}
	count(&inode->w->misses);
	if (q->flags & WINDOW_PROBE || policy_refused(inode, q->file_size, write))
		goto unlock;
	if (!old) {
		if (!admission_ask(inode, q->file_off, q->len_bytes, q->map_end, write, &evicted))
			goto unlock;
	} else if (q->file_off - old->file_off >= old->len_bytes) {
		uint64_t len = MIN(block_bytes(inode->w, old->order), q->map_end - old->file_off);

		if (!policy_regrow(old, len))
			goto unlock;
	}
	return start_setup(inode, old, q);
unlock:
	pthread_mutex_unlock(&inode->lock);
	if (evicted)
		window_kick(inode->w);
	return result;
}

enum window_result window_pin(struct window_inode *inode, uint64_t file_off, uint64_t len_bytes,
			      uint64_t file_size, unsigned flags, struct window_pin *pin,
			      struct window_waiter *waiter)
{
	struct window *w = inode->w;
	const struct request q = {
		.file_off = file_off,
		.len_bytes = len_bytes,
		.file_size = file_size,
		.map_end = round_down(file_size, w->len_unit),
		.flags = flags,
		.waiter = waiter,
	};

	if (!len_bytes || file_off >= q.map_end)
		return WINDOW_QUEUE;
	pthread_mutex_lock(&inode->lock);
	/* Under the lock, so that nobody starts to wait behind window_fail()'s back. */
	if (inode->blocked || atomic_load_explicit(&w->closed, memory_order_relaxed)) {
		pthread_mutex_unlock(&inode->lock);
		count(&w->blocked);
		return WINDOW_QUEUE;
	}
	if (!pin_hit(omap_floor(&inode->map, file_off, NULL), &q, pin))
		return pin_miss(inode, &q);
	pthread_mutex_unlock(&inode->lock);
	return WINDOW_PINNED;
}

void window_unpin(struct window_pin *pin)
{
	struct window_range *r = pin->range;

	pin->range = NULL;
	range_put(r);
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

/* ---- blocks ---- */

static bool overlaps(const struct window_range *r, uint64_t file_off, uint64_t file_end)
{
	return r->file_off < file_end &&
	       (file_off <= r->file_off || file_off - r->file_off < r->len_bytes);
}

static bool is_clear(const struct window_inode *inode, uint64_t file_off, uint64_t file_end)
{
	list_for_each (pos, &inode->detached)
		if (overlaps(container_of(pos, struct window_range, inode_link), file_off,
			     file_end))
			return false;
	return true;
}

void block_check(struct window_inode *inode, const struct window_range *gone, int err,
		 struct list *wakes)
{
	struct list *pos = inode->block_waiters.next;

	while (pos != &inode->block_waiters) {
		struct window_waiter *waiter = container_of(pos, struct window_waiter, link);

		pos = pos->next;
		if (!overlaps(gone, waiter->file_off, waiter->file_end))
			continue;
		if (err)
			waiter->err = err;
		if (is_clear(inode, waiter->file_off, waiter->file_end))
			wake_later(wakes, waiter, waiter->err);
	}
}

bool window_block(struct window_inode *inode, uint64_t file_off, uint64_t len_bytes,
		  struct window_waiter *waiter)
{
	struct window *w = inode->w;
	uint64_t file_end;
	struct window_range *r;
	struct list gone;
	bool clear;
	int err;

	if (!u64_add(file_off, len_bytes, &file_end))
		file_end = UINT64_MAX;
	list_init(&gone);
	pthread_mutex_lock(&inode->lock);
	inode->blocked++;
	pthread_mutex_lock(&w->lock);
	r = omap_floor(&inode->map, file_off, NULL);
	if (!r || !overlaps(r, file_off, file_end))
		r = omap_ceil(&inode->map, file_off, NULL);
	for (; r && overlaps(r, file_off, file_end); r = omap_ceil(&inode->map, file_off, NULL)) {
		range_detach(r);
		if (range_kill(r))
			range_retire(w, r, &gone);
	}
	err = w->fail_err;
	pthread_mutex_unlock(&w->lock);
	clear = is_clear(inode, file_off, file_end);
	if (!clear && waiter) {
		waiter->file_off = file_off;
		waiter->file_end = file_end;
		waiter->err = 0;
		list_push_back(&inode->block_waiters, &waiter->link);
		count(&w->waits);
	}
	pthread_mutex_unlock(&inode->lock);
	window_kick(w);
	range_settle(w, &gone, err);
	return clear;
}

void window_unblock(struct window_inode *inode)
{
	pthread_mutex_lock(&inode->lock);
	assert(inode->blocked);
	inode->blocked--;
	pthread_mutex_unlock(&inode->lock);
}
