/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The reader of option tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"

enum colour { RED = 1, GREEN };

struct values {
	bool flag, no, help, onoff, called;
	enum colour colour;
	uint32_t number;
	uint64_t size, time;
	const char *text;
};

static char last_line[512];
static unsigned lines;

static void keep(enum log_level level, const char *line, void *ctx)
{
	(void)level;
	(void)ctx;
	snprintf(last_line, sizeof(last_line), "%s", line);
	lines++;
}

static int call(void *to, const struct option_table *t, const struct option_row *row,
		const char *value)
{
	if (strcmp(value, "bad") == 0)
		return option_refuse(t, row, value, "anything else");
	((struct values *)to)->called = true;
	return 0;
}

#define AT(field) OPTION_FIELD(struct values, field)
static const char *const colours[] = {"red", "green", NULL};
static const struct option_row rows[] = {
	{"flag", OPTION_FLAG, AT(flag), .letter = 'f', .help = "a flag"},
	{"no", OPTION_NO, AT(no)},
	{"onoff", OPTION_BOOL, AT(onoff), .without = "1", .argument = "b", .help = ""},
	{"colour", OPTION_CHOICE, AT(colour), .names = colours, .min = RED, .alias = "color",
	 .help = "a colour", .letter = 'c'},
	{"number", OPTION_NUMBER, AT(number), "N", "a number whose help is on a line of its own",
	 .min = 1, .max = UINT32_MAX, .letter = 'n'},
	{"size", OPTION_SIZE, AT(size), "S", .max = 64 * MIB},
	{"time", OPTION_TIME, AT(time), "T", .max = INT64_MAX, .not_in_list = true},
	{"text", OPTION_STRING, AT(text), "TEXT", "text"},
	{"call", OPTION_CALL, .argument = "X", .set = call},
	{"old-*", OPTION_IGNORED, .help = NULL},
	{"other", OPTION_REFUSED, .why = "it is another's"},
	{"help", OPTION_LAST, AT(help), .letter = 'h'},
};
static const struct option_table table = {
	.program = "prog", .prefix = "--", .rows = rows, .count = ARRAY_SIZE(rows)};

#define READ(v, ...)                                                                            \
	options_read(&table, v, sizeof((const char *[]){"prog", __VA_ARGS__}) / sizeof(char *), \
		     (char **)(uintptr_t)(const char *[]){"prog", __VA_ARGS__, NULL})

static void every_kind_is_stored_and_nothing_else(void **state)
{
	struct values v = {.no = true};

	(void)state;
	assert_int_equal(READ(&v, "-f", "--no", "--onoff", "--color", "green", "-n7", "--size=4k",
			      "--time", "5ms", "--text=a=b", "--call", "x"),
			 13);
	assert_true(v.flag && !v.no && v.onoff && v.called && !v.help);
	assert_int_equal(v.colour, GREEN);
	assert_int_equal(v.number, 7);
	assert_int_equal(v.size, 4096);
	assert_int_equal(v.time, 5 * NS_PER_MS);
	assert_string_equal(v.text, "a=b");
	assert_int_equal(READ(&v, "--onoff=0", "-fn", "4294967295"), 4);
	assert_false(v.onoff);
	assert_int_equal(v.number, UINT32_MAX);
	assert_int_equal(v.size, 4096);
}

static void words_follow_the_options(void **state)
{
	const char *argv[] = {"prog", "one", "-f", "two", "--", "--three", NULL};
	struct values v = {0};
	int first;

	(void)state;
	first = options_read(&table, &v, 6, (char **)(uintptr_t)argv);
	assert_int_equal(first, 3);
	assert_string_equal(argv[3], "one");
	assert_string_equal(argv[4], "two");
	assert_string_equal(argv[5], "--three");
}

static void nothing_behind_help_is_read(void **state)
{
	struct values v = {0};

	(void)state;
	assert_true(READ(&v, "--help", "--frobnicate") > 0);
	assert_true(v.help);
	assert_int_equal(READ(&v, "--frobnicate", "--help"), -EINVAL);
}

static void what_is_wrong_is_named_with_a_way_out(void **state)
{
	static const struct {
		const char *word, *message;
	} cases[] = {
		{"--frobnicate", "--frobnicate is no option; prog --help"},
		{"--frobnicate=1", "--frobnicate=1 is no option; prog --help"},
		{"-x", "-x is no option; prog --help"},
		{"-fx", "-x is no option; prog --help"},
		{"--flag=1", "option --flag does not take a value; see prog --help"},
		{"--number", "option --number needs a value; see prog --help"},
		{"-n", "option --number needs a value; see prog --help"},
		{"--number=0", "--number=0: use a number from 1 to 4294967295"},
		{"--number=4294967296", "--number=4294967296: use"},
		{"--number=-1", "--number=-1: use"},
		{"--colour=blue", "--colour=blue: use red or green"},
		{"--color=", "--colour=: use red or green"},
		{"--onoff=yes", "--onoff=yes: use 0 or 1"},
		{"--size=65m", "--size=65m: use a size such as 4k, 512m or 2g, at most 64m"},
		{"--time=soon", "--time=soon: use a time"},
		{"--text=", "--text=: use a value that is not empty"},
		{"--call=bad", "--call=bad: use anything else"},
		{"--numbr=3", "--numbr=3 is no option; did you mean --number? prog --help"},
		{"--szie", "--szie is no option; did you mean --size? prog --help"},
		{"--colour=geren", "--colour=geren: use red or green; did you mean green?"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct values v = {0};

		lines = 0;
		assert_int_equal(READ(&v, cases[i].word), -EINVAL);
		if (!strstr(last_line, cases[i].message) || lines != 1)
			fail_msg("%s: '%s'", cases[i].word, last_line);
	}
}

static void a_list_is_read_by_the_same_table(void **state)
{
	char good[] = "flag,text=a\\,b\\c=d,,onoff,old-one,old-two=2,number=3,", none[] = "";
	char quoted[] = "text=\"a,b\",number=4", unknown[] = "frob=1,number=5";
	struct option_table sloppy = table;
	struct values v = {0};

	(void)state;
	assert_int_equal(options_read_list(&table, &v, good), 0);
	assert_true(v.flag && v.onoff);
	assert_string_equal(v.text, "a,b\\c=d");
	assert_int_equal(v.number, 3);
	assert_int_equal(options_read_list(&table, &v, none), 0);
	assert_int_equal(options_read_list(&table, &v, quoted), 0);
	assert_string_equal(v.text, "\"a,b\"");
	assert_int_equal(v.number, 4);
	sloppy.sloppy = true;
	assert_int_equal(options_read_list(&sloppy, &v, unknown), 0);
	assert_int_equal(v.number, 5);
}

static void a_list_names_what_is_wrong(void **state)
{
	static const struct {
		const char *list, *message;
	} cases[] = {
		{"flag,frob=1", "--frob is no option; prog --help"},
		{"=1", "-- is no option; prog --help"},
		{"number", "option --number needs a value"},
		{"flag=1", "option --flag does not take a value"},
		{"flag,time=5s", "--time is for the whole run"},
		{"colour=blue", "--colour=blue: use red or green"},
		{"other", "--other: it is another's"},
		{"flag,other=1", "--other=1: it is another's"},
		{"othe", "--othe is no option; prog --help"},
		{"falg", "--falg is no option; did you mean --flag? prog --help"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct values v = {0};
		char list[64];

		snprintf(list, sizeof(list), "%s", cases[i].list);
		lines = 0;
		assert_int_equal(options_read_list(&table, &v, list), -EINVAL);
		if (!strstr(last_line, cases[i].message) || lines != 1)
			fail_msg("%s: '%s'", cases[i].list, last_line);
	}
}

static int no_log(void **state)
{
	(void)state;
	log_set_handler(keep, NULL);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_is_stored_and_nothing_else),
		cmocka_unit_test(words_follow_the_options),
		cmocka_unit_test(nothing_behind_help_is_read),
		cmocka_unit_test(what_is_wrong_is_named_with_a_way_out),
		cmocka_unit_test(a_list_is_read_by_the_same_table),
		cmocka_unit_test(a_list_names_what_is_wrong),
	};

	return cmocka_run_group_tests_name("options", tests, no_log, NULL);
}
