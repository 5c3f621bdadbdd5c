/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "direct_share.h"

static uint64_t bytes_on(const struct list *maps, uid_t uid)
{
	uint64_t bytes = 0;

	list_for_each (link, maps) {
		const struct direct_map *map = container_of(link, struct direct_map, link);

		if (map->counted && map->uid == uid && map_is_held(map))
			bytes += map->range_bytes;
	}
	return bytes;
}

/* Of all connections, and of those that have ended and left memory to their children. */
static uint64_t bytes_of_user(const struct peer_home *home, uid_t uid)
{
	uint64_t bytes = bytes_on(&home->lone, uid);

	list_for_each (link, &home->peers) {
		const struct peer *peer = container_of(link, struct peer, link);

		if (peer->uid == uid)
			bytes += bytes_on(&peer->maps, uid);
	}
	return bytes;
}

/* Another map of the client's that has the same range pinned. */
static struct direct_map *find_same_range(const struct peer *peer, const struct direct_map *map)
{
	list_for_each (link, &peer->maps) {
		struct direct_map *other = container_of(link, struct direct_map, link);

		if (map_is_held(other) && other->range == map->range)
			return other;
	}
	return NULL;
}

bool share_take(const struct peer *peer, struct direct_map *map)
{
	uint64_t has;

	map->uid = peer->uid;
	if (find_same_range(peer, map))
		return true;
	has = peer_is_limited(peer->home, peer->uid) ? bytes_of_user(peer->home, peer->uid)
						     : bytes_on(&peer->maps, peer->uid);
	map->counted = has + map->range_bytes <= 2 * map->bytes_left;
	return map->counted;
}

void share_give(const struct peer *peer, const struct direct_map *map)
{
	struct direct_map *other = NULL;

	if (peer && map->counted && map_is_held(map))
		other = find_same_range(peer, map);
	if (other)
		other->counted = true;
}
