/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * decode: from the bytes of a request to its handler. Owns the table of opcodes and every check
 * that is the same for all of them; knows nothing of what an operation does.
 *
 * Why a table of our own and not libfuse3's low-level session: these bytes come from a guest and
 * are hostile, and libfuse3 (3.14) believes the kernel: it does not hold the size of an argument
 * against in_header.len, nor check that a name ends inside the message. It has no SETUPMAPPING,
 * REMOVEMAPPING, FUSE_ATTR_DAX, TMPFILE, SYNCFS, STATX, and no extensions (the supplementary
 * group). And it wants messages in one buffer, so every READ and WRITE would be copied once more.
 *
 *   guest memory --copied once--> struct op { header, arguments } --> handler
 *                \--------------- data of WRITE and READ: preadv/pwritev, never copied
 */
#include "fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "cred.h"
#include "inode.h"
#include "label.h"
#include "note.h"
#include "ops.h"
#include "reply.h"

/* What handlers other than WRITE may be sent: the largest xattr or forget batch, and some. */
#define ARGS_MAX_BYTES (FS_MAX_WRITE_BYTES + 64 * KIB)
/* Requests with a name of up to NAME_MAX and a fixed part stay off the heap. */
#define ARGS_ON_STACK  1024

enum op_flags {
	OP_NODE = 1 << 0,     /* in.nodeid must be known; op->node is set */
	OP_WRITES = 1 << 1,   /* -EROFS with --readonly */
	OP_NO_REPLY = 1 << 2, /* an error is not answered either */
	OP_DATA = 1 << 3,     /* min_args and extensions are copied; between them is data */
	OP_ANYTIME = 1 << 4,  /* allowed before INIT */
};

struct op_info {
	const char *name;
	uint16_t min_args;  /* bytes behind the header; fewer: -EINVAL */
	uint16_t min_reply; /* bytes behind the reply's header; less room: -EIO, nothing is done */
	uint16_t flags;
	int (*handle)(struct op *op);
};

#define IN(type)  sizeof(struct fuse_##type##_in)
#define OUT(type) sizeof(struct fuse_##type##_out)

/* clang-format off */
static const struct op_info ops[] = {
	[FUSE_LOOKUP]      = {"LOOKUP", 2, OUT(entry), OP_NODE, op_lookup},
	[FUSE_FORGET]      = {"FORGET", IN(forget), 0, OP_NO_REPLY, op_forget},
	[FUSE_GETATTR]     = {"GETATTR", 0, OUT(attr), OP_NODE, op_getattr},
	[FUSE_SETATTR]     = {"SETATTR", IN(setattr), OUT(attr), OP_NODE | OP_WRITES, op_setattr},
	[FUSE_READLINK]    = {"READLINK", 0, 0, OP_NODE, op_readlink},
	[FUSE_SYMLINK]     = {"SYMLINK", 4, OUT(entry), OP_NODE | OP_WRITES, op_symlink},
	[FUSE_MKNOD]       = {"MKNOD", IN(mknod) + 2, OUT(entry), OP_NODE | OP_WRITES, op_mknod},
	[FUSE_MKDIR]       = {"MKDIR", IN(mkdir) + 2, OUT(entry), OP_NODE | OP_WRITES, op_mkdir},
	[FUSE_UNLINK]      = {"UNLINK", 2, 0, OP_NODE | OP_WRITES, op_unlink},
	[FUSE_RMDIR]       = {"RMDIR", 2, 0, OP_NODE | OP_WRITES, op_rmdir},
	[FUSE_RENAME]      = {"RENAME", IN(rename) + 4, 0, OP_NODE | OP_WRITES, op_rename},
	[FUSE_LINK]        = {"LINK", IN(link) + 2, OUT(entry), OP_NODE | OP_WRITES, op_link},
	[FUSE_OPEN]        = {"OPEN", IN(open), OUT(open), OP_NODE, op_open},
	[FUSE_READ]        = {"READ", IN(read), 0, 0, op_read},
	[FUSE_WRITE]       = {"WRITE", IN(write), OUT(write), OP_WRITES | OP_DATA, op_write},
	[FUSE_STATFS]      = {"STATFS", 0, OUT(statfs), OP_NODE, op_statfs},
	[FUSE_RELEASE]     = {"RELEASE", IN(release), 0, 0, op_release},
	[FUSE_FSYNC]       = {"FSYNC", IN(fsync), 0, 0, op_fsync},
	[FUSE_SETXATTR]    = {"SETXATTR", FUSE_COMPAT_SETXATTR_IN_SIZE + 2, 0, OP_NODE | OP_WRITES, op_setxattr},
	[FUSE_GETXATTR]    = {"GETXATTR", IN(getxattr) + 2, 0, OP_NODE, op_getxattr},
	[FUSE_LISTXATTR]   = {"LISTXATTR", IN(getxattr), 0, OP_NODE, op_listxattr},
	[FUSE_REMOVEXATTR] = {"REMOVEXATTR", 2, 0, OP_NODE | OP_WRITES, op_removexattr},
	[FUSE_FLUSH]       = {"FLUSH", IN(flush), 0, 0, op_flush},
	[FUSE_INIT]        = {"INIT", 2 * sizeof(uint32_t), OUT(init), OP_ANYTIME, op_init},
	[FUSE_OPENDIR]     = {"OPENDIR", IN(open), OUT(open), OP_NODE, op_opendir},
	[FUSE_READDIR]     = {"READDIR", IN(read), 0, OP_NODE, op_readdir},
	[FUSE_RELEASEDIR]  = {"RELEASEDIR", IN(release), 0, 0, op_releasedir},
	[FUSE_FSYNCDIR]    = {"FSYNCDIR", IN(fsync), 0, 0, op_fsyncdir},
	[FUSE_GETLK]       = {"GETLK", IN(lk), OUT(lk), 0, op_getlk},
	[FUSE_SETLK]       = {"SETLK", IN(lk), 0, 0, op_setlk},
	[FUSE_SETLKW]      = {"SETLKW", IN(lk), 0, 0, op_setlkw},
	[FUSE_ACCESS]      = {"ACCESS", IN(access), 0, OP_NODE, op_access},
	[FUSE_CREATE]      = {"CREATE", IN(create) + 2, OUT(entry) + OUT(open), OP_NODE | OP_WRITES, op_create},
	[FUSE_INTERRUPT]   = {"INTERRUPT", IN(interrupt), 0, OP_NO_REPLY, op_interrupt},
	[FUSE_DESTROY]     = {"DESTROY", 0, 0, OP_ANYTIME, op_destroy},
	[FUSE_IOCTL]       = {"IOCTL", IN(ioctl), OUT(ioctl), 0, op_ioctl},
	[FUSE_BATCH_FORGET] = {"BATCH_FORGET", IN(batch_forget), 0, OP_NO_REPLY, op_batch_forget},
	[FUSE_FALLOCATE]   = {"FALLOCATE", IN(fallocate), 0, OP_WRITES, op_fallocate},
	[FUSE_READDIRPLUS] = {"READDIRPLUS", IN(read), 0, OP_NODE, op_readdirplus},
	[FUSE_RENAME2]     = {"RENAME2", IN(rename2) + 4, 0, OP_NODE | OP_WRITES, op_rename2},
	[FUSE_LSEEK]       = {"LSEEK", IN(lseek), OUT(lseek), 0, op_lseek},
	[FUSE_COPY_FILE_RANGE] = {"COPY_FILE_RANGE", IN(copy_file_range), OUT(write), OP_WRITES, op_copy_file_range},
	[FUSE_SETUPMAPPING]  = {"SETUPMAPPING", IN(setupmapping), 0, OP_NODE, op_setupmapping},
	[FUSE_REMOVEMAPPING] = {"REMOVEMAPPING", IN(removemapping), 0, 0, op_removemapping},
	[FUSE_SYNCFS]      = {"SYNCFS", 0, 0, OP_NODE, op_syncfs},
	[FUSE_TMPFILE]     = {"TMPFILE", IN(create), OUT(entry) + OUT(open), OP_NODE | OP_WRITES, op_tmpfile},
	[FUSE_OP_STATX]    = {"STATX", sizeof(struct fuse_statx_wire_in), sizeof(struct fuse_statx_wire_out), OP_NODE, op_statx},
	[FUSE_OP_COPY_FILE_RANGE_64] = {"COPY_FILE_RANGE_64", IN(copy_file_range), sizeof(struct fuse_copy_file_range_wire_out), OP_WRITES, op_copy_file_range_64},
	/* BMAP, POLL, NOTIFY_REPLY: no row, -ENOSYS, and Linux does not ask again. */
};
/* clang-format on */

static const struct op_info *op_info(uint32_t opcode)
{
	return opcode < ARRAY_SIZE(ops) && ops[opcode].handle ? &ops[opcode] : NULL;
}

int op_take_name(struct op *op, const char **name)
{
	const char *s = bytes_take_string(&op->args);

	if (!s || !*s || strchr(s, '/') || !strcmp(s, ".") || !strcmp(s, ".."))
		return -EINVAL;
	if (strlen(s) > NAME_MAX)
		return -ENAMETOOLONG;
	*name = s;
	return 0;
}

static bool takes_groups(struct fs *fs)
{
	return fs_agreed(fs, FUSE_CREATE_SUPP_GROUP) || fs_agreed_beyond(fs, AGREE_GROUPS);
}

/* One extension: groups, a security label and a note are taken, all others are passed over. */
static int take_extension(struct op *op, struct bytes ext, uint32_t type)
{
	uint32_t n;

	if (type <= FUSE_MAX_NR_SECCTX && fs_agreed(op->fs, FUSE_SECURITY_CTX))
		return label_take(op, ext, type);
	if (type == AGREEMENT_EXT_NOTE && fs_agreed_beyond(op->fs, AGREE_NOTES))
		return note_take(op, ext);
	if (type != FUSE_EXT_GROUPS || !takes_groups(op->fs))
		return 0;
	if (op->n_groups || !bytes_take(&ext, &n, sizeof(n)) || n > AGREEMENT_GROUPS_MAX ||
	    ext.left < n * sizeof(uint32_t))
		return -EINVAL;
	op->n_groups = n;
	op->groups = ext.at;
	return 0;
}

/*
 * fuse.h, "extension header": the last total_extlen * 8 bytes of the message. Cut off the end of
 * the arguments, so that no handler sees them.
 */
static int take_extensions(struct op *op)
{
	size_t total = (size_t)op->in.total_extlen * 8;
	struct bytes ext;

	if (total > op->args.left)
		return -EINVAL;
	op->args.left -= total;
	ext = (struct bytes){op->args.at + op->args.left, total};
	while (ext.left) {
		struct fuse_ext_header head;
		struct bytes body = ext;
		int r;

		if (!bytes_take(&body, &head, sizeof(head)) || head.size < sizeof(head) ||
		    !bytes_skip(&ext, FUSE_REC_ALIGN((size_t)head.size)))
			return -EINVAL;
		body.left = head.size - sizeof(head);
		r = take_extension(op, body, head.type);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What can be said against a request before its arguments are read. */
static int check_request(const struct op *op, const struct op_info *info)
{
	struct fs *fs = op->fs;

	if (op->in.len < sizeof(op->in) || op->in.len > op->req->readable_bytes)
		return -EINVAL;
	if (!info)
		return -ENOSYS;
	if (!(info->flags & OP_ANYTIME) && !atomic_load_explicit(&fs->ready, memory_order_acquire))
		return -EIO;
	if (op->in.len - sizeof(op->in) < info->min_args)
		return -EINVAL;
	if (reply_room(op->req) < info->min_reply)
		return -EIO;
	if (info->flags & OP_WRITES && fs->options.readonly)
		return -EROFS;
	return 0;
}

static bool makes_file(uint32_t opcode)
{
	return opcode == FUSE_CREATE || opcode == FUSE_MKNOD || opcode == FUSE_MKDIR ||
	       opcode == FUSE_SYMLINK || opcode == FUSE_TMPFILE;
}

/* From here on the caller's ids are the host's. */
static int translate_caller(struct op *op)
{
	const struct fs_options *o = &op->fs->options;

	op->nobody = !translate_to_host(&o->uids, &op->in.uid);
	op->nobody |= !translate_to_host(&o->gids, &op->in.gid);
	for (uint32_t i = 0; i < op->n_groups; i++) {
		uint8_t *at = (uint8_t *)(uintptr_t)op->groups + i * sizeof(uint32_t);
		uint32_t gid;

		memcpy(&gid, at, sizeof(gid)); /* in our copy of the arguments */
		op->nobody |= !translate_to_host(&o->gids, &gid);
		memcpy(at, &gid, sizeof(gid));
	}
	return op->nobody && makes_file(op->in.opcode) ? -EPERM : 0;
}

/* AGREE_MTIME_FIRST. The system call: glibc refuses AT_EMPTY_PATH on some versions. */
static void move_mtime(struct op *op)
{
	struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};
	struct inode *inode;

	if (!(op->in.padding & AGREEMENT_MTIME_NOW) ||
	    !fs_agreed_beyond(op->fs, AGREE_MTIME_FIRST) || op->fs->options.readonly ||
	    inode_get(op->fs, op->in.nodeid, &inode) < 0)
		return;
	if (syscall(SYS_utimensat, inode->fd, "", ts, AT_EMPTY_PATH) < 0)
		log_debug("st_mtime of node %llu: %s", (unsigned long long)inode->nodeid,
			  strerror(errno));
	inode_put(inode);
}

/* With the arguments copied. */
static int run_op(struct op *op, const struct op_info *info)
{
	int r = take_extensions(op);

	if (r == 0 && op->args.left < info->min_args)
		r = -EINVAL; /* the extensions took what it needs */
	if (r == 0)
		r = translate_caller(op);
	if (r < 0)
		return r;
	move_mtime(op);
	if (info->flags & OP_NODE)
		r = inode_get(op->fs, op->in.nodeid, &op->node);
	if (r == 0)
		r = info->handle(op);
	inode_put(op->node);
	if (r == -ESTALE && op->in.opcode == FUSE_OPEN)
		stale_refused(&op->fs->stale, op->in.pid, op->in.nodeid);
	return r;
}

static int copy_args_and_run(struct op *op, const struct op_info *info)
{
	uint8_t small[ARGS_ON_STACK];
	size_t all = op->in.len - sizeof(op->in), ext = (size_t)op->in.total_extlen * 8;
	size_t front = info->flags & OP_DATA ? info->min_args : all;
	size_t len = info->flags & OP_DATA ? front + ext : all;
	uint8_t *args = small;
	int r;

	if (len > ARGS_MAX_BYTES)
		return -E2BIG;
	if (len > all)
		return -EINVAL;
	if (len > sizeof(small)) {
		args = malloc(len);
		if (!args)
			return -ENOMEM;
	}
	r = -EINVAL;
	if (pieces_read(op->req->readable, op->req->n_readable, sizeof(op->in), args, front) &&
	    pieces_read(op->req->readable, op->req->n_readable, op->in.len - (len - front),
			args + front, len - front)) {
		op->args = (struct bytes){args, len};
		r = run_op(op, info);
		op->args = (struct bytes){0};
	}
	if (args != small)
		free(args);
	return r;
}

static void answer_error(struct request *req, const struct fuse_in_header *in,
			 const struct op_info *info, int err)
{
	if (info && info->flags & OP_NO_REPLY)
		reply_none(req);
	else
		reply_error(req, in->unique, err);
}

void fs_refuse(struct request *req, int err)
{
	struct fuse_in_header in;

	if (!pieces_read(req->readable, req->n_readable, 0, &in, sizeof(in))) {
		reply_none(req);
		return;
	}
	log_debug("opcode %u, request %llu: %s", in.opcode, (unsigned long long)in.unique,
		  strerror(-err));
	answer_error(req, &in, op_info(in.opcode), -EIO);
}

void fs_handle(struct fs *fs, struct request *req)
{
	struct op op = {.fs = fs, .req = req};
	const struct op_info *info;
	int r;

	/* Whoever sends less than a header gets no answer: there is no id to answer to. */
	if (!pieces_read(req->readable, req->n_readable, 0, &op.in, sizeof(op.in))) {
		reply_none(req);
		return;
	}
	info = op_info(op.in.opcode);
	r = note_take_room(&op);
	if (r == 0)
		r = check_request(&op, info);
	if (r == 0)
		r = cred_prepare_thread(fs->privileged);
	if (r == 0)
		r = copy_args_and_run(&op, info);
	if (r == 0)
		return;
	log_debug("%s %llu of node %llu: %s", info ? info->name : "unknown opcode",
		  (unsigned long long)op.in.unique, (unsigned long long)op.in.nodeid, strerror(-r));
	answer_error(req, &op.in, info, r);
}
