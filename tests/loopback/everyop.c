/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * everyop: each request of the device's table once, also those that no mount sends (STATX, SYNCFS,
 * BATCH_FORGET, INTERRUPT of nothing), and each must succeed: whatever system call it needs is
 * possible in the sandbox.
 *
 *     everyop SOCKET [check]        check: the device is asked to check rights, and does so as 1000
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ask.h"
#include "fs/fs.h"
#include "wire/agreement.h"
#include "wire/fuse.h"

static unsigned n_failed;

struct args {
	uint8_t bytes[1024];
	size_t len;
};

static void put(struct args *a, const void *bytes, size_t len)
{
	memcpy(a->bytes + a->len, bytes, len);
	a->len += len;
}

/* Asks, of a structure and up to two names. */
static int say(const char *what, uint32_t opcode, uint64_t nodeid, const void *in, size_t len,
	       const char *name, const char *name2)
{
	struct args a = {.len = 0};
	int rc;

	put(&a, in, len);
	if (name)
		put(&a, name, strlen(name) + 1);
	if (name2)
		put(&a, name2, strlen(name2) + 1);
	rc = ask(opcode, nodeid, a.bytes, a.len);
	if (rc)
		fprintf(stderr, "everyop: %s: %s\n", what, strerror(-rc));
	n_failed += rc != 0;
	return rc;
}
#define SAY(op, nodeid, in, name, name2) say(#op, op, nodeid, &(in), sizeof(in), name, name2)
#define SAY_NAMES(op, nodeid, n, n2)	 say(#op, op, nodeid, "", 0, n, n2)

static uint64_t entry(void)
{
	struct fuse_entry_out e;

	memcpy(&e, ask_answer, sizeof(e));
	return e.nodeid;
}

static uint64_t opened(size_t at)
{
	struct fuse_open_out o;

	memcpy(&o, ask_answer + at, sizeof(o));
	return o.fh;
}

/* ------------------------------------------------------------------ the requests */

static void names(uint64_t dir, uint64_t *file)
{
	SAY(FUSE_MKNOD, dir, ((struct fuse_mknod_in){.mode = S_IFREG | 0644}), "file", NULL);
	*file = entry();
	SAY(FUSE_MKNOD, dir, ((struct fuse_mknod_in){.mode = S_IFIFO | 0644}), "fifo", NULL);
	SAY_NAMES(FUSE_SYMLINK, dir, "link", "file");
	say("FUSE_READLINK", FUSE_READLINK, entry(), "", 0, NULL, NULL);
	SAY(FUSE_LINK, dir, ((struct fuse_link_in){.oldnodeid = *file}), "second", NULL);
	SAY(FUSE_RENAME, dir, ((struct fuse_rename_in){.newdir = dir}), "second", "third");
	SAY(FUSE_RENAME2, dir, ((struct fuse_rename2_in){.newdir = dir, .flags = RENAME_EXCHANGE}),
	    "third", "fifo");
	SAY(FUSE_RENAME2, dir, ((struct fuse_rename2_in){.newdir = dir, .flags = RENAME_NOREPLACE}),
	    "fifo", "4th");
	SAY(FUSE_MKDIR, dir, ((struct fuse_mkdir_in){.mode = 0700}), "sub", NULL);
	SAY_NAMES(FUSE_RMDIR, dir, "sub", NULL);
	SAY_NAMES(FUSE_UNLINK, dir, "4th", NULL);
	SAY_NAMES(FUSE_LOOKUP, dir, "file", NULL);
}

static void attributes(uint64_t node)
{
	static const char *const acl = "\2\0\0\0\1\0\6\0\xff\xff\xff\xff\4\0\4\0\xff\xff\xff\xff"
				       "\x20\0\4\0\xff\xff\xff\xff";
	struct fuse_setattr_in all = {.valid = FATTR_MODE | FATTR_SIZE | FATTR_ATIME | FATTR_MTIME,
				      .mode = S_IFREG | 0644,
				      .size = 8192};
	struct fuse_setattr_in own = {.valid = FATTR_UID | FATTR_GID | FATTR_KILL_SUIDGID,
				      .uid = ask_uid,
				      .gid = ask_uid};
	struct fuse_setxattr_in set = {.size = 5};
	struct args a = {.len = 0};

	SAY(FUSE_GETATTR, node, ((struct fuse_getattr_in){0}), NULL, NULL);
	SAY(FUSE_SETATTR, node, all, NULL, NULL);
	SAY(FUSE_SETATTR, node, own, NULL, NULL);
	SAY(FUSE_OP_STATX, node, ((struct fuse_statx_wire_in){.sx_mask = 0x7ff}), NULL, NULL);
	SAY(FUSE_ACCESS, node, ((struct fuse_access_in){.mask = R_OK}), NULL, NULL);
	say("FUSE_STATFS", FUSE_STATFS, node, "", 0, NULL, NULL);
	put(&a, &set, sizeof(set));
	put(&a, "user.k", 7);
	put(&a, "value", 5);
	say("FUSE_SETXATTR", FUSE_SETXATTR, node, a.bytes, a.len, NULL, NULL);
	SAY(FUSE_GETXATTR, node, ((struct fuse_getxattr_in){.size = 100}), "user.k", NULL);
	SAY(FUSE_LISTXATTR, node, ((struct fuse_getxattr_in){.size = 1000}), NULL, NULL);
	SAY_NAMES(FUSE_REMOVEXATTR, node, "user.k", NULL);
	set.size = 28;
	a.len = 0;
	put(&a, &set, sizeof(set));
	put(&a, "system.posix_acl_access", 24);
	put(&a, acl, 28);
	/* Refused or not, as the share is: what counts is the next answer. */
	ask(FUSE_SETXATTR, node, a.bytes, a.len);
}

static void locks(uint64_t node, uint64_t fh)
{
	struct fuse_lk_in lk = {
		.fh = fh, .owner = 7, .lk = {.end = 100, .type = F_WRLCK, .pid = 1}};

	SAY(FUSE_GETLK, node, lk, NULL, NULL);
	SAY(FUSE_SETLK, node, lk, NULL, NULL);
	SAY(FUSE_SETLKW, node, lk, NULL, NULL);
	lk.lk.type = F_UNLCK;
	SAY(FUSE_SETLK, node, lk, NULL, NULL);
	lk.lk.type = F_RDLCK;
	lk.lk_flags = FUSE_LK_FLOCK;
	SAY(FUSE_SETLK, node, lk, NULL, NULL);
}

static void data(uint64_t node, uint64_t fh)
{
	struct fuse_ioctl_in get = {.fh = fh, .cmd = 0x80086601, .out_size = 8};
	struct fuse_copy_file_range_in copy = {
		.fh_in = fh, .nodeid_out = node, .fh_out = fh, .off_out = 4096, .len = 4};
	struct args a = {.len = 0};

	put(&a, &(struct fuse_write_in){.fh = fh, .size = 4}, sizeof(struct fuse_write_in));
	put(&a, "data", 4);
	say("FUSE_WRITE", FUSE_WRITE, node, a.bytes, a.len, NULL, NULL);
	SAY(FUSE_READ, node, ((struct fuse_read_in){.fh = fh, .size = 100}), NULL, NULL);
	SAY(FUSE_LSEEK, node, ((struct fuse_lseek_in){.fh = fh, .whence = SEEK_DATA}), NULL, NULL);
	SAY(FUSE_FALLOCATE, node, ((struct fuse_fallocate_in){.fh = fh, .length = 16384}), NULL,
	    NULL);
	SAY(FUSE_COPY_FILE_RANGE, node, copy, NULL, NULL);
	SAY(FUSE_OP_COPY_FILE_RANGE_64, node, copy, NULL, NULL);
	SAY(FUSE_FSYNC, node, ((struct fuse_fsync_in){.fh = fh}), NULL, NULL);
	SAY(FUSE_FSYNC, node, ((struct fuse_fsync_in){.fh = fh, .fsync_flags = 1}), NULL, NULL);
	SAY(FUSE_IOCTL, node, get, NULL, NULL);
	SAY(FUSE_SETUPMAPPING, node,
	    ((struct fuse_setupmapping_in){.fh = UINT64_MAX, .len = 4096, .flags = 3}), NULL, NULL);
	a.len = 0;
	put(&a, &(struct fuse_removemapping_in){.count = 1}, sizeof(struct fuse_removemapping_in));
	put(&a, &(struct fuse_removemapping_one){.len = 4096},
	    sizeof(struct fuse_removemapping_one));
	say("FUSE_REMOVEMAPPING", FUSE_REMOVEMAPPING, node, a.bytes, a.len, NULL, NULL);
	locks(node, fh);
	SAY(FUSE_FLUSH, node, ((struct fuse_flush_in){.fh = fh, .lock_owner = 7}), NULL, NULL);
	SAY(FUSE_RELEASE, node,
	    ((struct fuse_release_in){
		    .fh = fh, .release_flags = FUSE_RELEASE_FLOCK_UNLOCK, .lock_owner = 7}),
	    NULL, NULL);
}

static void open_files(uint64_t dir, uint64_t file)
{
	struct fuse_create_in make = {
		.flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0644, .umask = 022};

	SAY(FUSE_OPEN, file,
	    ((struct fuse_open_in){.flags = O_RDWR | O_TRUNC,
				   .open_flags = FUSE_OPEN_KILL_SUIDGID}),
	    NULL, NULL);
	data(file, opened(0));
	SAY(FUSE_CREATE, dir, make, "created", NULL);
	SAY(FUSE_RELEASE, entry(),
	    ((struct fuse_release_in){.fh = opened(sizeof(struct fuse_entry_out))}), NULL, NULL);
	make.flags = O_RDWR;
	SAY(FUSE_TMPFILE, dir, make, "x", NULL);
	SAY(FUSE_RELEASE, entry(),
	    ((struct fuse_release_in){.fh = opened(sizeof(struct fuse_entry_out))}), NULL, NULL);
}

static void directory(uint64_t dir)
{
	uint64_t fh;

	SAY(FUSE_OPENDIR, dir, ((struct fuse_open_in){.flags = O_RDONLY}), NULL, NULL);
	fh = opened(0);
	SAY(FUSE_READDIR, dir, ((struct fuse_read_in){.fh = fh, .size = 1000}), NULL, NULL);
	SAY(FUSE_READDIRPLUS, dir, ((struct fuse_read_in){.fh = fh, .size = 1000}), NULL, NULL);
	SAY(FUSE_FSYNCDIR, dir, ((struct fuse_fsync_in){.fh = fh}), NULL, NULL);
	SAY(FUSE_RELEASEDIR, dir, ((struct fuse_release_in){.fh = fh}), NULL, NULL);
	SAY(FUSE_SYNCFS, dir, (uint64_t){0}, NULL, NULL);
}

/* What is not answered: the next answer shows that it was survived. */
static void without_answer(struct fs_session *session, uint64_t file)
{
	fs_interrupt(session, 4711);
	fs_forget(session, file, 1);
	fs_hiprio_progress(session);
}

int main(int argc, char **argv)
{
	struct fs_session *session;
	uint64_t file = 0, dir;

	if (argc < 2)
		return 2;
	ask_uid = argc > 2 ? 1000 : 0;
	session = ask_connect(argv[1], argc > 2 ? AGREE_CHECK_PERMISSIONS | AGREE_GROUPS : 0);
	if (!session)
		return 1;
	SAY(FUSE_MKDIR, FUSE_ROOT_ID, ((struct fuse_mkdir_in){.mode = 0755}), "d", NULL);
	dir = entry();
	names(dir, &file);
	attributes(file);
	open_files(dir, file);
	directory(dir);
	without_answer(session, file);
	SAY(FUSE_GETATTR, FUSE_ROOT_ID, ((struct fuse_getattr_in){0}), NULL, NULL);
	ask_disconnect();
	return n_failed != 0;
}
