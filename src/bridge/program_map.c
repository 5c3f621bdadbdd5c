/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/program_map: pins that last, and how they meet truncations.
 *
 * A truncation first forbids new maps (node_truncate_begin: the node's view says no), then asks
 * the present ones to go; if one stays it is refused. A map is first put on the list, and then
 * looks whether a truncation has begun. So one of the two sees the other. The same holds for a
 * change on the host that is told (notice.c): what is believed of the size is dropped first.
 */
#include <assert.h>
#include <errno.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/delay.h"
#include "bridge/internal.h"

/* ------------------------------------------------------------------ taking, giving back */

/* What of [off, off + len) may be pinned now; 0 and *view, or why nothing. */
static int may_hold(struct bridge *b, struct node *node, uint64_t off, uint64_t *len,
		    unsigned flags, struct node_view *view)
{
	uint64_t limit;

	if (!b->window || bridge_failure(b))
		return -ENODEV;
	node_look(b->nodes, node, view);
	if (!view->asked_ns)
		return -ESTALE; /* another device, which may not have it */
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
	limit = window_map_end(b->window, view->size);
	if (!*len || off >= limit)
		return -ENODATA;
	if (flags & BRIDGE_MAP_WHOLE && !extent_within(off, *len, limit))
		return -ENODATA;
	*len = MIN(*len, limit - off);
	return 0;
}

static void list_hold(struct bridge *b, struct bridge_map *map)
{
	node_keep(b->nodes, map->node);
	pthread_mutex_lock(&b->map_lock);
	list_push_back(&b->maps, &map->link);
	list_push_back(node_maps(map->node), &map->node_link);
	b->map_bytes += map->len;
	atomic_fetch_add(&b->n_maps, 1);
	pthread_mutex_unlock(&b->map_lock);
}

static void unlist_hold(struct bridge *b, struct bridge_map *map)
{
	pthread_mutex_lock(&b->map_lock);
	/* Somebody is telling it just now: not if that is us, further up. */
	while (map->revoker && !pthread_equal(map->revoker->thread, pthread_self()))
		pthread_cond_wait(&b->map_revoked, &b->map_lock);
	if (map->revoker)
		map->revoker->gone = true;
	list_del(&map->link);
	list_del(&map->node_link);
	b->map_bytes -= map->len;
	atomic_fetch_sub(&b->n_maps, 1);
	pthread_mutex_unlock(&b->map_lock);
	node_unkeep(b->nodes, map->node);
}

/* Who writes the file itself moves its times by that. */
static bool map_is_stored_to(const struct bridge_map *map)
{
	return map->flags & BRIDGE_MAP_WRITE && !(map->flags & BRIDGE_MAP_IO);
}

int map_on(struct bridge_worker *here, struct node *node, uint64_t off, uint64_t len,
	   unsigned flags, struct bridge_map *map, struct window_waiter *waiter)
{
	struct bridge *b = here->bridge;
	unsigned how = WINDOW_LONG | WINDOW_MUST;
	struct node_view view;
	int err = may_hold(b, node, off, &len, flags, &view);

	if (err)
		return err;
	if (flags & BRIDGE_MAP_WRITE && b->params.readonly)
		return -EROFS;
	how |= flags & BRIDGE_MAP_WRITE ? WINDOW_WRITE : 0;
	how |= flags & BRIDGE_MAP_WHOLE ? WINDOW_SPAN : 0;
	how |= flags & BRIDGE_MAP_NOWAIT ? WINDOW_NOWAIT : 0;
	switch (window_pin(here, view.window, off, len, view.size, how, &map->pin, waiter)) {
	case WINDOW_PENDING:
		return -EINPROGRESS;
	case WINDOW_QUEUE:
		if (bridge_failure(b))
			return -ENODEV; /* since we asked */
		if (map->pin.blocked)
			return -EAGAIN; /* a truncation has begun since */
		return map->pin.over_budget || !(flags & BRIDGE_MAP_NOWAIT) ? -ENOSPC : -EAGAIN;
	case WINDOW_PINNED:
		break;
	}
	map->va = map->pin.va;
	map->len = map->pin.len_bytes;
	map->file_off = off;
	map->win_off = (uint64_t)(map->va - b->window_va);
	map->bridge = b;
	map->node = node;
	map->flags = flags;
	map->revoker = NULL;
	map->revoke_round = 0;
	atomic_store(&map->stale, 0);
	DELAY_POINT("map.pinned");
	list_hold(b, map);
	/* What may have begun meanwhile; see above. */
	node_look(b->nodes, node, &view);
	if (!view.dax || !view.asked_ns || off + map->len > view.size) {
		unlist_hold(b, map);
		window_unpin(here, &map->pin);
		return -EAGAIN;
	}
	if (map_is_stored_to(map))
		node_set_mtime_late(b->nodes, node);
	return 0;
}

int bridge_map(struct bridge *b, struct node *node, uint64_t off, uint64_t len, unsigned flags,
	       struct bridge_map *map, struct window_waiter *waiter)
{
	return map_on(b->aside, node, off, len, flags, map, waiter);
}

void bridge_unmap(struct bridge_map *map)
{
	struct bridge *b = map->bridge;

	/* As with msync(2) and munmap(2): what was stored is seen in the times now. The pin still
	 * keeps the node. */
	if (map_is_stored_to(map))
		node_set_mtime_late(b->nodes, map->node);
	unlist_hold(b, map);
	window_unpin(b->aside, &map->pin);
}

void bridge_abandon_maps(struct bridge *b)
{
	while (!list_empty(&b->maps)) {
		struct bridge_map *map = container_of(b->maps.next, struct bridge_map, link);

		unlist_hold(b, map);
		window_unpin(b->aside, &map->pin);
	}
}

unsigned bridge_maps(struct bridge *b, uint64_t *bytes)
{
	unsigned n;

	pthread_mutex_lock(&b->map_lock);
	n = atomic_load(&b->n_maps);
	*bytes = b->map_bytes;
	pthread_mutex_unlock(&b->map_lock);
	return n;
}

/* ------------------------------------------------------------------ telling */

static struct bridge_map *first_of(struct list *maps, bool of_node)
{
	if (list_empty(maps))
		return NULL;
	return of_node ? container_of(maps->next, struct bridge_map, node_link)
		       : container_of(maps->next, struct bridge_map, link);
}

/* Called with the lock, which is given up for the length of revoke(): the lists may be others
 * afterwards, and the map gone. If not it is the last one of its lists. */
static void tell(struct bridge *b, struct bridge_map *map, int err, uint64_t round)
{
	struct map_revoker me = {.thread = pthread_self()};

	if (map->revoker) {
		pthread_cond_wait(&b->map_revoked, &b->map_lock);
		return;
	}
	map->revoke_round = round;
	atomic_store(&map->stale, err);
	list_del(&map->link);
	list_push_back(&b->maps, &map->link);
	list_del(&map->node_link);
	list_push_back(node_maps(map->node), &map->node_link);
	if (!map->revoke)
		return;
	/* cppcheck-suppress autoVariables ; taken back below, unless the map is gone */
	map->revoker = &me;
	pthread_mutex_unlock(&b->map_lock);
	map->revoke(map, err);
	pthread_mutex_lock(&b->map_lock);
	if (!me.gone)
		map->revoker = NULL;
	pthread_cond_broadcast(&b->map_revoked);
}

static void tell_all(struct bridge *b, struct list *maps, bool of_node, int err)
{
	struct bridge_map *map;
	uint64_t round = ++b->map_rounds;

	while ((map = first_of(maps, of_node)) && map->revoke_round < round)
		tell(b, map, err, round);
}

void bridge_fail_maps(struct bridge *b, int err)
{
	pthread_mutex_lock(&b->map_lock);
	tell_all(b, &b->maps, false, err);
	pthread_mutex_unlock(&b->map_lock);
}

/* What is no longer to be feared. */
static void clear_stale(struct bridge_map *map)
{
	int stale = -ESTALE;

	atomic_compare_exchange_strong(&map->stale, &stale, 0);
}

int maps_revoke(struct bridge *b, struct node *node)
{
	int err = 0;

	if (!atomic_load(&b->n_maps))
		return 0;
	pthread_mutex_lock(&b->map_lock);
	tell_all(b, node_maps(node), true, -ESTALE);
	list_for_each (link, node_maps(node)) {
		err = -EBUSY; /* so it will not happen */
		clear_stale(container_of(link, struct bridge_map, node_link));
	}
	pthread_mutex_unlock(&b->map_lock);
	return err;
}

static bool runs_over(const struct bridge_map *map, uint64_t size)
{
	return map->file_off + map->len > size;
}

void maps_note_size(struct bridge *b, struct node *node)
{
	struct list *maps = node_maps(node);
	struct bridge_map *found;
	struct node_view view;
	uint64_t round;

	node_look(b->nodes, node, &view);
	pthread_mutex_lock(&b->map_lock);
	round = ++b->map_rounds;
	do {
		found = NULL;
		list_for_each (link, maps) {
			struct bridge_map *map = container_of(link, struct bridge_map, node_link);

			/* It has grown again: the same pages of the same file. */
			if (!runs_over(map, view.size))
				clear_stale(map);
			else if (!found && !atomic_load(&map->stale) && map->revoke_round < round)
				found = map;
		}
		if (found)
			tell(b, found, -ESTALE, round);
	} while (found);
	pthread_mutex_unlock(&b->map_lock);
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

		if (window_pin(b->aside, view.window, off, room, view.size,
			       WINDOW_MUST | WINDOW_NOWAIT, &pin, NULL) == WINDOW_PINNED) {
			step = pin.len_bytes;
			window_unpin(b->aside, &pin);
		}
		off += step;
		room -= step;
	}
	return 0;
}
