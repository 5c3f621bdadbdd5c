/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rates and percentiles out of reports. */
#include "figures.h"

#include <math.h>

#include "test.h"

static void expect_near(double have, double want)
{
	if (fabs(have - want) > want * 1e-9 + 1e-12)
		fail_msg("%g, expected %g", have, want);
}

static void every_time_has_a_bucket_that_holds_it(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < 64; bit++)
		for (int around = -1; around <= 1; around++) {
			uint64_t ns = (UINT64_C(1) << bit) + (uint64_t)around;
			unsigned i = latency_bucket(ns);

			assert_true(i < LATENCY_BUCKETS);
			assert_true(latency_from_ns(i) <= ns);
			if (i + 1 < LATENCY_BUCKETS)
				assert_true(latency_from_ns(i + 1) > ns);
		}
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		assert_int_equal(latency_bucket(latency_from_ns(i)), i);
		assert_true(latency_from_ns(i + 1) - latency_from_ns(i) <=
			    MAX(latency_from_ns(i) / 8, 1));
	}
}

static void percentiles_are_those_of_the_sorted_values(void **state)
{
	uint64_t buckets[LATENCY_BUCKETS] = {0};

	(void)state;
	assert_int_equal(figures_percentile(buckets, 50), 0);
	for (uint64_t ns = 1; ns <= 100000; ns++)
		buckets[latency_bucket(ns)]++;
	for (unsigned percent = 1; percent <= 100; percent++) {
		double want = percent * 1000.0;
		double have = (double)figures_percentile(buckets, percent);

		if (fabs(have - want) > want / 15)
			fail_msg("p%u is %.0f, not %.0f", percent, have, want);
	}
	/* one of a hundred is not yet p99, two are */
	memset(buckets, 0, sizeof(buckets));
	buckets[latency_bucket(10)] = 99;
	buckets[latency_bucket(1000000)] = 1;
	assert_int_equal(figures_percentile(buckets, 99), 10);
	buckets[latency_bucket(1000000)] = 2;
	assert_true(figures_percentile(buckets, 99) > 900000);
}

static void an_average_is_over_the_time_in_which_was_counted(void **state)
{
	struct report r;
	struct figures f;

	(void)state;
	assert_int_equal(report_of("uptime_ms 100000\ncounted_ms 4000\nwindow.read_bytes 8000\n"
				   "window.reads 40\nwindow.hits 30\nwindow.misses 10\n"
				   "queue.read_bytes 2000\nqueue.requests.READ 8\nrequests 100\n"
				   "latency.window_read.1024 3\nlatency.queue_read.65536 1\n",
				   &r),
			 0);
	figures_work_out(NULL, &r, &f);
	expect_near(f.seconds, 4);
	expect_near(f.way[LATENCY_window_read].bytes_s, 2000);
	expect_near(f.way[LATENCY_window_read].requests_s, 10);
	expect_near(f.way[LATENCY_queue_read].requests_s, 2);
	expect_near(f.way[LATENCY_other].requests_s, 13); /* 100 - 40 - 8 */
	expect_near(f.reads.bytes_s, 2500);
	expect_near(f.hit_rate, 0.75);
	expect_near(f.window_share, 0.8);
	assert_int_equal(f.way[LATENCY_window_read].timed, 3);
	assert_int_equal(f.way[LATENCY_window_read].p99_ns, 1024 + 64);
	assert_int_equal(f.way[LATENCY_window_write].timed, 0);
	assert_int_equal(f.reads.timed, 4);
	assert_true(f.reads.p99_ns >= 65536);
	report_free(&r);
}

static void an_interval_is_what_happened_between_two_reports(void **state)
{
	struct report before, now;
	struct figures f;

	(void)state;
	report_of("uptime_ms 1000\ncounted_ms 1000\nwindow.read_bytes 5000\nwindow.hits 100\n"
		  "window.misses 100\nlatency.window_read.1024 1000\n",
		  &before);
	report_of("uptime_ms 1500\ncounted_ms 1500\nwindow.read_bytes 6000\nwindow.hits 109\n"
		  "window.misses 101\nlatency.window_read.1024 1000\nlatency.window_read.4096 2\n",
		  &now);
	figures_work_out(&before, &now, &f);
	expect_near(f.seconds, 0.5);
	expect_near(f.way[LATENCY_window_read].bytes_s, 2000);
	expect_near(f.hit_rate, 0.9);
	assert_int_equal(f.way[LATENCY_window_read].timed, 2);
	assert_int_equal(f.way[LATENCY_window_read].p50_ns, 4096 + 256);
	figures_work_out(&now, &now, &f);
	expect_near(f.seconds, 0);
	expect_near(f.way[LATENCY_window_read].bytes_s, 0);
	assert_true(f.hit_rate < 0);
	report_free(&before);
	report_free(&now);
}

/* Whether its counters are by now less or more than the last one's were. */
static void with_another_device_counters_begin_anew(void **state)
{
	struct report before, now, away;
	struct figures f;

	(void)state;
	report_of("uptime_ms 10000\ncounted_ms 10000\nwindow.read_bytes 5000\nwindow.reads 9\n",
		  &before);
	report_of("uptime_ms 12000\ncounted_ms 500\nwindow.read_bytes 6000\nwindow.reads 2\n",
		  &now);
	report_of("uptime_ms 11000\ndevice.waiting_ms 900\n", &away);
	figures_work_out(&before, &now, &f);
	expect_near(f.way[LATENCY_window_read].bytes_s, 3000);
	expect_near(f.way[LATENCY_window_read].requests_s, 1);
	figures_work_out(&before, &away, &f);
	expect_near(f.way[LATENCY_window_read].bytes_s, 0);
	figures_work_out(NULL, &away, &f);
	expect_near(f.seconds, 0);
	report_free(&before);
	report_free(&now);
	report_free(&away);
}

static void the_state_is_the_worst_that_is_said(void **state)
{
	static const struct {
		const char *text;
		enum figures_state state;
	} cases[] = {
		{"device.failed false\ndevice.waiting_ms 0\ndevice.refusing false\n", STATE_THERE},
		{"device.failed true\ndevice.waiting_ms 1\ndevice.refusing false\n", STATE_WAITING},
		{"device.failed true\ndevice.waiting_ms 9\ndevice.refusing true\n", STATE_REFUSING},
		{"device.failed true\ndevice.waiting_ms 0\ndevice.refusing false\n", STATE_FAILED},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct report r;

		assert_int_equal(report_of(cases[i].text, &r), 0);
		assert_int_equal(figures_state(&r), cases[i].state);
		report_free(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_time_has_a_bucket_that_holds_it),
		cmocka_unit_test(percentiles_are_those_of_the_sorted_values),
		cmocka_unit_test(an_average_is_over_the_time_in_which_was_counted),
		cmocka_unit_test(an_interval_is_what_happened_between_two_reports),
		cmocka_unit_test(with_another_device_counters_begin_anew),
		cmocka_unit_test(the_state_is_the_worst_that_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
