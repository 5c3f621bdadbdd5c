/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/route: the one table from opcodes to what is done with them. Everything that the wire
 * carries unchanged is start_forward; a row that says something else says it here.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "bridge/rebuild.h"

#define PAGE 4096
#define IN(type)      sizeof(struct type)
#define OUT(type)     sizeof(struct type)
#define AT(type, field) ((int8_t)offsetof(struct type, field))

/* start, finish, payload, arguments looked at, room for the answer, where its size stands */
static const struct route rows[] = {
	[FUSE_LOOKUP] = {FUSE_LOOKUP, "LOOKUP", start_forward, finish_entry, PAYLOAD_ENTRY, 0, OUT(fuse_entry_out), SIZE_NONE},
	[FUSE_FORGET] = {FUSE_FORGET, "FORGET", start_forget, NULL, PAYLOAD_OPAQUE, IN(fuse_forget_in), 0, SIZE_NONE},
	[FUSE_GETATTR] = {FUSE_GETATTR, "GETATTR", start_getattr, finish_attr, PAYLOAD_ATTR, 0, OUT(fuse_attr_out), SIZE_NONE},
	[FUSE_SETATTR] = {FUSE_SETATTR, "SETATTR", start_setattr, finish_attr, PAYLOAD_ATTR, IN(fuse_setattr_in), OUT(fuse_attr_out), SIZE_NONE},
	[FUSE_READLINK] = {FUSE_READLINK, "READLINK", start_forward, NULL, PAYLOAD_OPAQUE, 0, PAGE, SIZE_NONE},
	[FUSE_SYMLINK] = {FUSE_SYMLINK, "SYMLINK", start_names, finish_entry, PAYLOAD_ENTRY, 0, OUT(fuse_entry_out), SIZE_NAMES},
	[FUSE_MKNOD] = {FUSE_MKNOD, "MKNOD", start_names, finish_entry, PAYLOAD_ENTRY, 0, OUT(fuse_entry_out), SIZE_NAMES},
	[FUSE_MKDIR] = {FUSE_MKDIR, "MKDIR", start_names, finish_entry, PAYLOAD_ENTRY, 0, OUT(fuse_entry_out), SIZE_NAMES},
	[FUSE_UNLINK] = {FUSE_UNLINK, "UNLINK", start_names, finish_remove, PAYLOAD_EMPTY, 0, 0, SIZE_NAMES},
	[FUSE_RMDIR] = {FUSE_RMDIR, "RMDIR", start_names, finish_remove, PAYLOAD_EMPTY, 0, 0, SIZE_NAMES},
	[FUSE_RENAME] = {FUSE_RENAME, "RENAME", start_rename, finish_rename, PAYLOAD_EMPTY, IN(fuse_rename_in), 0, SIZE_NAMES},
	[FUSE_LINK] = {FUSE_LINK, "LINK", start_names, finish_entry, PAYLOAD_ENTRY, 0, OUT(fuse_entry_out), SIZE_NAMES},
	[FUSE_OPEN] = {FUSE_OPEN, "OPEN", start_open, finish_open, PAYLOAD_OPEN, IN(fuse_open_in), OUT(fuse_open_out), SIZE_NONE},
	[FUSE_READ] = {FUSE_READ, "READ", start_read, finish_read, PAYLOAD_READ, IN(fuse_read_in), 0, AT(fuse_read_in, size)},
	[FUSE_WRITE] = {FUSE_WRITE, "WRITE", start_write, finish_write, PAYLOAD_WRITE, IN(fuse_write_in), OUT(fuse_write_out), SIZE_NONE},
	[FUSE_STATFS] = {FUSE_STATFS, "STATFS", start_statfs, finish_statfs, PAYLOAD_STATFS, 0, OUT(fuse_statfs_out), SIZE_NONE},
	[FUSE_RELEASE] = {FUSE_RELEASE, "RELEASE", start_release, NULL, PAYLOAD_OPAQUE, IN(fuse_release_in), 0, SIZE_NONE},
	[FUSE_FSYNC] = {FUSE_FSYNC, "FSYNC", start_times, NULL, PAYLOAD_OPAQUE, 0, 0, SIZE_NONE},
	[FUSE_SETXATTR] = {FUSE_SETXATTR, "SETXATTR", start_setxattr, finish_setxattr, PAYLOAD_EMPTY, 0, 0, SIZE_NONE},
	[FUSE_GETXATTR] = {FUSE_GETXATTR, "GETXATTR", start_forward, NULL, PAYLOAD_OPAQUE, IN(fuse_getxattr_in), OUT(fuse_getxattr_out), AT(fuse_getxattr_in, size)},
	[FUSE_LISTXATTR] = {FUSE_LISTXATTR, "LISTXATTR", start_forward, NULL, PAYLOAD_OPAQUE, IN(fuse_getxattr_in), OUT(fuse_getxattr_out), AT(fuse_getxattr_in, size)},
	[FUSE_REMOVEXATTR] = {FUSE_REMOVEXATTR, "REMOVEXATTR", start_touch, NULL, PAYLOAD_OPAQUE, 0, 0, SIZE_NONE},
	[FUSE_FLUSH] = {FUSE_FLUSH, "FLUSH", start_flush, finish_flush, PAYLOAD_EMPTY, IN(fuse_flush_in), 0, SIZE_NONE},
	/* Answered before the workers start; a second one is a mistake. */
	[FUSE_INIT] = {FUSE_INIT, "INIT", start_refuse, NULL, PAYLOAD_OPAQUE, 0, 0, SIZE_NONE},
	[FUSE_OPENDIR] = {FUSE_OPENDIR, "OPENDIR", start_opendir, finish_opendir, PAYLOAD_OPEN, 0, OUT(fuse_open_out), SIZE_NONE},
	[FUSE_READDIR] = {FUSE_READDIR, "READDIR", start_readdir, NULL, PAYLOAD_OPAQUE, IN(fuse_read_in), 0, AT(fuse_read_in, size)},
	[FUSE_RELEASEDIR] = {FUSE_RELEASEDIR, "RELEASEDIR", start_releasedir, NULL, PAYLOAD_OPAQUE, IN(fuse_release_in), 0, SIZE_NONE},
	[FUSE_FSYNCDIR] = {FUSE_FSYNCDIR, "FSYNCDIR", start_on_dir, NULL, PAYLOAD_OPAQUE, IN(fuse_fsync_in), 0, SIZE_NONE},
	[FUSE_GETLK] = {FUSE_GETLK, "GETLK", start_forward, NULL, PAYLOAD_OPAQUE, IN(fuse_lk_in), OUT(fuse_lk_out), SIZE_NONE},
	[FUSE_SETLK] = {FUSE_SETLK, "SETLK", start_lock, finish_lock, PAYLOAD_EMPTY, IN(fuse_lk_in), 0, SIZE_NONE},
	[FUSE_SETLKW] = {FUSE_SETLKW, "SETLKW", start_lock, finish_lock, PAYLOAD_EMPTY, IN(fuse_lk_in), 0, SIZE_NONE},
	[FUSE_ACCESS] = {FUSE_ACCESS, "ACCESS", start_forward, NULL, PAYLOAD_OPAQUE, 0, 0, SIZE_NONE},
	[FUSE_CREATE] = {FUSE_CREATE, "CREATE", start_create, finish_create, PAYLOAD_CREATE, IN(fuse_create_in), OUT(fuse_entry_out) + OUT(fuse_open_out), SIZE_NAMES},
	[FUSE_INTERRUPT] = {FUSE_INTERRUPT, "INTERRUPT", start_interrupt, NULL, PAYLOAD_OPAQUE, IN(fuse_interrupt_in), 0, SIZE_NONE},
	[FUSE_BMAP] = {FUSE_BMAP, "BMAP", start_forward, NULL, PAYLOAD_OPAQUE, 0, OUT(fuse_bmap_out), SIZE_NONE},
	/* The driver sends its own at the end. */
	[FUSE_DESTROY] = {FUSE_DESTROY, "DESTROY", start_drop, NULL, PAYLOAD_OPAQUE, 0, 0, SIZE_NONE},
	[FUSE_IOCTL] = {FUSE_IOCTL, "IOCTL", start_ioctl, NULL, PAYLOAD_OPAQUE, IN(fuse_ioctl_in), OUT(fuse_ioctl_out), AT(fuse_ioctl_in, out_size)},
	[FUSE_POLL] = {FUSE_POLL, "POLL", start_forward, NULL, PAYLOAD_OPAQUE, 0, OUT(fuse_poll_out), SIZE_NONE},
	/* An answer to a notification; we send none. */
	[FUSE_NOTIFY_REPLY] = {FUSE_NOTIFY_REPLY, "NOTIFY_REPLY", start_drop, NULL, PAYLOAD_OPAQUE, 0, 0, SIZE_NONE},
	[FUSE_BATCH_FORGET] = {FUSE_BATCH_FORGET, "BATCH_FORGET", start_forget, NULL, PAYLOAD_OPAQUE, IN(fuse_batch_forget_in), 0, SIZE_NONE},
	[FUSE_FALLOCATE] = {FUSE_FALLOCATE, "FALLOCATE", start_fallocate, NULL, PAYLOAD_OPAQUE, IN(fuse_fallocate_in), 0, SIZE_NONE},
	[FUSE_READDIRPLUS] = {FUSE_READDIRPLUS, "READDIRPLUS", start_readdir, finish_dirplus, PAYLOAD_DIRPLUS, IN(fuse_read_in), 0, AT(fuse_read_in, size)},
	[FUSE_RENAME2] = {FUSE_RENAME2, "RENAME2", start_rename, finish_rename, PAYLOAD_EMPTY, IN(fuse_rename2_in), 0, SIZE_NAMES},
	[FUSE_LSEEK] = {FUSE_LSEEK, "LSEEK", start_forward, NULL, PAYLOAD_OPAQUE, 0, OUT(fuse_lseek_out), SIZE_NONE},
	[FUSE_COPY_FILE_RANGE] = {FUSE_COPY_FILE_RANGE, "COPY_FILE_RANGE", start_copy, finish_copy, PAYLOAD_WRITE, IN(fuse_copy_file_range_in), OUT(fuse_write_out), SIZE_NONE},
	/* Between driver and device only: the kernel never sends them to a plain mount. */
	[FUSE_SETUPMAPPING] = {FUSE_SETUPMAPPING, "SETUPMAPPING", start_refuse, NULL, PAYLOAD_OPAQUE, 0, 0, SIZE_NONE},
	[FUSE_REMOVEMAPPING] = {FUSE_REMOVEMAPPING, "REMOVEMAPPING", start_refuse, NULL, PAYLOAD_OPAQUE, 0, 0, SIZE_NONE},
	[FUSE_SYNCFS] = {FUSE_SYNCFS, "SYNCFS", start_forward, NULL, PAYLOAD_OPAQUE, 0, 0, SIZE_NONE},
	[FUSE_TMPFILE] = {FUSE_TMPFILE, "TMPFILE", start_create, finish_create, PAYLOAD_CREATE, IN(fuse_create_in), OUT(fuse_entry_out) + OUT(fuse_open_out), SIZE_NONE},
	[FUSE_OP_STATX] = {FUSE_OP_STATX, "STATX", start_times, finish_statx, PAYLOAD_STATX, 0, OUT(fuse_statx_wire_out), SIZE_NONE},
	[FUSE_OP_COPY_FILE_RANGE_64] = {FUSE_OP_COPY_FILE_RANGE_64, "COPY_FILE_RANGE_64", start_copy, finish_copy, PAYLOAD_WRITE, IN(fuse_copy_file_range_in), OUT(fuse_copy_file_range_wire_out), SIZE_NONE},
};

/* An opcode that came after this version: the wire carries it, an answer of a page has room. */
static const struct route unknown = {
	0, "OTHER", start_forward, NULL, PAYLOAD_OPAQUE, 0, PAGE, SIZE_NONE,
};

const struct route *route_find(uint32_t opcode)
{
	return opcode < ARRAY_SIZE(rows) && rows[opcode].name ? &rows[opcode] : &unknown;
}
