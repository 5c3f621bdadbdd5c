/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* direct_map: one direct map, from its token to its end; see direct_peer.h. */
#ifndef VFSDAX_MOUNT_DIRECT_MAP_H
#define VFSDAX_MOUNT_DIRECT_MAP_H

#include "direct_peer.h"

/* Who takes a map out of HELD or PINNED drops the pin. */
enum map_state { MAP_NONE, MAP_HELD, MAP_PINNED, MAP_DROPPED };

struct direct_map {
	struct watch watch; /* of `life` */
	struct list link;
	struct peer_home *home;
	struct peer *peer; /* NULL: gone */
	struct bridge_authorisation authorisation;
	uint64_t id;
	uint64_t len; /* that the client has; 0: it has nothing yet */
	uid_t uid;    /* the client's, also when that is gone */
	/* Of the pin, as it was made: which range, and the window_pin's long_bytes and long_left.
	 */
	const void *range;
	uint64_t range_bytes, bytes_left;
	bool wants_gate;
	bool counted; /* its range, which no other map of the client's counts */
	_Atomic enum map_state state;
	atomic_bool left; /* revoke() has given the hold back */
	bool done;	  /* the authorisation is, with `err` */
	bool orphan;	  /* nobody waits for that any more */
	int err;
	/* PINNED, and not NULL: the memory can be taken back. */
	struct direct_gate *_Atomic gate;
	/* PINNED: our end of a socket pair. The client and its children have the other end as long
	 * as they may have the memory. -1: none. */
	int life;
};

/* Lets the token count. NULL: *err says why. */
struct direct_map *map_ask(struct peer_home *home, const struct direct_request *r, int *err);
/* Is the authorisation done? Then map->err counts. */
bool map_done(struct direct_map *map);
/* Nobody has authorised anything, and nobody will: true, and the map can be released. */
bool map_cancel(struct direct_map *map);
/* What else the client gets for memory of the window; -1: not that. */
struct map_fds {
	int life, gate;
};
void map_fds_close(const struct map_fds *fds);
/* A descriptor for the client, and with it those others; all the caller's to close. */
int map_share(struct direct_map *map, struct peer *peer, struct transport_piece *piece,
	      struct map_fds *fds, const char **reason);
/* A pin is there. */
static inline bool map_is_held(const struct direct_map *map)
{
	enum map_state state = atomic_load(&map->state);

	return state == MAP_HELD || state == MAP_PINNED;
}
/* Gives back what it maps and buries it. One that is still with a worker frees itself. */
void map_release(struct direct_map *map);

#endif
