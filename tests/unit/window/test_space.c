/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <string.h>

#include "base/bytes.h"
#include "window/space.h"

static uint64_t rng_state = 88172645463325252ULL;

static uint64_t rnd(uint64_t below)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return (rng_state >> 11) % below;
}

static void blocks_are_aligned_to_their_size_and_come_lowest_first(void **state)
{
	struct space s;
	uint64_t off;

	(void)state;
	assert_int_equal(space_init(&s, 16 * MIB, 20), 0);
	assert_true(space_take(&s, 0, &off));
	assert_int_equal(off, 0);
	assert_true(space_take(&s, 2, &off));
	assert_int_equal(off, 4 * MIB);
	assert_true(space_take(&s, 0, &off));
	assert_int_equal(off, MIB);
	assert_true(space_take(&s, 3, &off));
	assert_int_equal(off, 8 * MIB);
	assert_false(space_take(&s, 2, &off));
	assert_int_equal(s.free_bytes, 2 * MIB);
	space_fini(&s);
}

static void a_length_that_is_no_power_of_two_is_used_to_its_end(void **state)
{
	(void)state;
	for (uint64_t blocks = 1; blocks < 300; blocks++) {
		bool seen[300] = {0};
		struct space s;
		uint64_t off;

		assert_int_equal(space_init(&s, blocks * MIB, 20), 0);
		assert_int_equal(s.free_bytes, blocks * MIB);
		for (uint64_t i = 0; i < blocks; i++) {
			assert_true(space_take(&s, 0, &off));
			assert_true(off / MIB < blocks && !seen[off / MIB]);
			seen[off / MIB] = true;
		}
		assert_false(space_take(&s, 0, &off));
		for (uint64_t i = 0; i < blocks; i++)
			space_give(&s, (i * 7919 % blocks) * MIB, 0);
		/* 7919 is prime and larger than all of them: each was given back once, and the
		 * largest block is whole again. */
		assert_true(space_take(&s, s.orders - 1, &off));
		space_fini(&s);
	}
}

static void nothing_is_handed_out_twice(void **state)
{
	enum { BLOCKS = 77, HELD = 40 };
	struct held {
		uint64_t off;
		unsigned order;
		bool used;
	} held[HELD] = {0};
	uint8_t owner[BLOCKS];
	uint64_t free_blocks = BLOCKS;
	struct space s;

	(void)state;
	memset(owner, 0xff, sizeof(owner));
	assert_int_equal(space_init(&s, BLOCKS * MIB, 20), 0);
	for (int i = 0; i < 200000; i++) {
		unsigned h = (unsigned)rnd(HELD);
		uint64_t first = held[h].off / MIB, n = UINT64_C(1) << held[h].order;

		if (held[h].used) {
			for (uint64_t b = first; b < first + n; b++) {
				assert_int_equal(owner[b], h);
				owner[b] = 0xff;
			}
			space_give(&s, held[h].off, held[h].order);
			held[h].used = false;
			free_blocks += n;
			continue;
		}
		held[h].order = (unsigned)rnd(5);
		n = UINT64_C(1) << held[h].order;
		if (!space_take(&s, held[h].order, &held[h].off))
			continue;
		first = held[h].off / MIB;
		assert_int_equal(first % n, 0);
		assert_true(first + n <= BLOCKS);
		for (uint64_t b = first; b < first + n; b++) {
			assert_int_equal(owner[b], 0xff);
			owner[b] = (uint8_t)h;
		}
		held[h].used = true;
		free_blocks -= n;
		assert_int_equal(s.free_bytes, free_blocks * MIB);
	}
	space_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_are_aligned_to_their_size_and_come_lowest_first),
		cmocka_unit_test(a_length_that_is_no_power_of_two_is_used_to_its_end),
		cmocka_unit_test(nothing_is_handed_out_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
