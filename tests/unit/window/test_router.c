/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include "base/bytes.h"
#include "window/router.h"

#define PAGE (4 * KIB)

static void note_copies(struct router *r, uint64_t len, uint64_t ns)
{
	for (int i = 0; i < 100; i++)
		router_note_copy(r, ROUTER_READ, len, ns);
}

static void note_queue(struct router *r, uint64_t len, uint64_t ns)
{
	for (int i = 0; i < 100; i++)
		router_note_queue(r, ROUTER_READ, len, ns);
}

static void before_anything_is_measured_the_window_is_used(void **state)
{
	struct router r = {0};

	(void)state;
	for (uint64_t len = 0; len <= 2 * MIB; len += 64 * KIB) {
		assert_false(router_avoids(&r, ROUTER_READ, len));
		assert_true(router_gain_ns(&r, ROUTER_WRITE, len) > 0);
		assert_true(router_wants_queue(&r, ROUTER_READ, len));
		assert_true(router_wants_copy(&r, ROUTER_READ, len));
	}
	assert_true(router_setup_ns(&r) > router_remove_ns(&r));
}

static void an_uncached_window_leads_to_the_queue_for_large_copies_only(void **state)
{
	struct router r = {0};

	(void)state;
	note_queue(&r, PAGE, 20000);
	note_queue(&r, MIB, 250000);
	note_copies(&r, PAGE, 6400);
	note_copies(&r, MIB, 1600000);
	assert_false(router_avoids(&r, ROUTER_READ, PAGE));
	assert_true(router_avoids(&r, ROUTER_READ, MIB));
	assert_true(router_avoids(&r, ROUTER_READ, 8 * MIB));
	assert_int_equal(router_gain_ns(&r, ROUTER_READ, PAGE), 13600);
	assert_int_equal(router_gain_ns(&r, ROUTER_READ, MIB), 0);
	/* Writes were not measured. */
	assert_false(router_avoids(&r, ROUTER_WRITE, MIB));
}

static void a_long_copy_raises_doubt_until_the_queue_is_known(void **state)
{
	struct router r = {0};

	(void)state;
	assert_false(router_doubts(&r, ROUTER_READ, MIB)); /* of what was never copied */
	note_copies(&r, PAGE, 1000);
	note_copies(&r, MIB, 400000);
	assert_false(router_doubts(&r, ROUTER_READ, PAGE)); /* no message is as fast */
	assert_true(router_doubts(&r, ROUTER_READ, MIB));
	assert_false(router_doubts(&r, ROUTER_WRITE, MIB));
	note_queue(&r, MIB, 500000);
	assert_true(router_doubts(&r, ROUTER_READ, MIB)); /* that is not much */
	note_queue(&r, MIB, 1000000);
	assert_false(router_doubts(&r, ROUTER_READ, MIB));
	note_queue(&r, PAGE, 600000); /* a device that takes long for everything */
	note_queue(&r, MIB, 500000);
	assert_false(router_doubts(&r, ROUTER_READ, MIB));
}

static void a_difference_within_the_noise_changes_nothing(void **state)
{
	struct router r = {0};

	(void)state;
	note_queue(&r, PAGE, 20000);
	note_copies(&r, PAGE, 24000);
	assert_false(router_avoids(&r, ROUTER_READ, PAGE));
	note_copies(&r, PAGE, 27000);
	assert_true(router_avoids(&r, ROUTER_READ, PAGE));
}

static void a_few_samples_are_taken_at_once(void **state)
{
	struct router r = {0};

	(void)state;
	for (int i = 0; i < 8; i++) {
		assert_true(router_wants_copy(&r, ROUTER_WRITE, 5 * PAGE));
		router_note_copy(&r, ROUTER_WRITE, 5 * PAGE, 1000);
	}
	assert_false(router_wants_copy(&r, ROUTER_WRITE, 5 * PAGE));
	assert_false(router_wants_copy(&r, ROUTER_WRITE, 4 * PAGE)); /* the same class */
	assert_true(router_wants_copy(&r, ROUTER_WRITE, 8 * PAGE));
	assert_true(router_wants_queue(&r, ROUTER_WRITE, 5 * PAGE));
}

static void one_sample_that_is_far_out_does_not_decide(void **state)
{
	struct router r = {0};

	(void)state;
	for (int i = 0; i < 100; i++)
		router_note_setup(&r, 100000);
	router_note_setup(&r, 1000000000);
	assert_in_range(router_setup_ns(&r), 100000, 130000);
	/* A lasting change is followed. */
	for (int i = 0; i < 200; i++)
		router_note_setup(&r, 10000000);
	assert_in_range(router_setup_ns(&r), 9000000, 10000000);
}

static void a_removal_of_many_counts_for_each(void **state)
{
	struct router r = {0};

	(void)state;
	router_note_remove(&r, 10, 500000);
	assert_int_equal(router_remove_ns(&r), 50000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(before_anything_is_measured_the_window_is_used),
		cmocka_unit_test(an_uncached_window_leads_to_the_queue_for_large_copies_only),
		cmocka_unit_test(a_long_copy_raises_doubt_until_the_queue_is_known),
		cmocka_unit_test(a_difference_within_the_noise_changes_nothing),
		cmocka_unit_test(a_few_samples_are_taken_at_once),
		cmocka_unit_test(one_sample_that_is_far_out_does_not_decide),
		cmocka_unit_test(a_removal_of_many_counts_for_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
