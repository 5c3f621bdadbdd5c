/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * remove: how a range ends. It dies (range_kill, range_evict), is queued for the device in batches
 * (range_retire, window_kick), and is settled when the device has answered. There is no thread of
 * the window's own: the caller that needs space evicts and continues; the device's answer does the
 * rest.
 */
#include <assert.h>

#include "base/bytes.h"
#include "base/log.h"
#include "window/internal.h"

#define UNUSED_GRACE_MS 5 /* that a new range is kept for the waiter that had it set up */

void wake_later(struct list *to, struct window_waiter *waiter, int err)
{
	waiter->err = err;
	list_del(&waiter->link);
	list_push_back(to, &waiter->link);
}

void wake_all(void *by, struct list *waiters)
{
	struct list *link;

	while ((link = list_pop_front(waiters))) {
		struct window_waiter *waiter = container_of(link, struct window_waiter, link);

		DELAY_POINT("window.wake");
		waiter->wake(waiter, by, waiter->err);
	}
}

/* ---- death: window lock ---- */

bool range_is_awaited(const struct window_range *r)
{
	uint8_t ref = atomic_load_explicit(&r->ref, memory_order_relaxed);
	uint32_t born_ms = atomic_load_explicit(&r->born_ms, memory_order_relaxed);

	return !(ref & REF_USED) &&
	       (uint32_t)(clock_now_ns() / NS_PER_MS) - born_ms < UNUSED_GRACE_MS;
}

bool range_kill(struct window_range *r)
{
	return atomic_fetch_or(&r->pins, PIN_DYING) == 0;
}

bool range_evict(struct window *w, struct window_range *r)
{
	uint32_t expected = 0;

	/* Sequentially consistent: see window.space_waiting. */
	if (!atomic_compare_exchange_strong(&r->pins, &expected, PIN_DYING))
		return false;
	w->stats.evictions++;
	range_retire(w, r, NULL); /* not failed: space is asked for only while the window is open */
	return true;
}

void range_retire_unmapped(struct window *w, struct window_range *r, struct list *gone)
{
	/* A set-up that failed had a pin of its own, and there is no other. */
	atomic_store(&r->pins, PIN_DYING);
	list_del(&r->link);
	w->stats.hits += atomic_load_explicit(&r->hits, memory_order_relaxed);
	w->nretired++;
	w->retired_bytes += block_bytes(w, r->order);
	list_push_back(gone, &r->link);
}

void range_retire(struct window *w, struct window_range *r, struct list *gone)
{
	range_retire_unmapped(w, r, w->fail_err ? gone : &w->queue);
	if (!r->live)
		return;
	w->stats.ranges_live--;
	w->stats.bytes_mapped -= r->len_bytes;
}

void range_put(void *by, struct window_range *r)
{
	struct window *w = r->inode->w;
	struct list gone;
	uint32_t left;
	int err;

	DELAY_POINT("window.unpin");
	/* Release: the reader's loads are done before the space is given to another range.
	 * Sequentially consistent: see window.space_waiting. */
	left = atomic_fetch_sub(&r->pins, 1) - 1;
	assert((left & ~PIN_DYING) != ~PIN_DYING);
	/* Unless this was the last pin of a dying range, the range may be freed by now. */
	if (left == PIN_DYING) {
		DELAY_POINT("window.retire");
		list_init(&gone);
		pthread_mutex_lock(&w->lock);
		range_retire(w, r, &gone);
		err = w->fail_err;
		pthread_mutex_unlock(&w->lock);
		window_kick(by, w);
		range_settle(by, w, &gone, err);
	} else if (left == 0 && atomic_load(&w->space_waiting)) {
		space_pin_gone(by, w);
	}
}

/* ---- removal ---- */

/* Window lock. Moves as many as the device takes at once from the queue to the batch. */
static unsigned fill_batch(struct window *w)
{
	struct list *link;
	unsigned n = 0;

	assert(list_empty(&w->batch));
	while (n < w->batch_max && (link = list_pop_front(&w->queue))) {
		struct window_range *r = container_of(link, struct window_range, link);

		w->extents[n++] = (struct window_extent){r->win_off, r->len_bytes};
		list_push_back(&w->batch, &r->link);
	}
	return n;
}

/*
 * One thread at a time asks, in a loop and not by recursion: a removal that is answered inside of
 * ops->remove() leads back here, finds `kicking` set, and leaves the next batch to the outer call.
 */
void window_kick(void *by, struct window *w)
{
	pthread_mutex_lock(&w->lock);
	if (w->kicking) {
		pthread_mutex_unlock(&w->lock);
		return;
	}
	w->kicking = true;
	while (!w->removal_out && !w->fail_err && !list_empty(&w->queue)) {
		unsigned n = fill_batch(w);

		w->removal_out = true;
		pthread_mutex_unlock(&w->lock);
		DELAY_POINT("window.kick");
		w->ops->remove(w->ctx, by, w->extents, n);
		pthread_mutex_lock(&w->lock);
	}
	w->kicking = false;
	pthread_mutex_unlock(&w->lock);
}

void window_remove_done(void *by, struct window *w, int err)
{
	struct list done;
	unsigned n = 0;

	list_init(&done);
	pthread_mutex_lock(&w->lock);
	assert(w->removal_out);
	w->removal_out = false;
	list_splice_back(&done, &w->batch); /* empty when the window has failed meanwhile */
	list_for_each (pos, &done)
		n++;
	if (!err)
		w->stats.removals += n;
	pthread_mutex_unlock(&w->lock);

	DELAY_POINT("window.remove_done");
	if (err && n)
		log_error("window: the device refused to remove %u mappings (error %d); "
			  "their part of the window is not used again",
			  n, -err);
	range_settle(by, w, &done, err);
	window_kick(by, w);
}

/* The range leaves its inode, which may end a block. */
static void settle_inode(struct window_range *r, int err, struct list *wakes)
{
	struct window_inode *inode = r->inode;

	pthread_mutex_lock(&inode->lock);
	range_detach(r);
	list_del(&r->inode_link);
	inode->nranges--;
	block_check(inode, r, err, wakes);
	pthread_mutex_unlock(&inode->lock);
	inode_put(inode);
}

void range_free(struct window *w, struct window_range *r)
{
	list_push_front(&w->spare, &r->link);
	RANGE_HIDE(r);
}

/* Window lock. Its space is free again, or lost. */
static void settle_space(struct window *w, struct window_range *r, bool lost)
{
	assert(atomic_load(&r->pins) == PIN_DYING && !r->in_map && !r->long_pins);
	w->nranges--;
	w->nretired--;
	w->retired_bytes -= block_bytes(w, r->order);
	if (lost) {
		w->nlost++;
		w->stats.bytes_lost += block_bytes(w, r->order);
		list_push_back(&w->lost, &r->link);
	} else {
		space_give(&w->space, r->win_off, r->order);
		range_free(w, r);
	}
}

void range_settle(void *by, struct window *w, struct list *ranges, int err)
{
	struct list wakes;
	struct list *link;

	if (list_empty(ranges))
		return;
	list_init(&wakes);
	list_for_each (pos, ranges)
		settle_inode(container_of(pos, struct window_range, link), err, &wakes);
	pthread_mutex_lock(&w->lock);
	while ((link = list_pop_front(ranges)))
		settle_space(w, container_of(link, struct window_range, link), err && !w->fail_err);
	space_wake(w, &wakes);
	pthread_mutex_unlock(&w->lock);
	wake_all(by, &wakes);
}
