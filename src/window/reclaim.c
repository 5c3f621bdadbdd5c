/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reclaim: which range goes, and how it goes. Space comes back in three steps: a victim dies
 * (range_kill), is queued for the device in batches (range_retire, window_kick), and is settled
 * when the device has answered. There is no thread of its own: whoever makes free space low evicts
 * a batch and goes on; the device's answer does the rest.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "window/internal.h"

#define SWEEP_STEPS	256 /* of the clock's hand, when nobody waits for it */
#define RECLAIM_BATCH	10  /* victims of one background reclaim, as Linux has it */
#define OWN_SEEN	64  /* of its ranges, when an inode looks for a victim among them */
#define UNUSED_GRACE_MS 5   /* that a new range waits for whoever had it set up */

void wake_later(struct list *to, struct window_waiter *waiter, int err)
{
	waiter->err = err;
	list_del(&waiter->link);
	list_push_back(to, &waiter->link);
}

void wake_all(struct list *waiters)
{
	struct list *link;

	while ((link = list_pop_front(waiters))) {
		struct window_waiter *waiter = container_of(link, struct window_waiter, link);

		waiter->wake(waiter, waiter->err);
	}
}

/* ---- victims: window lock ---- */

static bool take_if_unpinned(struct window_range *r)
{
	uint32_t expected = 0;

	/* Sequentially consistent: see window.space_waiting. */
	return atomic_compare_exchange_strong(&r->pins, &expected, PIN_DYING);
}

bool range_is_awaited(const struct window_range *r)
{
	uint8_t ref = atomic_load_explicit(&r->ref, memory_order_relaxed);
	uint32_t born_ms = atomic_load_explicit(&r->born_ms, memory_order_relaxed);

	return !(ref & REF_USED) && now_ms() - born_ms < UNUSED_GRACE_MS;
}

/* One step of the hand: the range at the front, if it is a victim, else it goes to the back. */
static struct window_range *clock_step(struct window *w, bool even_recent)
{
	struct window_range *r = container_of(w->ranges.next, struct window_range, link);
	uint8_t ref = atomic_load_explicit(&r->ref, memory_order_relaxed);

	if (even_recent ? !range_is_awaited(r) : !(ref & REF_RECENT)) {
		if (take_if_unpinned(r))
			return r;
	} else if (!even_recent) {
		atomic_fetch_and_explicit(&r->ref, (uint8_t)~REF_RECENT, memory_order_relaxed);
	}
	list_del(&r->link);
	list_push_back(&w->ranges, &r->link);
	return NULL;
}

static struct window_range *victim_lru(struct window *w, bool must)
{
	unsigned live = w->nranges - w->nretired;
	unsigned steps = must ? 2 * live : MIN(2 * live, SWEEP_STEPS);
	struct window_range *r = NULL;

	for (unsigned i = 0; i < steps && !r && !list_empty(&w->ranges); i++)
		r = clock_step(w, false);
	/* All in use all the time: then any that is unpinned. */
	for (unsigned i = 0; must && i < live && !r && !list_empty(&w->ranges); i++)
		r = clock_step(w, true);
	return r;
}

/* Newest first, of `own` or (NULL) of all; one that nobody has used yet only when there is no
 * other, so that whoever had it set up gets to it. */
static struct window_range *victim_lifo(struct window *w, const struct window_inode *own, bool must)
{
	for (int unused_too = 0; unused_too <= must; unused_too++)
		for (struct list *pos = w->ranges.prev; pos != &w->ranges; pos = pos->prev) {
			struct window_range *r = container_of(pos, struct window_range, link);
			uint8_t ref = atomic_load_explicit(&r->ref, memory_order_relaxed);

			if (own && r->inode != own)
				continue;
			if ((unused_too ? !range_is_awaited(r) : ref & REF_USED) &&
			    take_if_unpinned(r))
				return r;
		}
	return NULL;
}

/*
 * A range of the inode itself, whose lock is held: with a clock of its own. As the kernel's driver
 * (fuse_dax, inode_inline_reclaim_one_dmap): who wants more than there is takes it from himself
 * first, and one large file does not empty the window of all the others.
 */
static struct window_range *victim_own(struct window_inode *inode)
{
	size_t n = MIN(inode->map.count, (size_t)OWN_SEEN);
	struct window_range *spare = NULL;

	for (; n > 0; n--) {
		struct window_range *r = omap_ceil(&inode->map, inode->hand, NULL);

		if (!r)
			r = omap_ceil(&inode->map, 0, NULL);
		inode->hand = r->file_off + 1;
		if (atomic_load_explicit(&r->pins, memory_order_relaxed) || range_is_awaited(r))
			continue;
		if (!(atomic_load_explicit(&r->ref, memory_order_relaxed) & REF_RECENT)) {
			if (take_if_unpinned(r))
				return r;
			continue;
		}
		atomic_fetch_and_explicit(&r->ref, (uint8_t)~REF_RECENT, memory_order_relaxed);
		if (!spare)
			spare = r;
	}
	return spare && take_if_unpinned(spare) ? spare : NULL;
}

bool range_evict(struct window *w, struct window_range *r)
{
	if (!take_if_unpinned(r))
		return false;
	w->stats.evictions++;
	range_retire(w, r, NULL);
	return true;
}

/* Evicts one range, if it can one of `own` (NULL, or its lock is held). `must`: somebody waits for
 * it, so look at every range. */
static bool evict(struct window *w, struct window_inode *own, bool must)
{
	bool lifo = w->policy == WINDOW_POLICY_LIFO;
	struct window_range *r = NULL;

	if (own)
		r = lifo ? victim_lifo(w, own, must) : victim_own(own);
	if (!r)
		r = lifo ? victim_lifo(w, NULL, must) : victim_lru(w, must);
	if (!r)
		return false;
	w->stats.evictions++;
	/* Not failed: space is asked for only while the window is open. */
	range_retire(w, r, NULL);
	return true;
}

/* ---- space: window lock ---- */

static bool budget_left(const struct window *w)
{
	return w->nranges + w->nlost < w->ranges_max;
}

/* Percent of what long pins leave to the others, as percent of the window. */
static unsigned scaled(const struct window *w, unsigned percent)
{
	return percent - (unsigned)(w->stats.bytes_pinned / (w->len_bytes / 100) * percent / 100);
}

bool space_is_low(const struct window *w, unsigned percent)
{
	uint64_t bytes = w->space.free_bytes + w->retired_bytes;
	unsigned used = w->nranges - w->nretired + w->nlost;
	unsigned ranges = used < w->ranges_max ? w->ranges_max - used : 0;

	percent = scaled(w, percent);
	return bytes < w->len_bytes / 100 * percent ||
	       ranges < (uint64_t)w->ranges_max * percent / 100;
}

/* Background reclaim: enough that the next one is not due at once. */
static void reclaim_batch(struct window *w)
{
	if (w->admit == WINDOW_ADMIT_AUTO) {
		admission_reclaim(w, w->len_bytes / 400 * scaled(w, w->low_percent) * 5,
				  RECLAIM_BATCH, false);
		return;
	}
	for (int i = 0; i < RECLAIM_BATCH && space_is_low(w, w->low_percent * 5 / 4); i++)
		if (!evict(w, NULL, false))
			break;
}

static bool has_block(const struct window *w, unsigned order)
{
	for (unsigned k = order; k < w->space.orders; k++)
		if (w->space.order[k].free)
			return true;
	return false;
}

bool space_at_hand(const struct window *w, unsigned order)
{
	return budget_left(w) && has_block(w, order);
}

bool space_claim(struct window *w, const struct space_want *want, unsigned *got, uint64_t *win_off)
{
	bool found = false;
	unsigned k;

	*got = want->order;
	if (w->hold.order)
		hold_expire(w, clock_now_ns());
	if (budget_left(w)) {
		found = want->near != UINT64_MAX &&
			space_take_at(&w->space, want->order, want->near);
		if (found)
			*win_off = want->near;
		else if (want->exact)
			found = hold_claim(w, want->order, win_off);
		for (k = want->order + 1; !found && k-- > (want->exact ? want->order : 0);) {
			found = space_take(&w->space, k, win_off);
			*got = k;
		}
	}
	if (found) {
		w->nranges++;
		if (!w->lazy_unmap && space_is_low(w, w->low_percent))
			reclaim_batch(w);
		return true;
	}
	if (want->exact) {
		if (!has_block(w, want->order) && !hold_is_whole(w, want->order))
			hold_block(w, want->order);
		else if (!w->nretired)
			evict(w, want->inode, true);
		return false;
	}
	/* Direct reclaim: at least what was asked for must be on its way. */
	while (w->nretired < RECLAIM_BATCH && w->retired_bytes < block_bytes(w, want->order))
		if (!evict(w, want->inode, w->nretired == 0))
			break;
	return false;
}

bool space_wait(struct window *w, const struct space_want *want, struct window_waiter *waiter)
{
	if (!w->nranges)
		return false;
	atomic_fetch_add(&w->space_waiting, 1);
	/* Again, now that an unpin can see us. */
	if (want->exact && !has_block(w, want->order) && !hold_is_whole(w, want->order)) {
		if (!hold_block(w, want->order)) {
			atomic_fetch_sub(&w->space_waiting, 1);
			return false;
		}
	} else if (!w->nretired) {
		evict(w, want->inode, true);
	}
	waiter->deadline_ns = clock_now_ns() + SPACE_WAIT_NS;
	waiter->order = want->exact ? want->order : 0;
	list_push_back(&w->space_waiters, &waiter->link);
	count(&w->waits);
	return true;
}

uint64_t space_expire(struct window *w, uint64_t now_ns, struct list *wakes)
{
	hold_expire(w, now_ns);
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

/* Once nothing is on its way any more, he must see to it again. */
static bool is_served(const struct window *w, const struct window_waiter *waiter)
{
	return !waiter->order || !w->nretired || space_at_hand(w, waiter->order) ||
	       hold_is_whole(w, waiter->order) ||
	       atomic_load_explicit(&w->closed, memory_order_relaxed);
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

void space_pin_gone(struct window *w)
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
	if (!atomic_load_explicit(&w->closed, memory_order_relaxed)) {
		if (order)
			hold_block(w, order);
		if (any && !w->nretired)
			evict(w, NULL, true);
	}
	pthread_mutex_unlock(&w->lock);
	window_kick(w);
}

/* ---- from the first to the last of a range ---- */

static void set_owner(struct window *w, uint64_t win_off, unsigned order, uint32_t owner)
{
	size_t first = (size_t)(win_off >> w->space.min_shift);

	for (size_t i = 0; i < (size_t)1 << order; i++)
		w->owner[first + i] = owner;
}

struct window_range *range_alloc(struct window *w, uint64_t win_off, unsigned order)
{
	struct list *link = list_pop_front(&w->spare);
	struct window_range *r;

	if (link) {
		r = container_of(link, struct window_range, link);
		RANGE_SHOW(r);
	} else {
		/* Each has a part of the window, so there are enough. */
		assert(w->pool_used < w->pool_len);
		r = &w->pool[w->pool_used++];
	}
	*r = (struct window_range){.win_off = win_off, .order = (uint8_t)order};
	atomic_init(&r->pins, 1);
	atomic_init(&r->ref, REF_RECENT);
	list_init(&r->link);
	list_init(&r->inode_link);
	list_init(&r->waiters);
	set_owner(w, win_off, order, (uint32_t)(r - w->pool) + 1);
	return r;
}

void range_free(struct window *w, struct window_range *r, bool lost)
{
	assert(atomic_load(&r->pins) == PIN_DYING && !r->in_map && !r->long_pins);
	set_owner(w, r->win_off, r->order, lost ? OWNER_LOST : 0);
	list_push_front(&w->spare, &r->link);
	RANGE_HIDE(r);
}

bool range_kill(struct window_range *r)
{
	return atomic_fetch_or(&r->pins, PIN_DYING) == 0;
}

void range_retire_unmapped(struct window *w, struct window_range *r, struct list *gone)
{
	/* A set-up that failed had a pin of its own, and nobody else any. */
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
	if (r->live) {
		admission_ended(w, r);
		w->stats.ranges_live--;
		w->stats.bytes_mapped -= r->len_bytes;
	}
}

void range_put(struct window_range *r)
{
	struct window *w = r->inode->w;
	/* Release: the reader's loads are done before the space is given to another range.
	 * Sequentially consistent: see window.space_waiting. */
	uint32_t left = atomic_fetch_sub(&r->pins, 1) - 1;
	struct list gone;
	int err;

	assert((left & ~PIN_DYING) != ~PIN_DYING);
	/* Unless this was the last pin of a dying range, the range may be gone by now. */
	if (left == PIN_DYING) {
		list_init(&gone);
		pthread_mutex_lock(&w->lock);
		range_retire(w, r, &gone);
		err = w->fail_err;
		pthread_mutex_unlock(&w->lock);
		window_kick(w);
		range_settle(w, &gone, err);
	} else if (left == 0 && atomic_load(&w->space_waiting)) {
		space_pin_gone(w);
	}
}

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
void window_kick(struct window *w)
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
		w->ops->remove(w->ctx, w->extents, n);
		pthread_mutex_lock(&w->lock);
	}
	w->kicking = false;
	pthread_mutex_unlock(&w->lock);
}

void window_remove_done(struct window *w, int err)
{
	struct list done;
	unsigned n = 0;

	list_init(&done);
	pthread_mutex_lock(&w->lock);
	assert(w->removal_out);
	w->removal_out = false;
	list_splice_back(&done, &w->batch);
	list_for_each (pos, &done)
		n++;
	if (!err)
		w->stats.removals += n;
	pthread_mutex_unlock(&w->lock);

	if (err && n)
		log_error("window: the device refused to remove %u mappings (error %d); "
			  "their part of the window is not used again",
			  n, -err);
	range_settle(w, &done, err);
	window_kick(w);
}

/* The range leaves its inode: whoever waits for that can go on. */
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

void range_settle(struct window *w, struct list *ranges, int err)
{
	struct list wakes;
	struct list *link;

	if (list_empty(ranges))
		return;
	list_init(&wakes);
	list_for_each (pos, ranges)
		settle_inode(container_of(pos, struct window_range, link), err, &wakes);

	pthread_mutex_lock(&w->lock);
	while ((link = list_pop_front(ranges))) {
		struct window_range *r = container_of(link, struct window_range, link);
		bool lost = err && !w->fail_err;
		uint64_t win_off = r->win_off;
		unsigned order = r->order;

		w->nranges--;
		w->nretired--;
		w->retired_bytes -= block_bytes(w, order);
		range_free(w, r, lost);
		if (lost) {
			w->nlost++;
			w->stats.bytes_lost += block_bytes(w, order);
		} else {
			space_give(&w->space, win_off, order);
			hold_freed(w, win_off, order);
		}
	}
	space_wake(w, &wakes);
	pthread_mutex_unlock(&w->lock);
	wake_all(&wakes);
}
