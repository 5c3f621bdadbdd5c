/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The interval map of translations: splits, merges, the ends of 64 bits, the bound. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vfsdax-device/vhost/iotlb.h"
#include "stage.h"

#define TOP UINT64_MAX
#define RW  (VHOST_IOTLB_PERM_READ | VHOST_IOTLB_PERM_WRITE)

static struct iotlb t;

static int fresh(void **state)
{
	(void)state;
	iotlb_init(&t, 8);
	return 0;
}

static int done(void **state)
{
	(void)state;
	iotlb_fini(&t);
	return 0;
}

/* Sorted, disjoint, nothing left to merge: the map's own invariant. */
static void check_order(void)
{
	for (size_t i = 0; i < t.entries.n; i++) {
		const struct iotlb_entry *e = extents_at(&t.entries, i);

		assert_true(e->x.first <= e->x.last);
		assert_true(!i || e[-1].x.last < e->x.first);
	}
	assert_true(t.entries.n <= t.entries.limit);
}

static void is_at(uint64_t iova, uint64_t want_user, uint64_t want_run)
{
	uint64_t user, run;

	assert_int_equal(iotlb_lookup(&t, iova, 1, &user, &run), 0);
	assert_int_equal(user, want_user);
	assert_int_equal(run, want_run);
	check_order();
}

static void is_gone(uint64_t iova)
{
	uint64_t user, run;

	assert_int_equal(iotlb_lookup(&t, iova, 1, &user, &run), -ENOENT);
	check_order();
}

static void an_entry_answers_for_exactly_its_range(void **state)
{
	(void)state;
	assert_int_equal(iotlb_add(&t, 0x2000, 0x1000, 0x90000, RW), 0);
	is_gone(0x1fff);
	is_at(0x2000, 0x90000, 0x1000);
	is_at(0x2fff, 0x90fff, 1);
	is_gone(0x3000);
}

static void permissions_are_kept_apart(void **state)
{
	uint64_t user, run;

	(void)state;
	assert_int_equal(iotlb_add(&t, 0, 4096, 0x1000, VHOST_IOTLB_PERM_READ), 0);
	assert_int_equal(iotlb_lookup(&t, 0, VHOST_IOTLB_PERM_READ, &user, &run), 0);
	assert_int_equal(iotlb_lookup(&t, 0, VHOST_IOTLB_PERM_WRITE, &user, &run), -ENOENT);
	assert_int_equal(iotlb_lookup(&t, 0, RW, &user, &run), -ENOENT);
	assert_int_equal(iotlb_add(&t, 0, 4096, 0x1000, RW), 0);
	assert_int_equal(iotlb_lookup(&t, 0, RW, &user, &run), 0);
	assert_int_equal(t.entries.n, 1);
}

static void neighbours_that_continue_each_other_become_one(void **state)
{
	(void)state;
	iotlb_add(&t, 0x1000, 0x1000, 0x11000, RW);
	iotlb_add(&t, 0x3000, 0x1000, 0x13000, RW);
	assert_int_equal(t.entries.n, 2);
	iotlb_add(&t, 0x2000, 0x1000, 0x12000, RW);
	assert_int_equal(t.entries.n, 1);
	is_at(0x1800, 0x11800, 0x2800);
	/* next to it, but elsewhere */
	iotlb_add(&t, 0x4000, 0x1000, 0x99000, RW);
	assert_int_equal(t.entries.n, 2);
	is_at(0x3fff, 0x13fff, 1);
}

static void an_invalidation_splits_an_entry(void **state)
{
	(void)state;
	iotlb_add(&t, 0x10000, 0x10000, 0x70000, RW);
	iotlb_remove(&t, 0x14000, 0x14fff);
	assert_int_equal(t.entries.n, 2);
	is_at(0x13fff, 0x73fff, 1);
	is_gone(0x14000);
	is_gone(0x14fff);
	is_at(0x15000, 0x75000, 0xb000);
}

static void an_invalidation_over_several_trims_the_outer_ones(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 4; i++)
		iotlb_add(&t, i * 0x2000, 0x1000, 0x100000 * (i + 1), RW);
	iotlb_remove(&t, 0x800, 0x67ff);
	assert_int_equal(t.entries.n, 2);
	is_at(0x7ff, 0x1007ff, 1);
	is_gone(0x800);
	is_gone(0x2000);
	is_gone(0x67ff);
	is_at(0x6800, 0x400800, 0x800);
}

static void the_ends_of_64_bits_are_addresses_like_others(void **state)
{
	(void)state;
	assert_int_equal(iotlb_add(&t, TOP - 0xfff, 0x1000, 0x5000, RW), 0);
	is_at(TOP, 0x5fff, 1);
	assert_int_equal(iotlb_add(&t, 0, 0x1000, TOP - 0xfff, RW), 0);
	is_at(0, TOP - 0xfff, 0x1000);
	assert_int_equal(t.entries.n, 2);
	iotlb_remove(&t, TOP, TOP);
	is_gone(TOP);
	is_at(TOP - 1, 0x5ffe, 1);
	iotlb_remove(&t, 0, TOP);
	assert_int_equal(t.entries.n, 0);
	/* all but one byte of the address space: the largest that a size can say */
	assert_int_equal(iotlb_add(&t, 0, TOP, 0, RW), 0);
	is_at(0, 0, TOP);
	iotlb_remove(&t, 0, 0);
	is_gone(0);
	is_at(1, 1, TOP - 1);
}

static void nonsense_is_refused(void **state)
{
	(void)state;
	assert_int_equal(iotlb_add(&t, 0, 0, 0, RW), -EINVAL);
	assert_int_equal(iotlb_add(&t, TOP, 2, 0, RW), -EINVAL);
	assert_int_equal(iotlb_add(&t, 0, 0x1000, TOP - 0xffe, RW), -EINVAL);
	assert_int_equal(iotlb_add(&t, 0, 0x1000, 0, 0), -EINVAL);
	assert_int_equal(iotlb_add(&t, 0, 0x1000, 0, 4), -EINVAL);
	assert_int_equal(t.entries.n, 0);
}

static void a_full_cache_forgets_one_and_keeps_the_new_one(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 100; i++) {
		assert_int_equal(iotlb_add(&t, i * 0x10000, 0x1000, i, RW), 0);
		is_at(i * 0x10000, i, 0x1000);
	}
	assert_int_equal(t.entries.n, t.entries.limit);
	/* A split has no room for its upper half. */
	iotlb_flush(&t);
	for (uint64_t i = 0; i < t.entries.limit; i++)
		iotlb_add(&t, i * 0x10000, 0x3000, 0, RW);
	iotlb_remove(&t, 0x1000, 0x1fff);
	is_at(0, 0, 0x1000);
	is_gone(0x2000);
}

/* Against an array of pages, which cannot be wrong. */
static void random_changes_agree_with_a_plain_array(void **state)
{
	enum { PAGES = 64 };
	uint64_t model[PAGES] = {0}; /* user page + 1 */
	unsigned seed = 7;

	(void)state;
	t.entries.limit = PAGES;
	for (int round = 0; round < 20000; round++) {
		unsigned first = (unsigned)rand_r(&seed) % PAGES;
		unsigned n = 1 + (unsigned)rand_r(&seed) % (PAGES - first);
		uint64_t user = (uint64_t)(rand_r(&seed) % 4) * 1000 + first;

		if (rand_r(&seed) % 2) {
			assert_int_equal(iotlb_add(&t, first * 4096ul, n * 4096ul, user * 4096, RW),
					 0);
			for (unsigned i = 0; i < n; i++)
				model[first + i] = user + i + 1;
		} else {
			iotlb_remove(&t, first * 4096ul, (first + n) * 4096ul - 1);
			memset(&model[first], 0, n * sizeof(model[0]));
		}
		check_order();
		for (unsigned i = 0; i < PAGES; i++) {
			uint64_t got, run;
			int rc = iotlb_lookup(&t, i * 4096ul + 5, RW, &got, &run);

			assert_int_equal(rc, model[i] ? 0 : -ENOENT);
			if (!rc)
				assert_int_equal(got, (model[i] - 1) * 4096 + 5);
		}
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fresh, done)
	const struct CMUnitTest tests[] = {
		T(an_entry_answers_for_exactly_its_range),
		T(permissions_are_kept_apart),
		T(neighbours_that_continue_each_other_become_one),
		T(an_invalidation_splits_an_entry),
		T(an_invalidation_over_several_trims_the_outer_ones),
		T(the_ends_of_64_bits_are_addresses_like_others),
		T(nonsense_is_refused),
		T(a_full_cache_forgets_one_and_keeps_the_new_one),
		T(random_changes_agree_with_a_plain_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
