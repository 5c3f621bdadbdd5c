/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "options.h"

static char last_line[512];

static void keep(enum log_level level, const char *line, void *ctx)
{
	(void)level;
	(void)ctx;
	strncpy(last_line, line, sizeof(last_line) - 1);
}

#define PARSE(o, ...)                                                                     \
	options_parse(o, sizeof((const char *[]){"bench", __VA_ARGS__}) / sizeof(char *), \
		      (char **)(uintptr_t)(const char *[]){"bench", __VA_ARGS__, NULL})

static void both_ways_to_write_a_value_and_fios_names(void **state)
{
	struct options o;

	(void)state;
	options_init(&o);
	assert_int_equal(PARSE(&o, "--rw", "randread", "--bs=8k", "--ioengine=io_uring",
			       "--iodepth", "8", "--direct=1", "--runtime", "500ms",
			       "--norandommap", "--size=1g", "--output-format=json", "--blocksize",
			       "16k"),
			 15);
	assert_int_equal(o.rw, RW_RANDREAD);
	assert_int_equal(o.bs, 16 * KIB);
	assert_string_equal(o.engine, "io_uring");
	assert_int_equal(o.iodepth, 8);
	assert_true(o.direct && o.norandommap);
	assert_int_equal(o.runtime_ns, 500 * NS_PER_MS);
	assert_int_equal(o.size, GIB);
	assert_int_equal(o.output, OUTPUT_JSON);
}

static void words_that_are_no_options_stay_in_order(void **state)
{
	char name[] = "bench", compare[] = "compare", a[] = "engine=psync", bs[] = "--bs",
	     value[] = "4k", b[] = "engine=mmap";
	char *argv[] = {name, compare, a, bs, value, b, NULL};
	struct options o;

	(void)state;
	options_init(&o);
	assert_int_equal(options_parse(&o, 6, argv), 3);
	assert_ptr_equal(argv[3], compare);
	assert_ptr_equal(argv[4], a);
	assert_ptr_equal(argv[5], b);
}

static void a_column_overrides_and_commas_can_be_written(void **state)
{
	char spec[] = "engine=psync,direct,filename=/a\\,b:/c=d,bs=4k";
	struct options o, column;

	(void)state;
	options_init(&o);
	assert_int_equal(PARSE(&o, "--bs=8k", "--filename", "/tmp/f"), 4);
	column = o;
	assert_int_equal(options_apply_spec(&column, spec), 0);
	assert_string_equal(column.filename, "/a,b:/c=d");
	assert_string_equal(column.engine, "psync");
	assert_true(column.direct);
	assert_int_equal(column.bs, 4096);
	assert_int_equal(o.bs, 8192);
	assert_string_equal(o.filename, "/tmp/f");
}

static void refused(const char *word, const char *in_message)
{
	struct options o;

	options_init(&o);
	last_line[0] = '\0';
	if (PARSE(&o, word) != -EINVAL)
		fail_msg("%s was accepted", word);
	if (!strstr(last_line, in_message))
		fail_msg("%s: '%s' does not say %s", word, last_line, in_message);
}

static void what_is_wrong_is_named(void **state)
{
	(void)state;
	refused("--frobnicate", "frobnicate");
	refused("--frobnicate=1", "--help");
	refused("-x", "-x");
	refused("--bs", "needs a value");
	refused("--bs=0", "--bs=0");
	refused("--bs=65m", "64m");
	refused("--bs=4x", "4x");
	refused("--r=4k", "--r");
	refused("--iodepth=0", "1 to 4096");
	refused("--numjobs=257", "1 to 256");
	refused("--rwmixread=101", "100");
	refused("--rw=sideways", "randread");
	refused("--direct=yes", "0 or 1");
	refused("--runtime=0", "--runtime=0");
	refused("--size=99999999999999999999", "--size");
	refused("--filename=", "--filename");
	refused("--rounds=1001", "1000");
	refused("--output-format=xml", "json");
	refused("--mem=shm", "malloc");
	refused("--iodepth_batch=0", "1 to 4096");
}

static void a_column_takes_no_options_of_the_run(void **state)
{
	static const char *const bad[] = {"runtime=5",	  "engine", "bs",	"rounds=3",
					  "frobnicate=1", "=",	    "bs=4k,,x", "plot=/tmp/x.svg"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char spec[32];
		struct options o;

		snprintf(spec, sizeof(spec), "%s", bad[i]);
		options_init(&o);
		if (options_apply_spec(&o, spec) != -EINVAL)
			fail_msg("'%s' was accepted", bad[i]);
	}
}

struct words {
	char text[2048];
};

static void keep_word(void *ctx, const char *name, const char *value)
{
	struct words *w = ctx;
	size_t len = strlen(w->text);

	snprintf(w->text + len, sizeof(w->text) - len, "%s=%s ", name, value);
}

static void a_column_of_fio_has_its_options_and_ours(void **state)
{
	char spec[] =
		"fio:ioengine=psync,thinktime=1ms,bs=8k,filename=/a\\,b,verify=crc32c,x=a\\,b";
	struct options o;
	struct words w = {""};

	(void)state;
	options_init(&o);
	assert_int_equal(PARSE(&o, "--engine=lib", "--share=unix:/x", "--nodax", "--iodepth=4",
			       "--mem=malloc", "--rw=randrw", "--rwmixread=100"),
			 8);
	assert_int_equal(options_apply_spec(&o, spec), 0);
	assert_true(o.fio && !o.share && !o.nodax && !o.verify);
	options_each(&o, keep_word, &w);
	assert_non_null(
		strstr(w.text, "ioengine=psync filename=/a,b rw=randrw mem=malloc bs=8192 "));
	assert_non_null(strstr(w.text, "iodepth=4 "));
	assert_null(strstr(w.text, "rwmixwrite"));
	assert_non_null(strstr(w.text, "thinktime=1ms verify=crc32c x=a,b "));
}

static void what_fio_cannot_be_given_is_refused(void **state)
{
	static const char *const bad[] = {"fio:bs=x", "fio:thinktime", "fio:=3", "fio:--name=x",
					  "fio:,"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char spec[32];
		struct options o;

		snprintf(spec, sizeof(spec), "%s", bad[i]);
		options_init(&o);
		if (options_apply_spec(&o, spec) != -EINVAL)
			fail_msg("'%s' was accepted", bad[i]);
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
		cmocka_unit_test(both_ways_to_write_a_value_and_fios_names),
		cmocka_unit_test(words_that_are_no_options_stay_in_order),
		cmocka_unit_test(a_column_overrides_and_commas_can_be_written),
		cmocka_unit_test(what_is_wrong_is_named),
		cmocka_unit_test(a_column_takes_no_options_of_the_run),
		cmocka_unit_test(a_column_of_fio_has_its_options_and_ours),
		cmocka_unit_test(what_fio_cannot_be_given_is_refused),
	};

	return cmocka_run_group_tests(tests, no_log, NULL);
}
