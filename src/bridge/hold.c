/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/hold: pins that last, and how they meet truncations.
 *
 * A truncation first forbids new holds (node_truncate_begin: the node's view says no), then asks
 * the present ones to go; if one stays it is refused. A hold is first put on the list, and then
 * looks whether a truncation has begun. So one of the two sees the other.
 */
#include <assert.h>
#include <errno.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "bridge/internal.h"

#define PAGE_BYTES 4096u

/* ------------------------------------------------------------------ taking, giving back */

/* What of [off, off + len) may be pinned now; 0 and *view, or why nothing. */
static int may_hold(struct bridge *b, struct node *node, uint64_t off, uint64_t *len,
		    unsigned flags, struct node_view *view)
{
	uint64_t limit;

	if (!b->window || bridge_failure(b))
		return -ENODEV;
	node_look(b->nodes, node, view);
	if (!S_ISREG(view->mode) || !view->wanted)
		return -EOPNOTSUPP;
	if (!view->dax)
		return -EAGAIN; /* being truncated */
	if (!view->window) {
		view->window = node_window(b->nodes, node, b->window);
		if (!view->window)
			return -ENOMEM;
	}
	if (clock_now_ns() - view->asked_ns >= SIZE_BELIEVED_NS)
		return -ESTALE;
	limit = round_down(view->size, PAGE_BYTES);
	if (!*len || off >= limit)
		return -ENODATA;
	if (flags & BRIDGE_HOLD_WHOLE && !extent_within(off, *len, limit))
		return -ENODATA;
	*len = MIN(*len, limit - off);
	return 0;
}

static void list_hold(struct bridge *b, struct bridge_hold *hold)
{
	node_hold(b->nodes, hold->node);
	pthread_mutex_lock(&b->hold_lock);
	list_push_back(&b->holds, &hold->link);
	list_push_back(node_holds(hold->node), &hold->node_link);
	b->hold_bytes += hold->len;
	atomic_fetch_add(&b->n_holds, 1);
	pthread_mutex_unlock(&b->hold_lock);
}

static void unlist_hold(struct bridge *b, struct bridge_hold *hold)
{
	pthread_mutex_lock(&b->hold_lock);
	/* Somebody is telling it just now: not if that is us, further up. */
	while (hold->teller && !pthread_equal(hold->teller->thread, pthread_self()))
		pthread_cond_wait(&b->hold_told, &b->hold_lock);
	if (hold->teller)
		hold->teller->gone = true;
	list_del(&hold->link);
	list_del(&hold->node_link);
	b->hold_bytes -= hold->len;
	atomic_fetch_sub(&b->n_holds, 1);
	pthread_mutex_unlock(&b->hold_lock);
	node_unhold(b->nodes, hold->node);
}

int bridge_hold(struct bridge *b, struct node *node, uint64_t off, uint64_t len, unsigned flags,
		struct bridge_hold *hold, struct window_waiter *waiter)
{
	unsigned how = WINDOW_LONG | WINDOW_MUST;
	struct node_view view;
	int err = may_hold(b, node, off, &len, flags, &view);

	if (err)
		return err;
	if (flags & BRIDGE_HOLD_WRITE && b->params.readonly)
		return -EROFS;
	how |= flags & BRIDGE_HOLD_WRITE ? WINDOW_WRITE : 0;
	how |= flags & BRIDGE_HOLD_WHOLE ? WINDOW_SPAN : 0;
	how |= flags & BRIDGE_HOLD_NOWAIT ? WINDOW_NOWAIT : 0;
	switch (window_pin(view.window, off, len, view.size, how, &hold->pin, waiter)) {
	case WINDOW_PENDING:
		return -EINPROGRESS;
	case WINDOW_QUEUE:
		if (bridge_failure(b))
			return -ENODEV; /* since we asked */
		return hold->pin.over_budget || !(flags & BRIDGE_HOLD_NOWAIT) ? -ENOSPC : -EAGAIN;
	case WINDOW_PINNED:
		break;
	}
	hold->va = hold->pin.va;
	hold->len = hold->pin.len_bytes;
	hold->file_off = off;
	hold->win_off = (uint64_t)(hold->va - b->window_va);
	hold->bridge = b;
	hold->node = node;
	hold->flags = flags;
	hold->teller = NULL;
	hold->told = 0;
	atomic_store(&hold->stale, 0);
	list_hold(b, hold);
	/* What may have begun meanwhile; see above. */
	node_look(b->nodes, node, &view);
	if (!view.dax || off + hold->len > view.size) {
		unlist_hold(b, hold);
		window_unpin(&hold->pin);
		return -EAGAIN;
	}
	if (flags & BRIDGE_HOLD_WRITE)
		node_set_mtime_late(b->nodes, node);
	return 0;
}

void bridge_unhold(struct bridge_hold *hold)
{
	struct bridge *b = hold->bridge;

	/* As with msync(2) and munmap(2): what was stored is seen in the times now. The pin still
	 * keeps the node. */
	if (hold->flags & BRIDGE_HOLD_WRITE)
		node_set_mtime_late(b->nodes, hold->node);
	unlist_hold(b, hold);
	window_unpin(&hold->pin);
}

unsigned bridge_holds(struct bridge *b, uint64_t *bytes)
{
	unsigned n;

	pthread_mutex_lock(&b->hold_lock);
	n = atomic_load(&b->n_holds);
	*bytes = b->hold_bytes;
	pthread_mutex_unlock(&b->hold_lock);
	return n;
}

/* ------------------------------------------------------------------ telling */

static struct bridge_hold *first_of(struct list *holds, bool of_node)
{
	if (list_empty(holds))
		return NULL;
	return of_node ? container_of(holds->next, struct bridge_hold, node_link)
		       : container_of(holds->next, struct bridge_hold, link);
}

/* Called with the lock, which is given up for the length of revoke(): the lists may be others
 * afterwards, and the hold gone. If not it is the last one of its lists. */
static void tell(struct bridge *b, struct bridge_hold *hold, int err, uint64_t round)
{
	struct hold_teller me = {.thread = pthread_self()};

	if (hold->teller) {
		pthread_cond_wait(&b->hold_told, &b->hold_lock);
		return;
	}
	hold->told = round;
	atomic_store(&hold->stale, err);
	list_del(&hold->link);
	list_push_back(&b->holds, &hold->link);
	list_del(&hold->node_link);
	list_push_back(node_holds(hold->node), &hold->node_link);
	if (!hold->revoke)
		return;
	/* cppcheck-suppress autoVariables ; taken back below, unless the hold is gone */
	hold->teller = &me;
	pthread_mutex_unlock(&b->hold_lock);
	hold->revoke(hold, err);
	pthread_mutex_lock(&b->hold_lock);
	if (!me.gone)
		hold->teller = NULL;
	pthread_cond_broadcast(&b->hold_told);
}

static void tell_all(struct bridge *b, struct list *holds, bool of_node, int err)
{
	struct bridge_hold *hold;
	uint64_t round = ++b->hold_rounds;

	while ((hold = first_of(holds, of_node)) && hold->told < round)
		tell(b, hold, err, round);
}

void bridge_fail_holds(struct bridge *b, int err)
{
	pthread_mutex_lock(&b->hold_lock);
	tell_all(b, &b->holds, false, err);
	pthread_mutex_unlock(&b->hold_lock);
}

/* What is no longer to be feared. */
static void clear_stale(struct bridge_hold *hold)
{
	int stale = -ESTALE;

	atomic_compare_exchange_strong(&hold->stale, &stale, 0);
}

int holds_revoke(struct bridge *b, struct node *node)
{
	int err = 0;

	if (!atomic_load(&b->n_holds))
		return 0;
	pthread_mutex_lock(&b->hold_lock);
	tell_all(b, node_holds(node), true, -ESTALE);
	list_for_each (link, node_holds(node)) {
		err = -EBUSY; /* so it will not happen */
		clear_stale(container_of(link, struct bridge_hold, node_link));
	}
	pthread_mutex_unlock(&b->hold_lock);
	return err;
}

static bool runs_over(const struct bridge_hold *hold, uint64_t size)
{
	return hold->file_off + hold->len > size;
}

void holds_note_size(struct bridge *b, struct node *node)
{
	struct list *holds = node_holds(node);
	struct bridge_hold *found;
	struct node_view view;
	uint64_t round;

	node_look(b->nodes, node, &view);
	pthread_mutex_lock(&b->hold_lock);
	round = ++b->hold_rounds;
	do {
		found = NULL;
		list_for_each (link, holds) {
			struct bridge_hold *hold =
				container_of(link, struct bridge_hold, node_link);

			/* It has grown again: the same pages of the same file. */
			if (!runs_over(hold, view.size))
				clear_stale(hold);
			else if (!found && !atomic_load(&hold->stale) && hold->told < round)
				found = hold;
		}
		if (found)
			tell(b, found, -ESTALE, round);
	} while (found);
	pthread_mutex_unlock(&b->hold_lock);
}

/* ------------------------------------------------------------------ prefetch */

#define PREFETCH_STEP (2 * MIB)

int bridge_prefetch(struct bridge *b, struct node *node, uint64_t off, uint64_t len)
{
	struct window_stats stats;
	struct node_view view;
	uint64_t room;
	int err = may_hold(b, node, off, &len, 0, &view);

	if (err)
		return err;
	window_get_stats(b->window, &stats);
	/* Half of it: what is there is perhaps wanted as well. */
	room = MIN(len, stats.bytes_total / 2);
	while (room) {
		struct window_pin pin;
		uint64_t step = MIN(room, PREFETCH_STEP - off % PREFETCH_STEP);

		if (window_pin(view.window, off, room, view.size, WINDOW_MUST | WINDOW_NOWAIT, &pin,
			       NULL) == WINDOW_PINNED) {
			step = pin.len_bytes;
			window_unpin(&pin);
		}
		off += step;
		room -= step;
	}
	return 0;
}
