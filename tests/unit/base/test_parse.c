/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/parse.h"

struct sample {
	const char *text;
	int err;
	uint64_t value;
};

static void run(const struct sample *samples, size_t n, int (*parse)(const char *, uint64_t *))
{
	for (size_t i = 0; i < n; i++) {
		uint64_t v = 12345;
		int err = parse(samples[i].text, &v);

		if (err != samples[i].err || v != (err ? 12345 : samples[i].value))
			fail_msg("\"%s\": %d, %llu", samples[i].text, err, (unsigned long long)v);
	}
}

static void sizes_are_fios(void **state)
{
	static const struct sample samples[] = {
		{"0", 0, 0},
		{"4096", 0, 4096},
		{"4k", 0, 4096},
		{"4K", 0, 4096},
		{"4kb", 0, 4096},
		{"4KiB", 0, 4096},
		{"1m", 0, MIB},
		{"2g", 0, 2 * GIB},
		{"3t", 0, 3 * 1024 * GIB},
		{"007", 0, 7},
		{"9223372036854775807", 0, INT64_MAX},
		{"9223372036854775808", -ERANGE, 0},
		{"18446744073709551615", -ERANGE, 0},
		{"18446744073709551616", -ERANGE, 0},
		{"99999999999999999999999999", -ERANGE, 0},
		{"8388608t", -ERANGE, 0},
		{"18014398509481984k", -ERANGE, 0},
		{"", -EINVAL, 0},
		{"k", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"+1", -EINVAL, 0},
		{" 1", -EINVAL, 0},
		{"1 ", -EINVAL, 0},
		{"1 k", -EINVAL, 0},
		{"1kk", -EINVAL, 0},
		{"1.5k", -EINVAL, 0},
		{"0x10", -EINVAL, 0},
		{"4k\n", -EINVAL, 0},
		{"1e3", -EINVAL, 0},
		{"\xff", -EINVAL, 0},
	};

	(void)state;
	run(samples, ARRAY_SIZE(samples), parse_size);
}

static void times_are_fios(void **state)
{
	static const struct sample samples[] = {
		{"5", 0, 5 * NS_PER_S},
		{"5s", 0, 5 * NS_PER_S},
		{"500ms", 0, NS_PER_S / 2},
		{"7us", 0, 7000},
		{"2m", 0, 120 * NS_PER_S},
		{"1h", 0, 3600 * NS_PER_S},
		{"1d", 0, 86400 * NS_PER_S},
		{"0", 0, 0},
		{"", -EINVAL, 0},
		{"s", -EINVAL, 0},
		{"-5", -EINVAL, 0},
		{"5 s", -EINVAL, 0},
		{"5sec", -EINVAL, 0},
		{"0.5", -EINVAL, 0},
		{"9223372037", -ERANGE, 0},
		{"999999999999d", -ERANGE, 0},
		{"5ns", -EINVAL, 0},
	};

	(void)state;
	run(samples, ARRAY_SIZE(samples), parse_time);
}

static void numbers_are_whole(void **state)
{
	static const struct sample samples[] = {
		{"0", 0, 0},
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", -ERANGE, 0},
		{"0xff", 0, 255},
		{"0xffffffffffffffff", 0, UINT64_MAX},
		{"0x1ffffffffffffffff", -ERANGE, 0},
		{"0x", -EINVAL, 0},
		{"0xg", -EINVAL, 0},
		{"0x-1", -EINVAL, 0},
		{"1k", -EINVAL, 0},
		{"-0", -EINVAL, 0},
		{"", -EINVAL, 0},
	};

	(void)state;
	run(samples, ARRAY_SIZE(samples), parse_u64);
}

static void fractions_are_finite_and_plain(void **state)
{
	static const char *const bad[] = {"",	 "nan", "inf", "-1",   "1e3",
					  "0x1", "1,5", ".",   "1..2", " 1"};
	double v = 0;

	(void)state;
	assert_int_equal(parse_double("1.25", &v), 0);
	assert_true(v == 1.25);
	assert_int_equal(parse_double(".5", &v), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parse_double(bad[i], &v), -EINVAL);
}

static void switches_are_0_or_1(void **state)
{
	bool v = false;

	(void)state;
	assert_int_equal(parse_bool("1", &v), 0);
	assert_true(v);
	assert_int_equal(parse_bool("0", &v), 0);
	assert_false(v);
	assert_int_equal(parse_bool("2", &v), -EINVAL);
	assert_int_equal(parse_bool("", &v), -EINVAL);
	assert_int_equal(parse_bool("10", &v), -EINVAL);
	assert_int_equal(parse_bool("yes", &v), -EINVAL);
}

static void people_read_three_digits(void **state)
{
	char out[24];

	(void)state;
	assert_string_equal(format_size(4096, out), "4 KiB");
	assert_string_equal(format_size(1536, out), "1.5 KiB");
	assert_string_equal(format_size(0, out), "0 B");
	assert_string_equal(format_ns(90, out), "90 ns");
	assert_string_equal(format_ns(1234, out), "1.23 us");
	assert_string_equal(format_ns(12345678, out), "12.3 ms");
	assert_string_equal(format_ns(999999, out), "1.00 ms");
	assert_string_equal(format_count(123456, out), "123 k");
	assert_string_equal(format_count(7, out), "7");
	format_size(UINT64_MAX, out);
	format_count(1e300, out); /* longer than it has room for, and cut */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_fios),
		cmocka_unit_test(times_are_fios),
		cmocka_unit_test(numbers_are_whole),
		cmocka_unit_test(fractions_are_finite_and_plain),
		cmocka_unit_test(switches_are_0_or_1),
		cmocka_unit_test(people_read_three_digits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
