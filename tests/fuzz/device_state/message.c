/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "message.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "wire/agreement.h"

static const char long_name[] =
	"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	"nnn"
	"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	"nnn"
	"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn";
static const char *const names[] = {
	"a",
	"b",
	"d",
	"l",
	"x",
	"y",
	"z",
	"a",
	"b",
	"d",
	"..",
	".",
	"",
	"../outside/p",
	"d/a",
	"/",
	"outside",
	"user.k",
	"user.s",
	"security.capability",
	"trusted.k",
	"system.posix_acl_access",
	long_name,
	"user.",
	"trusted.overlay.opaque",
	"security.selinux",
	"system.posix_acl_default",
};

static const char *name_of(uint8_t which)
{
	return names[which % ARRAY_SIZE(names)];
}

static void put(struct message *m, const void *bytes, size_t len)
{
	if (len > sizeof(m->args) - m->len)
		return;
	memcpy(m->args + m->len, bytes, len);
	m->len += len;
}

static void put_name(struct message *m, uint8_t which)
{
	put(m, name_of(which), strlen(name_of(which)) + 1);
}

/* Offsets that matter: small ones, the ends of pages, of a file, and of everything. */
static uint64_t offset_of(uint32_t value)
{
	static const uint64_t at[] = {0,     1,	    100,     4095,	4096,
				      65535, 65536, 1 << 20, INT64_MAX, UINT64_MAX};

	return value & 1 ? at[value / 2 % ARRAY_SIZE(at)] : value / 2 % 70000;
}

/* ------------------------------------------------------------------ one an opcode */

static void build_nothing(struct message *m, const struct record *r)
{
	(void)m;
	(void)r;
}

static void build_name(struct message *m, const struct record *r)
{
	put_name(m, r->name);
}

static void build_getattr(struct message *m, const struct record *r)
{
	put(m, &(struct fuse_getattr_in){.getattr_flags = r->arg & 1, .fh = m->fh},
	    sizeof(struct fuse_getattr_in));
}

static void build_setattr(struct message *m, const struct record *r)
{
	struct fuse_setattr_in in = {
		.valid = r->value & 0xffff,
		.fh = m->fh,
		.size = offset_of(r->value >> 16) % 200000,
		.mode = S_IFREG | (r->value >> 8 & 07777),
		.uid = r->arg,
		.gid = r->arg,
		.mtime = r->value,
		.mtimensec = r->value,
	};

	put(m, &in, sizeof(in));
}

static void build_symlink(struct message *m, const struct record *r)
{
	static const char *const targets[] = {"a", "../outside", "../outside/p", "/", "..", ""};
	const char *target = targets[r->arg % ARRAY_SIZE(targets)];

	put_name(m, r->name);
	put(m, target, strlen(target) + 1);
}

static void build_mknod(struct message *m, const struct record *r)
{
	static const uint32_t types[] = {S_IFREG, S_IFIFO, S_IFCHR, S_IFBLK, S_IFSOCK, S_IFDIR, 0};
	struct fuse_mknod_in in = {.mode = types[r->arg % ARRAY_SIZE(types)] | 0666, .rdev = 0x105};

	put(m, &in, sizeof(in));
	put_name(m, r->name);
}

static void build_mkdir(struct message *m, const struct record *r)
{
	put(m, &(struct fuse_mkdir_in){.mode = r->value & 07777}, sizeof(struct fuse_mkdir_in));
	put_name(m, r->name);
}

static void build_rename(struct message *m, const struct record *r)
{
	struct fuse_rename_in in = {.newdir = known_node(r->node2)};

	put(m, &in, sizeof(in));
	put_name(m, r->name);
	put_name(m, r->arg);
}

static void build_rename2(struct message *m, const struct record *r)
{
	struct fuse_rename2_in in = {.newdir = known_node(r->node2), .flags = r->value % 8};

	put(m, &in, sizeof(in));
	put_name(m, r->name);
	put_name(m, r->arg);
}

static void build_link(struct message *m, const struct record *r)
{
	put(m, &(struct fuse_link_in){.oldnodeid = known_node(r->node2)},
	    sizeof(struct fuse_link_in));
	put_name(m, r->name);
}

static uint32_t open_flags_of(uint32_t value)
{
	static const uint32_t flags[] = {O_RDONLY,	     O_WRONLY,		O_RDWR,
					 O_RDWR | O_TRUNC,   O_RDWR | O_APPEND, O_PATH,
					 O_DIRECTORY,	     O_RDWR | O_DIRECT, O_RDWR | O_SYNC,
					 O_TMPFILE | O_RDWR, O_RDWR | O_EXCL,	UINT32_MAX};

	return flags[value % ARRAY_SIZE(flags)];
}

static void build_open(struct message *m, const struct record *r)
{
	struct fuse_open_in in = {.flags = open_flags_of(r->value), .open_flags = r->arg & 1};

	put(m, &in, sizeof(in));
}

static void build_create(struct message *m, const struct record *r)
{
	struct fuse_create_in in = {.flags = open_flags_of(r->value) | O_CREAT,
				    .mode = S_IFREG | (r->value >> 8 & 07777),
				    .umask = 022,
				    .open_flags = r->arg & 1};

	put(m, &in, sizeof(in));
	put_name(m, r->name);
}

static void build_read(struct message *m, const struct record *r)
{
	struct fuse_read_in in = {.fh = m->fh,
				  .offset = offset_of(r->value),
				  .size = r->arg & 1 ? UINT32_MAX : (uint32_t)r->arg * 32};

	put(m, &in, sizeof(in));
}

/* Opens its directory itself, where the device has agreed to that. */
static void build_listing(struct message *m, const struct record *r)
{
	struct fuse_read_in in = {.fh = m->fh = AGREEMENT_NO_FH,
				  .size = r->arg & 1 ? UINT32_MAX : (uint32_t)r->arg * 32};

	put(m, &in, sizeof(in));
}

static void build_write(struct message *m, const struct record *r)
{
	struct fuse_write_in in = {.fh = m->fh,
				   .offset = offset_of(r->value) % 300000,
				   .size = (uint32_t)r->arg * 8,
				   .write_flags = r->value >> 24,
				   .flags = r->value >> 23 & 1 ? O_APPEND : 0};
	static const uint8_t data[255 * 8];

	put(m, &in, sizeof(in));
	put(m, data, in.size);
}

static void build_release(struct message *m, const struct record *r)
{
	struct fuse_release_in in = {
		.fh = m->fh, .release_flags = r->arg & 3, .lock_owner = r->value % 4};

	put(m, &in, sizeof(in));
}

static void build_flush(struct message *m, const struct record *r)
{
	put(m, &(struct fuse_flush_in){.fh = m->fh, .lock_owner = r->value % 4},
	    sizeof(struct fuse_flush_in));
}

static void build_fsync(struct message *m, const struct record *r)
{
	put(m, &(struct fuse_fsync_in){.fh = m->fh, .fsync_flags = r->arg & 1},
	    sizeof(struct fuse_fsync_in));
}

static void build_setxattr(struct message *m, const struct record *r)
{
	struct fuse_setxattr_in in = {.size = r->arg, .flags = r->value % 4};
	static const uint8_t value[255];

	put(m, &in, r->value & 8 ? FUSE_COMPAT_SETXATTR_IN_SIZE : sizeof(in));
	put_name(m, r->name);
	put(m, value, in.size);
}

static void build_getxattr(struct message *m, const struct record *r)
{
	struct fuse_getxattr_in in = {.size = r->arg & 1 ? UINT32_MAX : r->arg};

	put(m, &in, sizeof(in));
	put_name(m, r->name);
}

static void build_listxattr(struct message *m, const struct record *r)
{
	struct fuse_getxattr_in in = {.size = r->arg & 1 ? UINT32_MAX : r->arg};

	put(m, &in, sizeof(in));
}

static void build_lk(struct message *m, const struct record *r)
{
	static const uint32_t types[] = {F_RDLCK, F_WRLCK, F_UNLCK};
	struct fuse_lk_in in = {
		.fh = m->fh,
		.owner = r->value % 4,
		.lk = {.start = offset_of(r->value >> 8),
		       .end = r->arg & 0x80 ? INT64_MAX : offset_of(r->value >> 16),
		       .type = types[r->arg % 3],
		       .pid = r->arg},
		.lk_flags = r->arg >> 6 & 1,
	};

	put(m, &in, sizeof(in));
}

static void build_access(struct message *m, const struct record *r)
{
	put(m, &(struct fuse_access_in){.mask = r->arg % 9}, sizeof(struct fuse_access_in));
}

static void build_fallocate(struct message *m, const struct record *r)
{
	struct fuse_fallocate_in in = {.fh = m->fh,
				       .offset = offset_of(r->value) % 300000,
				       .length = offset_of(r->value >> 16) % 300000,
				       .mode = r->arg};

	put(m, &in, sizeof(in));
}

static void build_lseek(struct message *m, const struct record *r)
{
	struct fuse_lseek_in in = {
		.fh = m->fh, .offset = offset_of(r->value), .whence = r->arg % 6};

	put(m, &in, sizeof(in));
}

static void build_copy(struct message *m, const struct record *r)
{
	struct fuse_copy_file_range_in in = {.fh_in = m->fh,
					     .off_in = offset_of(r->value),
					     .off_out = offset_of(r->value >> 16) % 300000,
					     .len = r->arg * 100u};

	in.fh_out = known_handle(r->node2, &in.nodeid_out);
	put(m, &in, sizeof(in));
}

static void build_ioctl(struct message *m, const struct record *r)
{
	/* FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR, TCGETS, FICLONE
	 */
	static const uint32_t cmds[] = {0x80086601, 0x40086602, 0x801c581f,
					0x401c5820, 0x5401,	0x40049409};
	struct fuse_ioctl_in in = {.fh = m->fh,
				   .flags = r->value & 7,
				   .cmd = cmds[r->arg % ARRAY_SIZE(cmds)],
				   .in_size = r->node2 % 64,
				   .out_size = r->name % 64};
	uint8_t data[64];

	memset(data, (int)(r->value >> 8), sizeof(data));
	put(m, &in, sizeof(in));
	put(m, data, in.in_size);
}

static void build_setupmapping(struct message *m, const struct record *r)
{
	struct fuse_setupmapping_in in = {
		.fh = UINT64_MAX,
		.foffset = r->value & 0x100 ? offset_of(r->value) : r->value % 16 * 4096,
		.len = r->arg & 0x80 ? offset_of(r->value >> 8) : r->arg % 16 * 4096,
		.flags = r->value >> 20 & 3,
		.moffset = r->value >> 12 & 0x10 ? offset_of(r->value) : r->node2 % 64 * 65536,
	};

	put(m, &in, sizeof(in));
}

static void build_removemapping(struct message *m, const struct record *r)
{
	struct fuse_removemapping_in in = {.count = r->arg % 4};

	put(m, &in, sizeof(in));
	for (unsigned i = 0; i < in.count; i++) {
		struct fuse_removemapping_one one = {.moffset = (r->node2 + i) % 64 * 65536,
						     .len = r->value % 16 * 4096};

		put(m, &one, sizeof(one));
	}
}

static void build_statx(struct message *m, const struct record *r)
{
	struct fuse_statx_wire_in in = {
		.getattr_flags = r->arg & 1, .fh = m->fh, .sx_mask = r->value};

	put(m, &in, sizeof(in));
}

static void build_syncfs(struct message *m, const struct record *r)
{
	uint64_t padding = r->value;

	put(m, &padding, sizeof(padding));
}

static void build_any(struct message *m, const struct record *r)
{
	put(m, r, sizeof(*r));
}

const struct message_row message_rows[] = {
	{FUSE_LOOKUP, build_name, false, false},
	{FUSE_LOOKUP, build_name, false, false},
	{FUSE_LOOKUP, build_name, false, false},
	{FUSE_GETATTR, build_getattr, false, false},
	{FUSE_SETATTR, build_setattr, false, false},
	{FUSE_READLINK, build_nothing, false, false},
	{FUSE_SYMLINK, build_symlink, false, false},
	{FUSE_MKNOD, build_mknod, false, false},
	{FUSE_MKDIR, build_mkdir, false, false},
	{FUSE_UNLINK, build_name, false, false},
	{FUSE_RMDIR, build_name, false, false},
	{FUSE_RENAME, build_rename, false, false},
	{FUSE_RENAME2, build_rename2, false, false},
	{FUSE_LINK, build_link, false, false},
	{FUSE_OPEN, build_open, false, false},
	{FUSE_OPEN, build_open, false, false},
	{FUSE_CREATE, build_create, false, false},
	{FUSE_CREATE, build_create, false, false},
	{FUSE_TMPFILE, build_create, false, false},
	{FUSE_READ, build_read, true, false},
	{FUSE_READ, build_read, true, false},
	{FUSE_WRITE, build_write, true, false},
	{FUSE_RELEASE, build_release, true, false},
	{FUSE_FLUSH, build_flush, true, false},
	{FUSE_FSYNC, build_fsync, true, false},
	{FUSE_OPENDIR, build_open, false, false},
	{FUSE_READDIR, build_read, true, false},
	{FUSE_READDIRPLUS, build_read, true, false},
	{FUSE_READDIRPLUS, build_read, true, false},
	{FUSE_READDIR, build_listing, false, false},
	{FUSE_READDIRPLUS, build_listing, false, false},
	{FUSE_RELEASEDIR, build_release, true, false},
	{FUSE_FSYNCDIR, build_fsync, true, false},
	{FUSE_SETXATTR, build_setxattr, false, false},
	{FUSE_GETXATTR, build_getxattr, false, false},
	{FUSE_LISTXATTR, build_listxattr, false, false},
	{FUSE_REMOVEXATTR, build_name, false, false},
	{FUSE_GETLK, build_lk, true, false},
	{FUSE_SETLK, build_lk, true, false},
	{FUSE_SETLKW, build_lk, true, false},
	{FUSE_ACCESS, build_access, false, false},
	{FUSE_STATFS, build_nothing, false, false},
	{FUSE_FALLOCATE, build_fallocate, true, false},
	{FUSE_LSEEK, build_lseek, true, false},
	{FUSE_COPY_FILE_RANGE, build_copy, true, false},
	{FUSE_IOCTL, build_ioctl, true, false},
	{FUSE_SETUPMAPPING, build_setupmapping, false, false},
	{FUSE_SETUPMAPPING, build_setupmapping, false, false},
	{FUSE_REMOVEMAPPING, build_removemapping, false, true},
	{FUSE_OP_STATX, build_statx, false, false},
	{FUSE_SYNCFS, build_syncfs, false, false},
	{FUSE_BMAP, build_any, false, true},
	{FUSE_POLL, build_any, false, true},
	{4711, build_any, false, true},
	{FUSE_OP_COPY_FILE_RANGE_64, build_copy, true, false},
};
const unsigned message_row_count = ARRAY_SIZE(message_rows);

void message_build(struct message *m, const struct record *r)
{
	uint64_t of_handle;

	m->row = &message_rows[r->op % message_row_count];
	m->len = 0;
	m->fh = known_handle(r->handle, &of_handle);
	m->nodeid = m->row->by_handle && !(r->flags & REC_LIE) ? of_handle : known_node(r->node);
	m->damaged = r->flags & (REC_CORRUPT | REC_SHORT);
	m->row->build(m, r);
	if (r->flags & REC_CORRUPT && m->len)
		m->args[r->value % m->len] ^= r->arg | 1;
	if (r->flags & REC_SHORT && m->len)
		m->len = r->value % m->len;
	/* What is asked for in the end. */
	if ((m->row->by_handle || m->fh == AGREEMENT_NO_FH) && m->len >= sizeof(m->fh))
		memcpy(&m->fh, m->args, sizeof(m->fh));
}
