/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <math.h>

#include "base/bytes.h"
#include "pattern.h"
#include "report/stats.h"

static bool near(double a, double b)
{
	return fabs(a - b) < 1e-3 * fabs(b) + 1e-12;
}

/* From [0, 1). */
static double unit(uint64_t *state)
{
	return (double)(splitmix64(state) >> 11) * 0x1p-53;
}

static void median_mean_and_deviation(void **state)
{
	static const double odd[] = {9, 1, 5}, even[] = {4, 1, 3, 2};

	(void)state;
	assert_true(stats_median(odd, 3) == 5);
	assert_true(odd[0] == 9);
	assert_true(stats_median(even, 4) == 2.5);
	assert_true(stats_median(even, 0) == 0);
	assert_true(near(stats_mean(even, 4), 2.5));
	assert_true(near(stats_stddev(even, 4), sqrt(5.0 / 3)));
	assert_true(stats_stddev(even, 1) == 0);
}

/* Values of printed tables. */
static void students_t_is_that_of_the_tables(void **state)
{
	(void)state;
	assert_true(near(stats_t95(1), 12.706));
	assert_true(near(stats_t95(6), 2.447));
	assert_true(near(stats_t95(30), 2.042));
	assert_true(near(stats_t95(40), 2.021));
	assert_true(near(stats_t95(60), 2.000));
	assert_true(near(stats_t95(120), 1.980));
	assert_true(near(stats_t95(999), 1.962));
}

static void an_interval_needs_two_values(void **state)
{
	static const double v[] = {10, 12, 14};
	struct estimate e = stats_interval(v, 1);

	(void)state;
	assert_false(e.has_interval);
	assert_true(e.value == 10);
	e = stats_interval(v, 3);
	assert_true(e.has_interval);
	assert_true(near(e.low, 12 - 4.3027 * 2 / sqrt(3)));
	assert_true(near(e.high, 12 + 4.3027 * 2 / sqrt(3)));
}

static void a_ratio_is_taken_within_the_rounds(void **state)
{
	/* the machine gets slower, the ratio does not move */
	static const double base[] = {100, 50, 25, 10}, twice[] = {200, 100, 50, 20};
	static const double hole[] = {200, 0, 50, 20};
	struct estimate e = stats_ratio(twice, base, 4);

	(void)state;
	assert_true(near(e.value, 2) && near(e.low, 2) && near(e.high, 2) && e.has_interval);
	e = stats_ratio(hole, base, 4);
	assert_true(near(e.value, 2));
	e = stats_ratio(hole, base, 0);
	assert_true(e.value == 0 && !e.has_interval);
	e = stats_ratio(base, twice, 4);
	assert_true(near(e.value, 0.5));
}

/* Of many samples of seven rounds, 95 of 100 intervals hold the true ratio. */
static void the_interval_covers_as_often_as_it_says(void **state)
{
	uint64_t r = 17;
	unsigned covered = 0;
	enum { TRIALS = 4000, ROUNDS = 7 };

	(void)state;
	for (unsigned t = 0; t < TRIALS; t++) {
		double a[ROUNDS], b[ROUNDS];
		struct estimate e;

		for (unsigned i = 0; i < ROUNDS; i++) {
			double normal =
				sqrt(-2 * log(1 - unit(&r))) * cos(2 * 3.14159265358979 * unit(&r));

			b[i] = 1000 * (1 + unit(&r)); /* a machine of changing speed */
			a[i] = b[i] * 1.3 * exp(0.05 * normal);
		}
		e = stats_ratio(a, b, ROUNDS);
		covered += e.low <= 1.3 && 1.3 <= e.high;
	}
	assert_true(covered > TRIALS * 0.935 && covered < TRIALS * 0.965);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(median_mean_and_deviation),
		cmocka_unit_test(students_t_is_that_of_the_tables),
		cmocka_unit_test(an_interval_needs_two_values),
		cmocka_unit_test(a_ratio_is_taken_within_the_rounds),
		cmocka_unit_test(the_interval_covers_as_often_as_it_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
