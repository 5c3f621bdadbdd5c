/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Other programs that are run to their end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "base/child.h"
#include "base/clock.h"

static int run(struct child *c, const char *script, uint64_t limit_ns, bool (*stop)(void))
{
	char sh[] = "sh", dash_c[] = "-c";

	return child_run(c, (char *[]){sh, dash_c, (char *)(uintptr_t)script, NULL}, limit_ns,
			 stop);
}

static void end(struct child *c)
{
	free(c->out);
	free(c->err);
}

static void it_reads_and_says_texts(void **state)
{
	struct child c = {.in = "one two\n"};

	(void)state;
	assert_int_equal(run(&c, "read a b; echo $b $a; echo three >&2; exit 7", 0, NULL), 7);
	assert_string_equal(c.out, "two one\n");
	assert_string_equal(c.err, "three\n");
	end(&c);
	c.in = NULL;
	assert_int_equal(run(&c, "cat; kill -KILL $$", 0, NULL), 128 + SIGKILL);
	assert_string_equal(c.out, "");
	end(&c);
}

static void what_is_not_there_is_an_error(void **state)
{
	char nothing[] = "/nowhere/nothing";
	struct child c = {.in = NULL};

	(void)state;
	assert_int_equal(child_run(&c, (char *[]){nothing, NULL}, 0, NULL), -ENOENT);
	assert_null(c.out);
	end(&c);
	assert_true(child_in_path("sh"));
	assert_false(child_in_path("a-program-that-nobody-has"));
}

static bool at_once(void)
{
	return true;
}

static void it_ends_when_its_time_is_over_or_it_is_stopped(void **state)
{
	struct child c = {.in = NULL};

	(void)state;
	assert_int_equal(run(&c, "exec sleep 60", 50 * NS_PER_MS, NULL), -ETIMEDOUT);
	end(&c);
	assert_int_equal(run(&c, "exec sleep 60", 0, at_once), 128 + SIGINT);
	end(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_reads_and_says_texts),
		cmocka_unit_test(what_is_not_there_is_an_error),
		cmocka_unit_test(it_ends_when_its_time_is_over_or_it_is_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
