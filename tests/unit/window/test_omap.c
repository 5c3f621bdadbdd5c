/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <errno.h>
#include <stdlib.h>

#include "base/omap.h"

static uint64_t rng_state = 88172645463325252ULL;

static uint64_t rnd(uint64_t below)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return (rng_state >> 11) % below;
}

static void *value_of(uint64_t key)
{
	return (void *)(uintptr_t)(key * 2 + 1);
}

static void an_empty_map_finds_nothing(void **state)
{
	struct omap m;

	(void)state;
	omap_init(&m);
	assert_null(omap_floor(&m, UINT64_MAX, NULL));
	assert_null(omap_ceil(&m, 0, NULL));
	assert_null(omap_remove(&m, 7));
	omap_clear(&m);
}

static void keys_at_the_ends_of_64_bits_are_found(void **state)
{
	struct omap m;
	uint64_t key;
	int low, high;

	(void)state;
	omap_init(&m);
	assert_int_equal(omap_insert(&m, 0, &low), 0);
	assert_int_equal(omap_insert(&m, UINT64_MAX, &high), 0);
	assert_int_equal(omap_insert(&m, UINT64_MAX, &low), -EEXIST);
	assert_ptr_equal(omap_floor(&m, UINT64_MAX - 1, &key), &low);
	assert_int_equal(key, 0);
	assert_ptr_equal(omap_floor(&m, UINT64_MAX, NULL), &high);
	assert_ptr_equal(omap_ceil(&m, 1, &key), &high);
	assert_true(key == UINT64_MAX);
	assert_ptr_equal(omap_remove(&m, 0), &low);
	assert_null(omap_floor(&m, UINT64_MAX - 1, NULL));
	assert_ptr_equal(omap_remove(&m, UINT64_MAX), &high);
	assert_int_equal(m.count, 0);
	assert_null(m.root);
}

/* Against an array of flags; dense and sparse phases make nodes split, shrink and merge. */
static void it_agrees_with_a_plain_array(void **state)
{
	enum { N = 40000 };
	static bool has[N];
	struct omap m;
	size_t count = 0;

	(void)state;
	omap_init(&m);
	for (int i = 0; i < 400000; i++) {
		uint64_t k = rnd(N), found = 0;
		unsigned percent = i / 50000 % 2 ? 30 : 70;

		if (rnd(100) < percent) {
			assert_int_equal(omap_insert(&m, k, value_of(k)), has[k] ? -EEXIST : 0);
			count += !has[k];
			has[k] = true;
		} else {
			assert_ptr_equal(omap_remove(&m, k), has[k] ? value_of(k) : NULL);
			count -= has[k];
			has[k] = false;
		}
		assert_int_equal(m.count, count);

		if (i % 8)
			continue;

		uint64_t at = rnd(N), below = at + 1, above = at;

		while (below && !has[below - 1])
			below--;
		while (above < N && !has[above])
			above++;
		assert_ptr_equal(omap_floor(&m, at, &found), below ? value_of(below - 1) : NULL);
		if (below)
			assert_int_equal(found, below - 1);
		assert_ptr_equal(omap_ceil(&m, at, &found), above < N ? value_of(above) : NULL);
		if (above < N)
			assert_int_equal(found, above);
	}
	omap_clear(&m);
}

static void removing_everything_in_any_order_leaves_nothing(void **state)
{
	enum { N = 100000 };
	static uint64_t keys[N];
	struct omap m;

	(void)state;
	for (int order = 0; order < 3; order++) {
		omap_init(&m);
		for (uint64_t i = 0; i < N; i++)
			keys[i] = order == 1 ? N - i : i + 1;
		for (uint64_t i = 0; i < N; i++)
			assert_int_equal(omap_insert(&m, keys[i], value_of(keys[i])), 0);
		assert_in_range(m.height, 2, 3);
		for (uint64_t i = N - 1; order == 2 && i > 0; i--) {
			uint64_t j = rnd(i + 1), t = keys[i];

			keys[i] = keys[j];
			keys[j] = t;
		}
		for (uint64_t i = 0; i < N; i++)
			assert_ptr_equal(omap_remove(&m, keys[i]), value_of(keys[i]));
		assert_null(m.root);
		assert_int_equal(m.height, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_map_finds_nothing),
		cmocka_unit_test(keys_at_the_ends_of_64_bits_are_found),
		cmocka_unit_test(it_agrees_with_a_plain_array),
		cmocka_unit_test(removing_everything_in_any_order_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
