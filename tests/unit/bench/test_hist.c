/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <math.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "hist.h"
#include "pattern.h"

static struct hist h, other;

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t exact(const uint64_t *sorted, size_t n, double percent)
{
	size_t rank = (size_t)ceil(percent / 100 * (double)n);

	return sorted[rank ? rank - 1 : 0];
}

static void each_percentile_is_within_one_percent_of_the_sorted_values(void **state)
{
	static const double percents[] = {0, 1, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99, 100};
	enum { N = 200000 };
	uint64_t *values = malloc(N * sizeof(*values));
	uint64_t r = 1;

	(void)state;
	assert_non_null(values);
	hist_reset(&h);
	/* from nanoseconds to ten seconds, the logarithm even */
	for (size_t i = 0; i < N; i++) {
		values[i] = (uint64_t)exp((double)(splitmix64(&r) >> 11) * 0x1p-53 * 23);
		hist_add(&h, values[i]);
	}
	qsort(values, N, sizeof(*values), ascending);
	for (size_t i = 0; i < ARRAY_SIZE(percents); i++) {
		double want = (double)exact(values, N, percents[i]);
		double have = (double)hist_percentile(&h, percents[i]);

		if (fabs(have - want) > want * 0.01)
			fail_msg("p%g is %.0f, sorted values say %.0f", percents[i], have, want);
	}
	free(values);
}

static void small_values_are_exact(void **state)
{
	(void)state;
	hist_reset(&h);
	for (uint64_t v = 0; v < 256; v++)
		hist_add(&h, v);
	for (unsigned v = 1; v <= 256; v++)
		assert_int_equal(hist_percentile(&h, 100.0 * v / 256), v - 1);
}

static void every_value_has_a_bucket_that_holds_it(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < 64; bit++)
		for (int around = -1; around <= 1; around++) {
			uint64_t v = (UINT64_C(1) << bit) + (uint64_t)around;

			assert_true(hist_index(v) < HIST_SIZE);
			hist_reset(&h);
			hist_add(&h, v);
			if (v <= HIST_TOP)
				assert_true(hist_percentile(&h, 50) == v); /* within min and max */
		}
	assert_true(hist_index(UINT64_MAX) == hist_index(HIST_TOP));
}

static void buckets_ascend_without_a_gap(void **state)
{
	unsigned last = 0;

	(void)state;
	for (uint64_t v = 0; v < 100000; v++) {
		unsigned i = hist_index(v);

		assert_true(i == last || i == last + 1);
		last = i;
	}
}

static void mean_and_deviation_are_those_of_the_values(void **state)
{
	static const uint64_t values[] = {2, 4, 4, 4, 5, 5, 7, 9};

	(void)state;
	hist_reset(&h);
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		hist_add(&h, values[i]);
	assert_true(fabs(hist_mean(&h) - 5) < 1e-9);
	assert_true(fabs(hist_stddev(&h) - sqrt(32.0 / 7)) < 1e-9);
	assert_int_equal(h.min, 2);
	assert_int_equal(h.max, 9);
}

/* fio_jsonplus_clat2csv looks for no value above that, and would look for ever. */
static void no_bin_is_above_that_of_fio(void **state)
{
	(void)state;
	assert_true(hist_value(hist_index(UINT64_MAX)) < UINT64_C(17112760320));
	for (uint64_t v = 1; v < HIST_TOP; v = v * 3 / 2 + 1) {
		double middle = (double)hist_value(hist_index(v));

		assert_true(fabs(middle - (double)v) <= (double)v / 200);
		assert_int_equal(hist_index(hist_value(hist_index(v))), hist_index(v));
	}
}

static void merging_is_as_if_one_had_seen_all(void **state)
{
	(void)state;
	hist_reset(&h);
	hist_reset(&other);
	for (uint64_t v = 1; v <= 50; v++)
		hist_add(&h, v);
	for (uint64_t v = 51; v <= 100; v++)
		hist_add(&other, v);
	hist_merge(&h, &other);
	assert_int_equal(h.count, 100);
	assert_int_equal(hist_percentile(&h, 50), 50);
	assert_int_equal(hist_percentile(&h, 99), 99);
	assert_int_equal(h.max, 100);
}

static void nothing_recorded_is_zero(void **state)
{
	(void)state;
	hist_reset(&h);
	hist_reset(&other);
	hist_merge(&h, &other);
	assert_int_equal(hist_percentile(&h, 50), 0);
	assert_true(hist_mean(&h) == 0 && hist_stddev(&h) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_percentile_is_within_one_percent_of_the_sorted_values),
		cmocka_unit_test(small_values_are_exact),
		cmocka_unit_test(every_value_has_a_bucket_that_holds_it),
		cmocka_unit_test(buckets_ascend_without_a_gap),
		cmocka_unit_test(mean_and_deviation_are_those_of_the_values),
		cmocka_unit_test(no_bin_is_above_that_of_fio),
		cmocka_unit_test(merging_is_as_if_one_had_seen_all),
		cmocka_unit_test(nothing_recorded_is_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
