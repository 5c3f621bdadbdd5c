/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When a holder ends, and what it leaves. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "players.h"

static void a_driver_that_nobody_can_follow_leaves_nothing(void **state)
{
	(void)state;
	start(NOT_PUBLISHED);
	assert_true(thing_is_open(&stage.thing));
	kill_driver();
	assert_true(thing_gets_closed(&stage.thing));
}

static void when_the_time_is_over_all_is_closed(void **state)
{
	(void)state;
	start(1);
	assert_true(thing_is_open(&stage.thing));
	kill_driver();
	assert_true(thing_is_open(&stage.thing));
	assert_true(thing_gets_closed(&stage.thing));
	assert_int_equal(take(false), -ENOENT);
	assert_false(socket_is_there());
}

static void the_time_begins_anew_with_each_driver(void **state)
{
	(void)state;
	start(1);
	kill_driver();
	assert_int_equal(take(false), 0);
	sleep(2);
	assert_true(thing_is_open(&stage.thing));
	hold_leave(stage.hold);
	stage.hold = NULL;
	assert_true(thing_gets_closed(&stage.thing));
}

static void when_the_mount_is_gone_all_is_closed(void **state)
{
	(void)state;
	start(UINT_MAX);
	kill_driver();
	assert_true(thing_is_open(&stage.thing));
	/* The writing end of a pipe that nobody reads is POLLERR, as /dev/fuse is without a mount.
	 */
	close(stage.fuse.ours);
	stage.fuse.ours = -1;
	assert_true(thing_gets_closed(&stage.thing));
	assert_int_equal(take(false), -ENOENT);
}

static void an_orderly_end_leaves_no_process(void **state)
{
	pid_t pid;

	(void)state;
	assert_int_equal(hold_start(&stage.hold), 0);
	assert_int_equal(hold_publish(stage.hold, test_device(), "fuse", LONG), 0);
	pid = holder_pid();
	hold_end(stage.hold);
	stage.hold = NULL;
	assert_int_equal(kill(pid, 0), -1);
	assert_false(socket_is_there());
	hold_end(NULL);
	hold_leave(NULL);
}

static void a_holder_that_is_killed_is_missed_quietly(void **state)
{
	struct hold *old;
	pid_t pid;

	(void)state;
	assert_int_equal(hold_start(&old), 0);
	assert_int_equal(hold_publish(old, test_device(), "fuse", LONG), 0);
	pid = holder_pid();
	assert_int_equal(kill(pid, SIGKILL), 0);
	while (hold_get(old, "thing") == -ENOENT)
		;
	assert_int_equal(hold_put(old, "thing", stage.thing.theirs), -EPIPE);
	assert_int_equal(hold_get(old, "thing"), -EPIPE);
	assert_int_equal(hold_publish(old, test_device(), "fuse", LONG), -EPIPE);
	assert_int_equal(take(false), -ENOENT);
	hold_end(old);
	assert_int_equal(kill(pid, 0), -1); /* it was reaped */
}

static void a_socket_that_a_killed_holder_left_is_no_obstacle(void **state)
{
	pid_t pid;

	(void)state;
	start(LONG);
	pid = holder_pid();
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_true(thing_is_open(&stage.thing)); /* the driver has it */
	kill_driver();
	assert_true(ends_soon(pid));
	assert_true(socket_is_there());
	assert_int_equal(take(false), -ENOENT);
	thing_make(&stage.thing);
	thing_make(&stage.fuse);
	start(LONG);
	kill_driver();
	assert_int_equal(take(false), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLAYERS_TEST(a_driver_that_nobody_can_follow_leaves_nothing),
		PLAYERS_TEST(when_the_time_is_over_all_is_closed),
		PLAYERS_TEST(the_time_begins_anew_with_each_driver),
		PLAYERS_TEST(when_the_mount_is_gone_all_is_closed),
		PLAYERS_TEST(an_orderly_end_leaves_no_process),
		PLAYERS_TEST(a_holder_that_is_killed_is_missed_quietly),
		PLAYERS_TEST(a_socket_that_a_killed_holder_left_is_no_obstacle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
