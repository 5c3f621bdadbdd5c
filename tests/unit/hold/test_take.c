/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What outlives a driver that is killed, and who gets it. */
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

/* ------------------------------------------------------------------ who takes over */

static void copies_of_a_killed_driver_are_taken_over(void **state)
{
	int fd;

	(void)state;
	start(LONG);
	kill_driver();
	assert_true(thing_is_open(&stage.thing));
	assert_int_equal(take(false), 0);
	fd = hold_get(stage.hold, "thing");
	assert_true(fd >= 0);
	assert_true(same_file(fd, stage.thing.ours));
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	assert_int_equal(hold_get(stage.hold, "nothing"), -ENOENT);
	hold_end(stage.hold);
	stage.hold = NULL;
	assert_false(thing_is_open(&stage.thing));
	assert_false(socket_is_there());
	assert_int_equal(take(false), -ENOENT);
}

static void a_living_driver_is_not_taken_from(void **state)
{
	pid_t pid = 0;
	int fd;

	(void)state;
	start(LONG);
	assert_int_equal(hold_take(test_device(), false, &pid, &stage.hold), -EBUSY);
	assert_int_equal(pid, stage.driver);
	fd = hold_peek(test_device(), "thing");
	assert_true(fd >= 0);
	assert_true(same_file(fd, stage.thing.ours));
	close(fd);
	assert_int_equal(hold_peek(test_device(), "nothing"), -ENOENT);
	assert_int_equal(kill(stage.driver, 0), 0);
}

static void by_force_the_driver_is_dead_before_the_next_is_there(void **state)
{
	(void)state;
	start(LONG);
	assert_int_equal(take(true), 0);
	assert_true(is_killed(stage.driver));
	stage.driver = 0;
	assert_true(thing_is_open(&stage.thing));
}

/* Takes in a process of its own, which begins with the others and lives until it is killed. */
static pid_t taker_fork(int gate, int results)
{
	dev_t dev = test_device();
	struct hold *h;
	pid_t pid = fork(), driver;
	char c;
	int ret;

	assert_true(pid >= 0);
	if (pid)
		return pid;
	ret = (int)read(gate, &c, 1);
	ret = hold_take(dev, false, &driver, &h);
	if (write(results, &ret, sizeof(ret)) == sizeof(ret))
		for (;;)
			pause();
	_exit(1);
}

static void check_one_wins(void)
{
	enum { TAKERS = 6 };
	int gate[2], results[2], won = 0, ret;
	pid_t pids[TAKERS];

	assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
	assert_int_equal(pipe2(results, O_CLOEXEC), 0);
	for (int i = 0; i < TAKERS; i++)
		pids[i] = taker_fork(gate[0], results[1]);
	assert_int_equal(write(gate[1], "123456", TAKERS), TAKERS);
	for (int i = 0; i < TAKERS; i++) {
		assert_int_equal(read(results[0], &ret, sizeof(ret)), sizeof(ret));
		if (ret == 0)
			won++;
		else
			assert_int_equal(ret, -EBUSY);
	}
	for (int i = 0; i < TAKERS; i++)
		kill_and_reap(pids[i]);
	for (int i = 0; i < 2; i++) {
		close(gate[i]);
		close(results[i]);
	}
	assert_int_equal(won, 1);
}

static void of_many_takers_one_wins(void **state)
{
	(void)state;
	start(LONG);
	kill_driver();
	/* The winner is killed at the end: the next round takes from it. */
	for (int round = 0; round < 20; round++)
		check_one_wins();
	assert_true(thing_is_open(&stage.thing));
}

static void who_leaves_is_followed_without_being_killed(void **state)
{
	(void)state;
	assert_int_equal(hold_start(&stage.hold), 0);
	assert_int_equal(hold_put(stage.hold, "thing", stage.thing.theirs), 0);
	assert_int_equal(hold_publish(stage.hold, test_device(), "fuse", LONG), 0);
	thing_give_away(&stage.thing);
	hold_leave(stage.hold);
	stage.hold = NULL;
	assert_true(thing_is_open(&stage.thing));
	assert_int_equal(take(false), 0);
}

/* ------------------------------------------------------------------ what is kept */

static void a_name_is_replaced(void **state)
{
	char name[2 * HOLD_NAME_MAX];
	int fd;

	(void)state;
	assert_int_equal(hold_start(&stage.hold), 0);
	assert_int_equal(hold_put(stage.hold, "a", stage.thing.theirs), 0);
	thing_give_away(&stage.thing);
	assert_int_equal(hold_put(stage.hold, "a", stage.fuse.theirs), 0);
	assert_true(thing_gets_closed(&stage.thing));
	fd = hold_get(stage.hold, "a");
	assert_true(same_file(fd, stage.fuse.ours));
	close(fd);
	thing_give_away(&stage.fuse);
	assert_int_equal(hold_put(stage.hold, "a", -1), -EBADF);
	memset(name, 'n', sizeof(name));
	name[HOLD_NAME_MAX + 1] = '\0';
	assert_int_equal(hold_put(stage.hold, name, 0), -ENAMETOOLONG);
	name[HOLD_NAME_MAX] = '\0';
	assert_int_equal(hold_put(stage.hold, name, 0), 0);
	fd = hold_get(stage.hold, name);
	assert_true(fd >= 0);
	close(fd);
}

static void more_names_than_there_is_room_for_do_no_harm(void **state)
{
	char name[16];
	int fd;

	(void)state;
	assert_int_equal(hold_start(&stage.hold), 0);
	for (int i = 0; i <= HOLD_MAX; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(hold_put(stage.hold, name, stage.thing.theirs), 0);
	}
	assert_int_equal(hold_get(stage.hold, name), -ENOENT);
	fd = hold_get(stage.hold, "n63");
	assert_true(fd >= 0);
	close(fd);
}

/* A shell's $(vfsdax-mount ...) ends with the driver's output, and Ctrl-C is not for the holder. */
static void the_holder_is_a_process_of_its_own(void **state)
{
	struct thing output;
	char path[40], name[32] = "";
	pid_t pid;
	FILE *f;

	(void)state;
	thing_make(&output);
	start(LONG); /* inherits output.theirs */
	thing_give_away(&output);
	pid = holder_pid();
	assert_int_equal(getsid(pid), pid);
	kill(pid, SIGTERM);
	kill(pid, SIGINT);
	kill(pid, SIGHUP);
	kill_driver();
	assert_false(thing_is_open(&output));
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_non_null(fgets(name, sizeof(name), f));
	fclose(f);
	assert_string_equal(name, "vfsdax-holder\n");
	close(output.ours);
	assert_int_equal(take(false), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLAYERS_TEST(copies_of_a_killed_driver_are_taken_over),
		PLAYERS_TEST(a_living_driver_is_not_taken_from),
		PLAYERS_TEST(by_force_the_driver_is_dead_before_the_next_is_there),
		PLAYERS_TEST(of_many_takers_one_wins),
		PLAYERS_TEST(who_leaves_is_followed_without_being_killed),
		PLAYERS_TEST(a_name_is_replaced),
		PLAYERS_TEST(more_names_than_there_is_room_for_do_no_harm),
		PLAYERS_TEST(the_holder_is_a_process_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
