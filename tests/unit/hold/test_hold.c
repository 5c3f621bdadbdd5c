/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What outlives a driver that is killed, who gets it, and when it ends. */
#include "hold.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "hold_message.h"
#include "players.h"

#define LONG 60 /* seconds: more than a test takes, and an end to a holder that a failed one left \
		 */

/* What a test has; teardown() ends what is left of it. */
static struct {
	struct thing thing, fuse;
	struct hold *hold; /* when the test itself is the driver */
	pid_t driver;	   /* 0: it was reaped */
} t;

static int set_up(void **state)
{
	(void)state;
	thing_make(&t.thing);
	thing_make(&t.fuse);
	t.hold = NULL;
	t.driver = 0;
	return 0;
}

static int tear_down(void **state)
{
	pid_t pid;

	(void)state;
	if (t.driver)
		kill_and_reap(t.driver);
	if (!t.hold && hold_take(test_device(), true, &pid, &t.hold))
		t.hold = NULL;
	hold_end(t.hold);
	close(t.thing.ours);
	close(t.fuse.ours);
	close(t.thing.theirs);
	close(t.fuse.theirs);
	return 0;
}

static int take(bool by_force)
{
	pid_t pid = 0;

	return hold_take(test_device(), by_force, &pid, &t.hold);
}

static void start(unsigned seconds)
{
	t.driver = driver_fork(&t.thing, &t.fuse, seconds);
}

static void kill_driver(void)
{
	kill_and_reap(t.driver);
	t.driver = 0;
}

static bool same_file(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_ino == sb.st_ino &&
	       sa.st_dev == sb.st_dev;
}

/* ------------------------------------------------------------------ who takes over */

static void copies_of_a_killed_driver_are_taken_over(void **state)
{
	int fd;

	(void)state;
	start(LONG);
	kill_driver();
	assert_true(thing_is_open(&t.thing));
	assert_int_equal(take(false), 0);
	fd = hold_get(t.hold, "thing");
	assert_true(fd >= 0);
	assert_true(same_file(fd, t.thing.ours));
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	assert_int_equal(hold_get(t.hold, "nothing"), -ENOENT);
	hold_end(t.hold);
	t.hold = NULL;
	assert_false(thing_is_open(&t.thing));
	assert_false(socket_is_there());
	assert_int_equal(take(false), -ENOENT);
}

static void a_living_driver_is_not_taken_from(void **state)
{
	pid_t pid = 0;
	int fd;

	(void)state;
	start(LONG);
	assert_int_equal(hold_take(test_device(), false, &pid, &t.hold), -EBUSY);
	assert_int_equal(pid, t.driver);
	fd = hold_peek(test_device(), "thing");
	assert_true(fd >= 0);
	assert_true(same_file(fd, t.thing.ours));
	close(fd);
	assert_int_equal(hold_peek(test_device(), "nothing"), -ENOENT);
	assert_int_equal(kill(t.driver, 0), 0);
}

static void by_force_the_driver_is_dead_before_the_next_is_there(void **state)
{
	(void)state;
	start(LONG);
	assert_int_equal(take(true), 0);
	assert_true(is_killed(t.driver));
	t.driver = 0;
	assert_true(thing_is_open(&t.thing));
}

/* Takes in a process of its own, which begins with the others and lives until it is killed. */
static pid_t taker_fork(int gate, int results, bool by_force)
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
	ret = hold_take(dev, by_force, &driver, &h);
	if (write(results, &ret, sizeof(ret)) == sizeof(ret))
		for (;;)
			pause();
	_exit(1);
}

static void check_one_wins(bool by_force)
{
	enum { TAKERS = 6 };
	int gate[2], results[2], won = 0, ret;
	pid_t pids[TAKERS];

	assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
	assert_int_equal(pipe2(results, O_CLOEXEC), 0);
	for (int i = 0; i < TAKERS; i++)
		pids[i] = taker_fork(gate[0], results[1], by_force);
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
		check_one_wins(false);
	assert_true(thing_is_open(&t.thing));
}

static void who_leaves_is_followed_without_being_killed(void **state)
{
	(void)state;
	assert_int_equal(hold_start(&t.hold), 0);
	assert_int_equal(hold_put(t.hold, "thing", t.thing.theirs), 0);
	assert_int_equal(hold_publish(t.hold, test_device(), "fuse", LONG), 0);
	thing_give_away(&t.thing);
	hold_leave(t.hold);
	t.hold = NULL;
	assert_true(thing_is_open(&t.thing));
	assert_int_equal(take(false), 0);
}

/* ------------------------------------------------------------------ what is kept */

static void a_name_is_replaced_and_dropped(void **state)
{
	char name[2 * HOLD_NAME_MAX];
	int fd;

	(void)state;
	assert_int_equal(hold_start(&t.hold), 0);
	assert_int_equal(hold_put(t.hold, "a", t.thing.theirs), 0);
	thing_give_away(&t.thing);
	assert_int_equal(hold_put(t.hold, "a", t.fuse.theirs), 0);
	assert_true(thing_gets_closed(&t.thing));
	fd = hold_get(t.hold, "a");
	assert_true(same_file(fd, t.fuse.ours));
	close(fd);
	thing_give_away(&t.fuse);
	assert_int_equal(hold_drop(t.hold, "a"), 0);
	assert_false(thing_is_open(&t.fuse));
	assert_int_equal(hold_drop(t.hold, "a"), 0);
	assert_int_equal(hold_get(t.hold, "a"), -ENOENT);
	assert_int_equal(hold_put(t.hold, "a", -1), -EBADF);
	memset(name, 'n', sizeof(name));
	name[HOLD_NAME_MAX + 1] = '\0';
	assert_int_equal(hold_put(t.hold, name, 0), -ENAMETOOLONG);
	name[HOLD_NAME_MAX] = '\0';
	assert_int_equal(hold_put(t.hold, name, 0), 0);
	fd = hold_get(t.hold, name);
	assert_true(fd >= 0);
	close(fd);
}

static void more_names_than_there_is_room_for_do_no_harm(void **state)
{
	char name[16];
	int fd;

	(void)state;
	assert_int_equal(hold_start(&t.hold), 0);
	for (int i = 0; i <= HOLD_MAX; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(hold_put(t.hold, name, t.thing.theirs), 0);
	}
	assert_int_equal(hold_get(t.hold, name), -ENOENT);
	fd = hold_get(t.hold, "n63");
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

/* ------------------------------------------------------------------ when it ends */

static void a_driver_that_nobody_can_follow_leaves_nothing(void **state)
{
	(void)state;
	start(NOT_PUBLISHED);
	assert_true(thing_is_open(&t.thing));
	kill_driver();
	assert_true(thing_gets_closed(&t.thing));
}

static void when_the_time_is_over_all_is_closed(void **state)
{
	(void)state;
	start(1);
	assert_true(thing_is_open(&t.thing));
	kill_driver();
	assert_true(thing_is_open(&t.thing));
	assert_true(thing_gets_closed(&t.thing));
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
	assert_true(thing_is_open(&t.thing));
	hold_leave(t.hold);
	t.hold = NULL;
	assert_true(thing_gets_closed(&t.thing));
}

static void when_the_mount_is_gone_all_is_closed(void **state)
{
	(void)state;
	start(UINT_MAX);
	kill_driver();
	assert_true(thing_is_open(&t.thing));
	/* The writing end of a pipe that nobody reads is POLLERR, as /dev/fuse is without a mount.
	 */
	close(t.fuse.ours);
	t.fuse.ours = -1;
	assert_true(thing_gets_closed(&t.thing));
	assert_int_equal(take(false), -ENOENT);
}

static void an_orderly_end_leaves_no_process(void **state)
{
	pid_t pid;

	(void)state;
	assert_int_equal(hold_start(&t.hold), 0);
	assert_int_equal(hold_publish(t.hold, test_device(), "fuse", LONG), 0);
	pid = holder_pid();
	hold_end(t.hold);
	t.hold = NULL;
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
	assert_int_equal(hold_put(old, "thing", t.thing.theirs), -EPIPE);
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
	assert_true(thing_is_open(&t.thing)); /* the driver has it */
	kill_driver();
	assert_true(ends_soon(pid));
	assert_true(socket_is_there());
	assert_int_equal(take(false), -ENOENT);
	thing_make(&t.thing);
	thing_make(&t.fuse);
	start(LONG);
	kill_driver();
	assert_int_equal(take(false), 0);
}

/* ------------------------------------------------------------------ strangers */

/* The status with which a message is refused. 1: no answer, the connection is closed. */
static int refusal(const void *bytes, size_t len, int fd)
{
	struct hold_message m;
	int sock = raw_connect(), got = -1, ret;

	assert_true(sock >= 0);
	if (fd >= 0)
		assert_int_equal(hold_message_send(sock, bytes, fd, 0), 0);
	else
		assert_int_equal(send(sock, bytes, len, MSG_NOSIGNAL), len);
	ret = hold_message_recv(sock, &m, &got, 0);
	close(sock);
	assert_int_equal(got, -1);
	return ret > 0 ? m.status : ret < 0 ? ret : 1;
}

static void strange_messages_are_refused(void **state)
{
	const struct hold_message good = {
		.magic = HOLD_MAGIC, .version = HOLD_VERSION, .what = HOLD_GET, .name = "x"};
	struct hold_message m = good;
	char longer[sizeof(m) + 1] = {0};

	(void)state;
	start(LONG);
	assert_int_equal(refusal(&m, sizeof(m), -1), -ENOENT);
	assert_int_equal(refusal(&m, 7, -1), -EPROTO);
	assert_int_equal(refusal(&m, sizeof(m) - 1, -1), -EPROTO);
	assert_int_equal(refusal("", 0, -1), 1);
	memcpy(longer, &m, sizeof(m));
	assert_int_equal(refusal(longer, sizeof(longer), -1), -EPROTO);
	m.version++;
	assert_int_equal(refusal(&m, sizeof(m), -1), -EPROTONOSUPPORT);
	assert_int_equal(refusal(&m, 8, -1), -EPROTONOSUPPORT);
	m = good;
	m.magic++;
	assert_int_equal(refusal(&m, sizeof(m), -1), -EPROTO);
	m = good;
	memset(m.name, 'x', sizeof(m.name));
	assert_int_equal(refusal(&m, sizeof(m), -1), -EPROTO);
	m = good;
	memset(m.path, 'x', sizeof(m.path));
	assert_int_equal(refusal(&m, sizeof(m), -1), -EPROTO);
	/* What is the driver's to say, with and without a descriptor. */
	for (m = good, m.what = 0; m.what < 100; m.what++)
		if (m.what != HOLD_GET && m.what != HOLD_TAKE) {
			assert_int_equal(refusal(&m, sizeof(m), -1), -EPROTO);
			assert_int_equal(refusal(&m, sizeof(m), STDIN_FILENO), -EPROTO);
		}
	assert_int_equal(hold_peek(test_device(), "x"), -ENOENT);
	assert_int_equal(take(false), -EBUSY);
}

static void what_comes_along_with_a_question_is_closed(void **state)
{
	struct hold_message m = {.what = HOLD_GET, .name = "x"};
	struct thing given;

	(void)state;
	start(LONG);
	thing_make(&given);
	assert_int_equal(refusal(&m, sizeof(m), given.theirs), -ENOENT);
	thing_give_away(&given);
	assert_true(thing_gets_closed(&given));
	close(given.ours);
}

static void noise_ends_nothing(void **state)
{
	unsigned char noise[sizeof(struct hold_message)];
	struct hold_message *m = (struct hold_message *)noise;

	(void)state;
	start(LONG);
	srand(11);
	for (int i = 0; i < 2000; i++) {
		for (size_t k = 0; k < sizeof(noise); k++)
			noise[k] = (unsigned char)rand();
		if (i & 1) {
			m->magic = HOLD_MAGIC;
			m->version = HOLD_VERSION;
			m->name[HOLD_NAME_MAX] = m->path[sizeof(m->path) - 1] = '\0';
			m->what %= HOLD_TAKE;
		}
		assert_true(refusal(noise, 1 + (size_t)rand() % sizeof(noise), -1) < 0);
	}
	kill_driver();
	assert_int_equal(take(false), 0);
}

/* More than the holder serves at once. */
static void who_connects_and_says_nothing_keeps_nobody_out(void **state)
{
	int socks[20];

	(void)state;
	start(LONG);
	kill_driver();
	for (int i = 0; i < 20; i++)
		socks[i] = raw_connect();
	assert_int_equal(take(false), 0);
	for (int i = 0; i < 20; i++)
		close(socks[i]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(copies_of_a_killed_driver_are_taken_over),
		TEST(a_living_driver_is_not_taken_from),
		TEST(by_force_the_driver_is_dead_before_the_next_is_there),
		TEST(of_many_takers_one_wins),
		TEST(who_leaves_is_followed_without_being_killed),
		TEST(a_name_is_replaced_and_dropped),
		TEST(more_names_than_there_is_room_for_do_no_harm),
		TEST(the_holder_is_a_process_of_its_own),
		TEST(a_driver_that_nobody_can_follow_leaves_nothing),
		TEST(when_the_time_is_over_all_is_closed),
		TEST(the_time_begins_anew_with_each_driver),
		TEST(when_the_mount_is_gone_all_is_closed),
		TEST(an_orderly_end_leaves_no_process),
		TEST(a_holder_that_is_killed_is_missed_quietly),
		TEST(a_socket_that_a_killed_holder_left_is_no_obstacle),
		TEST(strange_messages_are_refused),
		TEST(what_comes_along_with_a_question_is_closed),
		TEST(noise_ends_nothing),
		TEST(who_connects_and_says_nothing_keeps_nobody_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
