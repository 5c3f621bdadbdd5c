/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What anybody may say to a holder. */
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

#include "hold_message.h"
#include "players.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLAYERS_TEST(strange_messages_are_refused),
		PLAYERS_TEST(what_comes_along_with_a_question_is_closed),
		PLAYERS_TEST(noise_ends_nothing),
		PLAYERS_TEST(who_connects_and_says_nothing_keeps_nobody_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
