/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the guest knows and does not use keeps nothing of the host's, with file handles and without.
 */
#include "frame.h"

#include "vfsdax-device/fs/fs.h"

/* More calls than two rounds have: one takes the mark of its last use, the other closes it. */
#define CALLS 10

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_removed_and_not_used_is_let_go),
		cmocka_unit_test(what_is_open_in_the_guest_stays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
