/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a socket says is looked at before it is used. */
#include <errno.h>
#include <stdlib.h>

#include "test.h"

static void lines_of_a_report_are_taken_in_order(void **state)
{
	struct report r;
	char text[64];

	(void)state;
	assert_int_equal(
		report_of("a.b 1\nflag true\ntag \"x\\\"\\u0001\\\\y\"\nbig 18446744073709551615\n",
			  &r),
		0);
	assert_int_equal(r.count, 4);
	assert_string_equal(r.items[0].name, "a.b");
	assert_true(report_u64(&r, "a.b") == 1);
	assert_true(report_u64(&r, "big") == UINT64_MAX);
	assert_true(report_u64(&r, "nothing") == 0);
	assert_true(report_flag(&r, "flag") && !report_flag(&r, "nothing"));
	assert_string_equal(report_text(report_value(&r, "tag"), text, sizeof(text)), "x\"\1\\y");
	assert_string_equal(report_text(report_value(&r, "tag"), text, 3), "x\"");
	assert_string_equal(report_text("12", text, sizeof(text)), "12");
	report_free(&r);
}

static void what_is_no_line_of_a_report_is_left_out(void **state)
{
	static const char *const bad[] = {
		"name\n",
		"name \n",
		" 1\n",
		"na me 1\n",
		"a..b 1\n",
		".a 1\n",
		"a. 1\n",
		"a -1\n",
		"a 01\n",
		"a 1x\n",
		"a 1.5\n",
		"a \"\n",
		"a \"x\n",
		"a \"x\"y\"\n",
		"a \"\\q\"\n",
		"a \"\\u12\"\n",
		"a \"\x1b[2J\"\n",
		"a {}\n",
		"a null\n",
		"a\"b 1\n",
		"a 1",
		"\x1b[2J 1\n",
		"a 999999999999999999999\n",
		"a.b.c.d.e.f.g.h.i.j 1\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char text[256];
		struct report r;

		if (report_of(bad[i], &r) != -ENODATA)
			fail_msg("taken: %s", bad[i]);
		snprintf(text, sizeof(text), "ok 1\n%s", bad[i]);
		assert_int_equal(report_of(text, &r), 0);
		assert_int_equal(r.count, 1);
		report_free(&r);
	}
}

static void a_report_without_an_end_is_refused(void **state)
{
	size_t len = (size_t)2 << 20;
	char *text = malloc(len + 1);
	struct report r;

	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < len; i++)
		text[i] = "a 1\n"[i % 4];
	text[len] = '\0';
	assert_int_equal(report_of(text, &r), -E2BIG);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_of_a_report_are_taken_in_order),
		cmocka_unit_test(what_is_no_line_of_a_report_is_left_out),
		cmocka_unit_test(a_report_without_an_end_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
