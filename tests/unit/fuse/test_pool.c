/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who of a mount's workers reads, by itself: no worker runs here. */
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "capture.h"
#include "fuse/pool.h"

#define N 3

static unsigned readers(struct fuse_pool *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < N; i++)
		n += fuse_pool_role(c, i).reads;
	return n;
}

static void never_is_everybody_blocking(void **state)
{
	struct fuse_pool *c;

	(void)state;
	assert_int_equal(fuse_pool_create(SPIN_NEVER, N, &c), 0);
	for (unsigned i = 0; i < 10000; i++)
		fuse_pool_request(c, i % N);
	assert_int_equal(readers(c), N);
	for (unsigned i = 0; i < N; i++)
		assert_false(fuse_pool_role(c, i).polls);
	assert_int_equal(fuse_pool_mode(c), FUSE_POOL_ALL);
	fuse_pool_destroy(c);
	fuse_pool_destroy(NULL);
}

static void always_is_one_that_polls(void **state)
{
	struct fuse_pool *c;

	(void)state;
	assert_int_equal(fuse_pool_create(SPIN_ALWAYS, N, &c), 0);
	assert_int_equal(readers(c), 1);
	assert_int_equal(fuse_pool_mode(c), FUSE_POOL_POLL);
	fuse_pool_destroy(c);
}

static void one_worker_alone_always_reads(void **state)
{
	struct fuse_pool *c;

	(void)state;
	assert_int_equal(fuse_pool_create(SPIN_AUTO, 1, &c), 0);
	for (unsigned i = 0; i < 100000; i++)
		fuse_pool_request(c, 0);
	assert_true(fuse_pool_role(c, 0).reads);
	fuse_pool_destroy(c);
}

/* Under load other modes are tried. There is a reader at any time, and a worker that may read again
 * is woken; without load everybody reads and nobody polls. */
static void load_starts_trials_and_its_end_ends_them(void **state)
{
	uint64_t begin = clock_now_ns(), woken = 0, n;
	bool tried = false;
	struct fuse_pool *c;
	int wake[N];

	(void)state;
	assert_int_equal(fuse_pool_create(SPIN_AUTO, N, &c), 0);
	for (unsigned i = 0; i < N; i++) {
		wake[i] = eventfd(0, EFD_NONBLOCK);
		fuse_pool_join(c, i, wake[i]);
	}
	assert_int_equal(readers(c), N);
	while (clock_now_ns() - begin < 5 * NS_PER_S && !(tried && woken)) {
		for (unsigned i = 0; i < N; i++)
			if (fuse_pool_role(c, i).reads)
				fuse_pool_request(c, i);
		assert_true(readers(c) >= 1);
		tried |= fuse_pool_mode(c) != FUSE_POOL_ALL;
		for (unsigned i = 0; i < N; i++)
			if (read(wake[i], &n, sizeof(n)) == sizeof(n))
				woken += n;
	}
	assert_true(tried);
	assert_true(woken > 0);
	/* a pause, then little */
	nanosleep(&(struct timespec){0, 300000000}, NULL);
	for (unsigned i = 0; i < 64; i++)
		for (unsigned p = 0; p < N; p++)
			fuse_pool_request(c, p);
	assert_int_equal(fuse_pool_mode(c), FUSE_POOL_ALL);
	assert_int_equal(readers(c), N);
	fuse_pool_destroy(c);
	for (unsigned i = 0; i < N; i++)
		close(wake[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(never_is_everybody_blocking),
		cmocka_unit_test(always_is_one_that_polls),
		cmocka_unit_test(one_worker_alone_always_reads),
		cmocka_unit_test(load_starts_trials_and_its_end_ends_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
