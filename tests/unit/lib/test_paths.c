/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stat by path as requests of a queue, whatever the device says; and FORGETs that nobody's call
 * waits for. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "rig.h"

#define MANY 300

static int64_t one_stat(struct vfsdax_queue *q, const char *path, int flags, struct stat *st)
{
	struct vfsdax_result result;

	assert_int_equal(vfsdax_prep_stat(q, NULL, path, flags, st, 3), 0);
	assert_int_equal(vfsdax_submit(q), 1);
	assert_int_equal(vfsdax_reap(q, &result, 1, 1, -1), 1);
	assert_int_equal(result.user_data, 3);
	return result.result;
}

static void lies_on_the_way_are_refused_and_given_back(void **state)
{
	struct fuse_entry_out e = rig_entry(5, S_IFREG);
	struct vfsdax_queue *q;
	struct stat st;
	struct rig r;

	(void)state;
	rig_open(&r, 2, 5000);
	assert_int_equal(vfsdax_queue_create(r.s, 2, &q), 0);
	assert_int_equal(one_stat(q, "d/../d/./f", 0, &st), 0);
	assert_int_equal(st.st_size, 100000);
	rig_lie(&r, FUSE_LOOKUP, 0, &e, sizeof(e) - 1);
	assert_int_equal(one_stat(q, "d/f", 0, &st), -EIO);
	rig_lie(&r, FUSE_LOOKUP, -EINTR, NULL, 0);
	assert_int_equal(one_stat(q, "d/f", 0, &st), -EIO);
	e = rig_entry(5, S_IFREG);
	e.attr.size = UINT64_MAX;
	rig_lie(&r, FUSE_LOOKUP, 0, &e, sizeof(e));
	assert_int_equal(one_stat(q, "d", 0, &st), -EIO);
	/* A file in the middle, a link to itself, a link without a target. */
	e = rig_entry(6, S_IFREG);
	rig_lie(&r, FUSE_LOOKUP, 0, &e, sizeof(e));
	assert_int_equal(one_stat(q, "d/f", 0, &st), -ENOTDIR);
	e = rig_entry(7, S_IFLNK);
	rig_lie(&r, FUSE_LOOKUP, 0, &e, sizeof(e));
	assert_int_equal(one_stat(q, "d/f", 0, &st), -ENOSYS); /* of the READLINK */
	assert_int_equal(one_stat(q, "d", AT_SYMLINK_NOFOLLOW, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	atomic_fetch_add(&r.lookups, 4);
	/* Without a time to live the attributes are asked for, and checked as well. */
	rig_truth(&r);
	assert_int_equal(one_stat(q, "/", 0, &st), 0);
	rig_lie(&r, FUSE_GETATTR, 0, &e, 8);
	assert_int_equal(one_stat(q, "/", 0, &st), -EIO);
	rig_truth(&r);
	assert_int_equal(vfsdax_queue_destroy(q), 0);
	rig_close(&r);
}

/* All of them end with the time-out, also those for which there was no room; none keeps a lookup.
 */
static void a_silent_device_ends_all_walks(void **state)
{
	struct vfsdax_completion *done = calloc(MANY, sizeof(*done));
	struct stat *st = calloc(MANY, sizeof(*st));
	struct vfsdax_queue *q;
	struct rig r;
	int n = 0;

	(void)state;
	rig_open(&r, 1, 300);
	assert_int_equal(vfsdax_queue_create(r.s, MANY, &q), 0);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(vfsdax_prep_stat(q, NULL, "d/f", 0, &st[i], i), 0);
	pthread_mutex_lock(&r.lock);
	r.lie = (struct lie){.opcode = FUSE_LOOKUP, .silent = true};
	pthread_mutex_unlock(&r.lock);
	assert_int_equal(vfsdax_submit(q), MANY);
	while (n < MANY) {
		int got = vfsdax_reap_completions(q, done, sizeof(*done), MANY, 1, 20000);

		assert_true(got > 0);
		for (int i = 0; i < got; i++)
			assert_true(done[i].result < 0);
		n += got;
	}
	rig_truth(&r);
	assert_int_equal(vfsdax_queue_destroy(q), 0);
	free(done);
	free(st);
	rig_close(&r);
}

/* Results that were collected, but did not fit into the caller's array, are signalled. */
static void the_descriptor_says_that_results_are_left(void **state)
{
	struct vfsdax_result result;
	struct pollfd p = {.events = POLLIN};
	struct vfsdax_queue *q;
	struct stat st[8];
	struct rig r;

	(void)state;
	rig_open(&r, 1, 10000);
	assert_int_equal(vfsdax_queue_create(r.s, 8, &q), 0);
	p.fd = vfsdax_queue_fd(q);
	assert_true(p.fd >= 0);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(vfsdax_prep_stat(q, NULL, "d/f", 0, &st[i], i), 0);
	assert_int_equal(vfsdax_submit(q), 8);
	for (unsigned n = 0; n < 8;) {
		assert_int_equal(poll(&p, 1, 10000), 1);
		n += (unsigned)vfsdax_reap(q, &result, 1, 0, 0);
	}
	assert_int_equal(vfsdax_queue_destroy(q), 0);
	rig_close(&r);
}

static void expect_all_forgotten(struct rig *r)
{
	uint64_t until = clock_now_ns() + 10 * NS_PER_S;

	while (atomic_load(&r->forgets) != atomic_load(&r->lookups) && clock_now_ns() < until)
		usleep(1000);
	assert_int_equal(atomic_load(&r->forgets), atomic_load(&r->lookups));
}

static void the_last_call_publishes_its_forgets(void **state)
{
	struct vfsdax_queue *q;
	struct vfsdax_file *f;
	struct stat st;
	struct rig r;

	(void)state;
	rig_open(&r, 2, 5000);
	assert_int_equal(vfsdax_stat(r.s, "d/d/f", &st), 0);
	assert_int_equal(atomic_load(&r.lookups), 3);
	expect_all_forgotten(&r);
	f = rig_file(&r, O_RDONLY);
	assert_int_equal(vfsdax_close(f), 0);
	expect_all_forgotten(&r);
	assert_int_equal(vfsdax_stat(r.s, "d/nothing", &st), -ENOENT);
	expect_all_forgotten(&r);
	assert_int_equal(vfsdax_queue_create(r.s, 1, &q), 0);
	assert_int_equal(one_stat(q, "d/f", 0, &st), 0);
	expect_all_forgotten(&r);
	assert_int_equal(vfsdax_queue_destroy(q), 0);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lies_on_the_way_are_refused_and_given_back),
		cmocka_unit_test(a_silent_device_ends_all_walks),
		cmocka_unit_test(the_descriptor_says_that_results_are_left),
		cmocka_unit_test(the_last_call_publishes_its_forgets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
