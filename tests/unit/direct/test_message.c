/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Direct mmap's server: what it takes for a message. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "direct_message.h"

static struct direct_request good(unsigned op)
{
	return (struct direct_request){
		.magic = DIRECT_MAGIC, .version = DIRECT_VERSION, .op = (uint16_t)op};
}

static int parse(const struct direct_request *r)
{
	struct direct_request out;
	const char *why = NULL;
	int err = direct_request_parse(r, sizeof(*r), &out, &why);

	assert_true(!err || why);
	if (!err)
		assert_memory_equal(&out, r, sizeof(out));
	return err;
}

static void good_requests_are_taken_as_they_are(void **state)
{
	struct direct_request r;

	(void)state;
	for (unsigned op = DIRECT_HELLO; op <= DIRECT_UNMAP; op++) {
		r = good(op);
		assert_int_equal(parse(&r), 0);
	}
	r = good(DIRECT_MAP);
	r.off = 4096;
	r.len = UINT64_MAX;
	r.flags = DIRECT_F_WRITE | DIRECT_F_WHOLE | DIRECT_F_IO;
	assert_int_equal(parse(&r), 0);
	r.flags = DIRECT_F_WHOLE | DIRECT_F_IO | DIRECT_F_GATE;
	assert_int_equal(parse(&r), 0);
	r = good(DIRECT_UNMAP);
	r.id = UINT64_MAX;
	assert_int_equal(parse(&r), 0);
	r = good(DIRECT_AUTHORISED);
	r.err = INT32_MIN;
	assert_int_equal(parse(&r), 0);
}

static void every_other_length_is_refused(void **state)
{
	uint8_t bytes[2 * sizeof(struct direct_request)] = {0};
	struct direct_request r = good(DIRECT_HELLO), out;
	const char *why;

	(void)state;
	memcpy(bytes, &r, sizeof(r));
	for (size_t len = 0; len < sizeof(bytes); len++)
		assert_int_equal(direct_request_parse(bytes, len, &out, &why),
				 len == sizeof(r) ? 0 : -EPROTO);
}

static void what_a_request_does_not_have_is_0(void **state)
{
	struct direct_request r;

	(void)state;
#define BAD(op, field, value, err)                \
	do {                                      \
		r = good(op);                     \
		r.field = value;                  \
		assert_int_equal(parse(&r), err); \
	} while (0)
	BAD(DIRECT_HELLO, magic, 1, -EPROTO);
	BAD(DIRECT_HELLO, version, 2, -EPROTONOSUPPORT);
	BAD(DIRECT_HELLO, op, 0, -EPROTO);
	BAD(DIRECT_HELLO, op, DIRECT_TOKEN, -EPROTO);
	BAD(DIRECT_HELLO, op, 0xffff, -EPROTO);
	BAD(DIRECT_HELLO, flags, 1, -EPROTO);
	BAD(DIRECT_HELLO, off, 1, -EPROTO);
	BAD(DIRECT_HELLO, len, 1, -EPROTO);
	BAD(DIRECT_HELLO, id, 1, -EPROTO);
	BAD(DIRECT_HELLO, err, 1, -EPROTO);
	BAD(DIRECT_HELLO, reserved, 1, -EPROTO);
	BAD(DIRECT_MAP, flags, 16, -EPROTO);
	BAD(DIRECT_MAP, flags, DIRECT_F_GATE, -EPROTO);
	BAD(DIRECT_MAP, flags, DIRECT_F_GATE | DIRECT_F_IO | DIRECT_F_WRITE, -EPROTO);
	BAD(DIRECT_MAP, id, 1, -EPROTO);
	BAD(DIRECT_UNMAP, len, 1, -EPROTO);
#undef BAD
}

static void ranges_are_aligned_and_do_not_wrap(void **state)
{
	const char *why;

	(void)state;
	assert_int_equal(direct_range_check(0, 1, 4096, &why), 0);
	assert_int_equal(direct_range_check(4096, 4097, 4096, &why), 0);
	assert_int_equal(direct_range_check(0, 0, 4096, &why), -EINVAL);
	assert_int_equal(direct_range_check(4096, 1, 65536, &why), -EINVAL);
	assert_int_equal(direct_range_check(UINT64_MAX - 4095, 8192, 4096, &why), -EINVAL);
	assert_int_equal(direct_range_check(UINT64_MAX - 4095, 4095, 4096, &why), -EINVAL);
	assert_int_equal(direct_range_check(0, INT64_MAX, 4096, &why), -EINVAL);
	assert_int_equal(direct_range_check(INT64_C(1) << 62, 4096, 4096, &why), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_requests_are_taken_as_they_are),
		cmocka_unit_test(every_other_length_is_refused),
		cmocka_unit_test(what_a_request_does_not_have_is_0),
		cmocka_unit_test(ranges_are_aligned_and_do_not_wrap),
	};

	return cmocka_run_group_tests_name("direct-message", tests, NULL, NULL);
}
