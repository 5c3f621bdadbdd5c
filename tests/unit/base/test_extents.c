/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sorted list of extents: the ends of 64 bits, the limit, and random operations against a map
 * of bytes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/extents.h"
#include "base/hash.h"

struct element {
	struct extent x;
	int payload;
};

static uint64_t rng_state;

static uint64_t random_below(uint64_t n)
{
	return hash_u64(++rng_state) % n;
}

static int insert(struct extents *t, uint64_t first, uint64_t last, int payload)
{
	return extents_insert(t, &(struct element){.x = {first, last}, .payload = payload});
}

static void an_empty_list_finds_nothing(void **state)
{
	struct extents t;

	(void)state;
	extents_init(&t, sizeof(struct element), 8);
	assert_int_equal(extents_search(&t, 0), 0);
	assert_null(extents_find(&t, 0));
	assert_null(extents_find_overlap(&t, (struct extent){0, UINT64_MAX}));
	assert_null(extents_find_exact(&t, (struct extent){0, 0}));
	extents_remove_at(&t, 0, 0);
	extents_clear(&t);
	extents_fini(&t);
}

static void offsets_at_the_ends_of_64_bits_are_found(void **state)
{
	struct extents t;

	(void)state;
	extents_init(&t, sizeof(struct element), 8);
	assert_int_equal(insert(&t, UINT64_MAX, UINT64_MAX, 1), 0);
	assert_int_equal(insert(&t, 0, 0, 2), 0);
	assert_int_equal(((struct element *)extents_find(&t, UINT64_MAX))->payload, 1);
	assert_int_equal(((struct element *)extents_find(&t, 0))->payload, 2);
	assert_null(extents_find(&t, UINT64_MAX - 1));
	assert_int_equal(insert(&t, 0, UINT64_MAX, 3), -EEXIST);
	extents_clear(&t);
	assert_int_equal(insert(&t, 0, UINT64_MAX, 3), 0);
	assert_int_equal(extent_len(((struct element *)extents_at(&t, 0))->x), 0);
	assert_non_null(extents_find(&t, UINT64_MAX / 2));
	extents_fini(&t);
}

static void a_full_list_refuses_another_element(void **state)
{
	struct extents t;

	(void)state;
	extents_init(&t, sizeof(struct element), 100);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(insert(&t, 2 * i, 2 * i, 0), 0);
	assert_int_equal(insert(&t, 1, 1, 0), -ENOSPC);
	assert_int_equal(extents_reserve(&t), -ENOSPC);
	assert_int_equal(insert(&t, 2, 2, 0), -EEXIST);
	assert_int_equal(t.n, 100);
	extents_remove(&t, extents_find(&t, 50));
	assert_int_equal(extents_reserve(&t), 0);
	assert_int_equal(insert(&t, 1, 1, 0), 0);
	extents_fini(&t);
}

/* The model: which element each offset belongs to; 0: none. */
#define MODEL_OFFSETS 256
static int owner_of[MODEL_OFFSETS];

static int model_first_owner(struct extent x)
{
	for (uint64_t off = x.first; off <= x.last; off++)
		if (owner_of[off])
			return owner_of[off];
	return 0;
}

static int payload_of(const struct element *e)
{
	return e ? e->payload : 0;
}

static void agrees_with_model(const struct extents *t)
{
	size_t n = 0;

	for (unsigned off = 0; off < MODEL_OFFSETS; off++)
		n += owner_of[off] && (!off || owner_of[off - 1] != owner_of[off]);
	assert_int_equal(t->n, n);
	for (size_t i = 0; i < t->n; i++) {
		const struct element *e = extents_at(t, i);

		assert_true(e->x.first <= e->x.last && (!i || e[-1].x.last < e->x.first));
		for (uint64_t off = e->x.first; off <= e->x.last; off++)
			assert_int_equal(owner_of[off], e->payload);
	}
}

static void random_remove(struct extents *t, struct extent x)
{
	size_t i = extents_search(t, x.first), end = extents_search(t, x.last);

	for (size_t k = i; k < end; k++) {
		const struct element *e = extents_at(t, k);

		for (uint64_t off = e->x.first; off <= e->x.last; off++)
			owner_of[off] = 0;
	}
	extents_remove_at(t, i, end - i);
}

static void random_operations_agree_with_a_map_of_offsets(void **state)
{
	struct extents t;

	(void)state;
	extents_init(&t, sizeof(struct element), MODEL_OFFSETS);
	for (int step = 1; step <= 200000; step++) {
		uint64_t first = random_below(MODEL_OFFSETS);
		uint64_t len = 1 + random_below(MIN(12, MODEL_OFFSETS - first));
		struct extent x = extent_of(first, len);
		struct element *e = extents_find_exact(&t, x);

		assert_int_equal(payload_of(extents_find(&t, first)), owner_of[first]);
		assert_int_equal(payload_of(extents_find_overlap(&t, x)), model_first_owner(x));
		if (e) {
			assert_true(e->x.first == x.first && extent_len(e->x) == len);
			for (uint64_t off = x.first; off <= x.last; off++)
				owner_of[off] = 0;
			extents_remove(&t, e);
		} else if (random_below(16) == 0) {
			random_remove(&t, x);
		} else {
			bool is_free = !model_first_owner(x);

			assert_int_equal(insert(&t, x.first, x.last, step), is_free ? 0 : -EEXIST);
			for (uint64_t off = first; is_free && off <= x.last; off++)
				owner_of[off] = step;
		}
		if (step % 16 == 0)
			agrees_with_model(&t);
	}
	extents_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_list_finds_nothing),
		cmocka_unit_test(offsets_at_the_ends_of_64_bits_are_found),
		cmocka_unit_test(a_full_list_refuses_another_element),
		cmocka_unit_test(random_operations_agree_with_a_map_of_offsets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
