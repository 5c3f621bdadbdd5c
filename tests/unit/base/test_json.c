/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The JSON writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static char *text;
static size_t text_len;

static void start(struct json *j)
{
	free(text);
	text = NULL;
	json_init(j, open_memstream(&text, &text_len));
	assert_non_null(j->out);
}

static const char *written(struct json *j)
{
	fclose(j->out);
	return text;
}

static const char *string(const char *value)
{
	struct json j;

	start(&j);
	json_string(&j, NULL, value);
	return written(&j);
}

static void strings_are_escaped(void **state)
{
	(void)state;
	assert_string_equal(string(""), "\"\"");
	assert_string_equal(string("plain text"), "\"plain text\"");
	assert_string_equal(string("a\"b\\c/d"), "\"a\\\"b\\\\c/d\"");
	assert_string_equal(string("\x01\t\n\r\x1f\x7f"),
			    "\"\\u0001\\u0009\\u000a\\u000d\\u001f\\u007f\"");
	assert_string_equal(string(NULL), "null");
}

static void utf8_passes_and_invalid_bytes_are_replaced(void **state)
{
#define BAD "\xef\xbf\xbd"
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
		{"\xed\x9f\xbf \xee\x80\x80 \xf4\x8f\xbf\xbf", "\xed\x9f\xbf \xee\x80\x80 \xf4\x8f\xbf\xbf"},
		{"a\x80z", "a" BAD "z"},			/* a continuation without a start */
		{"a\xffz", "a" BAD "z"},			/* never valid */
		{"\xc0\xafz", BAD BAD "z"},			/* overlong */
		{"\xe0\x80\xafz", BAD BAD BAD "z"},		/* overlong */
		{"\xf0\x80\x80\xafz", BAD BAD BAD BAD "z"},	/* overlong */
		{"\xed\xa0\x80z", BAD BAD BAD "z"},		/* a surrogate */
		{"\xf4\x90\x80\x80z", BAD BAD BAD BAD "z"},	/* above U+10FFFF */
		{"\xc3", BAD},					/* cut short */
		{"\xe2\x82", BAD BAD},
		{"\xf0\x9f\x98", BAD BAD BAD},
		{"\xc3\"", BAD "\\\""},				/* the quote is not swallowed */
		{"\xe2\x82\\", BAD BAD "\\\\"},
	};
	char want[64];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(want, sizeof(want), "\"%s\"", cases[i].out);
		assert_string_equal(string(cases[i].in), want);
	}
}

static void every_value_has_its_form(void **state)
{
	struct json j;

	(void)state;
	start(&j);
	json_array(&j, NULL);
	json_u64(&j, NULL, UINT64_MAX);
	json_i64(&j, NULL, INT64_MIN);
	json_double(&j, NULL, 1.0 / 3, 3);
	json_double(&j, NULL, 1e15, 0);
	json_double(&j, NULL, NAN, 3);
	json_double(&j, NULL, -INFINITY, 3);
	json_bool(&j, NULL, true);
	json_bool(&j, NULL, false);
	json_null(&j, NULL);
	json_raw(&j, NULL, "12");
	json_end(&j);
	assert_string_equal(written(&j), "[18446744073709551615,-9223372036854775808,0.333,"
					 "1000000000000000,null,null,true,false,null,12]");
}

static void objects_and_arrays_nest(void **state)
{
	struct json j;

	(void)state;
	start(&j);
	json_object(&j, NULL);
	json_object(&j, "empty");
	json_end(&j);
	json_array(&j, "list\"");
	json_array(&j, NULL);
	json_end(&j);
	json_object(&j, NULL);
	json_u64(&j, "a", 1);
	json_u64(&j, "b", 2);
	json_end(&j);
	json_u64(&j, NULL, 3);
	json_end(&j);
	json_string(&j, "last", "x");
	json_end(&j);
	assert_string_equal(written(&j),
			    "{\"empty\":{},\"list\\\"\":[[],{\"a\":1,\"b\":2},3],\"last\":\"x\"}");
}

static void nesting_reaches_the_documented_depth(void **state)
{
	struct json j;

	(void)state;
	start(&j);
	for (unsigned i = 0; i < JSON_DEPTH_MAX; i++)
		json_array(&j, NULL);
	json_u64(&j, NULL, 1);
	json_u64(&j, NULL, 2);
	for (unsigned i = 0; i < JSON_DEPTH_MAX; i++)
		json_end(&j);
	written(&j);
	assert_int_equal(text_len, 2 * JSON_DEPTH_MAX + 3);
	assert_non_null(strstr(text, "[1,2]"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(strings_are_escaped),
		cmocka_unit_test(utf8_passes_and_invalid_bytes_are_replaced),
		cmocka_unit_test(every_value_has_its_form),
		cmocka_unit_test(objects_and_arrays_nest),
		cmocka_unit_test(nesting_reaches_the_documented_depth),
	};
	int failed = cmocka_run_group_tests_name("json", tests, NULL, NULL);

	free(text);
	return failed;
}
