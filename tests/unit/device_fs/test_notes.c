/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Notes: what a device that died has left is repeated at the next one, and the share is as if it
 * had been done once, whenever the first one died. Each case below is done in a directory of its
 * own, undisturbed; then with each way to die; answers and directories must be equal.
 */
#include <linux/fs.h>
#include <sys/xattr.h>

#include "repeat.h"

#define CALLER 1000

/* ------------------------------------------------------------------ the requests */

static int mknod_fifo(struct frame *f)
{
	struct fuse_mknod_in in = {.mode = S_IFIFO | 0600};

	return ONCE_IN(f, FUSE_MKNOD, 1, in, "new");
}

static int mknod_taken(struct frame *f)
{
	struct fuse_mknod_in in = {.mode = S_IFREG | 0644};

	return ONCE_IN(f, FUSE_MKNOD, 1, in, "a");
}

static int mkdir_taken(struct frame *f)
{
	struct fuse_mkdir_in in = {.mode = 0755};

	return ONCE_IN(f, FUSE_MKDIR, 1, in, "d");
}

static int symlink_taken(struct frame *f)
{
	return once(f, FUSE_SYMLINK, 1, "l", 2, "a", 2);
}

static int link_taken_by_itself(struct frame *f)
{
	struct fuse_link_in in = {.oldnodeid = lookup(f, 1, "a")};

	return ONCE_IN(f, FUSE_LINK, 1, in, "a2");
}

static int create_exclusive(struct frame *f)
{
	return create_with(f, "new", O_RDWR | O_CREAT | O_EXCL, 0644);
}

/* As git does. */
static int create_that_nobody_may_write(struct frame *f)
{
	return create_with(f, "new", O_RDWR | O_CREAT | O_EXCL, 0444);
}

static int create_over(struct frame *f)
{
	return create_with(f, "a", O_WRONLY | O_CREAT | O_TRUNC, 0644);
}

static int create_exclusive_taken(struct frame *f)
{
	return create_with(f, "a", O_RDWR | O_CREAT | O_EXCL, 0644);
}

static int unlink_nothing(struct frame *f)
{
	return once(f, FUSE_UNLINK, 1, "none", 5, NULL, 0);
}

static int rmdir_full(struct frame *f)
{
	return once(f, FUSE_RMDIR, 1, "d", 2, NULL, 0);
}

#define RENAMES(function, names)                              \
	static int function(struct frame *f)                  \
	{                                                     \
		struct fuse_rename_in in = {.newdir = 1};     \
                                                              \
		return ONCE_IN(f, FUSE_RENAME, 1, in, names); \
	}
RENAMES(rename_of_two_names, "a\0a2")
RENAMES(rename_of_nothing, "none\0b")
RENAMES(rename_of_a_directory, "d\0e")
RENAMES(rename_over_a_full_directory, "e\0d")

static int rename_into(struct frame *f)
{
	struct fuse_rename_in in = {.newdir = lookup(f, 1, "d")};

	return ONCE_IN(f, FUSE_RENAME, 1, in, "a\0a");
}

#define RENAMES_WITH(function, names, bits)                               \
	static int function(struct frame *f)                              \
	{                                                                 \
		struct fuse_rename2_in in = {.newdir = 1, .flags = bits}; \
                                                                          \
		return ONCE_IN(f, FUSE_RENAME2, 1, in, names);            \
	}
RENAMES_WITH(exchange, "a\0b", RENAME_EXCHANGE)
RENAMES_WITH(exchange_of_two_names, "a\0a2", RENAME_EXCHANGE)
RENAMES_WITH(exchange_with_nothing, "a\0none", RENAME_EXCHANGE)
RENAMES_WITH(rename_to_none, "a\0new", RENAME_NOREPLACE)
RENAMES_WITH(rename_to_none_taken, "a\0b", RENAME_NOREPLACE)
RENAMES_WITH(whiteout, "a\0b", RENAME_WHITEOUT)

/* Nothing of the device's business, but the bits are there. */
static int overwrite(struct frame *f)
{
	uint64_t nodeid = lookup(f, 1, "a");
	struct fuse_write_in in = {
		.fh = open_file(f, nodeid, O_RDWR), .flags = O_RDWR, .size = 3, .offset = 100};

	return once(f, FUSE_WRITE, nodeid, &in, sizeof(in), "abc", 3);
}

static int shift(struct frame *f, uint32_t mode)
{
	uint64_t nodeid = lookup(f, 1, "b");
	struct fuse_fallocate_in in = {
		.fh = open_file(f, nodeid, O_RDWR), .offset = 4096, .length = 8192, .mode = mode};

	return once(f, FUSE_FALLOCATE, nodeid, &in, sizeof(in), NULL, 0);
}

static int collapse(struct frame *f)
{
	return shift(f, FALLOC_FL_COLLAPSE_RANGE);
}

static int insert(struct frame *f)
{
	return shift(f, FALLOC_FL_INSERT_RANGE);
}

static int insert_nothing(struct frame *f)
{
	uint64_t nodeid = lookup(f, 1, "b");
	struct fuse_fallocate_in in = {
		.fh = open_file(f, nodeid, O_RDWR), .offset = 4096, .mode = FALLOC_FL_INSERT_RANGE};

	return once(f, FUSE_FALLOCATE, nodeid, &in, sizeof(in), NULL, 0);
}

static int set_attribute(struct frame *f, const char *name, uint32_t flags)
{
	struct fuse_setxattr_in in = {.size = 5, .flags = flags};

	return once(f, FUSE_SETXATTR, lookup(f, 1, name), &in, sizeof(in), "user.k\0value", 12);
}

static int attribute_created(struct frame *f)
{
	return set_attribute(f, "a", XATTR_CREATE);
}

static int attribute_created_twice(struct frame *f)
{
	return set_attribute(f, "b", XATTR_CREATE);
}

static int attribute_replaced(struct frame *f)
{
	return set_attribute(f, "b", XATTR_REPLACE);
}

static int attribute_removed(struct frame *f)
{
	return once(f, FUSE_REMOVEXATTR, lookup(f, 1, "b"), "user.k", 7, NULL, 0);
}

static int no_attribute_removed(struct frame *f)
{
	return once(f, FUSE_REMOVEXATTR, lookup(f, 1, "a"), "user.k", 7, NULL, 0);
}

static const struct {
	const char *name;
	int (*send)(struct frame *f);
	int error; /* of the first time */
} cases[] = {
#define CASE(function, error)              \
	{                                  \
#function, function, error \
	}
	CASE(mknod_file, 0),
	CASE(mknod_fifo, 0),
	CASE(mknod_taken, -EEXIST),
	CASE(mkdir_new, 0),
	CASE(mkdir_taken, -EEXIST),
	CASE(symlink_new, 0),
	CASE(symlink_taken, -EEXIST),
	CASE(link_new, 0),
	CASE(link_taken_by_itself, -EEXIST),
	CASE(create_new, 0),
	CASE(create_exclusive, 0),
	CASE(create_that_nobody_may_write, 0),
	CASE(create_over, 0),
	CASE(create_exclusive_taken, -EEXIST),
	CASE(unlink_file, 0),
	CASE(unlink_nothing, -ENOENT),
	CASE(rmdir_empty, 0),
	CASE(rmdir_full, -ENOTEMPTY),
	CASE(rename_to_nothing, 0),
	CASE(rename_over, 0),
	CASE(rename_of_two_names, 0),
	CASE(rename_of_nothing, -ENOENT),
	CASE(rename_of_a_directory, 0),
	CASE(rename_over_a_full_directory, -ENOTEMPTY),
	CASE(rename_into, 0),
	CASE(exchange, 0),
	CASE(exchange_of_two_names, 0),
	CASE(exchange_with_nothing, -ENOENT),
	CASE(rename_to_none, 0),
	CASE(rename_to_none_taken, -EEXIST),
	CASE(whiteout, 0),
	CASE(append, 0),
	CASE(overwrite, 0),
	CASE(collapse, 0),
	CASE(insert, 0),
	CASE(insert_nothing, -EINVAL),
	CASE(attribute_created, 0),
	CASE(attribute_created_twice, -EEXIST),
	CASE(attribute_replaced, 0),
	CASE(attribute_removed, 0),
	CASE(no_attribute_removed, -ENODATA),
};

/* ------------------------------------------------------------------ each with each death */

static void repeat_all(unsigned flags, uint32_t uid)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct frame *f = furnish(flags, uid);
		struct outcome first = outcome_of(f, cases[i].send(f));

		frame_free(f);
		/* a file system may not know it, and a caller not be allowed to */
		if (first.error != -EOPNOTSUPP && first.error != -EPERM)
			assert_int_equal(first.error, cases[i].error);
		for (enum death how = 0; how < DEATHS; how++) {
			struct agreement_note kept;
			struct outcome again;

			f = furnish(flags, uid);
			die(f, cases[i].send, how, &kept);
			again = outcome_of(f, cases[i].send(f));
			frame_free(f);
			if (memcmp(&again, &first, sizeof(again)) != 0)
				fail_msg("%s, death %d: error %lld body %llu dir %llx, not %lld "
					 "%llu %llx",
					 cases[i].name, how, (long long)again.error,
					 (unsigned long long)again.body_len,
					 (unsigned long long)again.dir, (long long)first.error,
					 (unsigned long long)first.body_len,
					 (unsigned long long)first.dir);
		}
	}
}

static void what_was_not_answered_is_done_once(void **state)
{
	(void)state;
	repeat_all(0, geteuid());
}

static void and_for_another_user(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	repeat_all(0, CALLER);
}

static void and_where_the_device_checks_rights(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	repeat_all(FRAME_CHECK, 0);
	repeat_all(FRAME_CHECK, CALLER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_not_answered_is_done_once),
		cmocka_unit_test(and_for_another_user),
		cmocka_unit_test(and_where_the_device_checks_rights),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
