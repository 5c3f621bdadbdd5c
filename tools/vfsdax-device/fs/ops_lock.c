/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ops_lock: GETLK, SETLK and SETLKW, for POSIX and BSD locks alike. */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

#include "handle.h"
#include "inode.h"
#include "reply.h"

/* fuse.h, struct fuse_file_lock: `end` is inclusive, and the largest offset means "to the end". */
static int to_flock(const struct fuse_file_lock *lk, struct flock *out)
{
	if (lk->type != F_RDLCK && lk->type != F_WRLCK && lk->type != F_UNLCK)
		return -EINVAL;
	if (lk->start > INT64_MAX || lk->end < lk->start)
		return -EINVAL;
	*out = (struct flock){
		.l_type = (short)lk->type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)lk->start,
		.l_len = lk->end >= INT64_MAX ? 0 : (off_t)(lk->end - lk->start + 1),
	};
	return 0;
}

/* OFD locks have no pid; the guest sees 0 rather than a pid of the host. */
static struct fuse_file_lock from_flock(const struct flock *fl)
{
	return (struct fuse_file_lock){
		.type = (uint32_t)fl->l_type,
		.start = (uint64_t)fl->l_start,
		.end = fl->l_len ? (uint64_t)(fl->l_start + fl->l_len - 1) : INT64_MAX,
	};
}

static int get_posix(struct op *op, const struct fuse_lk_in *in, struct handle *h)
{
	struct fuse_lk_out out = {.lk = {.type = F_UNLCK}};
	struct lock_owner *owner;
	struct flock fl;
	int r = to_flock(&in->lk, &fl);

	if (r == 0)
		r = lock_owner_get(op->fs, h->inode, in->owner, true, &owner);
	if (r < 0)
		return r;
	r = fcntl(lock_owner_fd(owner), F_OFD_GETLK, &fl) < 0 ? -errno : 0;
	lock_owner_put(op->fs, owner);
	if (r < 0)
		return r;
	if (fl.l_type != F_UNLCK)
		out.lk = from_flock(&fl);
	return reply(op, &out, sizeof(out));
}

/* Waits in a thread if it must; otherwise the owner's reference is put. */
static int take_posix(struct op *op, struct lock_owner *owner, struct flock *fl, bool wait)
{
	struct lock_wait w = {
		.owner = owner, .type = fl->l_type, .start = fl->l_start, .len = fl->l_len};
	int r = fcntl(lock_owner_fd(owner), F_OFD_SETLK, fl) < 0 ? -errno : 0;

	if (r == -EACCES)
		r = -EAGAIN; /* POSIX allows either; the guest expects this one */
	if (r == -EAGAIN && wait) {
		r = lock_wait_start(op->fs, op->req, op->in.unique, &w);
		if (r == 0)
			return 0;
	}
	lock_owner_put(op->fs, owner);
	return r < 0 ? r : reply_ok(op);
}

static int set_posix(struct op *op, const struct fuse_lk_in *in, struct handle *h, bool wait)
{
	struct lock_owner *owner;
	struct flock fl;
	int r = to_flock(&in->lk, &fl);

	if (r < 0)
		return r;
	r = lock_owner_get(op->fs, h->inode, in->owner, fl.l_type != F_UNLCK, &owner);
	if (r == -ENOENT)
		return reply_ok(op); /* unlocks what it never locked */
	return r < 0 ? r : take_posix(op, owner, &fl, wait);
}

static int set_flock(struct op *op, const struct fuse_lk_in *in, struct handle *h, bool wait)
{
	static const int operations[] = {
		[F_RDLCK] = LOCK_SH, [F_WRLCK] = LOCK_EX, [F_UNLCK] = LOCK_UN};
	struct lock_wait w = {.handle = h};
	int r;

	if (in->lk.type >= ARRAY_SIZE(operations))
		return -EINVAL;
	w.operation = operations[in->lk.type];
	r = flock(h->fd, w.operation | LOCK_NB) < 0 ? -errno : 0;
	if (r == -EAGAIN && wait) {
		ref_get(&h->refs); /* the thread's */
		r = lock_wait_start(op->fs, op->req, op->in.unique, &w);
		if (r == 0)
			return 0;
		handle_put(h);
	}
	return r < 0 ? r : reply_ok(op);
}

static int set_lock(struct op *op, bool wait)
{
	struct fuse_lk_in in;
	struct handle *h;
	int r;

	op_take(op, &in, sizeof(in));
	h = handle_get(op->fs, in.fh, HANDLE_FILE, op->in.nodeid);
	if (!h)
		return -EBADF;
	r = in.lk_flags & FUSE_LK_FLOCK ? set_flock(op, &in, h, wait) : set_posix(op, &in, h, wait);
	handle_put(h);
	return r;
}

int op_getlk(struct op *op)
{
	struct fuse_lk_in in;
	struct handle *h;
	int r;

	op_take(op, &in, sizeof(in));
	h = handle_get(op->fs, in.fh, HANDLE_FILE, op->in.nodeid);
	if (!h)
		return -EBADF;
	r = get_posix(op, &in, h);
	handle_put(h);
	return r;
}

int op_setlk(struct op *op)
{
	return set_lock(op, false);
}

int op_setlkw(struct op *op)
{
	return set_lock(op, true);
}
