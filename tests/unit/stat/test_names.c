/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The names of counters: which row of a table one belongs to, and what it is called elsewhere. */
#include "known.h"
#include "openmetrics.h"
#include "test.h"

static const struct known *known_as(const char *name, const char *row, const char *first,
				    const char *second)
{
	const char *const want[] = {first, second};
	const struct known *known;
	struct known_parts parts;

	known = known_find(name, &parts);
	if (!known)
		fail_msg("%s is not known", name);
	assert_string_equal(known->name, row);
	assert_int_equal(parts.n, !!first + !!second);
	for (unsigned i = 0; i < parts.n; i++) {
		assert_int_equal(parts.part[i].len, strlen(want[i]));
		assert_memory_equal(parts.part[i].at, want[i], strlen(want[i]));
	}
	return known;
}

static void capitals_stand_for_what_varies(void **state)
{
	(void)state;
	known_as("window.hits", "window.hits", NULL, NULL);
	known_as("window.refusals.EINVAL", "window.refusals.ERRNO", "EINVAL", NULL);
	known_as("queue.requests.COPY_FILE_RANGE", "queue.requests.OPCODE", "COPY_FILE_RANGE",
		 NULL);
	known_as("router.queue_read_128k_ns", "router.queue_DIRECTION_SIZE_ns", "read", "128k");
	known_as("latency.queue_write.1024", "latency.KIND.NS", "queue_write", "1024");
	known_as("latency_sum.queue_write_ns", "latency_sum.KIND_ns", "queue_write", NULL);
	assert_null(known_find("window.hit", NULL));
	assert_null(known_find("window.hits2", NULL));
	assert_null(known_find("window.refusals.", NULL));
	assert_null(known_find("latency.other", NULL));
}

static void expect_openmetrics(const char *name, const char *family, const char *unit, double scale)
{
	struct openmetrics_name n;

	openmetrics_name(known_find(name, NULL), &n);
	assert_string_equal(n.family, family);
	assert_int_equal(!n.unit, !unit);
	if (unit)
		assert_string_equal(n.unit, unit);
	assert_true(n.scale == scale);
}

static void a_unit_goes_to_the_end_and_times_are_seconds(void **state)
{
	struct openmetrics_name n;

	(void)state;
	expect_openmetrics("window.read_bytes", "vfsdax_window_read_bytes", "bytes", 1);
	expect_openmetrics("window.bytes_mapped", "vfsdax_window_mapped_bytes", "bytes", 1);
	expect_openmetrics("cpu_ms", "vfsdax_cpu_seconds", "seconds", 1e-3);
	expect_openmetrics("router.setup_ns", "vfsdax_router_setup_seconds", "seconds", 1e-9);
	expect_openmetrics("window.hits", "vfsdax_window_hits", NULL, 1);
	openmetrics_name(known_find("router.queue_read_4k_ns", NULL), &n);
	assert_string_equal(n.family, "vfsdax_router_queue_seconds");
	assert_int_equal(n.n_labels, 2);
	assert_string_equal(n.label[0], "direction");
	assert_string_equal(n.label[1], "size");
}

/* Nor does one end as the samples of another kind do. */
static void no_two_counters_have_one_name(void **state)
{
	static const char *const reserved[] = {"_total",  "_count", "_sum",
					       "_bucket", "_info",  "_created"};

	(void)state;
	for (size_t i = 0; i < known_count; i++) {
		struct openmetrics_name a, b;

		openmetrics_name(&known_counters[i], &a);
		for (size_t k = 0; k < ARRAY_SIZE(reserved); k++) {
			size_t len = strlen(a.family), end = strlen(reserved[k]);

			if (len > end && strcmp(a.family + len - end, reserved[k]) == 0)
				fail_msg("%s", a.family);
		}
		for (size_t k = 0; k < i; k++) {
			openmetrics_name(&known_counters[k], &b);
			if (strcmp(a.family, b.family) == 0)
				fail_msg("%s and %s", known_counters[i].name,
					 known_counters[k].name);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(capitals_stand_for_what_varies),
		cmocka_unit_test(a_unit_goes_to_the_end_and_times_are_seconds),
		cmocka_unit_test(no_two_counters_have_one_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
