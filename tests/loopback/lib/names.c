/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libop: names, paths, directories, attributes. */
#include <dirent.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "check.h"

static void touch(struct rig *r, const char *path)
{
	struct vfsdax_file *f;

	OK(vfsdax_open(r->s, path, O_CREAT | O_EXCL | O_WRONLY, 0644, &f));
	OK(vfsdax_close(f));
}

/* What the share and the host say about a name is the same. */
static void same_stat(struct rig *r, const char *path)
{
	struct stat a, b;

	OK(vfsdax_lstat(r->s, path, &a));
	CHECK(lstat(on_host(r, "%s", path), &b) == 0);
	IS(b.st_ino, a.st_ino);
	IS(b.st_mode, a.st_mode);
	IS(b.st_nlink, a.st_nlink);
	IS(b.st_uid, a.st_uid);
	IS(b.st_gid, a.st_gid);
	IS(b.st_size, a.st_size);
	IS(b.st_blocks, a.st_blocks);
	IS(b.st_rdev, a.st_rdev);
	IS(b.st_mtim.tv_sec, a.st_mtim.tv_sec);
	IS(b.st_mtim.tv_nsec, a.st_mtim.tv_nsec);
	IS(b.st_ctim.tv_nsec, a.st_ctim.tv_nsec);
}

static bool host_has(struct rig *r, const char *path)
{
	struct stat st;

	return lstat(on_host(r, "%s", path), &st) == 0;
}

static void making_and_removing(struct rig *r)
{
	struct stat st;

	OK(vfsdax_mkdir(r->s, "d", 0750));
	same_stat(r, "d");
	CHECK(lstat(on_host(r, "d"), &st) == 0 && (st.st_mode & 07777) == 0750);
	IS(-EEXIST, vfsdax_mkdir(r->s, "d", 0755));
	IS(-EEXIST, vfsdax_mkdir(r->s, "d/.", 0755));
	IS(-EEXIST, vfsdax_mkdir(r->s, "/", 0755));
	OK(vfsdax_mkdir(r->s, "d/e/", 0777));
	CHECK(lstat(on_host(r, "d/e"), &st) == 0 && (st.st_mode & 07777) == 0755);
	IS(-ENOENT, vfsdax_mkdir(r->s, "none/e", 0755));
	touch(r, "d/f");
	same_stat(r, "d/f");
	IS(-ENOTDIR, vfsdax_mkdir(r->s, "d/f/e", 0755));
	IS(-ENOTEMPTY, vfsdax_rmdir(r->s, "d"));
	IS(-ENOTDIR, vfsdax_rmdir(r->s, "d/f"));
	IS(-EINVAL, vfsdax_rmdir(r->s, "d/."));
	IS(-ENOTEMPTY, vfsdax_rmdir(r->s, "d/.."));
	IS(-EBUSY, vfsdax_rmdir(r->s, "/"));
	IS(-EISDIR, vfsdax_unlink(r->s, "d/e"));
	IS(-ENOTDIR, vfsdax_unlink(r->s, "d/f/"));
	IS(-EISDIR, vfsdax_unlink(r->s, "d/e/"));
	IS(-ENOENT, vfsdax_unlink(r->s, "d/none"));
	IS(-ENOENT, vfsdax_unlink(r->s, ""));
	OK(vfsdax_unlink(r->s, "d/f"));
	CHECK(!host_has(r, "d/f"));
	OK(vfsdax_rmdir(r->s, "d/e/"));
	CHECK(!host_has(r, "d/e"));
}

static void linking(struct rig *r)
{
	char target[64];

	touch(r, "d/a");
	OK(vfsdax_symlink(r->s, "../somewhere/else", "d/s"));
	same_stat(r, "d/s");
	IS(17, readlink(on_host(r, "d/s"), target, sizeof(target)));
	IS(17, vfsdax_readlink(r->s, "d/s", target, sizeof(target)));
	CHECK(memcmp(target, "../somewhere/else", 17) == 0);
	IS(4, vfsdax_readlink(r->s, "/d/s", target, 4));
	IS(-EINVAL, vfsdax_readlink(r->s, "d/a", target, sizeof(target)));
	IS(-EEXIST, vfsdax_symlink(r->s, "x", "d/s"));
	IS(-ENOENT, vfsdax_symlink(r->s, "x", "d/t/"));
	OK(vfsdax_link(r->s, "d/a", "b"));
	same_stat(r, "b");
	same_stat(r, "d/a");
	OK(vfsdax_link(r->s, "d/s", "t")); /* the link itself */
	same_stat(r, "t");
	IS(-EPERM, vfsdax_link(r->s, "d", "d2"));
	IS(-EEXIST, vfsdax_link(r->s, "d/a", "b"));
	OK(vfsdax_unlink(r->s, "t"));
	OK(vfsdax_unlink(r->s, "d/s"));
}

static void renaming(struct rig *r)
{
	struct stat a, b, st;

	OK(vfsdax_stat(r->s, "b", &b));
	OK(vfsdax_rename(r->s, "b", "d/c", 0));
	CHECK(!host_has(r, "b") && host_has(r, "d/c"));
	touch(r, "n");
	OK(vfsdax_stat(r->s, "n", &a));
	IS(-EEXIST, vfsdax_rename(r->s, "n", "d/c", RENAME_NOREPLACE));
	OK(vfsdax_rename(r->s, "n", "d/c", RENAME_EXCHANGE));
	OK(vfsdax_stat(r->s, "d/c", &st));
	IS(a.st_ino, st.st_ino);
	OK(vfsdax_stat(r->s, "n", &st));
	IS(b.st_ino, st.st_ino);
	OK(vfsdax_rename(r->s, "n", "d/c", 0));
	CHECK(!host_has(r, "n"));
	IS(-EINVAL, vfsdax_rename(r->s, "d", "d/inside", 0));
	IS(-EINVAL, vfsdax_rename(r->s, "d", "e", 64));
	IS(-EBUSY, vfsdax_rename(r->s, "d/.", "e", 0));
	IS(-ENOTDIR, vfsdax_rename(r->s, "d/c/", "e", 0));
	IS(-ENOTDIR, vfsdax_rename(r->s, "d/c", "e/", 0));
	OK(vfsdax_rename(r->s, "d/", "e/", 0));
	CHECK(host_has(r, "e/c") && !host_has(r, "d"));
}

static void attributes(struct rig *r)
{
	struct timespec times[2] = {{1000000000, 123456789}, {-5, 7}};
	struct statvfs a, b;
	struct stat st;

	OK(vfsdax_chmod(r->s, "e/c", 0604));
	same_stat(r, "e/c");
	CHECK(lstat(on_host(r, "e/c"), &st) == 0 && (st.st_mode & 07777) == 0604);
	OK(vfsdax_utimens(r->s, "e/c", times));
	same_stat(r, "e/c");
	CHECK(lstat(on_host(r, "e/c"), &st) == 0);
	IS(1000000000, st.st_atim.tv_sec);
	IS(123456789, st.st_atim.tv_nsec);
	IS(-5, st.st_mtim.tv_sec);
	times[0].tv_nsec = UTIME_OMIT;
	times[1].tv_nsec = UTIME_NOW;
	OK(vfsdax_utimens(r->s, "e/c", times));
	CHECK(lstat(on_host(r, "e/c"), &st) == 0);
	IS(1000000000, st.st_atim.tv_sec);
	CHECK(st.st_mtim.tv_sec > 1500000000);
	OK(vfsdax_utimens(r->s, "e/c", NULL));
	times[1].tv_nsec = 1000000000;
	IS(-EINVAL, vfsdax_utimens(r->s, "e/c", times));
	if (geteuid() == 0) {
		OK(vfsdax_chown(r->s, "e/c", 1234, (gid_t)-1));
		OK(vfsdax_chown(r->s, "e/c", (uid_t)-1, 4321));
		same_stat(r, "e/c");
		CHECK(lstat(on_host(r, "e/c"), &st) == 0);
		CHECK(st.st_uid == 1234 && st.st_gid == 4321);
		CHECK(mknod(on_host(r, "dev"), S_IFBLK | 0600, makedev(300, 70000)) == 0);
		same_stat(r, "dev");
	}
	OK(vfsdax_statvfs(r->s, "e", &a));
	CHECK(statvfs(r->host, &b) == 0);
	IS(b.f_bsize, a.f_bsize);
	IS(b.f_frsize, a.f_frsize);
	IS(b.f_blocks, a.f_blocks);
	IS(b.f_files, a.f_files);
	IS(b.f_namemax, a.f_namemax);
}

void op_names(struct rig *r)
{
	umask(022);
	rig_attach(r, NULL);
	making_and_removing(r);
	linking(r);
	renaming(r);
	attributes(r);
	rig_detach(r);
}

/* ------------------------------------------------------------------ paths */

static void leads_to(struct rig *r, const char *path, const char *host)
{
	struct stat a, b;

	OK(vfsdax_stat(r->s, path, &a));
	CHECK(stat(on_host(r, "%s", host), &b) == 0);
	if (a.st_ino != b.st_ino)
		FAIL("%s is not the host's %s", path, host);
}

static void links(struct rig *r)
{
	struct stat st;
	char name[32];

	OK(vfsdax_symlink(r->s, "a/b", "to_b"));
	OK(vfsdax_symlink(r->s, "/a/b/f", "absolute"));
	OK(vfsdax_symlink(r->s, "../../../../../a", "a/b/up"));
	OK(vfsdax_symlink(r->s, "nothing", "dangling"));
	OK(vfsdax_symlink(r->s, "loop2", "loop1"));
	OK(vfsdax_symlink(r->s, "loop1", "loop2"));
	OK(vfsdax_symlink(r->s, "/etc/passwd", "outside"));
	leads_to(r, "to_b/f", "a/b/f");
	leads_to(r, "to_b", "a/b");
	leads_to(r, "absolute", "a/b/f");
	leads_to(r, "a/b/up/b/f", "a/b/f");
	leads_to(r, "to_b/../g", "a/g"); /* physical, not by the words */
	leads_to(r, "/../..//a/./b/../g", "a/g");
	leads_to(r, "..", ".");
	leads_to(r, "to_b/", "a/b");
	IS(-ENOENT, vfsdax_stat(r->s, "dangling", &st));
	IS(-ENOENT, vfsdax_stat(r->s, "outside", &st));
	IS(-ELOOP, vfsdax_stat(r->s, "loop1", &st));
	IS(-ELOOP, vfsdax_stat(r->s, "loop1/x", &st));
	OK(vfsdax_lstat(r->s, "loop1", &st));
	CHECK(S_ISLNK(st.st_mode));
	OK(vfsdax_lstat(r->s, "to_b/", &st));
	CHECK(S_ISDIR(st.st_mode));
	IS(-ENOTDIR, vfsdax_stat(r->s, "absolute/", &st));
	/* 40 links in a row are followed, 41 not. */
	for (int i = 0; i < 41; i++) {
		char target[32];

		snprintf(name, sizeof(name), "chain%d", i + 1);
		snprintf(target, sizeof(target), i ? "chain%d" : "a/g", i);
		OK(vfsdax_symlink(r->s, target, name));
	}
	leads_to(r, "chain40", "a/g");
	IS(-ELOOP, vfsdax_stat(r->s, "chain41", &st));
}

static void opening(struct rig *r)
{
	struct vfsdax_file *f, *dir, *b;
	struct stat st;

	IS(-ELOOP, vfsdax_open(r->s, "absolute", O_RDONLY | O_NOFOLLOW, 0, &f));
	IS(-ENOTDIR, vfsdax_open(r->s, "absolute", O_RDONLY | O_DIRECTORY, 0, &f));
	IS(-EISDIR, vfsdax_open(r->s, "a", O_RDWR, 0, &f));
	IS(-EISDIR, vfsdax_open(r->s, "a", O_RDONLY | O_CREAT, 0644, &f));
	IS(-EISDIR, vfsdax_open(r->s, "new/", O_RDWR | O_CREAT, 0644, &f));
	IS(-EEXIST, vfsdax_open(r->s, "dangling", O_RDWR | O_CREAT | O_EXCL, 0644, &f));
	IS(-EEXIST, vfsdax_open(r->s, "a/g", O_RDWR | O_CREAT | O_EXCL, 0644, &f));
	IS(-ENOENT, vfsdax_open(r->s, "none", O_RDWR, 0, &f));
	IS(-ENOENT, vfsdax_open(r->s, "", O_RDWR, 0, &f));
	IS(-ENOTDIR, vfsdax_open(r->s, "a/g/x", O_RDWR | O_CREAT, 0644, &f));
	IS(-EINVAL, vfsdax_open(r->s, "a/g", O_RDONLY | O_ASYNC, 0, &f));
	/* Through a dangling link the file is made where the link points. */
	OK(vfsdax_open(r->s, "dangling", O_RDWR | O_CREAT, 0644, &f));
	OK(vfsdax_close(f));
	leads_to(r, "nothing", "nothing");
	/* A directory that is open, and ".." of it. */
	OK(vfsdax_open(r->s, "to_b", O_RDONLY | O_DIRECTORY, 0, &dir));
	IS(-EISDIR, vfsdax_read(dir, &st, 1, 0));
	OK(vfsdax_openat(dir, "f", O_RDONLY, 0, &f));
	IS(-ENOTDIR, vfsdax_openat(f, "f", O_RDONLY, 0, &b));
	OK(vfsdax_close(f));
	OK(vfsdax_openat(dir, "../g", O_RDONLY, 0, &f));
	OK(vfsdax_close(f));
	OK(vfsdax_openat(dir, "/a/g", O_RDONLY, 0, &f));
	OK(vfsdax_close(f));
	OK(vfsdax_openat(dir, "../../../../a", O_RDONLY, 0, &b));
	OK(vfsdax_close(dir)); /* what was opened from it goes on */
	OK(vfsdax_openat(b, "../a/b/new", O_WRONLY | O_CREAT, 0600, &f));
	OK(vfsdax_fstat(f, &st));
	IS(0600, st.st_mode & 07777);
	OK(vfsdax_close(f));
	OK(vfsdax_close(b));
	CHECK(access(on_host(r, "a/b/new"), F_OK) == 0);
	/* What is unlinked stays while it is open. */
	OK(vfsdax_open(r->s, "a/b/new", O_RDWR, 0, &f));
	OK(vfsdax_unlink(r->s, "a/b/new"));
	IS(3, vfsdax_write(f, "abc", 3, 0));
	OK(vfsdax_fstat(f, &st));
	IS(0, st.st_nlink);
	IS(3, st.st_size);
	OK(vfsdax_close(f));
	CHECK(mkfifo(on_host(r, "fifo"), 0600) == 0);
	IS(-ENXIO, vfsdax_open(r->s, "fifo", O_RDONLY, 0, &f));
}

void op_paths(struct rig *r)
{
	char *longest = alloc(8192);
	struct stat st;

	CHECK(mkdir(on_host(r, "a"), 0755) == 0);
	CHECK(mkdir(on_host(r, "a/b"), 0755) == 0);
	host_fill(r, "a/b/f", 10, 1);
	host_fill(r, "a/g", 10, 1);
	rig_attach(r, NULL);
	links(r);
	opening(r);
	memset(longest, 'x', 8192);
	longest[256] = 0;
	IS(-ENAMETOOLONG, vfsdax_stat(r->s, longest, &st));
	longest[255] = 0;
	IS(-ENOENT, vfsdax_stat(r->s, longest, &st));
	for (int i = 0; i < 4096; i++)
		longest[i] = i % 2 ? '/' : '.';
	longest[4095] = 0;
	OK(vfsdax_stat(r->s, longest, &st));
	longest[4095] = '/';
	longest[4096] = 0;
	IS(-ENAMETOOLONG, vfsdax_stat(r->s, longest, &st));
	free(longest);
	rig_detach(r);
}

/* ------------------------------------------------------------------ directories */

#define ENTRIES 5000

void op_dirs(struct rig *r)
{
	static bool seen[ENTRIES];
	struct vfsdax_file *dir, *f;
	struct vfsdax_dirent e;
	uint64_t middle = 0, after_middle = 0;
	unsigned n = 0, dots = 0, number;
	struct stat st;
	int more;

	CHECK(mkdir(on_host(r, "many"), 0755) == 0);
	for (int i = 0; i < ENTRIES; i++)
		CHECK(mknod(on_host(r, "many/a-name-of-some-length-%d", i), S_IFREG | 0644, 0) ==
		      0);
	CHECK(mkdir(on_host(r, "empty"), 0755) == 0);
	rig_attach(r, NULL);
	OK(vfsdax_open(r->s, "many", O_RDONLY, 0, &dir));
	while ((more = (int)OK(vfsdax_readdir(dir, &e))) == 1) {
		if (strcmp(e.name, ".") == 0 || strcmp(e.name, "..") == 0) {
			CHECK(e.type == DT_DIR);
			dots++;
			continue;
		}
		CHECK(sscanf(e.name, "a-name-of-some-length-%u", &number) == 1);
		CHECK(number < ENTRIES && !seen[number] && e.type == DT_REG);
		seen[number] = true;
		if (number % 100 == 0) {
			CHECK(stat(on_host(r, "many/%s", e.name), &st) == 0);
			IS(st.st_ino, e.ino);
		}
		if (n == ENTRIES / 2 + 1)
			after_middle = e.ino;
		if (n++ == ENTRIES / 2)
			middle = e.next;
	}
	IS(ENTRIES, n);
	IS(2, dots);
	IS(0, vfsdax_readdir(dir, &e));
	vfsdax_seekdir(dir, middle);
	IS(1, vfsdax_readdir(dir, &e));
	IS(after_middle, e.ino);
	vfsdax_seekdir(dir, 0);
	for (n = 0; vfsdax_readdir(dir, &e) == 1; n++)
		;
	IS(ENTRIES + 2, n);
	OK(vfsdax_close(dir));
	OK(vfsdax_open(r->s, "empty", O_RDONLY, 0, &dir));
	for (n = 0; vfsdax_readdir(dir, &e) == 1; n++)
		;
	IS(2, n);
	OK(vfsdax_fsync(dir, 0));
	OK(vfsdax_close(dir));
	OK(vfsdax_open(r->s, "many/a-name-of-some-length-7", O_RDONLY, 0, &f));
	IS(-ENOTDIR, vfsdax_readdir(f, &e));
	OK(vfsdax_close(f));
	rig_detach(r);
}
