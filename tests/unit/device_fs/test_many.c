/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* More files known than may be open. Needs root, for file handles. */
#include "frame.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

#define LIMIT 256
#define MANY  1500

static uint64_t nodeids[MANY];

static int setup(void **state)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = LIMIT;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	return frame_setup(state);
}

static const char *name_of(unsigned i)
{
	static char name[16];

	snprintf(name, sizeof(name), "f%u", i);
	return name;
}

static void learn(struct frame *f)
{
	for (unsigned i = 0; i < MANY; i++) {
		host_file(f, name_of(i), name_of(i));
		nodeids[i] = lookup(f, 1, name_of(i));
	}
	assert_true(count_fds() < LIMIT);
}

static void all_stay_known_and_usable(void **state)
{
	struct frame *f = *state;
	struct fuse_open_in open = {.flags = O_RDONLY};

	learn(f);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < MANY; i++) {
			struct fuse_read_in rd = {.size = 16};
			const char *name = name_of(i);

			f->uid = f->gid = i % 2 ? 1000 : 0;
			assert_int_equal(lookup(f, 1, name), nodeids[i]);
			assert_int_equal(call(f, FUSE_GETATTR, nodeids[i], NULL, 0), 0);
			assert_int_equal(call_in(f, FUSE_OPEN, nodeids[i], &open), 0);
			rd.fh = ((struct fuse_open_out *)f->body)->fh;
			assert_int_equal(call_in(f, FUSE_READ, nodeids[i], &rd), 0);
			assert_int_equal(f->body_len, strlen(name));
			assert_memory_equal(f->body, name, f->body_len);
			release(f, nodeids[i], rd.fh);
			assert_int_equal(geteuid(), 0);
		}
		assert_true(count_fds() < LIMIT);
	}
}

static void a_listing_of_more_than_may_be_open_is_complete(void **state)
{
	struct frame *f = *state;
	struct fuse_read_in in = {.fh = open_dir(f, 1), .size = 32768};
	unsigned n = 0;

	learn(f);
	do {
		assert_int_equal(call_in(f, FUSE_READDIRPLUS, 1, &in), 0);
		for (size_t at = 0; at < f->body_len;) {
			struct fuse_direntplus *d = (struct fuse_direntplus *)(f->body + at);

			in.offset = d->dirent.off;
			n += d->entry_out.nodeid != 0;
			at += FUSE_DIRENTPLUS_SIZE(d);
		}
	} while (f->body_len);
	assert_int_equal(n, MANY);
}

/* Mounts below the share have handles of their own; the mount is free once its files are. */
static void files_of_mounts_below_keep_no_descriptors(void **state)
{
	struct frame *f;
	uint64_t dir;

	(void)state;
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		skip();
	f = frame_new(DAX_ALWAYS, CACHE_AUTO, 0);
	assert_int_equal(mkdir(host_path(f, "m"), 0755), 0);
	assert_int_equal(mount("m", host_path(f, "m"), "tmpfs", 0, NULL), 0);
	dir = lookup(f, 1, "m");
	for (unsigned i = 0; i < MANY; i++) {
		char path[24];

		snprintf(path, sizeof(path), "m/%s", name_of(i));
		host_file(f, path, name_of(i));
		nodeids[i] = lookup(f, dir, name_of(i));
	}
	assert_true(count_fds() < LIMIT);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(lookup(f, dir, name_of(i)), nodeids[i]);
		assert_int_equal(call(f, FUSE_GETATTR, nodeids[i], NULL, 0), 0);
	}
	assert_int_equal(umount(host_path(f, "m")), -1);
	for (unsigned i = 0; i < MANY; i++)
		call_in(f, FUSE_FORGET, nodeids[i], &(struct fuse_forget_in){.nlookup = 2});
	call_in(f, FUSE_FORGET, dir, &(struct fuse_forget_in){.nlookup = 1});
	assert_int_equal(umount(host_path(f, "m")), 0);
	frame_free(f);
}

static void what_was_deleted_while_closed_is_stale_and_never_another(void **state)
{
	struct frame *f = *state;
	unsigned stale = 0;

	learn(f);
	/* Numbers of deleted files are given out again at once by many file systems. */
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(unlink(host_path(f, name_of(i))), 0);
	for (unsigned i = 0; i < 100; i++)
		host_file(f, name_of(i), "another");
	for (unsigned i = 0; i < 100; i++) {
		assert_int_not_equal(lookup(f, 1, name_of(i)), nodeids[i]);
		stale += call(f, FUSE_GETATTR, nodeids[i], NULL, 0) == -ESTALE;
	}
	assert_true(stale > 50);
}

static void what_is_open_in_the_guest_is_not_closed(void **state)
{
	struct frame *f = *state;
	uint64_t nodeid, fh;

	assert_int_equal(create(f, 1, "open", O_RDWR, 0644, 0, &nodeid, &fh), 0);
	assert_int_equal(unlink(host_path(f, "open")), 0);
	learn(f);
	assert_int_equal(call(f, FUSE_GETATTR, nodeid, NULL, 0), 0);
	assert_int_equal(((struct fuse_attr_out *)f->body)->attr.nlink, 0);
}

static void too_many_open_files_is_an_error_of_the_caller(void **state)
{
	struct frame *f = *state;
	struct fuse_open_in open = {.flags = O_RDONLY};
	uint64_t nodeid, fhs[2 * LIMIT];
	unsigned n = 0;
	int r = 0;

	host_file(f, "a", "x");
	nodeid = lookup(f, 1, "a");
	while (n < 2 * LIMIT && (r = call_in(f, FUSE_OPEN, nodeid, &open)) == 0)
		fhs[n++] = ((struct fuse_open_out *)f->body)->fh;
	assert_int_equal(r, -EMFILE);
	assert_int_equal(call(f, FUSE_GETATTR, nodeid, NULL, 0), 0);
	while (n)
		release(f, nodeid, fhs[--n]);
	assert_int_equal(call_in(f, FUSE_OPEN, nodeid, &open), 0);
}

struct worker {
	struct frame f;
	pthread_t id;
	unsigned failures;
};

static void *touch_all(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < 3 * MANY; i++) {
		uint64_t nodeid = nodeids[(i * 7 + (uintptr_t)w / 64) % MANY];

		w->failures += call(&w->f, FUSE_GETATTR, nodeid, NULL, 0) != 0;
	}
	return NULL;
}

static void threads_close_and_open_under_each_other(void **state)
{
	struct frame *f = *state;
	struct worker *w = calloc(3, sizeof(*w));

	assert_non_null(w);
	learn(f);
	for (int i = 0; i < 3; i++) {
		w[i].f.fs = f->fs;
		assert_int_equal(pthread_create(&w[i].id, NULL, touch_all, &w[i]), 0);
	}
	for (int i = 0; i < 3; i++) {
		pthread_join(w[i].id, NULL);
		assert_int_equal(w[i].failures, 0);
	}
	free(w);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, frame_teardown)
	const struct CMUnitTest tests[] = {
		T(all_stay_known_and_usable),
		T(a_listing_of_more_than_may_be_open_is_complete),
		T(files_of_mounts_below_keep_no_descriptors),
		T(what_was_deleted_while_closed_is_stale_and_never_another),
		T(what_is_open_in_the_guest_is_not_closed),
		T(too_many_open_files_is_an_error_of_the_caller),
		T(threads_close_and_open_under_each_other),
	};

	if (geteuid() != 0) {
		fprintf(stderr, "skipped: file handles need root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
