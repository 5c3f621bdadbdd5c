/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names: what is found, made and moved by them, and that none leads out of the directory. */
#include "frame.h"

#include <sys/sysmacros.h>
#include <sys/xattr.h>

static const struct fuse_entry_out *entry(struct frame *f)
{
	assert_int_equal(f->body_len, sizeof(struct fuse_entry_out));
	return (struct fuse_entry_out *)f->body;
}

static void names_that_lead_out_are_refused_everywhere(void **state)
{
	struct frame *f = *state;
	static const char *const names[] = {"..", ".", "", "/", "/etc", "../x", "a/b", "a/", "./a"};
	struct fuse_mkdir_in mkdir = {.mode = 0755};
	struct fuse_mknod_in mknod = {.mode = S_IFREG | 0644};
	struct fuse_create_in cr = {.flags = O_RDWR, .mode = S_IFREG | 0644};
	struct fuse_rename_in ren = {.newdir = 1};
	struct fuse_rename2_in ren2 = {.newdir = 1};
	struct fuse_link_in link;
	char two[64];

	host_file(f, "a", "x");
	link.oldnodeid = lookup(f, 1, "a");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *n = names[i];
		size_t len = strlen(n) + 1;

		assert_int_equal(call(f, FUSE_LOOKUP, 1, n, len), -EINVAL);
		assert_int_equal(call(f, FUSE_UNLINK, 1, n, len), -EINVAL);
		assert_int_equal(call(f, FUSE_RMDIR, 1, n, len), -EINVAL);
		assert_int_equal(call2(f, FUSE_MKDIR, 1, &mkdir, sizeof(mkdir), n, len), -EINVAL);
		assert_int_equal(call2(f, FUSE_MKNOD, 1, &mknod, sizeof(mknod), n, len), -EINVAL);
		assert_int_equal(call2(f, FUSE_CREATE, 1, &cr, sizeof(cr), n, len), -EINVAL);
		assert_int_equal(call2(f, FUSE_LINK, 1, &link, sizeof(link), n, len), -EINVAL);
		assert_int_equal(call2(f, FUSE_SYMLINK, 1, n, len, "target", 7), -EINVAL);
		memcpy(two, "a", 2);
		memcpy(two + 2, n, len);
		assert_int_equal(call2(f, FUSE_RENAME, 1, &ren, sizeof(ren), two, 2 + len),
				 -EINVAL);
		assert_int_equal(call2(f, FUSE_RENAME2, 1, &ren2, sizeof(ren2), two, 2 + len),
				 -EINVAL);
		memcpy(two, n, len);
		memcpy(two + len, "a", 2);
		assert_int_equal(call2(f, FUSE_RENAME, 1, &ren, sizeof(ren), two, 2 + len),
				 -EINVAL);
	}
	assert_int_equal(access(host_path(f, "a"), F_OK), 0);
}

static void names_without_an_end_or_with_something_behind_are_refused(void **state)
{
	struct frame *f = *state;
	struct fuse_mkdir_in mkdir = {.mode = 0755};
	char longname[300];

	assert_int_equal(call2(f, FUSE_MKDIR, 1, &mkdir, sizeof(mkdir), "abc", 3), -EINVAL);
	assert_int_equal(call2(f, FUSE_MKDIR, 1, &mkdir, sizeof(mkdir), "abc\0x", 5), -EINVAL);
	assert_int_equal(call(f, FUSE_SYMLINK, 1, "a\0target", 8), -EINVAL);
	memset(longname, 'n', sizeof(longname));
	longname[256] = 0;
	assert_int_equal(call2(f, FUSE_MKDIR, 1, &mkdir, sizeof(mkdir), longname, 257),
			 -ENAMETOOLONG);
	longname[255] = 0;
	assert_int_equal(call2(f, FUSE_MKDIR, 1, &mkdir, sizeof(mkdir), longname, 256), 0);
}

static void symlinks_are_shown_not_followed(void **state)
{
	struct frame *f = *state;
	struct fuse_open_in in = {.flags = O_RDONLY};
	struct fuse_create_in cr = {.flags = O_RDWR, .mode = S_IFREG | 0644};
	struct fuse_setattr_in set = {.valid = FATTR_SIZE};
	uint64_t nodeid;

	assert_int_equal(symlink("/etc/passwd", host_path(f, "abs")), 0);
	assert_int_equal(symlink("..", host_path(f, "up")), 0);
	nodeid = lookup(f, 1, "abs");
	assert_true(S_ISLNK(entry(f)->attr.mode));
	assert_int_equal(call(f, FUSE_READLINK, nodeid, NULL, 0), 0);
	assert_int_equal(f->body_len, strlen("/etc/passwd"));
	assert_memory_equal(f->body, "/etc/passwd", f->body_len);
	assert_int_equal(call_in(f, FUSE_OPEN, nodeid, &in), -ELOOP);
	assert_int_equal(call_in(f, FUSE_OPENDIR, nodeid, &in), -ENOTDIR);
	assert_int_equal(call_in(f, FUSE_SETATTR, nodeid, &set), -EINVAL);
	assert_int_equal(call2(f, FUSE_CREATE, 1, &cr, sizeof(cr), "abs", 4), -ELOOP);
	nodeid = lookup(f, 1, "up");
	assert_int_equal(call(f, FUSE_LOOKUP, nodeid, "etc", 4), -ENOTDIR);
	/* Changing a link changes the link. */
	set.valid = FATTR_MTIME;
	set.mtime = 12345;
	assert_int_equal(call_in(f, FUSE_SETATTR, nodeid, &set), 0);
	assert_int_equal(((struct fuse_attr_out *)f->body)->attr.mtime, 12345);
}

static void special_files_are_shown_but_never_opened(void **state)
{
	struct frame *f = *state;
	struct fuse_mknod_in in = {.mode = S_IFIFO | 0644};
	struct fuse_open_in open = {.flags = O_RDWR};
	struct fuse_create_in cr = {.flags = O_RDWR, .mode = S_IFREG | 0644};
	uint64_t nodeid;

	assert_int_equal(call2(f, FUSE_MKNOD, 1, &in, sizeof(in), "fifo", 5), 0);
	nodeid = entry(f)->nodeid;
	assert_int_equal(entry(f)->attr.flags & FUSE_ATTR_DAX, 0);
	assert_int_equal(call_in(f, FUSE_OPEN, nodeid, &open), -ENXIO);
	assert_int_equal(call2(f, FUSE_CREATE, 1, &cr, sizeof(cr), "fifo", 5), -ENXIO);
	if (geteuid() == 0) {
		in.mode = S_IFCHR | 0644;
		in.rdev = (uint32_t)makedev(1, 3);
		if (call2(f, FUSE_MKNOD, 1, &in, sizeof(in), "null", 5) == 0) {
			assert_int_equal(entry(f)->attr.rdev, makedev(1, 3));
			assert_int_equal(call_in(f, FUSE_OPEN, entry(f)->nodeid, &open), -ENXIO);
		}
	}
}

static void one_file_is_one_node_by_all_its_names(void **state)
{
	struct frame *f = *state;
	struct fuse_link_in in;
	struct fuse_forget_in forget = {.nlookup = 2};
	uint64_t nodeid;

	host_file(f, "a", "x");
	nodeid = lookup(f, 1, "a");
	in.oldnodeid = nodeid;
	assert_int_equal(call2(f, FUSE_LINK, 1, &in, sizeof(in), "b", 2), 0);
	assert_int_equal(entry(f)->nodeid, nodeid);
	assert_int_equal(entry(f)->attr.nlink, 2);
	assert_int_equal(lookup(f, 1, "b"), nodeid);

	/* Three lookups: two forgotten leave it known, the third does not. */
	call_in(f, FUSE_FORGET, nodeid, &forget);
	assert_int_equal(call(f, FUSE_GETATTR, nodeid, NULL, 0), 0);
	forget.nlookup = 1;
	call_in(f, FUSE_FORGET, nodeid, &forget);
	assert_int_equal(call(f, FUSE_GETATTR, nodeid, NULL, 0), -ESTALE);
	assert_int_not_equal(lookup(f, 1, "a"), nodeid);
}

static void forgetting_too_much_or_the_root_does_no_harm(void **state)
{
	struct frame *f = *state;
	struct fuse_forget_in forget = {.nlookup = UINT64_MAX};
	struct {
		struct fuse_batch_forget_in head;
		struct fuse_forget_one one[2];
	} batch = {.head.count = UINT32_MAX};

	host_file(f, "a", "x");
	batch.one[0].nodeid = lookup(f, 1, "a");
	batch.one[0].nlookup = UINT64_MAX;
	batch.one[1].nodeid = 1;
	batch.one[1].nlookup = 5;
	call_in(f, FUSE_FORGET, 1, &forget);
	assert_int_equal(f->written, 0);
	call_in(f, FUSE_FORGET, 777, &forget);
	call_in(f, FUSE_BATCH_FORGET, 0, &batch);
	assert_int_equal(f->written, 0);
	assert_int_equal(call(f, FUSE_GETATTR, batch.one[0].nodeid, NULL, 0), -ESTALE);
	assert_int_equal(call(f, FUSE_GETATTR, 1, NULL, 0), 0);
}

static void a_file_replaced_on_the_host_is_another_node(void **state)
{
	struct frame *f = *state;
	uint64_t before;

	host_file(f, "a", "x");
	before = lookup(f, 1, "a");
	assert_int_equal(unlink(host_path(f, "a")), 0);
	host_file(f, "a", "y");
	assert_int_not_equal(lookup(f, 1, "a"), before);
	assert_int_equal(call(f, FUSE_GETATTR, before, NULL, 0), 0);
	assert_int_equal(((struct fuse_attr_out *)f->body)->attr.nlink, 0);
}

static void rename_moves_replaces_and_exchanges(void **state)
{
	struct frame *f = *state;
	struct fuse_rename_in ren = {.newdir = 1};
	struct fuse_rename2_in ren2 = {.newdir = 1};
	struct fuse_mkdir_in mkdir = {.mode = 0755};
	uint64_t sub;

	host_file(f, "a", "aa");
	host_file(f, "b", "b");
	assert_int_equal(call2(f, FUSE_MKDIR, 1, &mkdir, sizeof(mkdir), "sub", 4), 0);
	sub = entry(f)->nodeid;
	ren2.flags = 1; /* NOREPLACE */
	assert_int_equal(call2(f, FUSE_RENAME2, 1, &ren2, sizeof(ren2), "a\0b", 4), -EEXIST);
	ren2.flags = 2; /* EXCHANGE */
	assert_int_equal(call2(f, FUSE_RENAME2, 1, &ren2, sizeof(ren2), "a\0b", 4), 0);
	lookup(f, 1, "b");
	assert_int_equal(entry(f)->attr.size, 2);
	ren2.flags = 0x80;
	assert_int_equal(call2(f, FUSE_RENAME2, 1, &ren2, sizeof(ren2), "a\0b", 4), -EINVAL);
	ren.newdir = sub;
	assert_int_equal(call2(f, FUSE_RENAME, 1, &ren, sizeof(ren), "b\0c", 4), 0);
	lookup(f, sub, "c");
	ren.newdir = 99;
	assert_int_equal(call2(f, FUSE_RENAME, 1, &ren, sizeof(ren), "a\0c", 4), -ESTALE);
	assert_int_equal(call(f, FUSE_RMDIR, 1, "sub", 4), -ENOTEMPTY);
	assert_int_equal(call(f, FUSE_UNLINK, sub, "c", 2), 0);
	assert_int_equal(call(f, FUSE_RMDIR, 1, "sub", 4), 0);
	assert_int_equal(call(f, FUSE_LOOKUP, 1, "sub", 4), -ENOENT);
}

static void tmpfile_gets_a_name_by_link(void **state)
{
	struct frame *f = *state;
	struct fuse_create_in in = {.flags = O_RDWR, .mode = S_IFREG | 0600};
	struct fuse_link_in link;
	struct fuse_write_in write = {.size = 5};
	uint64_t nodeid;
	struct stat st;

	int r = call2(f, FUSE_TMPFILE, 1, &in, sizeof(in), "/", 2);

	if (r == -EOPNOTSUPP)
		skip();
	assert_int_equal(r, 0);
	nodeid = ((struct fuse_entry_out *)f->body)->nodeid;
	write.fh = ((struct fuse_open_out *)(f->body + sizeof(struct fuse_entry_out)))->fh;
	assert_int_equal(call2(f, FUSE_WRITE, nodeid, &write, sizeof(write), "hello", 5), 0);
	link.oldnodeid = nodeid;
	assert_int_equal(call2(f, FUSE_LINK, 1, &link, sizeof(link), "named", 6), 0);
	assert_int_equal(stat(host_path(f, "named"), &st), 0);
	assert_int_equal(st.st_size, 5);
}

static void readonly_refuses_everything_that_writes(void **state)
{
	struct frame *f = frame_new(DAX_ALWAYS, CACHE_AUTO, FRAME_READONLY);
	struct fuse_mkdir_in mkdir = {.mode = 0755};
	struct fuse_open_in open = {.flags = O_RDWR};
	struct fuse_setattr_in set = {.valid = FATTR_MODE, .mode = 0600};
	struct fuse_access_in acc = {.mask = W_OK};
	struct fuse_create_in cr = {.flags = O_RDONLY};
	struct fuse_setupmapping_in map = {.len = 4096, .flags = FUSE_SETUPMAPPING_FLAG_WRITE};
	uint64_t nodeid;

	(void)state;
	host_file_of_size(f, "a", 8192);
	nodeid = lookup(f, 1, "a");
	assert_int_equal(call2(f, FUSE_MKDIR, 1, &mkdir, sizeof(mkdir), "d", 2), -EROFS);
	assert_int_equal(call2(f, FUSE_CREATE, 1, &cr, sizeof(cr), "a", 2), -EROFS);
	assert_int_equal(call(f, FUSE_UNLINK, 1, "a", 2), -EROFS);
	assert_int_equal(call_in(f, FUSE_OPEN, nodeid, &open), -EROFS);
	open.flags = O_RDONLY | O_TRUNC;
	assert_int_equal(call_in(f, FUSE_OPEN, nodeid, &open), -EROFS);
	open.flags = O_RDONLY;
	assert_int_equal(call_in(f, FUSE_OPEN, nodeid, &open), 0);
	assert_int_equal(call_in(f, FUSE_SETATTR, nodeid, &set), -EROFS);
	assert_int_equal(call_in(f, FUSE_ACCESS, nodeid, &acc), -EROFS);
	assert_int_equal(call_in(f, FUSE_SETUPMAPPING, nodeid, &map), -EROFS);
	map.flags = FUSE_SETUPMAPPING_FLAG_READ;
	assert_int_equal(call_in(f, FUSE_SETUPMAPPING, nodeid, &map), 0);
	frame_free(f);
}

/* ------------------------------------------------------------------ xattrs */

static int get(struct frame *f, uint64_t nodeid, const char *name, uint32_t size)
{
	struct fuse_getxattr_in in = {.size = size};

	return call2(f, FUSE_GETXATTR, nodeid, &in, sizeof(in), name, strlen(name) + 1);
}

static int set(struct frame *f, uint64_t nodeid, const char *name, const char *value, uint32_t size)
{
	struct fuse_setxattr_in in = {.size = size};
	char both[512];
	size_t len = strlen(name) + 1;

	memcpy(both, name, len);
	memcpy(both + len, value, strlen(value));
	return call2(f, FUSE_SETXATTR, nodeid, &in, sizeof(in), both, len + strlen(value));
}

static void xattrs_are_sized_set_listed_and_removed(void **state)
{
	struct frame *f = *state;
	struct fuse_getxattr_in list = {.size = 4096};
	uint64_t nodeid;
	int r;

	host_file(f, "a", "x");
	nodeid = lookup(f, 1, "a");
	r = set(f, nodeid, "user.k", "value", 5);
	if (r == -EOPNOTSUPP)
		skip();
	assert_int_equal(r, 0);
	assert_int_equal(get(f, nodeid, "user.k", 0), 0);
	assert_int_equal(((struct fuse_getxattr_out *)f->body)->size, 5);
	assert_int_equal(get(f, nodeid, "user.k", 4), -ERANGE);
	assert_int_equal(get(f, nodeid, "user.k", 5), 0);
	assert_memory_equal(f->body, "value", 5);
	assert_int_equal(get(f, nodeid, "user.k", UINT32_MAX), 0);
	assert_int_equal(f->body_len, 5);
	assert_int_equal(get(f, nodeid, "user.none", 64), -ENODATA);

	assert_int_equal(call_in(f, FUSE_LISTXATTR, nodeid, &list), 0);
	assert_non_null(memmem(f->body, f->body_len, "user.k", 7));
	list.size = 3;
	assert_int_equal(call_in(f, FUSE_LISTXATTR, nodeid, &list), -ERANGE);
	list.size = 0;
	assert_int_equal(call_in(f, FUSE_LISTXATTR, nodeid, &list), 0);
	assert_true(((struct fuse_getxattr_out *)f->body)->size >= 7);

	assert_int_equal(call(f, FUSE_REMOVEXATTR, nodeid, "user.k", 7), 0);
	assert_int_equal(get(f, nodeid, "user.k", 64), -ENODATA);
	/* A size that is not that of the value. */
	assert_int_equal(set(f, nodeid, "user.k", "value", 6), -EINVAL);
	assert_int_equal(set(f, nodeid, "user.k", "value", UINT32_MAX), -EINVAL);
}

static void xattr_names_outside_the_known_families_are_refused(void **state)
{
	struct frame *f = *state;
	static const char *const names[] = {"system.posix_acl_access", "system.posix_acl_default",
					    "system.nfs4_acl", "bogus", "btrfs.compression"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(get(f, 1, names[i], 64), -EOPNOTSUPP);
		assert_int_equal(set(f, 1, names[i], "v", 1), -EOPNOTSUPP);
	}
	assert_int_equal(get(f, 1, "", 64), -EINVAL);
}

static void without_xattr_the_kernel_is_told_not_to_ask_again(void **state)
{
	struct frame *f = frame_new(DAX_NONE, CACHE_AUTO, FRAME_NO_XATTR);
	struct fuse_getxattr_in list = {.size = 4096};

	(void)state;
	assert_int_equal(get(f, 1, "user.k", 64), -ENOSYS);
	assert_int_equal(set(f, 1, "user.k", "v", 1), -ENOSYS);
	assert_int_equal(call_in(f, FUSE_LISTXATTR, 1, &list), -ENOSYS);
	assert_int_equal(call(f, FUSE_REMOVEXATTR, 1, "user.k", 7), -ENOSYS);
	frame_free(f);
}

static void xattrs_of_a_symlink_are_the_links_own(void **state)
{
	struct frame *f = *state;
	uint64_t nodeid;

	if (geteuid() != 0)
		skip();
	host_file(f, "target", "x");
	assert_int_equal(symlink("target", host_path(f, "link")), 0);
	nodeid = lookup(f, 1, "link");
	if (set(f, nodeid, "trusted.k", "v", 1) == -EOPNOTSUPP)
		skip();
	assert_int_equal(get(f, nodeid, "trusted.k", 8), 0);
	assert_int_equal(lgetxattr(host_path(f, "link"), "trusted.k", NULL, 0), 1);
	assert_int_equal(getxattr(host_path(f, "target"), "trusted.k", NULL, 0), -1);
}

/* The attributes of node 1 behind `body` bytes of the answer are those that it has now. */
static void assert_tells_root(struct frame *f, size_t body)
{
	struct fuse_getattr_in in = {0};
	struct fuse_attr_out told;

	assert_int_equal(f->body_len, body + sizeof(told));
	memcpy(&told, f->body + body, sizeof(told));
	assert_int_equal(call_in(f, FUSE_GETATTR, 1, &in), 0);
	assert_memory_equal(f->body, &told, sizeof(told));
}

static void a_change_of_names_tells_what_its_directory_is_like(void **state)
{
	struct frame *f = *state;
	struct fuse_mknod_in mknod = {.mode = S_IFREG | 0644};
	struct fuse_mkdir_in mkdir = {.mode = 0755};
	struct fuse_create_in cr = {.flags = O_RDWR, .mode = S_IFREG | 0644};
	struct fuse_rename2_in ren = {.newdir = 1};
	size_t entry = sizeof(struct fuse_entry_out), both = entry + sizeof(struct fuse_open_out);
	struct fuse_link_in link;
	struct __attribute__((packed)) {
		struct fuse_in_header h;
		char name[2];
	} small = {{.len = sizeof(small), .opcode = FUSE_UNLINK, .nodeid = 1, .unique = 2}, "u"};

	for (int tells = 1; tells >= 0; tells--) {
		assert_int_equal(frame_init_asking(f, ~0ull, tells ? AGREE_DIRECTORY_ATTR : 0), 0);
#define TELLS(body) tells ? assert_tells_root(f, body) : assert_int_equal(f->body_len, body)
		assert_int_equal(call2(f, FUSE_MKNOD, 1, &mknod, sizeof(mknod), "n", 2), 0);
		TELLS(entry);
		assert_int_equal(call2(f, FUSE_MKDIR, 1, &mkdir, sizeof(mkdir), "d", 2), 0);
		TELLS(entry);
		assert_int_equal(call2(f, FUSE_SYMLINK, 1, "s", 2, "target", 7), 0);
		TELLS(entry);
		assert_int_equal(call2(f, FUSE_CREATE, 1, &cr, sizeof(cr), "c", 2), 0);
		TELLS(both);
		link.oldnodeid = lookup(f, 1, "n");
		assert_int_equal(call2(f, FUSE_LINK, 1, &link, sizeof(link), "l", 2), 0);
		TELLS(entry);
		assert_int_equal(call2(f, FUSE_RENAME2, 1, &ren, sizeof(ren), "l\0m", 4), 0);
		TELLS(0);
		for (const char *name = "nscm"; *name; name++) {
			assert_int_equal(call(f, FUSE_UNLINK, 1, (char[]){*name, 0}, 2), 0);
			TELLS(0);
		}
		assert_int_equal(call(f, FUSE_RMDIR, 1, "d", 2), 0);
		TELLS(0);
#undef TELLS
	}
	/* where there is no room for it, the answer is the usual one */
	assert_int_equal(frame_init_asking(f, ~0ull, AGREE_DIRECTORY_ATTR), 0);
	host_file(f, "u", "x");
	assert_int_equal(call_raw(f, &small, sizeof(small), sizeof(struct fuse_out_header)), 0);
	assert_int_equal(f->body_len, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, frame_setup, frame_teardown)
	const struct CMUnitTest tests[] = {
		T(names_that_lead_out_are_refused_everywhere),
		T(names_without_an_end_or_with_something_behind_are_refused),
		T(symlinks_are_shown_not_followed),
		T(special_files_are_shown_but_never_opened),
		T(one_file_is_one_node_by_all_its_names),
		T(forgetting_too_much_or_the_root_does_no_harm),
		T(a_file_replaced_on_the_host_is_another_node),
		T(rename_moves_replaces_and_exchanges),
		T(tmpfile_gets_a_name_by_link),
		T(a_change_of_names_tells_what_its_directory_is_like),
		cmocka_unit_test(readonly_refuses_everything_that_writes),
		T(xattrs_are_sized_set_listed_and_removed),
		T(xattr_names_outside_the_known_families_are_refused),
		cmocka_unit_test(without_xattr_the_kernel_is_told_not_to_ask_again),
		T(xattrs_of_a_symlink_are_the_links_own),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
