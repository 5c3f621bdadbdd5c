/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* INIT, what it agrees on, and that a session leaves nothing behind. */
#include <sched.h>
#include <sys/mount.h>

#include "frame.h"
#include "vfsdax-device/fs/fs.h"

static const struct fuse_init_out *init_out(struct frame *f)
{
	assert_int_equal(f->body_len, sizeof(struct fuse_init_out));
	return (struct fuse_init_out *)f->body;
}

static uint64_t agreed(struct frame *f)
{
	return init_out(f)->flags | (uint64_t)init_out(f)->flags2 << 32;
}

static void nothing_is_served_before_init(void **state)
{
	struct frame *f = frame_new(DAX_ALWAYS, CACHE_AUTO, FRAME_NO_INIT);
	struct fuse_forget_in forget = {.nlookup = 1};

	(void)state;
	assert_int_equal(call(f, FUSE_GETATTR, 1, NULL, 0), -EIO);
	call_in(f, FUSE_FORGET, 1, &forget);
	assert_int_equal(f->written, 0);
	assert_int_equal(frame_init(f, UINT64_MAX), 0);
	assert_int_equal(call(f, FUSE_GETATTR, 1, NULL, 0), 0);
	frame_free(f);
}

static void init_answers_limits_and_known_flags_only(void **state)
{
	struct frame *f = *state;
	const uint64_t never = FUSE_WRITEBACK_CACHE | FUSE_NO_OPEN_SUPPORT | FUSE_EXPORT_SUPPORT |
			       FUSE_SECURITY_CTX | FUSE_PASSTHROUGH | FUSE_POSIX_ACL |
			       FUSE_OVER_IO_URING | UINT64_C(1) << 31; /* FUSE_INIT_RESERVED */
	const uint64_t must = FUSE_MAP_ALIGNMENT | FUSE_HAS_INODE_DAX | FUSE_DONT_MASK |
			      FUSE_MAX_PAGES | FUSE_CREATE_SUPP_GROUP | FUSE_HANDLE_KILLPRIV_V2 |
			      FUSE_SETXATTR_EXT | FUSE_INIT_EXT | FUSE_POSIX_LOCKS |
			      FUSE_FLOCK_LOCKS | FUSE_ATOMIC_O_TRUNC;

	assert_int_equal(frame_init(f, UINT64_MAX), 0);
	assert_int_equal(agreed(f) & never, 0);
	assert_true((agreed(f) & must) == must);
	assert_int_equal(init_out(f)->major, 7);
	assert_int_equal(init_out(f)->minor, 38);
	assert_int_equal(init_out(f)->max_write, 1 << 20);
	assert_int_equal(init_out(f)->max_pages, 256);
	assert_int_equal(init_out(f)->map_alignment, 12);
	assert_int_equal(init_out(f)->time_gran, 1);
	/* Nothing that was not offered; and flags2 not without INIT_EXT. */
	assert_int_equal(frame_init(f, 0), 0);
	assert_int_equal(agreed(f), 0);
	assert_int_equal(init_out(f)->map_alignment, 0);
	assert_int_equal(frame_init(f, FUSE_HAS_INODE_DAX | FUSE_CREATE_SUPP_GROUP), 0);
	assert_int_equal(agreed(f), 0);
}

static void init_of_other_versions(void **state)
{
	struct frame *f = *state;
	struct fuse_init_in in = {.major = 7, .minor = 30};

	assert_int_equal(call_in(f, FUSE_INIT, 0, &in), -EPROTO);
	in.major = 6;
	in.minor = 99;
	assert_int_equal(call_in(f, FUSE_INIT, 0, &in), -EPROTO);
	in.major = 8;
	in.minor = 0;
	assert_int_equal(call_in(f, FUSE_INIT, 0, &in), 0);
	assert_int_equal(init_out(f)->major, 7);
	in.major = 7;
	in.minor = 31;
	assert_int_equal(call(f, FUSE_INIT, 0, &in, 16), 0); /* as long as it was then */
	assert_int_equal(init_out(f)->minor, 31);
	in.minor = 1000;
	assert_int_equal(call_in(f, FUSE_INIT, 0, &in), 0);
	assert_int_equal(init_out(f)->minor, 45);
}

static void cache_modes_are_timeouts_and_open_flags(void **state)
{
	static const struct {
		enum cache_mode mode;
		uint64_t seconds;
		uint32_t flags;
	} modes[] = {{CACHE_NEVER, 0, FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES},
		     {CACHE_AUTO, 1, 0},
		     {CACHE_ALWAYS, 86400, FOPEN_KEEP_CACHE}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		struct frame *f = frame_new(DAX_NONE, modes[i].mode, 0);
		uint64_t nodeid;

		host_file(f, "a", "x");
		nodeid = lookup(f, 1, "a");
		assert_int_equal(((struct fuse_entry_out *)f->body)->entry_valid, modes[i].seconds);
		assert_int_equal(((struct fuse_entry_out *)f->body)->attr_valid, modes[i].seconds);
		open_file(f, nodeid, O_RDONLY);
		assert_int_equal(((struct fuse_open_out *)f->body)->open_flags, modes[i].flags);
		frame_free(f);
	}
}

/* Files, directories, locks, a blocked lock and mappings. */
static void use_everything(struct frame *f, struct pending *p)
{
	struct fuse_lk_in lock = {.owner = 1, .lk = {.end = 10, .type = F_WRLCK}};
	struct fuse_setupmapping_in map = {.len = 4096, .flags = 1};
	char name[16];
	uint64_t nodeid = 0, fh = 0;

	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		assert_int_equal(create(f, 1, name, O_RDWR, 0644, 0, &nodeid, &fh), 0);
		open_dir(f, 1);
		lock.fh = fh;
		assert_int_equal(call_in(f, FUSE_SETLK, nodeid, &lock), 0);
		assert_int_equal(truncate(host_path(f, name), 8192), 0);
		map.moffset = (uint64_t)i * 4096;
		assert_int_equal(call_in(f, FUSE_SETUPMAPPING, nodeid, &map), 0);
	}
	lock.owner = 2;
	pending_start(f, p, 5000, FUSE_SETLKW, nodeid, &lock, sizeof(lock));
	assert_false(pending_wait(p, 10));
}

static void reset_leaves_nothing_open_and_nothing_blocked(void **state)
{
	struct frame *f = *state;
	static struct pending p;
	unsigned fds = count_fds();

	for (int round = 0; round < 3; round++) {
		use_everything(f, &p);
		assert_true(count_fds() > fds + 40);
		fs_reset(f->fs);
		assert_true(pending_wait(&p, 0));
		assert_int_equal(count_fds(), fds);
		assert_int_equal(f->shmem.n_unmap, 0); /* the vhost half's to drop */
		f->shmem.n = 0;
		assert_int_equal(call(f, FUSE_GETATTR, 1, NULL, 0), -EIO);
		assert_int_equal(frame_init(f, UINT64_MAX), 0);
	}
}

static void destroy_and_a_second_init_end_the_session(void **state)
{
	struct frame *f = *state;
	static struct pending p;
	unsigned fds = count_fds();

	use_everything(f, &p);
	assert_int_equal(call(f, FUSE_DESTROY, 0, NULL, 0), 0);
	assert_true(pending_wait(&p, 0));
	assert_int_equal(count_fds(), fds);
	assert_int_equal(f->shmem.n, 0);
	assert_int_equal(call(f, FUSE_GETATTR, 1, NULL, 0), -EIO);
	assert_int_equal(frame_init(f, UINT64_MAX), 0);

	use_everything(f, &p);
	assert_int_equal(frame_init(f, UINT64_MAX), 0);
	assert_true(pending_wait(&p, 0));
	assert_int_equal(count_fds(), fds);
	assert_int_equal(f->shmem.n, 0);
	assert_int_equal(call(f, FUSE_GETATTR, 1, NULL, 0), 0);
}

static void nodeids_of_the_last_session_mean_nothing(void **state)
{
	struct frame *f = *state;
	uint64_t nodeid;

	host_file(f, "a", "x");
	nodeid = lookup(f, 1, "a");
	fs_reset(f->fs);
	assert_int_equal(frame_init(f, UINT64_MAX), 0);
	assert_int_equal(call(f, FUSE_GETATTR, nodeid, NULL, 0), -ESTALE);
	assert_int_not_equal(lookup(f, 1, "a"), nodeid);
}

static void what_the_options_refuse_is_not_agreed_on(void **state)
{
	static const uint64_t flags[] = {FUSE_SUBMOUNTS, FUSE_HANDLE_KILLPRIV_V2,
					 FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO};
	struct frame *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		uint64_t all;

		f->fs->options.init_flags_refused = 0;
		assert_int_equal(frame_init(f, UINT64_MAX), 0);
		all = agreed(f);
		assert_true((all & flags[i]) == flags[i]);
		f->fs->options.init_flags_refused = flags[i];
		assert_int_equal(frame_init(f, UINT64_MAX), 0);
		assert_int_equal(agreed(f), all & ~flags[i]);
	}
}

static uint32_t attr_flags_of(struct frame *f, const char *name)
{
	lookup(f, 1, name);
	return ((struct fuse_entry_out *)f->body)->attr.flags;
}

static void a_mount_below_is_announced_to_a_guest_that_asks(void **state)
{
	struct fuse_read_in rd = {.size = 4096};
	struct frame *f;
	unsigned n = 0;

	(void)state;
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		skip();
	f = frame_new(DAX_ALWAYS, CACHE_AUTO, 0);
	assert_int_equal(mkdir(host_path(f, "plain"), 0755), 0);
	assert_int_equal(mkdir(host_path(f, "mounted"), 0755), 0);
	assert_int_equal(mount("m", host_path(f, "mounted"), "tmpfs", 0, NULL), 0);
	assert_int_equal(attr_flags_of(f, "mounted"), FUSE_ATTR_SUBMOUNT);
	assert_int_equal(attr_flags_of(f, "plain"), 0);
	rd.fh = open_dir(f, 1);
	assert_int_equal(call_in(f, FUSE_READDIRPLUS, 1, &rd), 0);
	for (size_t at = 0; at < f->body_len;) {
		const struct fuse_direntplus *e = (const void *)(f->body + at);
		bool is_it = !strncmp(e->dirent.name, "mounted", e->dirent.namelen) &&
			     e->dirent.namelen == 7;

		assert_int_equal(e->entry_out.attr.flags, is_it ? FUSE_ATTR_SUBMOUNT : 0);
		n += is_it;
		at += FUSE_DIRENTPLUS_SIZE(e);
	}
	assert_int_equal(n, 1);
	assert_int_equal(frame_init(f, UINT64_MAX & ~FUSE_SUBMOUNTS), 0);
	assert_int_equal(attr_flags_of(f, "mounted"), 0);
	fs_reset(f->fs);
	assert_int_equal(umount2(host_path(f, "mounted"), MNT_DETACH), 0);
	frame_free(f);
}

/* As root there are handles on a disk; proc has none. */
static void handles_that_are_mandatory_must_work(void **state)
{
	struct fs_options o = {.shared_dir = "/proc/self", .file_handles = FILE_HANDLES_MANDATORY};
	struct shmem s = {0};
	struct fs *fs = NULL;
	unsigned fds = count_fds();

	(void)state;
	log_set_level(LOG_ERROR - 1);
	assert_int_equal(fs_create(&o, &s, &fs), -ENOTSUP);
	assert_int_equal(count_fds(), fds);
	o.file_handles = FILE_HANDLES_NEVER;
	assert_int_equal(fs_create(&o, &s, &fs), 0);
	assert_false(fs->inodes.fds.use_handles);
	fs_destroy(fs);
	assert_int_equal(count_fds(), fds);
}

static void a_directory_that_is_not_there_is_refused(void **state)
{
	struct fs_options o = {.shared_dir = "/nonexistent/vfsdax"};
	struct shmem s = {0};
	struct fs *fs = NULL;
	unsigned fds = count_fds();

	(void)state;
	log_set_level(LOG_ERROR - 1);
	assert_int_equal(fs_create(&o, &s, &fs), -ENOENT);
	o.shared_dir = "/dev/null";
	assert_int_equal(fs_create(&o, &s, &fs), -ENOTDIR);
	assert_int_equal(count_fds(), fds);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, frame_setup, frame_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_served_before_init),
		T(init_answers_limits_and_known_flags_only),
		T(init_of_other_versions),
		cmocka_unit_test(cache_modes_are_timeouts_and_open_flags),
		T(reset_leaves_nothing_open_and_nothing_blocked),
		T(destroy_and_a_second_init_end_the_session),
		T(nodeids_of_the_last_session_mean_nothing),
		T(what_the_options_refuse_is_not_agreed_on),
		cmocka_unit_test(a_mount_below_is_announced_to_a_guest_that_asks),
		cmocka_unit_test(handles_that_are_mandatory_must_work),
		cmocka_unit_test(a_directory_that_is_not_there_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
