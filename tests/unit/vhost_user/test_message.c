/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Framing, over a socket pair. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "transport/vhost_user_message.h"

struct pair {
	int ours, theirs;
	struct leftovers before;
};

static int pair_open(void **state)
{
	struct pair *p = malloc(sizeof(*p));
	int fds[2];

	p->before = leftovers_now();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	p->ours = fds[0];
	p->theirs = fds[1];
	*state = p;
	return 0;
}

static int pair_close(void **state)
{
	struct pair *p = *state;

	close(p->ours);
	close(p->theirs);
	assert_nothing_left(p->before);
	free(p);
	return 0;
}

static uint64_t in_ms(unsigned ms)
{
	return clock_now_ns() + ms * NS_PER_MS;
}

static void what_is_sent_is_received_with_its_descriptors(void **state)
{
	struct pair *p = *state;
	struct vhost_user_message out = {.header = {5, 1, 8}, .n_fds = 2}, in;
	char why[FRAME_WHY_BYTES];

	out.payload.u64 = 0x0123456789abcdef;
	out.fds[0] = out.fds[1] = p->ours;
	assert_int_equal(vu_message_send(p->ours, &out, in_ms(1000)), 0);
	assert_int_equal(vu_message_recv(p->theirs, &in, in_ms(1000), why), 0);
	assert_memory_equal(&in.header, &out.header, sizeof(in.header));
	assert_int_equal(in.payload.u64, out.payload.u64);
	assert_int_equal(in.n_fds, 2);
	assert_int_equal(fcntl(in.fds[1], F_GETFD), FD_CLOEXEC);
	frame_release(&in);
	frame_release(&in);
}

static void *trickle(void *arg)
{
	struct pair *p = arg;
	struct vhost_user_header h = {5, 1, 8};
	uint64_t value = 77;

	for (size_t i = 0; i < sizeof(h); i++) {
		assert_int_equal(write(p->theirs, (uint8_t *)&h + i, 1), 1);
		usleep(1000);
	}
	for (size_t i = 0; i < sizeof(value); i++) {
		assert_int_equal(write(p->theirs, (uint8_t *)&value + i, 1), 1);
		usleep(1000);
	}
	return NULL;
}

static void a_message_may_come_byte_by_byte(void **state)
{
	struct pair *p = *state;
	struct vhost_user_message in;
	char why[FRAME_WHY_BYTES];
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, trickle, p), 0);
	assert_int_equal(vu_message_recv(p->ours, &in, in_ms(5000), why), 0);
	assert_int_equal(in.payload.u64, 77);
	pthread_join(thread, NULL);
}

static void half_a_message_ends_at_the_deadline(void **state)
{
	struct pair *p = *state;
	struct vhost_user_header h = {5, 1, 8};
	struct vhost_user_message in;
	char why[FRAME_WHY_BYTES];

	assert_true(write(p->theirs, &h, sizeof(h)) == sizeof(h));
	assert_int_equal(vu_message_recv(p->ours, &in, in_ms(30), why), -ETIMEDOUT);
}

static void a_deadline_that_has_passed_still_takes_what_is_there(void **state)
{
	struct pair *p = *state;
	struct vhost_user_message in;
	char why[FRAME_WHY_BYTES];
	uint64_t value = 1;

	raw_send(p->theirs, 5, 1, &value, 8, NULL, 0);
	assert_int_equal(vu_message_recv(p->ours, &in, 0, why), 0);
	assert_int_equal(vu_message_recv(p->ours, &in, 0, why), -ETIMEDOUT);
}

static void a_close_inside_of_a_message_is_not_connected(void **state)
{
	struct pair *p = *state;
	struct vhost_user_header h = {5, 1, 8};
	struct vhost_user_message in;
	char why[FRAME_WHY_BYTES];
	int fd = p->ours;

	/* a descriptor that came with the half is not lost */
	assert_true(raw_send(p->theirs, h.request, h.flags, NULL, 0, &fd, 1));
	assert_int_equal(vu_message_recv(p->ours, &in, in_ms(1000), why), 0);
	frame_release(&in);
	assert_true(write(p->theirs, &h, 7) == 7);
	shutdown(p->theirs, SHUT_RDWR);
	assert_int_equal(vu_message_recv(p->ours, &in, in_ms(1000), why), -ENOTCONN);
	assert_int_equal(vu_message_recv(p->ours, &in, in_ms(1000), why), -ENOTCONN);
}

static void hostile_headers_are_refused(void **state)
{
	static const struct {
		struct vhost_user_header h;
		const char *words;
	} cases[] = {
		{{1, 0, 8}, "version 0"},
		{{1, 2, 8}, "version 2"},
		{{1, 7, 8}, "version 3"},
		{{1, 1, 4097}, "a payload of 4097 bytes"},
		{{1, 1, UINT32_MAX}, "a payload of 4294967295 bytes"},
		{{0x2d485353, 0x4f2d302e, 0x6e65706f}, "version 2"}, /* "SSH-2.0-Open" */
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct pair *p;
		struct vhost_user_message in;
		char why[FRAME_WHY_BYTES] = "";
		void *own = NULL;

		pair_open(&own);
		p = own;
		assert_true(write(p->theirs, &cases[i].h, 12) == 12);
		assert_int_equal(vu_message_recv(p->ours, &in, in_ms(1000), why), -EPROTO);
		if (!strstr(why, cases[i].words))
			fail_msg("\"%s\" does not say \"%s\"", why, cases[i].words);
		pair_close(&own);
	}
	(void)state;
}

static void more_than_eight_descriptors_are_refused_and_closed(void **state)
{
	struct pair *p = *state;
	struct vhost_user_message in;
	char why[FRAME_WHY_BYTES] = "";
	int fds[12];

	for (unsigned i = 0; i < 12; i++)
		fds[i] = p->ours;
	assert_true(raw_send(p->theirs, 5, 1, NULL, 0, fds, 8));
	assert_int_equal(vu_message_recv(p->ours, &in, in_ms(1000), why), 0);
	assert_int_equal(in.n_fds, 8);
	frame_release(&in);
	assert_true(raw_send(p->theirs, 5, 1, NULL, 0, fds, 12));
	assert_int_equal(vu_message_recv(p->ours, &in, in_ms(1000), why), -EPROTO);
	assert_non_null(strstr(why, "more than 8"));
}

static void running_out_of_descriptors_is_told_apart(void **state)
{
	struct pair *p = *state;
	struct rlimit old, tight;
	struct vhost_user_message in;
	char why[FRAME_WHY_BYTES];
	int fd = p->ours, next = dup(p->ours);

	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	tight = old;
	tight.rlim_cur = (rlim_t)next; /* no number is left */
	assert_true(raw_send(p->theirs, 9, 1, NULL, 0, &fd, 1));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	assert_int_equal(vu_message_recv(p->ours, &in, in_ms(1000), why), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(in.n_fds, 0);
	assert_true(in.fds_lost);
}

static void a_reader_that_never_reads_ends_at_the_deadline(void **state)
{
	struct pair *p = *state;
	struct vhost_user_message out = {.header = {5, 1, VHOST_USER_PAYLOAD_MAX}};
	int err = 0;

	for (int i = 0; i < 100000 && !err; i++)
		err = vu_message_send(p->ours, &out, in_ms(30));
	assert_int_equal(err, -ETIMEDOUT);
}

static void sending_to_nobody_raises_no_signal(void **state)
{
	struct pair *p = *state;
	struct vhost_user_message out = {.header = {5, 1, 8}};

	shutdown(p->theirs, SHUT_RDWR);
	assert_int_equal(vu_message_send(p->ours, &out, in_ms(1000)), -ENOTCONN);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, pair_open, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(what_is_sent_is_received_with_its_descriptors),
		CASE(a_message_may_come_byte_by_byte),
		CASE(half_a_message_ends_at_the_deadline),
		CASE(a_deadline_that_has_passed_still_takes_what_is_there),
		CASE(a_close_inside_of_a_message_is_not_connected),
		cmocka_unit_test(hostile_headers_are_refused),
		CASE(more_than_eight_descriptors_are_refused_and_closed),
		CASE(running_out_of_descriptors_is_told_apart),
		CASE(a_reader_that_never_reads_ends_at_the_deadline),
		CASE(sending_to_nobody_raises_no_signal),
	};

	return cmocka_run_group_tests_name("vhost-user-message", tests, NULL, NULL);
}
