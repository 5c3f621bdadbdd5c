/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <errno.h>
#include <string.h>

#include "verify.h"

static unsigned char block[4096];
static struct verify_mismatch m;

static void what_was_filled_is_right_there_and_nowhere_else(void **state)
{
	(void)state;
	for (uint32_t len = VERIFY_MIN_LEN; len <= sizeof(block); len += 8) {
		verify_fill(block, len, 8192);
		assert_int_equal(verify_check(block, len, 8192, &m), 0);
	}
	assert_int_equal(verify_check(block, sizeof(block), 12288, &m), -EILSEQ);
	assert_int_equal(m.at, 12288);
	assert_int_equal(m.expected, 12288);
	assert_int_equal(m.actual, 8192);
	assert_int_equal(verify_check(block, 2048, 8192, &m), -EILSEQ);
	assert_int_equal(m.at, 8192 + 8);
}

static void each_damaged_byte_is_found_where_it_is(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < sizeof(block); i++) {
		verify_fill(block, sizeof(block), 4096);
		block[i] ^= 0x10;
		assert_int_equal(verify_check(block, sizeof(block), 4096, &m), -EILSEQ);
		if (i >= 16) {
			assert_int_equal(m.at, 4096 + i);
			assert_int_equal(m.actual, block[i]);
			assert_int_equal(m.expected, block[i] ^ 0x10);
		} else {
			assert_int_equal(m.at, 4096 + i / 8 * 8);
		}
	}
}

static void zeros_are_no_block(void **state)
{
	(void)state;
	memset(block, 0, sizeof(block));
	assert_int_equal(verify_check(block, sizeof(block), 0, &m), -EILSEQ);
	assert_int_equal(m.at, 8);
}

static void contents_differ_by_offset(void **state)
{
	unsigned char other[sizeof(block)];

	(void)state;
	verify_fill(block, sizeof(block), 0);
	verify_fill(other, sizeof(other), 4096);
	assert_memory_not_equal(block + 16, other + 16, 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_filled_is_right_there_and_nowhere_else),
		cmocka_unit_test(each_damaged_byte_is_found_where_it_is),
		cmocka_unit_test(zeros_are_no_block),
		cmocka_unit_test(contents_differ_by_offset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
