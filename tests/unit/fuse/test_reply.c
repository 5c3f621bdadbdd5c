/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers are one write with a right header. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "capture.h"
#include "fuse/reply.h"
#include "wire/fuse.h"

static void each_answer_is_one_message_with_its_length(void **state)
{
	uint8_t in_place[16 + 5] = {0}, got[64];
	struct fuse_out_header h;
	int sv[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
	assert_int_equal(fuse_reply_error(sv[1], 7, -ENOENT), 0);
	assert_int_equal(fuse_reply_error(sv[1], 8, 0), 0);
	assert_int_equal(fuse_reply_data(sv[1], 9, "hello", 5), 0);
	assert_int_equal(fuse_reply_data(sv[1], 10, NULL, 0), 0);
	memcpy(in_place + 16, "world", 5);
	assert_int_equal(fuse_reply_in_place(sv[1], 11, in_place + 16, 5), 0);

	for (uint64_t unique = 7; unique <= 11; unique++) {
		ssize_t n = read(sv[0], got, sizeof(got));

		memcpy(&h, got, sizeof(h));
		assert_int_equal(h.unique, unique);
		assert_int_equal(h.len, n);
		assert_int_equal(h.error, unique == 7 ? -ENOENT : 0);
		assert_int_equal(n, unique == 9 || unique == 11 ? 21 : 16);
		if (n == 21)
			assert_memory_equal(got + 16, unique == 9 ? "hello" : "world", 5);
	}
	close(sv[0]);
	close(sv[1]);
	assert_int_equal(fuse_reply_error(sv[1], 1, 0), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_answer_is_one_message_with_its_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
