/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the guest knows and does not use keeps nothing of the host's, with file handles and without.
 */
#include "frame.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/mount.h>

#include "vfsdax-device/fs/fs.h"

/* More calls than three rounds have: one takes the mark of its last use, one closes it, and its
 * mount. */
#define CALLS 14

static void tidy(struct frame *f)
{
	for (unsigned i = 0; i < CALLS; i++)
		fs_tidy(f->fs);
}

/* As on a file system that has none, or without the right to use them. */
static void without_handles(struct frame *f)
{
	f->fs->inodes.fds.use_handles = false;
}

static void with_and_without(void (*test)(struct frame *f, bool handles))
{
	for (unsigned i = 0; i < 2; i++) {
		struct frame *f = frame_new(DAX_ALWAYS, CACHE_AUTO, 0);
		bool handles = f->fs->inodes.fds.use_handles;

		if (i)
			without_handles(f);
		if (i || handles)
			test(f, !i);
		frame_free(f);
	}
}

static void let_go(struct frame *f, bool handles)
{
	unsigned before = count_fds();
	uint64_t file, dir;

	host_file(f, "a", "x");
	assert_int_equal(mkdir(host_path(f, "d"), 0755), 0);
	file = lookup(f, 1, "a");
	dir = lookup(f, 1, "d");
	assert_int_equal(count_fds(), before + 2);
	/* Without handles what has a name stays open: it could not be found again. */
	tidy(f);
	assert_int_equal(count_fds(), handles ? before : before + 2);
	assert_int_equal(call(f, FUSE_GETATTR, file, NULL, 0), 0);
	assert_int_equal(call(f, FUSE_GETATTR, dir, NULL, 0), 0);
	assert_int_equal(lookup(f, 1, "a"), file);
	assert_int_equal(unlink(host_path(f, "a")), 0);
	assert_int_equal(rmdir(host_path(f, "d")), 0);
	tidy(f);
	assert_int_equal(count_fds(), before);
	assert_int_equal(call(f, FUSE_GETATTR, file, NULL, 0), -ESTALE);
	assert_int_equal(call(f, FUSE_GETATTR, dir, NULL, 0), -ESTALE);
	/* What comes in its place, maybe with its number, is another file. */
	host_file(f, "a", "yy");
	assert_int_not_equal(lookup(f, 1, "a"), file);
	assert_int_equal(call(f, FUSE_GETATTR, 1, NULL, 0), 0);
}

static void what_is_removed_and_not_used_is_let_go(void **state)
{
	(void)state;
	with_and_without(let_go);
}

static void keep(struct frame *f, bool handles)
{
	struct fuse_read_in rd = {.size = 16};
	uint64_t file, kept;

	(void)handles;
	host_file(f, "a", "x");
	host_file(f, "b", "y");
	file = lookup(f, 1, "a");
	kept = lookup(f, 1, "b");
	rd.fh = open_file(f, file, O_RDONLY);
	assert_int_equal(unlink(host_path(f, "a")), 0);
	tidy(f);
	assert_int_equal(call(f, FUSE_GETATTR, file, NULL, 0), 0);
	assert_int_equal(call_in(f, FUSE_READ, file, &rd), 0);
	assert_int_equal(f->body_len, 1);
	assert_int_equal(call(f, FUSE_GETATTR, kept, NULL, 0), 0);
	release(f, file, rd.fh);
	tidy(f);
	assert_int_equal(call(f, FUSE_GETATTR, file, NULL, 0), -ESTALE);
}

static void what_is_open_in_the_guest_stays(void **state)
{
	(void)state;
	with_and_without(keep);
}

/* ------------------------------------------------------------------ mounts below the share */

static void mount_at(struct frame *f, const char *name, const char *file)
{
	char path[32];

	assert_int_equal(mount("m", host_path(f, name), "tmpfs", 0, NULL), 0);
	snprintf(path, sizeof(path), "%s/%s", name, file);
	host_file(f, path, file);
}

static int unmount(struct frame *f, const char *name)
{
	return umount(host_path(f, name)) < 0 ? -errno : 0;
}

static struct frame *with_mounts(void)
{
	struct frame *f;

	if (geteuid() != 0 || unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		skip();
	f = frame_new(DAX_ALWAYS, CACHE_AUTO, 0);
	assert_int_equal(mkdir(host_path(f, "m"), 0755), 0);
	assert_int_equal(mkdir(host_path(f, "k"), 0755), 0);
	mount_at(f, "m", "one");
	assert_int_equal(mkdir(host_path(f, "m/n"), 0755), 0);
	mount_at(f, "m/n", "two");
	return f;
}

static void assert_is(struct frame *f, uint64_t nodeid, const char *content)
{
	struct fuse_read_in rd = {.fh = open_file(f, nodeid, O_RDONLY), .size = 16};

	assert_int_equal(call_in(f, FUSE_READ, nodeid, &rd), 0);
	assert_int_equal(f->body_len, strlen(content));
	assert_memory_equal(f->body, content, f->body_len);
	release(f, nodeid, rd.fh);
}

/* All that is known of them stays usable, and the host unmounts them when it likes. */
static void a_mount_with_files_that_nobody_uses_can_be_unmounted(void **state)
{
	struct frame *f = with_mounts();
	uint64_t m, n, one, two, fh;

	(void)state;
	m = lookup(f, 1, "m");
	n = lookup(f, m, "n");
	one = lookup(f, m, "one");
	two = lookup(f, n, "two");
	assert_int_equal(unmount(f, "m/n"), -EBUSY);
	for (unsigned i = 0; i < 3; i++) {
		tidy(f);
		/* By the way back: through both, or the one alone. */
		assert_is(f, i == 1 ? one : two, i == 1 ? "one" : "two");
		assert_int_equal(lookup(f, m, "n"), n);
	}
	/* What is open in the guest keeps its mount, and that one only. */
	fh = open_file(f, one, O_RDONLY);
	tidy(f);
	assert_int_equal(unmount(f, "m/n"), 0);
	assert_int_equal(unmount(f, "m"), -EBUSY);
	assert_int_equal(call(f, FUSE_GETATTR, two, NULL, 0), -ESTALE);
	assert_int_equal(call(f, FUSE_GETATTR, n, NULL, 0), -ESTALE);
	release(f, one, fh);
	tidy(f);
	assert_is(f, one, "one");
	tidy(f);
	assert_int_equal(unmount(f, "m"), 0);
	assert_int_equal(call(f, FUSE_GETATTR, one, NULL, 0), -ESTALE);
	frame_free(f);
}

/* The kernel gives the number of a mount that is gone to the next one. */
static void a_mount_that_comes_later_is_not_taken_for_one_that_is_gone(void **state)
{
	struct frame *f = with_mounts();
	uint64_t m, one, k, later;

	(void)state;
	m = lookup(f, 1, "m");
	one = lookup(f, m, "one");
	assert_int_equal(unmount(f, "m/n"), 0);
	tidy(f);
	assert_int_equal(unmount(f, "m"), 0);
	for (unsigned i = 0; i < 3; i++) {
		mount_at(f, "k", "later");
		k = lookup(f, 1, "k");
		later = lookup(f, k, "later");
		assert_int_not_equal(later, one);
		tidy(f);
		assert_is(f, later, "later");
		assert_int_equal(call(f, FUSE_GETATTR, one, NULL, 0), -ESTALE);
		tidy(f);
		assert_int_equal(unmount(f, "k"), 0);
		assert_int_equal(call(f, FUSE_GETATTR, later, NULL, 0), -ESTALE);
	}
	/* The same place again, too. */
	mount_at(f, "m", "one");
	assert_int_equal(call(f, FUSE_GETATTR, one, NULL, 0), -ESTALE);
	m = lookup(f, 1, "m");
	assert_int_not_equal(lookup(f, m, "one"), one);
	tidy(f);
	assert_int_equal(unmount(f, "m"), 0);
	frame_free(f);
}

struct toucher {
	struct frame f;
	pthread_t id;
	const uint64_t *nodeids;
	unsigned failures;
	_Atomic bool *stop;
};

static void *touch(void *arg)
{
	struct toucher *t = arg;

	for (unsigned i = 0; !atomic_load(t->stop); i++)
		t->failures += call(&t->f, FUSE_GETATTR, t->nodeids[i % 3], NULL, 0) != 0;
	return NULL;
}

static void mounts_are_closed_and_opened_under_each_other(void **state)
{
	struct frame *f = with_mounts();
	struct toucher *t = calloc(3, sizeof(*t));
	_Atomic bool stop = false;
	uint64_t nodeids[3];

	(void)state;
	assert_non_null(t);
	nodeids[0] = lookup(f, 1, "m");
	nodeids[1] = lookup(f, nodeids[0], "n");
	nodeids[2] = lookup(f, nodeids[1], "two");
	for (unsigned i = 0; i < 3; i++) {
		t[i].f.fs = f->fs;
		t[i].nodeids = nodeids;
		t[i].stop = &stop;
		assert_int_equal(pthread_create(&t[i].id, NULL, touch, &t[i]), 0);
	}
	for (unsigned i = 0; i < 2000; i++) {
		fs_tidy(f->fs);
		mounts_sweep(f->fs);
	}
	stop = true;
	for (unsigned i = 0; i < 3; i++) {
		pthread_join(t[i].id, NULL);
		assert_int_equal(t[i].failures, 0);
	}
	free(t);
	tidy(f);
	assert_int_equal(unmount(f, "m/n"), 0);
	assert_int_equal(unmount(f, "m"), 0);
	frame_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_removed_and_not_used_is_let_go),
		cmocka_unit_test(what_is_open_in_the_guest_stays),
		cmocka_unit_test(a_mount_with_files_that_nobody_uses_can_be_unmounted),
		cmocka_unit_test(a_mount_that_comes_later_is_not_taken_for_one_that_is_gone),
		cmocka_unit_test(mounts_are_closed_and_opened_under_each_other),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
