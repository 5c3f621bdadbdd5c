/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Direct mmap's server: what of the window each client may pin, in bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "direct_share.h"

#define USER	1000
#define OTHER	1001
#define BUDGET	(96 * MIB)
#define CLIENTS 8

/* Clients of a window of which BUDGET may be pinned. */
struct world {
	struct peer_home home;
	struct peer peers[CLIENTS];
	uint64_t left;
	uintptr_t ranges; /* handed out */
};

/* What the server of this file's peers needs of direct_peer.c. */
bool peer_is_limited(const struct peer_home *home, uid_t uid)
{
	return uid != 0 && uid != home->owner;
}

static struct peer *arrives(struct world *w, unsigned i, uid_t uid)
{
	w->peers[i].home = &w->home;
	w->peers[i].uid = uid;
	list_init(&w->peers[i].maps);
	list_push_back(&w->home.peers, &w->peers[i].link);
	return &w->peers[i];
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	list_init(&w->home.peers);
	list_init(&w->home.lone);
	w->home.owner = 500;
	w->left = BUDGET;
	*state = w;
	return 0;
}

static void free_maps(struct list *maps)
{
	struct list *link;

	while ((link = list_pop_front(maps)))
		free(container_of(link, struct direct_map, link));
}

static int teardown(void **state)
{
	struct world *w = *state;

	list_for_each (link, &w->home.peers)
		free_maps(&container_of(link, struct peer, link)->maps);
	free_maps(&w->home.lone);
	free(w);
	return 0;
}

/* A map of one range, which no client has (0) or of a range that one has. NULL: not fair. */
static struct direct_map *take(struct world *w, struct peer *peer, uint64_t bytes, uintptr_t range)
{
	struct direct_map *map = calloc(1, sizeof(*map));
	bool fresh = !range;

	if (fresh)
		range = ++w->ranges;
	map->range = (const void *)range;
	map->range_bytes = bytes;
	map->bytes_left = w->left - (fresh ? bytes : 0);
	map->peer = peer;
	atomic_init(&map->state, MAP_HELD);
	if (!share_take(peer, map)) {
		free(map);
		return NULL;
	}
	w->left = map->bytes_left;
	list_push_back(&peer->maps, &map->link);
	return map;
}

static void give(struct world *w, struct direct_map *map, bool last_of_range)
{
	list_del(&map->link);
	share_give(map->peer, map);
	if (last_of_range)
		w->left += map->range_bytes;
	free(map);
}

/* As much as it is given, range by range: bytes. */
static uint64_t take_all(struct world *w, struct peer *peer)
{
	uint64_t bytes = 0;

	while (take(w, peer, 2 * MIB, 0))
		bytes += 2 * MIB;
	return bytes;
}

static void one_alone_has_two_thirds_and_the_rest_is_shared(void **state)
{
	struct world *w = *state;

	assert_int_equal(take_all(w, arrives(w, 0, 0)), 64 * MIB);
	for (unsigned i = 1; i < 3; i++)
		assert_true(take_all(w, arrives(w, i, 0)) >= 2 * MIB);
	assert_true(w->left > 0);
}

static void those_who_take_turns_have_the_same(void **state)
{
	struct world *w = *state;
	uint64_t bytes[4] = {0};
	unsigned given;

	for (unsigned i = 0; i < 4; i++)
		arrives(w, i, 0);
	do {
		given = 0;
		for (unsigned i = 0; i < 4; i++)
			if (take(w, &w->peers[i], 2 * MIB, 0)) {
				bytes[i] += 2 * MIB;
				given++;
			}
	} while (given);
	for (unsigned i = 0; i < 4; i++)
		assert_in_range(bytes[i], 18 * MIB, 22 * MIB);
}

/* Few large ones and many small ones are the same. */
static void bytes_count_not_maps(void **state)
{
	struct world *w = *state;
	struct peer *large = arrives(w, 0, 0), *small = arrives(w, 1, 0);

	assert_non_null(take(w, large, 40 * MIB, 0));
	assert_null(take(w, large, 40 * MIB, 0));
	assert_int_equal(take_all(w, small), 36 * MIB);
	assert_null(take(w, large, 2 * MIB, 0));
}

static void a_range_counts_once_for_each_client(void **state)
{
	struct world *w = *state;
	struct peer *a = arrives(w, 0, 0), *b = arrives(w, 1, 0);
	struct direct_map *first = take(w, a, 48 * MIB, 0), *again;

	assert_non_null(first);
	again = take(w, a, 48 * MIB, 1);
	assert_non_null(again);
	assert_non_null(take(w, b, 48 * MIB, 1));
	assert_null(take(w, a, 30 * MIB, 0));
	/* The one that counts goes, and another one of that range counts. */
	give(w, first, false);
	assert_true(again->counted);
	assert_null(take(w, a, 30 * MIB, 0));
	give(w, again, false);
	assert_non_null(take(w, a, 30 * MIB, 0));
}

static void a_user_has_one_share_however_many_connections(void **state)
{
	struct world *w = *state;
	struct peer *a = arrives(w, 0, USER), *b = arrives(w, 1, USER), *other;
	uint64_t has = take_all(w, a);

	assert_int_equal(has, 64 * MIB);
	assert_null(take(w, b, 2 * MIB, 0));
	/* Also of what he left to his children. */
	list_splice_back(&w->home.lone, &a->maps);
	assert_null(take(w, b, 2 * MIB, 0));
	other = arrives(w, 2, OTHER);
	assert_non_null(take(w, other, 2 * MIB, 0));
	/* Root and the mount's user are trusted to share among themselves. */
	assert_non_null(take(w, arrives(w, 3, 500), 2 * MIB, 0));
}

static void what_was_revoked_does_not_count(void **state)
{
	struct world *w = *state;
	struct peer *a = arrives(w, 0, 0);
	struct direct_map *map = take(w, a, 64 * MIB, 0);

	assert_non_null(map);
	assert_null(take(w, a, 2 * MIB, 0));
	atomic_store(&map->state, MAP_DROPPED);
	w->left += 64 * MIB;
	assert_non_null(take(w, a, 64 * MIB, 0));
}

int main(void)
{
#define WORLD(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		WORLD(one_alone_has_two_thirds_and_the_rest_is_shared),
		WORLD(those_who_take_turns_have_the_same),
		WORLD(bytes_count_not_maps),
		WORLD(a_range_counts_once_for_each_client),
		WORLD(a_user_has_one_share_however_many_connections),
		WORLD(what_was_revoked_does_not_count),
	};

	return cmocka_run_group_tests_name("direct-share", tests, NULL, NULL);
}
