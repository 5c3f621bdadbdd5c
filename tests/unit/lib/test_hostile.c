/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers of a hostile device are refused, and the lookups in them are given back. */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "rig.h"

static void entries_that_are_none_are_refused(void **state)
{
	struct fuse_entry_out e;
	struct stat st;
	struct rig r;

	(void)state;
	rig_open(&r, 1, 5000);
	e = rig_entry(5, S_IFREG | 0644);
	rig_lie(&r, FUSE_LOOKUP, 0, &e, sizeof(e) - 8);
	assert_int_equal(vfsdax_stat(r.s, "f", &st), -EIO);
	e = rig_entry(0, S_IFREG);
	rig_lie(&r, FUSE_LOOKUP, 0, &e, sizeof(e));
	assert_int_equal(vfsdax_stat(r.s, "f", &st), -ENOENT);
	e = rig_entry(FUSE_ROOT_ID, S_IFDIR);
	rig_lie(&r, FUSE_LOOKUP, 0, &e, sizeof(e));
	assert_int_equal(vfsdax_stat(r.s, "f", &st), -EIO);
	/* Each of these had a lookup, which is given back. */
	e = rig_entry(5, 0170000);
	rig_lie(&r, FUSE_LOOKUP, 0, &e, sizeof(e));
	assert_int_equal(vfsdax_stat(r.s, "f", &st), -EIO);
	e = rig_entry(6, S_IFREG);
	e.attr.size = UINT64_MAX;
	rig_lie(&r, FUSE_LOOKUP, 0, &e, sizeof(e));
	assert_int_equal(vfsdax_stat(r.s, "f", &st), -EIO);
	e = rig_entry(7, S_IFREG);
	e.attr.mtimensec = 1000000000;
	rig_lie(&r, FUSE_LOOKUP, 0, &e, sizeof(e));
	assert_int_equal(vfsdax_stat(r.s, "f", &st), -EIO);
	atomic_fetch_add(&r.lookups, 3);
	rig_truth(&r);
	assert_int_equal(vfsdax_stat(r.s, "f", &st), 0);
	assert_int_equal(st.st_size, 100000);
	rig_close(&r);
}

static void attributes_that_no_file_has_are_refused(void **state)
{
	struct fuse_attr_out a = {.attr = {.mode = S_IFREG, .size = 1}};
	struct vfsdax_file *f;
	struct stat st;
	struct rig r;

	(void)state;
	rig_open(&r, 1, 5000);
	f = rig_file(&r, O_RDWR);
	rig_lie(&r, FUSE_GETATTR, 0, &a, sizeof(a));
	assert_int_equal(vfsdax_fstat(f, &st), 0);
	rig_lie(&r, FUSE_GETATTR, 0, &a, sizeof(a) - 1);
	assert_int_equal(vfsdax_fstat(f, &st), -EIO);
	a.attr.size = 1ull << 63;
	rig_lie(&r, FUSE_GETATTR, 0, &a, sizeof(a));
	assert_int_equal(vfsdax_fstat(f, &st), -EIO);
	rig_truth(&r);
	assert_int_equal(vfsdax_close(f), 0);
	rig_close(&r);
}

static void link_targets_are_checked(void **state)
{
	struct fuse_entry_out e = rig_entry(9, S_IFLNK | 0777);
	char target[PATH_MAX];
	struct stat st;
	struct rig r;

	(void)state;
	rig_open(&r, 1, 5000);
	/* A device where each name is a link to itself: the walk ends. */
	rig_lie(&r, FUSE_LOOKUP, 0, &e, sizeof(e));
	assert_int_equal(vfsdax_stat(r.s, "x/y", &st), -ENOSYS);
	atomic_fetch_add(&r.lookups, 1);
	for (int i = 0; i < 3; i++) {
		size_t len = i == 0 ? 0 : i == 1 ? 10 : PATH_MAX;
		struct vfsdax_file *dir = NULL;

		memset(target, 'a', sizeof(target));
		target[5] = 0;
		if (i == 2)
			target[5] = 'a';
		rig_lie(&r, FUSE_READLINK, 0, target, len);
		assert_int_equal(readlink_node(r.s, 9, target), -EIO);
		assert_null(dir);
	}
	rig_truth(&r);
	rig_close(&r);
}

/* Writes an entry at `at`; the place of the next one. */
static size_t put_dirent(uint8_t *to, size_t at, const char *name, uint32_t namelen)
{
	struct fuse_dirent d = {.ino = 7, .off = at + 1, .namelen = namelen, .type = 8};

	memcpy(to + at, &d, FUSE_NAME_OFFSET);
	memcpy(to + at + FUSE_NAME_OFFSET, name, namelen <= 300 ? namelen : 1);
	return at + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + namelen);
}

static void directory_entries_are_checked(void **state)
{
	static const char long_name[301] = {[0 ... 299] = 'n'};
	static const struct {
		const char *name;
		uint32_t namelen;
	} bad[] = {{"a/b", 3},	     {"..\0x", 4}, {"", 0},
		   {long_name, 256}, {"/", 1},	   {"x", 0xffffffff}};
	struct vfsdax_dirent e;
	struct vfsdax_file *dir;
	uint8_t bytes[4096];
	struct rig r;
	size_t n;

	(void)state;
	rig_open(&r, 1, 5000);
	dir = rig_file(&r, O_DIRECTORY);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(bytes, 0, sizeof(bytes));
		n = put_dirent(bytes, 0, "good", 4);
		if (bad[i].namelen < 1000)
			n = put_dirent(bytes, n, bad[i].name, bad[i].namelen);
		else
			put_dirent(bytes, n, bad[i].name, bad[i].namelen), n += 64;
		rig_lie(&r, FUSE_READDIR, 0, bytes, n);
		vfsdax_seekdir(dir, 0);
		assert_int_equal(vfsdax_readdir(dir, &e), 1);
		assert_string_equal(e.name, "good");
		assert_int_equal(vfsdax_readdir(dir, &e), -EIO);
	}
	/* Cut in the middle: the entry is asked for again; nothing whole: an error, not a loop. */
	n = put_dirent(bytes, 0, "good", 4);
	put_dirent(bytes, n, "another", 7);
	rig_lie(&r, FUSE_READDIR, 0, bytes, n + 20);
	vfsdax_seekdir(dir, 0);
	assert_int_equal(vfsdax_readdir(dir, &e), 1);
	assert_int_equal(vfsdax_readdir(dir, &e), 1);
	assert_string_equal(e.name, "good");
	rig_lie(&r, FUSE_READDIR, 0, bytes, 20);
	vfsdax_seekdir(dir, 0);
	assert_int_equal(vfsdax_readdir(dir, &e), -EIO);
	rig_truth(&r);
	vfsdax_seekdir(dir, 0);
	assert_int_equal(vfsdax_readdir(dir, &e), 0);
	assert_int_equal(vfsdax_close(dir), 0);
	rig_close(&r);
}

static void counts_of_reads_and_writes_are_checked(void **state)
{
	struct fuse_write_out w = {.size = 11};
	struct vfsdax_result result;
	struct vfsdax_queue *q;
	struct vfsdax_file *f;
	uint8_t buf[200] = {0};
	struct rig r;

	(void)state;
	rig_open(&r, 1, 5000);
	f = rig_file(&r, O_RDWR);
	assert_int_equal(vfsdax_read(f, buf, 100, 0), 100);
	assert_int_equal(buf[99], 'x');
	assert_int_equal(buf[100], 0);
	rig_lie(&r, FUSE_WRITE, 0, &w, sizeof(w));
	assert_int_equal(vfsdax_write(f, buf, 10, 0), -EIO);
	w.size = 0;
	rig_lie(&r, FUSE_WRITE, 0, &w, sizeof(w));
	assert_int_equal(vfsdax_write(f, buf, 10, 0), -EIO);
	rig_lie(&r, FUSE_WRITE, 0, &w, 4);
	assert_int_equal(vfsdax_write(f, buf, 10, 0), -EIO);
	assert_int_equal(vfsdax_queue_create(r.s, 1, &q), 0);
	for (unsigned i = 0; i < 2; i++) {
		w.size = i ? 11 : 0;
		rig_lie(&r, FUSE_WRITE, 0, &w, sizeof(w));
		assert_int_equal(vfsdax_prep_write(q, f, buf, 10, 0, 5), 0);
		assert_int_equal(vfsdax_submit(q), 1);
		assert_int_equal(vfsdax_reap(q, &result, 1, 1, -1), 1);
		assert_int_equal(result.result, -EIO);
	}
	assert_int_equal(vfsdax_queue_destroy(q), 0);
	rig_truth(&r);
	/* Short: the end of the file. */
	rig_lie(&r, FUSE_READ, 0, "abc", 3);
	assert_int_equal(vfsdax_read(f, buf, 100, 0), 3);
	rig_truth(&r);
	assert_int_equal(vfsdax_close(f), 0);
	rig_close(&r);
}

static void xattr_lengths_are_checked(void **state)
{
	struct fuse_getxattr_out out = {.size = 1u << 31};
	char buf[16];
	struct rig r;

	(void)state;
	rig_open(&r, 1, 5000);
	rig_lie(&r, FUSE_GETXATTR, 0, &out, sizeof(out));
	assert_int_equal(vfsdax_getxattr(r.s, "f", "user.x", NULL, 0), -EIO);
	rig_lie(&r, FUSE_GETXATTR, 0, "0123456789", 10);
	assert_int_equal(vfsdax_getxattr(r.s, "f", "user.x", buf, 16), 10);
	rig_lie(&r, FUSE_LISTXATTR, 0, "user.x\0user.y", 13); /* the last 0 is missing */
	assert_int_equal(vfsdax_listxattr(r.s, "f", buf, 16), -EIO);
	rig_truth(&r);
	assert_int_equal(vfsdax_getxattr(r.s, "f", "user.x", buf, 16), -EOPNOTSUPP);
	rig_close(&r);
}

static void a_create_of_something_else_is_given_back(void **state)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out = {.entry = rig_entry(8, S_IFDIR | 0755), .open = {.fh = 5}};
	struct vfsdax_file *f;
	struct rig r;

	(void)state;
	rig_open(&r, 1, 5000);
	rig_lie(&r, FUSE_CREATE, 0, &out, sizeof(out));
	assert_int_equal(vfsdax_open(r.s, "new", O_CREAT | O_RDWR, 0644, &f), -EIO);
	atomic_fetch_add(&r.lookups, 1);
	assert_int_equal(atomic_load(&r.requests[FUSE_RELEASE]), 1);
	out.entry.attr.mode = S_IFREG | 0644;
	rig_lie(&r, FUSE_CREATE, 0, &out, sizeof(out));
	assert_int_equal(vfsdax_open(r.s, "new", O_CREAT | O_RDWR, 0644, &f), 0);
	atomic_fetch_add(&r.lookups, 1);
	rig_truth(&r);
	assert_int_equal(vfsdax_close(f), 0);
	rig_close(&r);
}

static void eintr_is_not_passed_on(void **state)
{
	struct vfsdax_file *f;
	struct stat st;
	struct rig r;

	(void)state;
	rig_open(&r, 1, 5000);
	f = rig_file(&r, O_RDWR);
	rig_lie(&r, FUSE_GETATTR, -EINTR, NULL, 0);
	assert_int_equal(vfsdax_fstat(f, &st), -EIO);
	pthread_mutex_lock(&r.lock);
	r.lie.times = 2;
	pthread_mutex_unlock(&r.lock);
	assert_int_equal(vfsdax_fstat(f, &st), 0);
	assert_int_equal(vfsdax_close(f), 0);
	rig_close(&r);
}

static void a_silent_device_costs_the_time_out(void **state)
{
	struct vfsdax_file *f;
	uint64_t start;
	struct stat st;
	struct rig r;

	(void)state;
	rig_open(&r, 1, 300);
	f = rig_file(&r, O_RDWR);
	rig_lie(&r, FUSE_GETATTR, 0, NULL, 0);
	r.lie.silent = true;
	start = clock_now_ns();
	assert_int_equal(vfsdax_fstat(f, &st), -EIO);
	assert_in_range((clock_now_ns() - start) / NS_PER_MS, 250, 3000);
	rig_truth(&r);
	assert_int_equal(vfsdax_fstat(f, &st), 0);
	assert_int_equal(vfsdax_close(f), 0);
	rig_close(&r);
}

/* What a mount tells umount(8) of the root, from memory, is no answer for a program. */
static void a_silent_device_is_an_error_for_the_root_too(void **state)
{
	struct statvfs vfs;
	struct stat st;
	struct rig r;

	(void)state;
	rig_open(&r, 1, 1000);
	rig_lie(&r, FUSE_GETATTR, 0, NULL, 0);
	r.lie.silent = true;
	assert_int_equal(vfsdax_stat(r.s, "/", &st), -EIO);
	rig_lie(&r, FUSE_STATFS, 0, NULL, 0);
	r.lie.silent = true;
	assert_int_equal(vfsdax_statvfs(r.s, "/", &vfs), -EIO);
	rig_truth(&r);
	rig_close(&r);
}

/* Two shares in a process: a fault of a device is logged for its share only. */
static void each_share_has_its_own_log(void **state)
{
	struct vfsdax_result result;
	struct vfsdax_queue *q;
	struct vfsdax_file *f;
	struct rig a, b;
	struct stat st;

	(void)state;
	rig_open(&a, 1, 1000);
	rig_open(&b, 1, 1000);
	f = rig_file(&a, O_RDWR);
	a.lines = b.lines = 0;
	/* An answer without a request, found by a reap. */
	assert_int_equal(vfsdax_queue_create(a.s, 1, &q), 0);
	fake_device_push_raw(a.dev, 1, 0xbeef, 16);
	assert_int_equal(vfsdax_reap(q, &result, 1, 0, 0), 0);
	assert_int_equal(vfsdax_queue_destroy(q), 0);
	assert_true(a.lines > 0);
	assert_true(vfsdax_fstat(f, &st) < 0);
	assert_int_equal(b.lines, 0);
	assert_null(log_thread());
	assert_int_equal(vfsdax_stat(b.s, "f", &st), 0);
	vfsdax_close(f);
	assert_int_equal(vfsdax_detach(a.s), 0);
	rig_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_that_are_none_are_refused),
		cmocka_unit_test(attributes_that_no_file_has_are_refused),
		cmocka_unit_test(link_targets_are_checked),
		cmocka_unit_test(directory_entries_are_checked),
		cmocka_unit_test(counts_of_reads_and_writes_are_checked),
		cmocka_unit_test(xattr_lengths_are_checked),
		cmocka_unit_test(a_create_of_something_else_is_given_back),
		cmocka_unit_test(eintr_is_not_passed_on),
		cmocka_unit_test(a_silent_device_costs_the_time_out),
		cmocka_unit_test(a_silent_device_is_an_error_for_the_root_too),
		cmocka_unit_test(each_share_has_its_own_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
