/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What follows from measurements that are given. */
#include "test.h"

#include "base/bytes.h"
#include "window/router.h"

static void note_copies(struct router *r, enum router_copy how, uint64_t len, uint64_t ns)
{
	for (int i = 0; i < 64; i++)
		router_note_copy(r, ROUTER_READ, how, len, ns, false);
}

static void note_queue(struct router *r, uint64_t len, uint64_t ns)
{
	for (int i = 0; i < 64; i++)
		router_note_queue(r, ROUTER_READ, len, ns);
}

static void before_anything_is_measured_the_window_is_used(void **state)
{
	struct router r;

	(void)state;
	router_init(&r, 30000, 80);
	for (uint64_t len = 1; len <= 4 * MIB; len *= 2) {
		assert_false(router_avoids(&r, ROUTER_READ, len));
		assert_true(router_gain_ns(&r, ROUTER_READ, len) > 0);
		assert_int_equal(router_copy_for(&r, ROUTER_READ, len), ROUTER_COPY_PLAIN);
	}
	assert_true(router_setup_ns(&r, 0) > 30000);
}

static void an_uncached_window_leads_to_the_queue_for_large_copies_only(void **state)
{
	struct router r;

	(void)state;
	router_init(&r, 30000, 80);
	note_queue(&r, 4 * KIB, 30000);
	note_queue(&r, MIB, 200000);
	/* 1 us for each 64 bytes. */
	note_copies(&r, ROUTER_COPY_PLAIN, 4 * KIB, 16000);
	note_copies(&r, ROUTER_COPY_PLAIN, MIB, 4096000);
	assert_false(router_avoids(&r, ROUTER_READ, 4 * KIB));
	assert_true(router_avoids(&r, ROUTER_READ, MIB));
	assert_int_equal(router_gain_ns(&r, ROUTER_READ, MIB), 0);
	assert_true(router_gain_ns(&r, ROUTER_READ, 4 * KIB) > 10000);
	/* The other direction was not measured: nothing is said of it. */
	assert_false(router_avoids(&r, ROUTER_WRITE, MIB));
	/* It is believed again when it is fast again. */
	note_copies(&r, ROUTER_COPY_PLAIN, MIB, 60000);
	assert_false(router_avoids(&r, ROUTER_READ, MIB));
}

static void a_difference_within_the_noise_changes_nothing(void **state)
{
	struct router r;

	(void)state;
	router_init(&r, 30000, 80);
	note_queue(&r, MIB, 200000);
	note_copies(&r, ROUTER_COPY_PLAIN, MIB, 220000);
	assert_false(router_avoids(&r, ROUTER_READ, MIB));
}

static void the_wide_copy_is_used_where_it_is_measured_to_be_faster(void **state)
{
	struct router r;

	(void)state;
	router_init(&r, 30000, 80);
	note_copies(&r, ROUTER_COPY_PLAIN, 64 * KIB, 9000);
	note_copies(&r, ROUTER_COPY_WIDE, 64 * KIB, 11000);
	assert_int_equal(router_copy_for(&r, ROUTER_READ, 64 * KIB), ROUTER_COPY_PLAIN);
	note_copies(&r, ROUTER_COPY_PLAIN, MIB, 4000000);
	note_copies(&r, ROUTER_COPY_WIDE, MIB, 600000);
	assert_int_equal(router_copy_for(&r, ROUTER_READ, MIB), ROUTER_COPY_WIDE);
	assert_in_range(router_window_ns(&r, ROUTER_READ, MIB), 500000, 700000);
}

static void the_set_up_cost_is_that_of_as_many_mappings_as_there_are(void **state)
{
	struct router r;

	(void)state;
	router_init(&r, 30000, 80);
	for (int i = 0; i < 32; i++) {
		router_note_setup(&r, 10, 400000);
		router_note_setup(&r, 1000, 6700000);
	}
	assert_int_equal(router_setup_ns(&r, 9), 400000);
	assert_int_equal(router_setup_ns(&r, 900), 6700000);
	/* Nothing was measured there: as the nearest. */
	assert_int_equal(router_setup_ns(&r, 0), 400000);
	assert_int_equal(router_setup_ns(&r, 100000), 6700000);
}

static void the_first_touch_is_part_of_the_set_up(void **state)
{
	struct router r;

	(void)state;
	router_init(&r, 30000, 80);
	note_copies(&r, ROUTER_COPY_PLAIN, 4 * KIB, 500);
	router_note_setup(&r, 0, 100000);
	for (int i = 0; i < 32; i++)
		router_note_copy(&r, ROUTER_READ, ROUTER_COPY_PLAIN, 4 * KIB, 20500, true);
	assert_in_range(router_setup_ns(&r, 0), 115000, 121000);
	assert_in_range(router_window_ns(&r, ROUTER_READ, 4 * KIB), 500, 700);
}

static void one_sample_that_is_far_out_does_not_decide(void **state)
{
	struct router r;

	(void)state;
	router_init(&r, 30000, 80);
	note_queue(&r, 4 * KIB, 30000);
	router_note_queue(&r, ROUTER_READ, 4 * KIB, 4000000000u);
	assert_in_range(router_queue_ns(&r, ROUTER_READ, 4 * KIB), 30000, 37000);
	/* But a change that lasts is followed. */
	note_queue(&r, 4 * KIB, 300000);
	assert_in_range(router_queue_ns(&r, ROUTER_READ, 4 * KIB), 250000, 310000);
}

static void lengths_in_between_are_estimated_and_grow(void **state)
{
	struct router r;
	uint64_t last = 0;

	(void)state;
	router_init(&r, 30000, 100);
	note_queue(&r, 4 * KIB, 30000);
	note_queue(&r, MIB, 250000);
	for (uint64_t len = 4 * KIB; len <= MIB; len *= 2) {
		assert_true(router_queue_ns(&r, ROUTER_READ, len) >= last);
		last = router_queue_ns(&r, ROUTER_READ, len);
	}
	assert_int_equal(router_class(0), 0);
	assert_int_equal(router_class(8 * KIB - 1), 0);
	assert_int_equal(router_class(UINT64_MAX), ROUTER_CLASSES - 1);
}

static void memory_is_measured(void **state)
{
	(void)state;
	assert_in_range(router_memory_ns_per_kib(), 1, 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(before_anything_is_measured_the_window_is_used),
		cmocka_unit_test(an_uncached_window_leads_to_the_queue_for_large_copies_only),
		cmocka_unit_test(a_difference_within_the_noise_changes_nothing),
		cmocka_unit_test(the_wide_copy_is_used_where_it_is_measured_to_be_faster),
		cmocka_unit_test(the_set_up_cost_is_that_of_as_many_mappings_as_there_are),
		cmocka_unit_test(the_first_touch_is_part_of_the_set_up),
		cmocka_unit_test(one_sample_that_is_far_out_does_not_decide),
		cmocka_unit_test(lengths_in_between_are_estimated_and_grow),
		cmocka_unit_test(memory_is_measured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
