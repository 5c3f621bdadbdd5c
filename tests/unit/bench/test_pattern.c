/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pattern.h"

static void a_permutation_gives_each_number_once(void **state)
{
	static const uint64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 100, 1000, 4096, 65537};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		for (uint64_t seed = 0; seed < 5; seed++) {
			uint64_t n = sizes[i];
			unsigned char *seen = calloc(n, 1);
			struct permutation p;

			assert_non_null(seen);
			permutation_init(&p, n, seed);
			for (uint64_t k = 0; k < n; k++) {
				uint64_t v = permutation_of(&p, k);

				assert_true(v < n);
				assert_int_equal(seen[v]++, 0);
			}
			free(seen);
		}
}

/* Neighbours must not stay neighbours, or "random" would be a stride. */
static void a_permutation_has_no_stride(void **state)
{
	enum { N = 4096 };
	static unsigned distances[2 * N];
	struct permutation p;
	unsigned most = 0;

	(void)state;
	memset(distances, 0, sizeof(distances));
	permutation_init(&p, N, 7);
	for (uint64_t k = 0; k + 1 < N; k++) {
		unsigned d = (unsigned)(permutation_of(&p, k + 1) + N - permutation_of(&p, k));

		most = MAX(most, ++distances[d]);
	}
	assert_true(most < N / 50);
}

static struct options workload(enum workload rw)
{
	struct options o;

	options_init(&o);
	o.rw = rw;
	return o;
}

static void a_pass_of_random_blocks_has_each_once_and_the_next_is_another(void **state)
{
	struct options o = workload(RW_RANDREAD);
	uint64_t first[64], same = 0;
	enum direction dir;
	struct pattern p;

	(void)state;
	pattern_init(&p, &o, 64, 1);
	for (int pass = 0; pass < 3; pass++) {
		uint64_t seen = 0;

		for (int i = 0; i < 64; i++) {
			uint64_t b = pattern_next(&p, &dir);

			assert_true(b < 64 && !(seen >> b & 1));
			assert_int_equal(dir, DIR_READ);
			seen |= UINT64_C(1) << b;
			same += pass == 1 && first[i] == b;
			first[i] = b;
		}
	}
	assert_true(same < 16);
}

static void without_the_map_blocks_come_again(void **state)
{
	struct options o = workload(RW_RANDWRITE);
	uint64_t seen = 0;
	enum direction dir;
	struct pattern p;

	(void)state;
	o.norandommap = true;
	pattern_init(&p, &o, 64, 1);
	for (int i = 0; i < 64; i++)
		seen |= UINT64_C(1) << pattern_next(&p, &dir);
	assert_int_equal(dir, DIR_WRITE);
	assert_true(seen != UINT64_MAX);
}

static void a_mix_has_the_share_of_reads_that_was_asked_for(void **state)
{
	struct options o = workload(RW_RANDRW);
	enum direction dir;
	struct pattern p;

	(void)state;
	for (unsigned percent = 0; percent <= 100; percent += 25) {
		unsigned reads = 0;

		o.rwmixread = percent;
		pattern_init(&p, &o, 1000, percent);
		for (unsigned i = 0; i < 40000; i++) {
			pattern_next(&p, &dir);
			reads += dir == DIR_READ;
		}
		assert_true(abs((int)reads - (int)percent * 400) <= (percent % 100 ? 600 : 0));
	}
}

static void sequential_begins_anew_at_the_end(void **state)
{
	struct options o = workload(RW_READ);
	enum direction dir;
	struct pattern p;

	(void)state;
	pattern_init(&p, &o, 3, 1);
	for (uint64_t i = 0; i < 9; i++)
		assert_int_equal(pattern_next(&p, &dir), i % 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_permutation_gives_each_number_once),
		cmocka_unit_test(a_permutation_has_no_stride),
		cmocka_unit_test(a_pass_of_random_blocks_has_each_once_and_the_next_is_another),
		cmocka_unit_test(without_the_map_blocks_come_again),
		cmocka_unit_test(a_mix_has_the_share_of_reads_that_was_asked_for),
		cmocka_unit_test(sequential_begins_anew_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
