/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who owns what, and who may do what, where the host's own file system is to decide and where the
 * guest's kernel has decided. Needs root.
 */
#include "frame.h"

#include <grp.h>
#include <linux/fs.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "wire/agreement.h"

static void as(struct frame *f, uint32_t uid, uint32_t gid)
{
	f->uid = uid;
	f->gid = gid;
}

static struct stat host_stat(struct frame *f, const char *name)
{
	struct stat st;

	assert_int_equal(lstat(host_path(f, name), &st), 0);
	return st;
}

static int setup_with(void **state, unsigned flags)
{
	struct frame *f = frame_new(DAX_ALWAYS, CACHE_AUTO, flags);

	*state = f;
	assert_int_equal(chmod(f->dir, 0777), 0);
	return 0;
}

/* The device checks rights. */
static int setup(void **state)
{
	return setup_with(state, FRAME_CHECK);
}

/* The guest's kernel does. */
static int setup_granted(void **state)
{
	return setup_with(state, 0);
}

/* The thread must look as it did before, whatever happened. (Its umask stays until the next
 * creation.) */
static void check_identity(void)
{
	uid_t r, e, s;

	assert_int_equal(getresuid(&r, &e, &s), 0);
	assert_true(r == 0 && e == 0 && s == 0);
	assert_int_equal(getresgid(&r, &e, &s), 0);
	assert_true(e == 0);
	assert_int_equal(getgroups(0, NULL), 0);
	assert_int_equal(setfsuid((uid_t)-1), 0);
}

static void what_is_made_belongs_to_the_caller(void **state)
{
	struct frame *f = *state;
	struct fuse_mkdir_in mkdir = {.mode = 0777, .umask = 022};
	struct fuse_mknod_in mknod = {.mode = S_IFREG | 0666, .umask = 027};
	struct fuse_create_in tmp = {.flags = O_RDWR, .mode = S_IFREG | 0666, .umask = 077};
	uint64_t nodeid, fh;
	struct stat st;

	as(f, 1234, 2345);
	assert_int_equal(create(f, 1, "file", O_RDWR, 0666, 026, &nodeid, &fh), 0);
	st = host_stat(f, "file");
	assert_true(st.st_uid == 1234 && st.st_gid == 2345);
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_int_equal(call2(f, FUSE_MKDIR, 1, &mkdir, sizeof(mkdir), "dir", 4), 0);
	st = host_stat(f, "dir");
	assert_true(st.st_uid == 1234 && st.st_gid == 2345);
	assert_int_equal(st.st_mode, S_IFDIR | 0755);
	assert_int_equal(call2(f, FUSE_MKNOD, 1, &mknod, sizeof(mknod), "node", 5), 0);
	st = host_stat(f, "node");
	assert_true(st.st_uid == 1234 && st.st_mode == (S_IFREG | 0640));
	assert_int_equal(call(f, FUSE_SYMLINK, 1, "link\0target", 12), 0);
	st = host_stat(f, "link");
	assert_true(st.st_uid == 1234 && st.st_gid == 2345);
	if (call2(f, FUSE_TMPFILE, 1, &tmp, sizeof(tmp), "/", 2) == 0) {
		struct fuse_attr *a = &((struct fuse_entry_out *)f->body)->attr;

		assert_true(a->uid == 1234 && a->gid == 2345 && a->mode == (S_IFREG | 0600));
	}
	/* No umask is one of them. */
	mkdir.umask = 0;
	assert_int_equal(call2(f, FUSE_MKDIR, 1, &mkdir, sizeof(mkdir), "open", 5), 0);
	assert_int_equal(host_stat(f, "open").st_mode, S_IFDIR | 0777);
	check_identity();
}

static void what_the_host_would_refuse_is_refused(void **state)
{
	struct frame *f = *state;
	struct fuse_open_in open = {.flags = O_RDONLY};
	struct fuse_setattr_in chown = {.valid = FATTR_UID, .uid = 1234};
	struct fuse_setattr_in chmod_in = {.valid = FATTR_MODE, .mode = 0777};
	struct fuse_setattr_in trunc = {.valid = FATTR_SIZE};
	struct fuse_access_in acc = {.mask = R_OK};
	uint64_t file, dir, nodeid, fh;

	host_file(f, "secret", "x");
	assert_int_equal(chmod(host_path(f, "secret"), 0600), 0);
	assert_int_equal(mkdir(host_path(f, "closed"), 0700), 0);
	host_file(f, "closed/in", "x");
	file = lookup(f, 1, "secret");
	dir = lookup(f, 1, "closed");
	as(f, 1234, 1234);
	assert_int_equal(call_in(f, FUSE_OPEN, file, &open), -EACCES);
	assert_int_equal(call_in(f, FUSE_ACCESS, file, &acc), -EACCES);
	assert_int_equal(call_in(f, FUSE_SETATTR, file, &chown), -EPERM);
	assert_int_equal(call_in(f, FUSE_SETATTR, file, &chmod_in), -EPERM);
	assert_int_equal(call_in(f, FUSE_SETATTR, file, &trunc), -EACCES);
	assert_int_equal(call(f, FUSE_LOOKUP, dir, "in", 3), -EACCES);
	assert_int_equal(call_in(f, FUSE_OPENDIR, dir, &open), -EACCES);
	assert_int_equal(create(f, dir, "new", O_RDWR, 0644, 0, &nodeid, &fh), -EACCES);
	assert_int_equal(call(f, FUSE_UNLINK, dir, "in", 3), -EACCES);
	/* Attributes need no permission on the file. */
	assert_int_equal(call(f, FUSE_GETATTR, file, NULL, 0), 0);
	as(f, 0, 0);
	assert_int_equal(call_in(f, FUSE_OPEN, file, &open), 0);
	check_identity();
}

static void a_caller_without_a_valid_id_is_refused(void **state)
{
	struct frame *f = *state;
	struct fuse_mkdir_in mkdir = {.mode = 0777};

	as(f, (uint32_t)-1, 0);
	assert_int_equal(call2(f, FUSE_MKDIR, 1, &mkdir, sizeof(mkdir), "dir", 4), -EINVAL);
	as(f, 0, (uint32_t)-1);
	assert_int_equal(call2(f, FUSE_MKDIR, 1, &mkdir, sizeof(mkdir), "dir", 4), -EINVAL);
	check_identity();
}

static void a_supplementary_group_counts_for_what_is_made(void **state)
{
	struct frame *f = *state;
	struct {
		struct fuse_in_header in;
		struct fuse_mkdir_in mkdir;
		char name[8];
		struct fuse_ext_header ext;
		uint32_t n, group;
	} m = {
		.in = {.len = sizeof(m),
		       .opcode = FUSE_MKDIR,
		       .unique = 2,
		       .uid = 1234,
		       .gid = 1234,
		       .total_extlen = 2},
		.mkdir = {.mode = 0755},
		.name = "newdir1",
		.ext = {.size = 16, .type = FUSE_EXT_GROUPS},
		.n = 1,
		.group = 777,
	};

	assert_int_equal(mkdir(host_path(f, "shared"), 0), 0);
	assert_int_equal(chown(host_path(f, "shared"), 0, 777), 0);
	assert_int_equal(chmod(host_path(f, "shared"), 02770), 0);
	m.in.nodeid = lookup(f, 1, "shared");
	assert_int_equal(call_raw(f, &m, sizeof(m), REPLY_MAX), 0);
	assert_int_equal(host_stat(f, "shared/newdir1").st_gid, 777);
	m.name[6] = '2';
	m.group = 778;
	assert_int_equal(call_raw(f, &m, sizeof(m), REPLY_MAX), -EACCES);
	check_identity();
}

static uint32_t mode_after(struct frame *f, const char *name)
{
	return host_stat(f, name).st_mode & 07777;
}

static void what_the_guests_kernel_allowed_is_done(void **state)
{
	struct frame *f = *state;
	struct fuse_open_in open = {.flags = O_RDWR};
	struct fuse_setattr_in chmod_in = {.valid = FATTR_MODE, .mode = 02777};
	struct fuse_setattr_in chown_in = {.valid = FATTR_GID, .gid = 4242};
	struct fuse_setxattr_in xattr = {.size = 1};
	struct fuse_link_in link;
	uint64_t file, dir, nodeid, fh;

	assert_int_equal(mkdir(host_path(f, "closed"), 0700), 0);
	host_file(f, "closed/in", "x");
	assert_int_equal(chmod(host_path(f, "closed/in"), 0), 0);
	as(f, 1234, 1234);
	dir = lookup(f, 1, "closed");
	file = lookup(f, dir, "in");
	assert_int_equal(call_in(f, FUSE_OPEN, file, &open), 0);
	assert_int_equal(call_in(f, FUSE_OPENDIR, dir, &(struct fuse_open_in){0}), 0);
	assert_int_equal(call_in(f, FUSE_SETATTR, file, &chown_in), 0);
	assert_int_equal(call_in(f, FUSE_SETATTR, file, &chmod_in), 0);
	assert_int_equal(mode_after(f, "closed/in"), 02777);
	assert_int_equal(host_stat(f, "closed/in").st_gid, 4242);
	link.oldnodeid = file;
	assert_int_equal(call2(f, FUSE_LINK, dir, &link, sizeof(link), "more", 5), 0);
	assert_int_equal(call(f, FUSE_UNLINK, dir, "in", 3), 0);
	call2(f, FUSE_SETXATTR, file, &xattr, sizeof(xattr), "user.k\0v", 8);
	assert_true(f->head.error == 0 || f->head.error == -EOPNOTSUPP);
	/* It exists, and is opened as it is. */
	assert_int_equal(create(f, dir, "more", O_RDWR, 0600, 0, &nodeid, &fh), 0);
	assert_int_equal(nodeid, file);
	assert_int_equal(create(f, dir, "more", O_RDWR | O_EXCL, 0600, 0, &nodeid, &fh), -EEXIST);
	check_identity();
}

static void what_is_made_where_the_guest_allowed_it_belongs_to_the_caller(void **state)
{
	struct frame *f = *state;
	struct fuse_mkdir_in mkdir_in = {.mode = 0777, .umask = 022};
	struct fuse_mknod_in mknod = {.mode = S_IFCHR | 0600, .rdev = 0x103};
	struct fuse_rename2_in whiteout = {.flags = 1 << 2};
	uint64_t dir, nodeid, fh;
	struct stat st;

	assert_int_equal(mkdir(host_path(f, "team"), 0700), 0);
	dir = lookup(f, 1, "team");
	as(f, 1234, 2345);
	assert_int_equal(create(f, dir, "file", O_RDWR, 0666, 026, &nodeid, &fh), 0);
	st = host_stat(f, "team/file");
	assert_true(st.st_uid == 1234 && st.st_gid == 2345 && st.st_mode == (S_IFREG | 0640));
	assert_int_equal(call2(f, FUSE_MKDIR, dir, &mkdir_in, sizeof(mkdir_in), "dir", 4), 0);
	assert_int_equal(host_stat(f, "team/dir").st_uid, 1234);
	assert_int_equal(call(f, FUSE_SYMLINK, dir, "link\0target", 12), 0);
	assert_int_equal(host_stat(f, "team/link").st_uid, 1234);
	/* A capability of its own, says the guest's kernel. */
	assert_int_equal(call2(f, FUSE_MKNOD, dir, &mknod, sizeof(mknod), "null", 5), 0);
	assert_int_equal(host_stat(f, "team/null").st_uid, 1234);
	whiteout.newdir = dir;
	call2(f, FUSE_RENAME2, dir, &whiteout, sizeof(whiteout), "file\0moved", 11);
	if (f->head.error == 0)
		assert_int_equal(host_stat(f, "team/file").st_uid, 1234);
	/* A set-group-id bit for a group that the caller is not in. */
	assert_int_equal(chown(host_path(f, "team"), 0, 777), 0);
	assert_int_equal(chmod(host_path(f, "team"), 02700), 0);
	assert_int_equal(create(f, dir, "sgid", O_RDWR, 02777, 0, &nodeid, &fh), 0);
	st = host_stat(f, "team/sgid");
	assert_true(st.st_gid == 777 && !(st.st_mode & S_ISGID));
	check_identity();
}

/* A WRITE of "a", and behind it the caller's groups. */
static int write_with_group(struct frame *f, uint64_t nodeid, uint64_t fh, uint32_t group)
{
	struct {
		struct fuse_in_header in;
		struct fuse_write_in write;
		uint8_t data[3];
		struct fuse_ext_header ext;
		uint32_t n, group;
	} __attribute__((packed)) m = {
		.in = {.len = sizeof(m),
		       .opcode = FUSE_WRITE,
		       .unique = 4,
		       .nodeid = nodeid,
		       .uid = f->uid,
		       .gid = f->gid,
		       .total_extlen = 2},
		.write = {.fh = fh, .size = 3, .write_flags = FUSE_WRITE_KILL_SUIDGID},
		.data = "abc",
		.ext = {.size = 16, .type = FUSE_EXT_GROUPS},
		.n = 1,
		.group = group,
	};

	return call_raw(f, &m, sizeof(m), REPLY_MAX);
}

static void a_set_group_id_bit_stays_for_members(void **state)
{
	struct frame *f = *state;
	struct fuse_write_in write = {.size = 1, .write_flags = FUSE_WRITE_KILL_SUIDGID};
	struct fuse_setattr_in trunc = {.valid = FATTR_SIZE | FATTR_KILL_SUIDGID};
	static const struct {
		uint32_t file_gid, gid, mode;
	} cases[] = {{4242, 4242, 02745}, {4242, 1234, 0745}, {0, 1234, 0745}};
	char content[8] = {0};
	uint64_t nodeid;
	int fd;

	host_file(f, "f", "xyz");
	nodeid = lookup(f, 1, "f");
	write.fh = open_file(f, nodeid, O_WRONLY);
#define SGID() assert_int_equal(chmod(host_path(f, "f"), 02745), 0)
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(chown(host_path(f, "f"), 1234, cases[i].file_gid), 0);
		SGID();
		as(f, 1234, cases[i].gid);
		assert_int_equal(call2(f, FUSE_WRITE, nodeid, &write, sizeof(write), "a", 1), 0);
		assert_int_equal(mode_after(f, "f"), cases[i].mode);
		SGID();
		assert_int_equal(call_in(f, FUSE_SETATTR, nodeid, &trunc), 0);
		assert_int_equal(mode_after(f, "f"), cases[i].mode);
	}
	assert_int_equal(chown(host_path(f, "f"), 1234, 4242), 0);
	SGID();
	as(f, 1234, 1234);
	assert_int_equal(write_with_group(f, nodeid, write.fh, 4242), 0);
	assert_int_equal(mode_after(f, "f"), 02745);
	fd = open(host_path(f, "f"), O_RDONLY);
	assert_int_equal(read(fd, content, sizeof(content)), 3);
	assert_string_equal(content, "abc");
	close(fd);
	assert_int_equal(write_with_group(f, nodeid, write.fh, 4243), 0);
	assert_int_equal(mode_after(f, "f"), 0745);
	check_identity();
}

/* INIT with what our own driver asks for; what is accepted. */
static uint32_t init_asking(struct frame *f, uint32_t magic, uint32_t flags)
{
	struct fuse_init_in in = {.major = 7, .minor = 38};
	struct agreement_words *asks = (void *)((uint8_t *)&in + AGREEMENT_OFFSET);
	uint32_t accepted;

	*asks = (struct agreement_words){magic, flags};
	assert_int_equal(call_in(f, FUSE_INIT, 0, &in), 0);
	assert_int_equal(agreement_get(f->body, &accepted), magic == AGREEMENT_MAGIC);
	return accepted;
}

static void a_driver_may_ask_for_checks(void **state)
{
	struct frame *f = *state;
	struct fuse_open_in open = {.flags = O_RDONLY};
	struct fuse_entry_out *entry = (struct fuse_entry_out *)f->body;
	uint64_t file;

	host_file(f, "secret", "x");
	assert_int_equal(chmod(host_path(f, "secret"), 0600), 0);
	for (int checks = 1; checks >= 0; checks--) {
		as(f, 0, 0);
		assert_int_equal(init_asking(f, checks ? AGREEMENT_MAGIC : 0,
					     AGREE_CHECK_PERMISSIONS | AGREE_GROUPS | 1u << 31),
				 checks ? AGREE_CHECK_PERMISSIONS | AGREE_GROUPS : 0);
		file = lookup(f, 1, "secret");
		/* A name that one user looks up is nobody else's. */
		assert_int_equal(entry->entry_valid, checks ? 0 : 1);
		as(f, 1234, 1234);
		assert_int_equal(call_in(f, FUSE_OPEN, file, &open), checks ? -EACCES : 0);
	}
	check_identity();
}

static void a_program_for_execution_only_is_opened_for_it(void **state)
{
	struct frame *f = *state;
	struct fuse_open_in open = {.flags = O_RDONLY};
	uint64_t file;

	host_file(f, "program", "x");
	file = lookup(f, 1, "program");
	as(f, 1234, 1234);
#define EXEC 0x20
	for (unsigned x = 0; x < 2; x++) {
		assert_int_equal(chmod(host_path(f, "program"), x ? 0711 : 0710), 0);
		open.flags = O_RDONLY;
		assert_int_equal(call_in(f, FUSE_OPEN, file, &open), -EACCES);
		open.flags = O_RDWR | EXEC;
		assert_int_equal(call_in(f, FUSE_OPEN, file, &open), -EACCES);
		open.flags = O_RDONLY | EXEC;
		assert_int_equal(call_in(f, FUSE_OPEN, file, &open), x ? 0 : -EACCES);
	}
	check_identity();
}

static int ask_ioctl(struct frame *f, uint64_t nodeid, uint64_t fh, uint32_t cmd, void *value,
		     uint32_t size)
{
	struct fuse_ioctl_in in = {.fh = fh, .cmd = cmd, .in_size = size, .out_size = size};

	return call2(f, FUSE_IOCTL, nodeid, &in, sizeof(in), value, size);
}

/* Also where the guest's kernel checks: it may not, of what comes by an ioctl. */
static void file_flags_are_for_owners_and_some_for_root(void **state)
{
	struct frame *f = *state;
	int flags = 0, with;
	uint64_t nodeid, fh;
	struct fsxattr x;

	host_file(f, "f", "x");
	assert_int_equal(chmod(host_path(f, "f"), 0666), 0);
	assert_int_equal(chown(host_path(f, "f"), 1234, 1234), 0);
	nodeid = lookup(f, 1, "f");
	fh = open_file(f, nodeid, O_RDWR);
	if (ask_ioctl(f, nodeid, fh, FS_IOC_GETFLAGS, &flags, sizeof(flags)) < 0)
		skip();
	memcpy(&flags, f->body + sizeof(struct fuse_ioctl_out), sizeof(flags));
	as(f, 1235, 1235);
	with = flags | FS_NODUMP_FL;
	assert_int_equal(ask_ioctl(f, nodeid, fh, FS_IOC_SETFLAGS, &with, sizeof(with)), -EPERM);
	as(f, 1234, 1234);
	assert_int_equal(ask_ioctl(f, nodeid, fh, FS_IOC_SETFLAGS, &with, sizeof(with)), 0);
	with = flags | FS_IMMUTABLE_FL;
	assert_int_equal(ask_ioctl(f, nodeid, fh, FS_IOC_SETFLAGS, &with, sizeof(with)), -EPERM);
	with = flags | FS_PROJINHERIT_FL;
	assert_int_equal(ask_ioctl(f, nodeid, fh, FS_IOC_SETFLAGS, &with, sizeof(with)), -EPERM);
	if (ask_ioctl(f, nodeid, fh, FS_IOC_FSGETXATTR, &x, sizeof(x)) == 0) {
		memcpy(&x, f->body + sizeof(struct fuse_ioctl_out), sizeof(x));
		x.fsx_projid++;
		assert_int_equal(ask_ioctl(f, nodeid, fh, FS_IOC_FSSETXATTR, &x, sizeof(x)),
				 -EPERM);
	}
	assert_int_equal(ask_ioctl(f, nodeid, fh, FS_IOC_GETVERSION, &flags, sizeof(flags)),
			 -ENOTTY);
	check_identity();
}

/* Of a list that the device reads with its own capabilities. */
static void trusted_attributes_are_not_listed_for_others(void **state)
{
	struct frame *f = *state;
	struct fuse_getxattr_in in = {.size = 256};

	host_file(f, "a", "x");
	if (setxattr(host_path(f, "a"), "trusted.k", "v", 1, 0) < 0)
		skip();
	assert_int_equal(call_in(f, FUSE_LISTXATTR, lookup(f, 1, "a"), &in), 0);
	assert_non_null(memmem(f->body, f->body_len, "trusted.k", 9));
	as(f, 1234, 1234);
	assert_int_equal(call_in(f, FUSE_LISTXATTR, lookup(f, 1, "a"), &in), 0);
	assert_null(memmem(f->body, f->body_len, "trusted.k", 9));
	check_identity();
}

static void suid_is_cleared_when_the_driver_says_so(void **state)
{
	struct frame *f = *state;
	struct fuse_write_in write = {.size = 1};
	struct fuse_setattr_in trunc = {.valid = FATTR_SIZE};
	struct fuse_open_in open = {.flags = O_WRONLY | O_TRUNC};
	uint64_t nodeid;

	host_file(f, "suid", "xyz");
	nodeid = lookup(f, 1, "suid");
	write.fh = open_file(f, nodeid, O_WRONLY);
#define SUID() assert_int_equal(chmod(host_path(f, "suid"), 06755), 0)
	SUID();
	assert_int_equal(call2(f, FUSE_WRITE, nodeid, &write, sizeof(write), "a", 1), 0);
	assert_int_equal(mode_after(f, "suid"), 06755); /* root's own write keeps it */
	write.write_flags = FUSE_WRITE_KILL_SUIDGID;
	assert_int_equal(call2(f, FUSE_WRITE, nodeid, &write, sizeof(write), "a", 1), 0);
	assert_int_equal(mode_after(f, "suid"), 0755);
	SUID();
	assert_int_equal(call_in(f, FUSE_SETATTR, nodeid, &trunc), 0);
	assert_int_equal(mode_after(f, "suid"), 06755);
	trunc.valid |= FATTR_KILL_SUIDGID;
	assert_int_equal(call_in(f, FUSE_SETATTR, nodeid, &trunc), 0);
	assert_int_equal(mode_after(f, "suid"), 0755);
	SUID();
	host_file(f, "suid", "xyz");
	SUID();
	open.open_flags = FUSE_OPEN_KILL_SUIDGID;
	assert_int_equal(call_in(f, FUSE_OPEN, nodeid, &open), 0);
	assert_int_equal(mode_after(f, "suid"), 0755);
	check_identity();
}

static void somebody_who_may_write_may_truncate(void **state)
{
	struct frame *f = *state;
	/* What Linux sends for truncate(2). */
	struct fuse_setattr_in in = {.valid = FATTR_SIZE | FATTR_MTIME | FATTR_MTIME_NOW,
				     .size = 1};
	uint64_t nodeid;

	host_file(f, "all", "xyz");
	assert_int_equal(chmod(host_path(f, "all"), 0666), 0);
	nodeid = lookup(f, 1, "all");
	as(f, 1234, 1234);
	assert_int_equal(call_in(f, FUSE_SETATTR, nodeid, &in), 0);
	assert_int_equal(host_stat(f, "all").st_size, 1);
	/* touch(1) */
	in.valid = FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW;
	assert_int_equal(call_in(f, FUSE_SETATTR, nodeid, &in), 0);
	in.valid = FATTR_MTIME;
	assert_int_equal(call_in(f, FUSE_SETATTR, nodeid, &in), -EPERM);
}

static void readdirplus_shows_names_it_may_not_look_up(void **state)
{
	struct frame *f = *state;
	struct fuse_read_in in = {.size = 4096};
	struct fuse_direntplus *d = (struct fuse_direntplus *)f->body;
	unsigned named = 0;
	uint64_t dir;

	assert_int_equal(mkdir(host_path(f, "listonly"), 0), 0);
	assert_int_equal(chmod(host_path(f, "listonly"), 0744), 0);
	host_file(f, "listonly/in", "x");
	dir = lookup(f, 1, "listonly");
	as(f, 1234, 1234);
	in.fh = open_dir(f, dir);
	assert_int_equal(call_in(f, FUSE_READDIRPLUS, dir, &in), 0);
	for (size_t at = 0; at < f->body_len; at += FUSE_DIRENTPLUS_SIZE(d)) {
		d = (struct fuse_direntplus *)(f->body + at);
		assert_int_equal(d->entry_out.nodeid, 0);
		named += d->dirent.namelen == 2 && !memcmp(d->dirent.name, "in", 2);
	}
	assert_int_equal(named, 1);
	check_identity();
}

static void trusted_attributes_are_for_root(void **state)
{
	struct frame *f = *state;
	struct fuse_setxattr_in in = {.size = 1};
	uint64_t nodeid;
	int r;

	host_file(f, "a", "x");
	assert_int_equal(chown(host_path(f, "a"), 1234, 1234), 0);
	nodeid = lookup(f, 1, "a");
	r = call2(f, FUSE_SETXATTR, nodeid, &in, sizeof(in), "trusted.k\0v", 11);
	if (r == -EOPNOTSUPP)
		skip();
	assert_int_equal(r, 0);
	as(f, 1234, 1234);
	assert_int_equal(call2(f, FUSE_SETXATTR, nodeid, &in, sizeof(in), "trusted.k\0v", 11),
			 -EPERM);
	check_identity();
}

static void a_default_acl_counts_instead_of_the_umask(void **state)
{
	struct frame *f = frame_new(DAX_NONE, CACHE_AUTO, FRAME_ACL | FRAME_CHECK);
	/* version 2; user::rwx group::rwx other::rwx */
	static const uint8_t acl[] = {2,    0,	  0, 0, 1,    0,    7,	  0,	0xff, 0xff,
				      0xff, 0xff, 4, 0, 7,    0,    0xff, 0xff, 0xff, 0xff,
				      0x20, 0,	  7, 0, 0xff, 0xff, 0xff, 0xff};
	struct fuse_setxattr_in in = {.size = sizeof(acl)};
	uint8_t both[64];
	uint64_t dir, nodeid, fh;
	static const char name[] = "system.posix_acl_default";

	(void)state;
	assert_int_equal(mkdir(host_path(f, "d"), 0777), 0);
	assert_int_equal(chmod(host_path(f, "d"), 0777), 0);
	dir = lookup(f, 1, "d");
	memcpy(both, name, sizeof(name));
	memcpy(both + sizeof(name), acl, sizeof(acl));
	if (call2(f, FUSE_SETXATTR, dir, &in, sizeof(in), both, sizeof(name) + sizeof(acl)) ==
	    -EOPNOTSUPP) {
		frame_free(f);
		skip();
	}
	assert_int_equal(f->head.error, 0);
	as(f, 1234, 1234);
	assert_int_equal(create(f, dir, "new", O_RDWR, 0666, 077, &nodeid, &fh), 0);
	assert_int_equal(mode_after(f, "d/new"), 0666);
	frame_free(f);
	check_identity();
}

/* Searching is for everybody by the mode; the ACL says otherwise. */
static void an_acl_closes_a_directory_that_was_open_to_all(void **state)
{
	struct frame *f = *state;
	/* version 2; user::rwx user:1234:--- group::r-x mask::r-x other::r-x */
	static const uint8_t acl[] = {
		2, 0,	 0,    0,    1,	   0,	 7,    0, 0xff, 0xff, 0xff, 0xff, 2,	0,    0,
		0, 0xd2, 4,    0,    0,	   4,	 0,    5, 0,	0xff, 0xff, 0xff, 0xff, 0x10, 0,
		5, 0,	 0xff, 0xff, 0xff, 0xff, 0x20, 0, 5,	0,    0xff, 0xff, 0xff, 0xff};
	uint64_t dir;

	assert_int_equal(mkdir(host_path(f, "d"), 0755), 0);
	host_file(f, "d/in", "x");
	dir = lookup(f, 1, "d");
	as(f, 1234, 1234);
	lookup(f, dir, "in");
	sleep(3); /* until its ctime has settled and is remembered */
	lookup(f, dir, "in");
	lookup(f, dir, "in");
	if (setxattr(host_path(f, "d"), "system.posix_acl_access", acl, sizeof(acl), 0) < 0)
		skip();
	assert_int_equal(mode_after(f, "d"), 0755);
	assert_int_equal(call(f, FUSE_LOOKUP, dir, "in", 3), -EACCES);
	as(f, 1235, 1235);
	lookup(f, dir, "in");
	assert_int_equal(chmod(host_path(f, "d"), 0750), 0);
	assert_int_equal(call(f, FUSE_LOOKUP, dir, "in", 3), -EACCES);
	check_identity();
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, frame_teardown)
#define G(name) cmocka_unit_test_setup_teardown(name, setup_granted, frame_teardown)
	const struct CMUnitTest tests[] = {
		G(what_the_guests_kernel_allowed_is_done),
		G(what_is_made_where_the_guest_allowed_it_belongs_to_the_caller),
		G(a_set_group_id_bit_stays_for_members),
		G(suid_is_cleared_when_the_driver_says_so),
		G(a_driver_may_ask_for_checks),
		G(file_flags_are_for_owners_and_some_for_root),
		G(trusted_attributes_are_not_listed_for_others),
		T(file_flags_are_for_owners_and_some_for_root),
		T(a_program_for_execution_only_is_opened_for_it),
		T(what_is_made_belongs_to_the_caller),
		T(what_the_host_would_refuse_is_refused),
		T(a_caller_without_a_valid_id_is_refused),
		T(a_supplementary_group_counts_for_what_is_made),
		T(suid_is_cleared_when_the_driver_says_so),
		T(somebody_who_may_write_may_truncate),
		T(readdirplus_shows_names_it_may_not_look_up),
		T(trusted_attributes_are_for_root),
		T(an_acl_closes_a_directory_that_was_open_to_all),
		cmocka_unit_test(a_default_acl_counts_instead_of_the_umask),
	};

	if (geteuid() != 0) {
		fprintf(stderr, "skipped: becoming another user needs root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
