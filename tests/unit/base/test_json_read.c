/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The JSON reader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_read.h"

static char seen[4096];

static void see(void *ctx, const char *path, const char *value)
{
	size_t len = strlen(seen);

	(void)ctx;
	snprintf(seen + len, sizeof(seen) - len, "%s=%s;", path, value);
}

/* The text is where a byte too many would be found by a sanitizer. */
static int read_text(const char *text)
{
	size_t len = strlen(text);
	char *copy = malloc(len ? len : 1);
	int err;

	assert_non_null(copy);
	memcpy(copy, text, len);
	seen[0] = '\0';
	err = json_read(copy, len, see, NULL);
	free(copy);
	return err;
}

static void each_value_has_its_path(void **state)
{
	(void)state;
	assert_int_equal(read_text(" {\"a\": 1, \"b\" : [true, {\"c\":\"x\\\"y\"}, [], {}, null],"
				   "\"d e\":-1.5e3}\n"),
			 0);
	assert_string_equal(seen, "a=1;b/0=true;b/1/c=x\\\"y;b/4=null;d e=-1.5e3;");
	assert_int_equal(read_text("7"), 0);
	assert_string_equal(seen, "=7;");
}

static void what_is_no_json_is_refused(void **state)
{
	static const char *const bad[] = {"",		" ",	      "{",
					  "[",		"{\"a\"}",    "{\"a\":}",
					  "{\"a\":1,}", "[1,]",	      "[1 2]",
					  "\"abc",	"\"a\\",      "tru",
					  "nan",	"1x",	      "{a:1}",
					  "[1]]",	"{} {}",      "'a'",
					  "-",		"inf",	      "0x10",
					  "\"a\nb",	"{\"a\":1",   "[[[[1]]",
					  "{\"a\"1",	"[\"a\":1]",  "{\"a\":1\"b\":2}",
					  "\"a\\\n\"",	"[\"a\tb\"]", "{\"\\\1\":1}"};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (read_text(bad[i]) != -EINVAL)
			fail_msg("'%s' was accepted", bad[i]);
}

static void each_beginning_of_a_text_is_refused(void **state)
{
	static const char text[] = "{\"jobs\":[{\"a\":{\"b\\\"\":1.5,\"c\":\"d\"},\"e\":[]}]}";
	char part[sizeof(text)];

	(void)state;
	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		memcpy(part, text, len);
		part[len] = 0;
		if (read_text(part) != -EINVAL)
			fail_msg("'%s' was accepted", part);
	}
	assert_int_equal(read_text(text), 0);
}

static void depth_and_keys_have_an_end(void **state)
{
	char deep[200], wide[700];

	(void)state;
	memset(deep, '[', 100);
	memset(deep + 100, ']', 100);
	deep[199] = '\0';
	assert_int_equal(read_text(deep), -EINVAL);
	snprintf(wide, sizeof(wide), "{\"%0*d\":1}", 300, 0);
	assert_int_equal(read_text(wide), -EINVAL);
	snprintf(wide, sizeof(wide), "{\"a\":\"%0*d\"}", 600, 0);
	assert_int_equal(read_text(wide), 0); /* a long value is cut */
	assert_true(strlen(seen) < 520);
}

static void a_number_is_found_by_its_path(void **state)
{
	static const char text[] = "{\"jobs\":[{\"read\":{\"iops\":2.5}},{\"read\":{\"iops\":7}}],"
				   "\"name\":\"x\",\"on\":true,\"much\":\"inf\"}";

	(void)state;
	assert_true(json_number(text, strlen(text), "jobs/0/read/iops") == 2.5);
	assert_true(json_number(text, strlen(text), "jobs/1/read/iops") == 7);
	assert_true(isnan(json_number(text, strlen(text), "jobs/2/read/iops")));
	assert_true(isnan(json_number(text, strlen(text), "name")));
	assert_true(isnan(json_number(text, strlen(text), "on")));
	assert_true(isnan(json_number(text, strlen(text), "much")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_value_has_its_path),
		cmocka_unit_test(what_is_no_json_is_refused),
		cmocka_unit_test(each_beginning_of_a_text_is_refused),
		cmocka_unit_test(depth_and_keys_have_an_end),
		cmocka_unit_test(a_number_is_found_by_its_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
