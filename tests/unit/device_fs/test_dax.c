/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The window: policy in every reply, SETUPMAPPING and REMOVEMAPPING at their edges. */
#include "frame.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

#define NODE_MODE (S_IFREG | 0644)

static int map(struct frame *f, uint64_t nodeid, uint64_t off, uint64_t len, uint64_t win,
	       uint64_t flags)
{
	struct fuse_setupmapping_in in = {
		.fh = UINT64_MAX, .foffset = off, .len = len, .flags = flags, .moffset = win};

	return call_in(f, FUSE_SETUPMAPPING, nodeid, &in);
}

static int unmap(struct frame *f, uint64_t win, uint64_t len)
{
	struct {
		uint32_t count;
		uint32_t one[4];
	} in = {.count = 1};

	memcpy(in.one, &win, 8);
	memcpy(in.one + 2, &len, 8);
	return call(f, FUSE_REMOVEMAPPING, 1, &in, 20);
}

static void dax_flag_is_in_every_reply_with_attributes(void **state)
{
	struct frame *f = *state; /* always */
	struct fuse_mknod_in mknod = {.mode = NODE_MODE};
	struct fuse_create_in cr = {.flags = O_RDWR, .mode = NODE_MODE};
	struct fuse_setattr_in set = {.valid = FATTR_MODE, .mode = 0600};
	struct fuse_mkdir_in mkdir = {.mode = 0755};
	struct fuse_read_in rd = {.size = 4096};
	struct fuse_link_in link;
	struct fuse_entry_out *e = (struct fuse_entry_out *)f->body;
	struct fuse_attr_out *a = (struct fuse_attr_out *)f->body;
	unsigned shown = 0;

	host_file(f, "a", "x");
	link.oldnodeid = lookup(f, 1, "a");
	assert_int_equal(e->attr.flags, FUSE_ATTR_DAX);
	assert_int_equal(call(f, FUSE_GETATTR, link.oldnodeid, NULL, 0), 0);
	assert_int_equal(a->attr.flags, FUSE_ATTR_DAX);
	assert_int_equal(call_in(f, FUSE_SETATTR, link.oldnodeid, &set), 0);
	assert_int_equal(a->attr.flags, FUSE_ATTR_DAX);
	assert_int_equal(call2(f, FUSE_LINK, 1, &link, sizeof(link), "b", 2), 0);
	assert_int_equal(e->attr.flags, FUSE_ATTR_DAX);
	assert_int_equal(call2(f, FUSE_MKNOD, 1, &mknod, sizeof(mknod), "c", 2), 0);
	assert_int_equal(e->attr.flags, FUSE_ATTR_DAX);
	assert_int_equal(call2(f, FUSE_CREATE, 1, &cr, sizeof(cr), "d", 2), 0);
	assert_int_equal(e->attr.flags, FUSE_ATTR_DAX);
	if (call2(f, FUSE_TMPFILE, 1, &cr, sizeof(cr), "/", 2) == 0)
		assert_int_equal(e->attr.flags, FUSE_ATTR_DAX);
	rd.fh = open_dir(f, 1);
	assert_int_equal(call_in(f, FUSE_READDIRPLUS, 1, &rd), 0);
	for (size_t at = 0; at < f->body_len;) {
		struct fuse_direntplus *d = (struct fuse_direntplus *)(f->body + at);

		shown += d->entry_out.attr.flags == FUSE_ATTR_DAX;
		at += FUSE_DIRENTPLUS_SIZE(d);
	}
	assert_int_equal(shown, 4);
	/* Not what is no regular file. */
	assert_int_equal(call2(f, FUSE_MKDIR, 1, &mkdir, sizeof(mkdir), "dir", 4), 0);
	assert_int_equal(e->attr.flags, 0);
	assert_int_equal(call(f, FUSE_SYMLINK, 1, "link\0target", 12), 0);
	assert_int_equal(e->attr.flags, 0);
}

static uint32_t flags_of(struct frame *f, const char *name)
{
	lookup(f, 1, name);
	return ((struct fuse_entry_out *)f->body)->attr.flags;
}

static void filesize_policy_is_by_size(void **state)
{
	struct frame *f = frame_new(DAX_FILESIZE, CACHE_AUTO, 0);
	struct fuse_setattr_in set = {.valid = FATTR_SIZE, .size = 100};

	(void)state;
	host_file_of_size(f, "small", 32768);
	host_file_of_size(f, "large", 32769);
	assert_int_equal(flags_of(f, "small"), 0);
	assert_int_equal(flags_of(f, "large"), FUSE_ATTR_DAX);
	assert_int_equal(call_in(f, FUSE_SETATTR, lookup(f, 1, "large"), &set), 0);
	assert_int_equal(((struct fuse_attr_out *)f->body)->attr.flags, 0);
	frame_free(f);
}

static bool set_dax_flag(const char *path, bool on)
{
	struct fsxattr x;
	int fd = open(path, O_RDONLY);
	bool done;

	assert_true(fd >= 0);
	done = ioctl(fd, FS_IOC_FSGETXATTR, &x) == 0;
	x.fsx_xflags = on ? x.fsx_xflags | FS_XFLAG_DAX : x.fsx_xflags & ~(uint32_t)FS_XFLAG_DAX;
	done = done && ioctl(fd, FS_IOC_FSSETXATTR, &x) == 0;
	done = done && ioctl(fd, FS_IOC_FSGETXATTR, &x) == 0 &&
	       on == !!(x.fsx_xflags & FS_XFLAG_DAX);
	close(fd);
	return done;
}

static void inode_policy_is_by_fs_dax_fl(void **state)
{
	struct frame *f = frame_new(DAX_INODE, CACHE_AUTO, 0);

	(void)state;
	host_file(f, "a", "x");
	assert_int_equal(flags_of(f, "a"), 0);
	usleep(20000); /* the clock behind ctime has ticks */
	if (!set_dax_flag(host_path(f, "a"), true)) {
		fprintf(stderr, "no FS_DAX_FL here\n");
		frame_free(f);
		skip();
	}
	assert_int_equal(flags_of(f, "a"), FUSE_ATTR_DAX);
	usleep(20000);
	assert_true(set_dax_flag(host_path(f, "a"), false));
	assert_int_equal(flags_of(f, "a"), 0);
	frame_free(f);
}

static void without_policy_or_window_nothing_is_dax(void **state)
{
	struct frame *f = frame_new(DAX_NONE, CACHE_AUTO, 0);
	uint64_t nodeid;

	(void)state;
	host_file_of_size(f, "a", 1 << 20);
	nodeid = lookup(f, 1, "a");
	assert_int_equal(flags_of(f, "a"), 0);
	assert_int_equal(map(f, nodeid, 0, 4096, 0, 0), -EOPNOTSUPP);
	frame_free(f);
	f = frame_new(DAX_ALWAYS, CACHE_AUTO, FRAME_NO_WINDOW);
	host_file_of_size(f, "a", 1 << 20);
	nodeid = lookup(f, 1, "a");
	assert_int_equal(flags_of(f, "a"), 0);
	assert_int_equal(map(f, nodeid, 0, 4096, 0, 0), -ENODEV);
	frame_free(f);
}

static void only_whole_pages_inside_the_file_are_mapped(void **state)
{
	struct frame *f = *state;
	uint64_t nodeid, empty;

	host_file_of_size(f, "a", 4096 * 3 + 1);
	host_file_of_size(f, "empty", 0);
	nodeid = lookup(f, 1, "a");
	empty = lookup(f, 1, "empty");
	static const struct {
		uint64_t off, len, win;
	} bad[] = {
		{0, 0, 0},	     /* nothing */
		{0, 4096 * 4, 0},    /* the partial page */
		{4096 * 3, 4096, 0}, /* it alone */
		{4096 * 8, 4096, 0}, /* behind the end */
		{1, 4096, 0},	     /* not pages */
		{0, 4095, 0},
		{0, 4096, 1},
		{0, 4096, WINDOW}, /* outside the window */
		{0, 8192, WINDOW - 4096},
		{0, 4096, UINT64_MAX - 4095}, /* sums that wrap */
		{UINT64_MAX - 4095, 4096, 0},
		{4096, UINT64_MAX - 4095, 0},
		{0, 4096, (uint64_t)1 << 63},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(map(f, nodeid, bad[i].off, bad[i].len, bad[i].win, 1), -EINVAL);
	assert_int_equal(map(f, empty, 0, 4096, 0, 1), -EINVAL);
	assert_int_equal(map(f, nodeid, 0, 4096, 0, 4), -EINVAL); /* a flag nobody knows */
	assert_int_equal(map(f, 1, 0, 4096, 0, 1), -ENODEV);	  /* a directory */
	assert_int_equal(map(f, 999, 0, 4096, 0, 1), -ESTALE);
	assert_int_equal(f->shmem.n_map, 0);
	assert_int_equal(map(f, nodeid, 0, 4096 * 3, WINDOW - 4096 * 3, 3), 0);
	assert_int_equal(f->shmem.n, 1);
	assert_true(f->shmem.live[0].writable);
}

static void mappings_are_taken_out_exactly_as_they_went_in(void **state)
{
	struct frame *f = *state;
	struct {
		uint32_t count;
		struct {
			uint32_t win[2], len[2];
		} one[3];
	} in = {.count = 3,
		.one = {{{0, 0}, {4096, 0}}, {{4096, 0}, {4096, 0}}, {{8192, 0}, {4096, 0}}}};
	uint64_t nodeid;

	host_file_of_size(f, "a", 1 << 20);
	nodeid = lookup(f, 1, "a");
	assert_int_equal(map(f, nodeid, 0, 8192, 0, 1), 0);
	assert_int_equal(unmap(f, 0, 4096), -EINVAL);
	assert_int_equal(unmap(f, 4096, 4096), -EINVAL);
	assert_int_equal(unmap(f, 0, 12288), -EINVAL);
	assert_int_equal(map(f, nodeid, 0, 4096, 4096, 1), -EINVAL); /* overlaps, not the same */
	assert_int_equal(map(f, nodeid, 0, 4096, 0, 1), -EINVAL);
	assert_int_equal(unmap(f, 0, 8192), 0);
	assert_int_equal(unmap(f, 0, 8192), -EINVAL);
	assert_int_equal(f->shmem.n, 0);

	/* Several: the bad one is reported, the others are gone all the same. */
	assert_int_equal(map(f, nodeid, 0, 4096, 0, 1), 0);
	assert_int_equal(map(f, nodeid, 0, 4096, 8192, 1), 0);
	assert_int_equal(call(f, FUSE_REMOVEMAPPING, 1, &in, 52), -EINVAL);
	assert_int_equal(f->shmem.n, 0);
	/* A count that is not that of the payload. */
	static const uint32_t counts[] = {0, 2, 4, UINT32_MAX};
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		in.count = counts[i];
		assert_int_equal(call(f, FUSE_REMOVEMAPPING, 1, &in, 52), -EINVAL);
	}
}

static void setting_up_again_replaces(void **state)
{
	struct frame *f = *state;
	uint64_t nodeid;

	host_file_of_size(f, "a", 1 << 20);
	nodeid = lookup(f, 1, "a");
	assert_int_equal(map(f, nodeid, 4096, 8192, 0, FUSE_SETUPMAPPING_FLAG_READ), 0);
	assert_false(f->shmem.live[0].writable);
	assert_int_equal(map(f, nodeid, 4096, 8192, 0, FUSE_SETUPMAPPING_FLAG_WRITE), 0);
	assert_int_equal(f->shmem.n, 1);
	assert_true(f->shmem.live[0].writable);
	/* The same place for other pages. */
	assert_int_equal(map(f, nodeid, 65536, 8192, 0, FUSE_SETUPMAPPING_FLAG_READ), 0);
	assert_int_equal(f->shmem.live[0].fd_off, 65536);
}

static void an_upgrade_that_is_refused_leaves_what_was_there(void **state)
{
	struct frame *f = *state;
	uint64_t nodeid;

	host_file_of_size(f, "a", 1 << 20);
	nodeid = lookup(f, 1, "a");
	assert_int_equal(map(f, nodeid, 0, 8192, 0, FUSE_SETUPMAPPING_FLAG_READ), 0);
	f->shmem.refuse_writable = -ENOMEM;
	assert_int_equal(map(f, nodeid, 0, 8192, 0, FUSE_SETUPMAPPING_FLAG_WRITE), -ENOMEM);
	assert_int_equal(f->shmem.n, 1);
	assert_int_equal(unmap(f, 0, 8192), 0);
	/* And where not even that goes, nothing is on the books. */
	f->shmem.refuse_writable = 0;
	assert_int_equal(map(f, nodeid, 0, 8192, 0, FUSE_SETUPMAPPING_FLAG_READ), 0);
	f->shmem.map_error = -EIO;
	assert_int_equal(map(f, nodeid, 0, 8192, 0, FUSE_SETUPMAPPING_FLAG_WRITE), -EIO);
	assert_int_equal(f->shmem.n, 0);
	assert_int_equal(unmap(f, 0, 8192), -EINVAL);
}

static void what_the_front_end_says_is_what_the_guest_hears(void **state)
{
	struct frame *f = *state;
	uint64_t nodeid;

	host_file_of_size(f, "a", 1 << 20);
	nodeid = lookup(f, 1, "a");
	f->shmem.map_error = -ENODEV;
	assert_int_equal(map(f, nodeid, 0, 8192, 0, 1), -ENODEV);
	f->shmem.map_error = 0;
	assert_int_equal(map(f, nodeid, 0, 8192, 0, 1), 0);
	f->shmem.unmap_error = -EIO;
	assert_int_equal(unmap(f, 0, 8192), -EIO);
	f->shmem.unmap_error = 0;
	assert_int_equal(unmap(f, 0, 8192), 0); /* it was still on the books */
}

static void a_mapping_outlives_its_node(void **state)
{
	struct frame *f = *state;
	struct fuse_forget_in forget = {.nlookup = 1};
	unsigned fds = count_fds();
	uint64_t nodeid;

	host_file_of_size(f, "a", 1 << 20);
	nodeid = lookup(f, 1, "a");
	assert_int_equal(map(f, nodeid, 0, 8192, 0, 1), 0);
	assert_int_equal(call(f, FUSE_UNLINK, 1, "a", 2), 0);
	call_in(f, FUSE_FORGET, nodeid, &forget);
	assert_int_equal(count_fds(), fds); /* and holds nothing open */
	assert_int_equal(f->shmem.n, 1);
	assert_int_equal(unmap(f, 0, 8192), 0);
}

static void many_mappings_are_found_again(void **state)
{
	struct frame *f = *state;
	uint64_t nodeid;

	host_file_of_size(f, "a", 1 << 20);
	nodeid = lookup(f, 1, "a");
	for (uint64_t i = 0; i < 64; i++) {
		uint64_t place = i * 37 % 64;

		assert_int_equal(map(f, nodeid, place * 4096, 4096, place * 8192, 1), 0);
	}
	for (uint64_t i = 0; i < 64; i++)
		assert_int_equal(unmap(f, i * 29 % 64 * 8192, 4096), 0);
	assert_int_equal(f->shmem.n, 0);
}

/* A writer on the host's side keeps the host from executing the file. */
static void a_mapping_for_reading_is_of_a_descriptor_for_reading(void **state)
{
	struct frame *f = *state;
	uint64_t nodeid;

	host_file_of_size(f, "a", 1 << 20);
	assert_int_equal(chmod(host_path(f, "a"), 0755), 0);
	nodeid = lookup(f, 1, "a");
	assert_int_equal(flags_of(f, "a"), FUSE_ATTR_DAX);
	assert_int_equal(map(f, nodeid, 0, 8192, 0, FUSE_SETUPMAPPING_FLAG_READ), 0);
	assert_int_equal(f->shmem.last_accmode, O_RDONLY);
	assert_int_equal(map(f, nodeid, 0, 8192, 0, FUSE_SETUPMAPPING_FLAG_WRITE), 0);
	assert_int_equal(f->shmem.last_accmode, O_RDWR);
	assert_int_equal(map(f, nodeid, 0, 8192, 0, FUSE_SETUPMAPPING_FLAG_READ), 0);
	assert_int_equal(f->shmem.last_accmode, O_RDONLY);
}

/* QEMU 11.1. */
static void a_front_end_that_wants_writers_gets_no_executables(void **state)
{
	struct frame *f = frame_new(DAX_ALWAYS, CACHE_AUTO, 0);
	struct fuse_setattr_in set = {.valid = FATTR_MODE, .mode = 0654};
	uint64_t nodeid;

	(void)state;
	f->shmem.wants_rdwr = true;
	host_file_of_size(f, "a", 1 << 20);
	nodeid = lookup(f, 1, "a");
	assert_int_equal(flags_of(f, "a"), FUSE_ATTR_DAX);
	assert_int_equal(map(f, nodeid, 0, 8192, 0, FUSE_SETUPMAPPING_FLAG_READ), 0);
	/* It becomes one: the driver sees that it is to leave. */
	assert_int_equal(call_in(f, FUSE_SETATTR, nodeid, &set), 0);
	assert_int_equal(((struct fuse_attr_out *)f->body)->attr.flags, 0);
	assert_int_equal(map(f, nodeid, 0, 8192, 8192, FUSE_SETUPMAPPING_FLAG_READ), -ETXTBSY);
	frame_free(f);

	f = frame_new(DAX_ALWAYS, CACHE_AUTO, FRAME_MAP_EXECUTABLES);
	f->shmem.wants_rdwr = true;
	host_file_of_size(f, "a", 1 << 20);
	assert_int_equal(chmod(host_path(f, "a"), 0755), 0);
	nodeid = lookup(f, 1, "a");
	assert_int_equal(flags_of(f, "a"), FUSE_ATTR_DAX);
	assert_int_equal(map(f, nodeid, 0, 8192, 0, FUSE_SETUPMAPPING_FLAG_READ), 0);
	frame_free(f);

	/* Linux reads what it asks for through the window, or fails. */
	f = frame_new(DAX_ALWAYS, CACHE_AUTO, FRAME_NO_INIT);
	f->shmem.wants_rdwr = true;
	frame_init_foreign(f, FUSE_MAP_ALIGNMENT);
	host_file_of_size(f, "a", 1 << 20);
	assert_int_equal(chmod(host_path(f, "a"), 0755), 0);
	nodeid = lookup(f, 1, "a");
	assert_int_equal(map(f, nodeid, 0, 8192, 0, FUSE_SETUPMAPPING_FLAG_READ), 0);
	frame_free(f);
}

static void another_driver_is_told_to_map_only_what_it_can(void **state)
{
	static const struct {
		uint64_t size;
		bool marked;
	} files[] = {{0, false},	   {1, false},	    {4096, false},
		     {2 * MIB - 1, false}, {2 * MIB, true}, {2 * MIB + 4096, false},
		     {5000001, false},	   {6 * MIB, true}};
	static const enum dax_mode modes[] = {DAX_AUTO, DAX_ALWAYS, DAX_FILESIZE, DAX_NONE};

	(void)state;
	for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
		struct frame *f = frame_new(modes[m], CACHE_AUTO, FRAME_NO_INIT);
		struct fuse_setattr_in set = {.valid = FATTR_SIZE, .size = 5 * MIB};
		bool any = modes[m] == DAX_ALWAYS || modes[m] == DAX_FILESIZE;

		frame_init_foreign(f, UINT64_MAX);
		for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
			host_file_of_size(f, "a", files[i].size);
			assert_int_equal(flags_of(f, "a"),
					 files[i].marked && any ? FUSE_ATTR_DAX : 0);
		}
		/* It grows out of what can be mapped. */
		assert_int_equal(call_in(f, FUSE_SETATTR, lookup(f, 1, "a"), &set), 0);
		assert_int_equal(((struct fuse_attr_out *)f->body)->attr.flags, 0);
		/* Ours has all of them. */
		frame_init(f, UINT64_MAX);
		assert_int_equal(flags_of(f, "a"), modes[m] == DAX_NONE ? 0 : FUSE_ATTR_DAX);
		frame_free(f);
	}
}

static void mappings_are_of_the_pages_of_the_host(void **state)
{
	(void)state;
	for (unsigned shift = 12; shift <= 16; shift += 2) {
		uint64_t page = UINT64_C(1) << shift, nodeid;
		struct fuse_init_out *init;
		struct frame *f;

		frame_page_bytes = (uint32_t)page;
		f = frame_new(DAX_AUTO, CACHE_AUTO, 0);
		frame_page_bytes = 0;
		init = (struct fuse_init_out *)f->body;
		assert_int_equal(init->map_alignment, shift);
		host_file_of_size(f, "a", 5 * page - 4096);
		nodeid = lookup(f, 1, "a");
		assert_int_equal(map(f, nodeid, 0, 5 * page, 0, 0), -EINVAL);
		assert_int_equal(map(f, nodeid, page, 2 * page, page, 0), 0);
		assert_int_equal(unmap(f, page, 2 * page), 0);
		for (uint64_t part = 4096; part < page; part *= 2) {
			assert_int_equal(map(f, nodeid, part, page, 0, 0), -EINVAL);
			assert_int_equal(map(f, nodeid, 0, part, 0, 0), -EINVAL);
			assert_int_equal(map(f, nodeid, 0, page, part, 0), -EINVAL);
		}
		frame_free(f);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, frame_setup, frame_teardown)
	const struct CMUnitTest tests[] = {
		T(dax_flag_is_in_every_reply_with_attributes),
		cmocka_unit_test(filesize_policy_is_by_size),
		cmocka_unit_test(inode_policy_is_by_fs_dax_fl),
		cmocka_unit_test(without_policy_or_window_nothing_is_dax),
		T(only_whole_pages_inside_the_file_are_mapped),
		T(mappings_are_taken_out_exactly_as_they_went_in),
		T(setting_up_again_replaces),
		T(an_upgrade_that_is_refused_leaves_what_was_there),
		T(what_the_front_end_says_is_what_the_guest_hears),
		T(a_mapping_outlives_its_node),
		T(many_mappings_are_found_again),
		T(a_mapping_for_reading_is_of_a_descriptor_for_reading),
		cmocka_unit_test(a_front_end_that_wants_writers_gets_no_executables),
		cmocka_unit_test(mappings_are_of_the_pages_of_the_host),
		cmocka_unit_test(another_driver_is_told_to_map_only_what_it_can),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
