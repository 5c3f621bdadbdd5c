/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ops_node: operations on one file by its nodeid: finding it, its attributes, forgetting it. */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attr.h"
#include "cred.h"
#include "handle.h"
#include "inode.h"
#include "reply.h"
#include "search.h"

/* Ourselves where the result is the same for all users. */
static unsigned lookup_cred_flags(const struct op *op)
{
	return op->in.uid && fs_checks_rights(op->fs) && !search_by_all(op->node) ? CRED_JUDGED : 0;
}

int op_lookup(struct op *op)
{
	struct cred_scope scope;
	struct inode *inode;
	struct statx stx;
	const char *name;
	int r = op_take_name(op, &name);

	if (r < 0)
		return r;
	r = cred_enter(&scope, op, lookup_cred_flags(op));
	if (r < 0)
		return r;
	r = inode_lookup(op->fs, op->node, name, &inode, &stx);
	cred_leave(&scope);
	stale_found(&op->fs->stale, op->in.pid, r < 0 ? 0 : inode->nodeid);
	return r < 0 ? r : reply_entry(op, inode, &stx);
}

int op_forget(struct op *op)
{
	struct fuse_forget_in in;

	op_take(op, &in, sizeof(in));
	inode_forget(op->fs, op->in.nodeid, in.nlookup);
	return reply_none(op->req);
}

int op_batch_forget(struct op *op)
{
	struct fuse_batch_forget_in in;
	struct fuse_forget_one one;

	op_take(op, &in, sizeof(in));
	while (in.count-- && bytes_take(&op->args, &one, sizeof(one)))
		inode_forget(op->fs, one.nodeid, one.nlookup);
	return reply_none(op->req);
}

/* An open file's attributes are those of its node, so a handle in the request is ignored. */
int op_getattr(struct op *op)
{
	struct statx stx;
	int r = inode_statx(op->node->fd, &stx);

	return r < 0 ? r : reply_attr(op, op->node, &stx);
}

static struct fuse_statx_wire_time wire_time(const struct statx_timestamp *t)
{
	return (struct fuse_statx_wire_time){.tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec};
}

int op_statx(struct op *op)
{
	struct fuse_statx_wire_in in;
	struct fuse_statx_wire_out out = {.attr_valid = attr_valid_s(op->fs, op->node)};
	struct statx stx;

	op_take(op, &in, sizeof(in));
	if (statx(op->node->fd, "", AT_EMPTY_PATH | (in.sx_flags & AT_STATX_SYNC_TYPE),
		  STATX_BASIC_STATS | STATX_BTIME, &stx) < 0)
		return -errno;
	out.mask = stx.stx_mask & (STATX_BASIC_STATS | STATX_BTIME);
	out.blksize = stx.stx_blksize;
	out.attributes = stx.stx_attributes;
	out.attributes_mask = stx.stx_attributes_mask;
	out.nlink = stx.stx_nlink;
	out.uid = translate_to_guest(&op->fs->options.uids, stx.stx_uid);
	out.gid = translate_to_guest(&op->fs->options.gids, stx.stx_gid);
	out.mode = stx.stx_mode;
	out.ino = attr_ino(op->fs, op->node->key.dev, stx.stx_ino);
	out.size = stx.stx_size;
	out.blocks = stx.stx_blocks;
	out.atime = wire_time(&stx.stx_atime);
	out.btime = wire_time(&stx.stx_btime);
	out.ctime = wire_time(&stx.stx_ctime);
	out.mtime = wire_time(&stx.stx_mtime);
	out.rdev_major = stx.stx_rdev_major;
	out.rdev_minor = stx.stx_rdev_minor;
	out.dev_major = stx.stx_dev_major;
	out.dev_minor = stx.stx_dev_minor;
	return reply(op, &out, sizeof(out));
}

int op_access(struct op *op)
{
	struct cred_scope scope;
	struct fuse_access_in in;
	int r;

	op_take(op, &in, sizeof(in));
	if (in.mask & ~(uint32_t)(R_OK | W_OK | X_OK))
		return -EINVAL;
	if (in.mask & W_OK && op->fs->options.readonly)
		return -EROFS;
	/* A kernel that checks by itself does not ask. */
	r = cred_enter(&scope, op, CRED_CALLER);
	if (r < 0)
		return r;
	/* The system call: glibc's faccessat answers AT_EMPTY_PATH itself on some versions. */
	r = syscall(SYS_faccessat2, op->node->fd, "", in.mask, AT_EACCESS | AT_EMPTY_PATH) < 0
		    ? -errno
		    : 0;
	cred_leave(&scope);
	return r < 0 ? r : reply_ok(op);
}

int op_readlink(struct op *op)
{
	char target[PATH_MAX];
	ssize_t n;

	if (!S_ISLNK(op->node->type))
		return -EINVAL;
	n = readlinkat(op->node->fd, "", target, sizeof(target));
	return n < 0 ? -errno : reply(op, target, (size_t)n);
}

/* ------------------------------------------------------------------ SETATTR */

static int setattr_owner(struct op *op, const struct fuse_setattr_in *in)
{
	uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
	gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;

	if (!translate_to_host(&op->fs->options.uids, &uid) ||
	    !translate_to_host(&op->fs->options.gids, &gid))
		return -EPERM;
	return fchownat(op->node->fd, "", uid, gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

/* fchmodat follows the link in /proc to the file itself, which needs no permission to open it. */
static int setattr_mode(struct op *op, const struct fuse_setattr_in *in)
{
	if (S_ISLNK(op->node->type))
		return -EOPNOTSUPP;
	return fchmodat(op->fs->proc_fd, fd_name(op->node->fd).s, in->mode & 07777, 0) < 0 ? -errno
											   : 0;
}

static int setattr_size(struct op *op, const struct fuse_setattr_in *in,
			const struct handle *handle)
{
	int r, fd;

	if (in->size > INT64_MAX)
		return -EFBIG;
	if (handle)
		return ftruncate(handle->fd, (off_t)in->size) < 0 ? -errno : 0;
	if (inode_is_dir(op->node))
		return -EISDIR;
	if (!inode_is_reg(op->node))
		return -EINVAL;
	fd = inode_open(op->fs, op->node, O_WRONLY | O_NONBLOCK);
	if (fd < 0)
		return fd;
	r = ftruncate(fd, (off_t)in->size) < 0 ? -errno : 0;
	close(fd);
	return r;
}

static struct timespec one_time(uint32_t valid, uint32_t set, uint32_t now, uint64_t sec,
				uint32_t nsec)
{
	if (!(valid & set))
		return (struct timespec){.tv_nsec = UTIME_OMIT};
	if (valid & now)
		return (struct timespec){.tv_nsec = UTIME_NOW};
	return (struct timespec){.tv_sec = (time_t)sec, .tv_nsec = nsec};
}

static int setattr_times(struct op *op, const struct fuse_setattr_in *in)
{
	uint32_t valid = in->valid;
	struct timespec ts[2];

	/*
	 * A truncation has moved mtime already; asking for it again would ask for ownership, which
	 * a writer does not need.
	 */
	if (valid & FATTR_SIZE && valid & FATTR_MTIME_NOW)
		valid &= ~(uint32_t)FATTR_MTIME;
	if (!(valid & (FATTR_ATIME | FATTR_MTIME)))
		return 0;
	if (in->atimensec >= 1000000000 || in->mtimensec >= 1000000000)
		return -EINVAL;
	ts[0] = one_time(valid, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec);
	ts[1] = one_time(valid, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec);
	/* The system call: glibc refuses AT_EMPTY_PATH on some versions. */
	return syscall(SYS_utimensat, op->node->fd, "", ts, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

/* Owner before mode: changing the owner clears suid and sgid, which the new mode may set. */
static int setattr_all(struct op *op, const struct fuse_setattr_in *in, const struct handle *handle)
{
	int r = 0;

	if (in->valid & (FATTR_UID | FATTR_GID))
		r = setattr_owner(op, in);
	if (r == 0 && in->valid & FATTR_MODE)
		r = setattr_mode(op, in);
	if (r == 0 && in->valid & FATTR_SIZE)
		r = setattr_size(op, in, handle);
	if (r == 0)
		r = setattr_times(op, in);
	return r;
}

/*
 * Linux asks to clear set-id bits with every change of owner and with what truncates; of root's
 * chown the host clears them by its own rules.
 */
static unsigned setattr_cred_flags(const struct op *op, uint32_t valid)
{
	bool kill = valid & FATTR_KILL_SUIDGID && (op->in.uid || valid & FATTR_SIZE);

	return CRED_JUDGED | (kill ? CRED_KILL_SUID : 0);
}

int op_setattr(struct op *op)
{
	struct handle *handle = NULL;
	struct fuse_setattr_in in;
	struct cred_scope scope;
	struct statx stx;
	int r;

	op_take(op, &in, sizeof(in));
	/* Only a truncation depends on the handle: it was opened for writing. */
	if (in.valid & FATTR_FH && in.valid & FATTR_SIZE) {
		handle = handle_get(op->fs, in.fh, HANDLE_FILE, op->in.nodeid);
		if (!handle)
			return -EBADF;
	}
	r = cred_enter(&scope, op, setattr_cred_flags(op, in.valid));
	if (r == 0) {
		r = setattr_all(op, &in, handle);
		cred_leave(&scope);
	}
	handle_put(handle);
	if (r == 0)
		r = inode_statx(op->node->fd, &stx);
	return r < 0 ? r : reply_attr(op, op->node, &stx);
}
