/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ops_lock: GETLK, SETLK and SETLKW, for POSIX, OFD and BSD locks alike. */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>

#include "handle.h"
#include "reply.h"

/* fuse.h, struct fuse_file_lock: `end` is inclusive, and the largest offset means "to the end". */
static int to_wish(const struct fuse_lk_in *in, struct handle *h, struct lock_wish *out)
{
	const struct fuse_file_lock *lk = &in->lk;
	bool bsd = in->lk_flags & FUSE_LK_FLOCK;

	if (lk->type != F_RDLCK && lk->type != F_WRLCK && lk->type != F_UNLCK)
		return -EINVAL;
	if (!bsd && (lk->start > INT64_MAX || lk->end < lk->start))
		return -EINVAL;
	*out = (struct lock_wish){
		.handle = h,
		.owner = in->owner,
		.pid = lk->pid,
		.bsd = bsd,
		.type = (short)lk->type,
		.first = bsd ? 0 : lk->start,
		.last = bsd ? INT64_MAX : MIN(lk->end, (uint64_t)INT64_MAX),
	};
	return 0;
}

/* Takes it, or starts a wait: true, then it is answered later. */
static bool set_or_wait(struct op *op, const struct lock_wish *wish, bool wait, int *r)
{
	/* First: what ends after this does not stand against it any more, and what ended before it
	 * did not. */
	uint64_t until = wait ? 0 : lock_closing_until(op->fs, wish);

	*r = lock_set(op->fs, wish);
	if (*r != -EAGAIN || (!wait && !until))
		return false;
	*r = lock_wait_start(op->fs, op->req, op->in.unique, wish, until);
	if (*r == -ENOLCK && !wait)
		*r = -EAGAIN; /* it need not have waited */
	return *r == 0;
}

static int set_lock(struct op *op, bool wait)
{
	struct fuse_lk_in in;
	struct lock_wish wish;
	struct handle *h;
	bool later = false;
	int r;

	op_take(op, &in, sizeof(in));
	h = handle_get(op->fs, in.fh, HANDLE_FILE, op->in.nodeid);
	if (!h)
		return -EBADF;
	r = to_wish(&in, h, &wish);
	atomic_store_explicit(&h->locked, true, memory_order_relaxed);
	if (r == 0)
		later = set_or_wait(op, &wish, wait, &r);
	handle_put(h);
	if (later)
		return 0;
	return r < 0 ? r : reply_ok(op);
}

/* As set_or_wait(): what is being closed is not reported. */
static bool get_or_wait(struct op *op, const struct lock_wish *wish, struct fuse_lk_out *out,
			int *r)
{
	uint64_t until = lock_closing_until(op->fs, wish);

	*r = lock_get(op->fs, wish, &out->lk);
	return *r == 0 && out->lk.type != F_UNLCK && until &&
	       lock_wait_start(op->fs, op->req, op->in.unique, wish, until) == 0;
}

int op_getlk(struct op *op)
{
	struct fuse_lk_out out;
	bool later = false;
	struct fuse_lk_in in;
	struct lock_wish wish;
	struct handle *h;
	int r;

	op_take(op, &in, sizeof(in));
	h = handle_get(op->fs, in.fh, HANDLE_FILE, op->in.nodeid);
	if (!h)
		return -EBADF;
	r = to_wish(&in, h, &wish);
	wish.look = true;
	if (r == 0 && wish.bsd)
		r = -EINVAL;
	if (r == 0)
		later = get_or_wait(op, &wish, &out, &r);
	handle_put(h);
	if (later)
		return 0;
	return r < 0 ? r : reply(op, &out, sizeof(out));
}

int op_setlk(struct op *op)
{
	return set_lock(op, false);
}

int op_setlkw(struct op *op)
{
	return set_lock(op, true);
}
