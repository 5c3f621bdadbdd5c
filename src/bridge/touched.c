/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/touched: requests of who tells the kernel what the host has done (FUSE_TOUCH_UID). They
 * are there for their events and for what the kernel remembers, so none of them changes anything:
 *
 *   LOOKUP                          before something is made: there is no such name; before it is
 *                                   removed or moved, with the number of what it was as the group
 *                                   id: as it was
 *   MKNOD, MKDIR, SYMLINK           what the host has there now: a LOOKUP
 *   UNLINK, RMDIR, RENAME           done, if the host has not the (old) name: a LOOKUP
 *   SETATTR                         what the attributes are now: a GETATTR
 *   others that change something    refused
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "bridge/rebuild.h"
#include "fuse/tell.h"

/* What was made must be what is there, or the kernel has an inode of another type. */
static int finish_made(struct op *op, uint8_t *payload, size_t len)
{
	const struct fuse_entry_out *entry = (const struct fuse_entry_out *)payload;

	if (len < sizeof(*entry))
		return -EIO;
	if (!entry->nodeid)
		return -ENOENT;
	if ((entry->attr.mode ^ op->arg_len) & S_IFMT) {
		fs_forget(op->bridge->session, entry->nodeid, 1);
		return -EIO;
	}
	return finish_entry(op, payload, len);
}

static const struct route made = {
	FUSE_LOOKUP,
	"LOOKUP",
	start_forward,
	finish_made,
	PAYLOAD_ENTRY,
	0,
	sizeof(struct fuse_entry_out),
	SIZE_NONE,
};

/* The message is another one, of `len` bytes of arguments. */
static void become(struct op *op, const struct route *route, size_t len)
{
	op->route = route;
	op->h.opcode = route->opcode;
	op->h.len = (uint32_t)(sizeof(op->h) + len);
	op->h.total_extlen = 0;
	op->h.uid = op->h.gid = 0;
	memcpy(op->req->in, &op->h, sizeof(op->h));
	op_message(op);
}

/* `at`: where the name is in the arguments. True: it has ended. */
static bool look_up_instead(struct op *op, size_t at, uint32_t mode)
{
	size_t end;
	const char *name = op_name(op, at, &end);

	if (!name) {
		op_end(op, -EIO, NULL, 0);
		return true;
	}
	op->arg_len = mode;
	memmove(op_args(op), name, end - at);
	become(op, &made, end - at);
	return false;
}

static bool ask_instead(struct op *op)
{
	struct fuse_getattr_in in = {0};

	memcpy(op_args(op), &in, sizeof(in));
	become(op, route_find(FUSE_GETATTR), sizeof(in));
	return false;
}

/* What is gone on the host may be gone for the device, too: then it is as it was last. */
static struct fuse_attr last_attr(struct op *op)
{
	struct node *node = node_find(op->bridge->nodes, op->arg_off);
	struct node_view view = {0};

	if (node)
		node_look(op->bridge->nodes, node, &view);
	return (struct fuse_attr){
		.ino = op->arg_off, .mode = view.mode, .size = view.size, .nlink = 1};
}

static void found_again(struct op *op, int err)
{
	struct fuse_entry_out entry = {.nodeid = op->arg_off};
	struct fuse_attr_out attr;

	if (op->req->state == FS_REQ_ABANDONED) {
		op_end(op, fs_caller_error(err), NULL, 0);
		return;
	}
	if (op_asked(op, err, &attr, sizeof(attr)))
		attr.attr = last_attr(op);
	entry.attr = attr.attr;
	entry.attr.flags = 0;
	err = node_lookup_again(op->bridge->nodes, entry.nodeid, request_id(op->h.unique))
		      ? 0
		      : -ENOENT;
	op_end(op, err, &entry, sizeof(entry));
}

static bool look_up(struct op *op)
{
	struct fuse_getattr_in in = {0};
	size_t end;
	const char *name = op_name(op, 0, &end);
	uint32_t low = op->h.gid;

	op->arg_off = name && low ? numbers_named(op->bridge->numbers, op->h.nodeid, name, low) : 0;
	if (!op->arg_off || !numbers_device(op->bridge->numbers, op->arg_off)) {
		op_end(op, -ENOENT, NULL, 0);
		return true;
	}
	op->h.uid = op->h.gid = 0;
	op_ask(op, FUSE_GETATTR, op->arg_off, &in, sizeof(in), sizeof(struct fuse_attr_out),
	       found_again);
	return true;
}

/* It was asked for the name that is removed or moved. If it is there (again), nothing is. */
static void gone_answered(struct op *op, int err)
{
	struct fuse_entry_out entry = {0};
	uint64_t newdir;

	if (op->req->state == FS_REQ_ABANDONED) {
		op_end(op, fs_caller_error(err), NULL, 0);
		return;
	}
	err = op_asked(op, err, &entry, sizeof(entry));
	if (!err && entry.nodeid) {
		fs_forget(op->bridge->session, entry.nodeid, 1);
		op_end(op, -ENOENT, NULL, 0);
		return;
	}
	if (err && err != -ENOENT) {
		op_end(op, err, NULL, 0);
		return;
	}
	memcpy(&newdir, op_args(op), sizeof(newdir));
	if (op->h.opcode == FUSE_RENAME || op->h.opcode == FUSE_RENAME2)
		note_rename(op, newdir, NUMBERS_PERHAPS);
	op_end(op, 0, NULL, 0);
}

/* `at`: where the old name is. */
static bool ask_whether_gone(struct op *op, size_t at)
{
	size_t end;
	const char *name = op_name(op, at, &end);

	op->h.uid = op->h.gid = 0;
	if (name)
		op_ask(op, FUSE_LOOKUP, op->h.nodeid, name, end - at, sizeof(struct fuse_entry_out),
		       gone_answered);
	else
		op_end(op, -EIO, NULL, 0);
	return true;
}

static bool end_touched(struct op *op, int err)
{
	op_end(op, err, NULL, 0);
	return true;
}

bool touched(struct op *op)
{
	struct fuse_mknod_in mknod;

	switch (op->h.opcode) {
	case FUSE_LOOKUP:
		return look_up(op);
	case FUSE_MKNOD:
		if (op->h.len < sizeof(op->h) + sizeof(mknod))
			return end_touched(op, -EIO);
		memcpy(&mknod, op_args(op), sizeof(mknod));
		return look_up_instead(op, sizeof(mknod), mknod.mode);
	case FUSE_MKDIR:
		return look_up_instead(op, sizeof(struct fuse_mkdir_in), S_IFDIR);
	case FUSE_SYMLINK:
		return look_up_instead(op, 0, S_IFLNK);
	case FUSE_SETATTR:
		return ask_instead(op);
	case FUSE_UNLINK:
	case FUSE_RMDIR:
		return ask_whether_gone(op, 0);
	case FUSE_RENAME:
		return ask_whether_gone(op, sizeof(struct fuse_rename_in));
	case FUSE_RENAME2:
		return ask_whether_gone(op, sizeof(struct fuse_rename2_in));
	case FUSE_LINK:
	case FUSE_CREATE:
	case FUSE_OPEN:
	case FUSE_WRITE:
	case FUSE_SETXATTR:
	case FUSE_REMOVEXATTR:
	case FUSE_FALLOCATE:
	case FUSE_TMPFILE:
	case FUSE_COPY_FILE_RANGE:
	case FUSE_OP_COPY_FILE_RANGE_64:
		return end_touched(op, -EPERM);
	default:
		return false;
	}
}
