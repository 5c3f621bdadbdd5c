/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ops_data: what is done with an open file. READ and WRITE go straight between the guest's
 * memory and the file, and change no credentials: the descriptor is the permission.
 */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cred.h"
#include "handle.h"
#include "note.h"
#include "reply.h"

/* One copy_file_range holds a queue thread; callers loop over short ones. */
#define COPY_MAX_BYTES (256 * MIB)

/*
 * What of the guest's flags is this write's own. The handle's may be older (fcntl(2) sets and
 * clears O_APPEND) or know less (RWF_DSYNC, a file or a mount that is always synchronous).
 */
static int write_flags(uint32_t open_flags)
{
	int flags = open_flags & O_APPEND ? RWF_APPEND : 0;

	if ((open_flags & O_SYNC) == O_SYNC)
		flags |= RWF_SYNC;
	else if (open_flags & O_DSYNC)
		flags |= RWF_DSYNC;
	return flags;
}

/*
 * [skip, skip + len) of the pieces from or to the file; how much was moved, or -errno when it was
 * nothing. In rounds, because a chain may have more pieces than one system call takes.
 */
static ssize_t move(bool to_file, int fd, const struct iovec *pieces, unsigned n, uint64_t skip,
		    uint64_t len, uint64_t file_off, int flags)
{
	uint64_t done = 0;

	while (done < len) {
		struct iovec iov[IOV_MAX];
		unsigned n_iov = pieces_slice(pieces, n, skip + done, len - done, iov, IOV_MAX);
		off_t off = (off_t)(file_off + done);
		ssize_t got = to_file ? pwritev2(fd, iov, (int)n_iov, off, flags)
				      : preadv(fd, iov, (int)n_iov, off);
		uint64_t asked = 0;

		if (got < 0)
			return done && to_file ? (ssize_t)done : -errno;
		done += (uint64_t)got;
		for (unsigned i = 0; i < n_iov; i++)
			asked += iov[i].iov_len;
		if ((uint64_t)got < asked || !asked)
			break;
	}
	return (ssize_t)done;
}

int op_read(struct op *op)
{
	struct request *req = op->req;
	struct fuse_read_in in;
	struct handle *h;
	ssize_t got;

	op_take(op, &in, sizeof(in));
	/* Shorter than asked means end of file, so a reply that does not fit is an error. */
	if (in.size > reply_room(req))
		return -EIO;
	if (!extent_within(in.offset, in.size, INT64_MAX))
		return -EINVAL;
	h = handle_get(op->fs, in.fh, HANDLE_FILE, op->in.nodeid);
	if (!h)
		return -EBADF;
	got = move(false, h->fd, req->writable, req->n_writable, REPLY_HEADER_BYTES, in.size,
		   in.offset, 0);
	handle_put(h);
	return got < 0 ? (int)got : reply_in_place(op, (size_t)got);
}

/* How much was written, now or by a device that died; or -errno. */
static ssize_t write_once(struct op *op, const struct handle *h, const struct fuse_write_in *in)
{
	uint64_t data = sizeof(op->in) + sizeof(*in);
	bool kills = in->write_flags & FUSE_WRITE_KILL_SUIDGID;
	struct cred_scope scope;
	uint32_t done;
	ssize_t n = note_appending(op, h, in, &done);

	if (n < 0 || (done && done == in->size))
		return n < 0 ? n : done;
	if (kills)
		n = cred_enter(&scope, op, CRED_KILL_SUID);
	if (n < 0)
		return n;
	n = move(true, h->fd, op->req->readable, op->req->n_readable, data + done, in->size - done,
		 in->offset + done, write_flags(in->flags));
	if (kills)
		cred_leave(&scope);
	return n < 0 && !done ? n : MAX(n, 0) + done;
}

int op_write(struct op *op)
{
	struct fuse_write_in in;
	struct fuse_write_out out = {0};
	struct handle *h;
	ssize_t n;

	op_take(op, &in, sizeof(in));
	if (in.size > op->in.len - sizeof(op->in) - sizeof(in) - op->in.total_extlen * UINT64_C(8))
		return -EINVAL;
	if (!extent_within(in.offset, in.size, INT64_MAX))
		return -EFBIG;
	h = handle_get(op->fs, in.fh, HANDLE_FILE, op->in.nodeid);
	if (!h)
		return -EBADF;
	inode_dirty(h->inode);
	n = write_once(op, h, &in);
	handle_put(h);
	out.size = n < 0 ? 0 : (uint32_t)n;
	return n < 0 ? (int)n : reply(op, &out, sizeof(out));
}

static int sync_handle(struct op *op, enum handle_kind kind)
{
	struct fuse_fsync_in in;
	struct handle *h;
	int r;

	op_take(op, &in, sizeof(in));
	h = handle_get(op->fs, in.fh, kind, op->in.nodeid);
	if (!h)
		return -EBADF;
	r = in.fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(h->fd) : fsync(h->fd);
	r = r < 0 ? -errno : 0;
	handle_put(h);
	return r < 0 ? r : reply_ok(op);
}

int op_fsync(struct op *op)
{
	return sync_handle(op, HANDLE_FILE);
}

int op_fsyncdir(struct op *op)
{
	return sync_handle(op, HANDLE_DIR);
}

/*
 * The message does not say whether suid is to be cleared. Of another user's than root it is, which
 * Linux does by CAP_FSETID.
 */
static unsigned cred_flags_of_change(const struct op *op)
{
	return CRED_JUDGED | (op->in.uid ? CRED_KILL_SUID : 0);
}

int op_fallocate(struct op *op)
{
	struct fuse_fallocate_in in;
	struct cred_scope scope;
	struct handle *h;
	int r;

	op_take(op, &in, sizeof(in));
	if (!extent_within(in.offset, in.length, INT64_MAX))
		return -EFBIG;
	h = handle_get(op->fs, in.fh, HANDLE_FILE, op->in.nodeid);
	if (!h)
		return -EBADF;
	r = cred_enter(&scope, op, cred_flags_of_change(op));
	if (r == 0) {
		inode_dirty(h->inode);
		r = note_shifting(op, h, &in);
		if (r == NOTE_DO &&
		    fallocate(h->fd, (int)in.mode, (off_t)in.offset, (off_t)in.length) < 0)
			r = -errno;
		cred_leave(&scope);
	}
	handle_put(h);
	return r < 0 ? r : reply_ok(op);
}

/* Only what cannot be answered without the file's layout; the others are the guest's own. */
int op_lseek(struct op *op)
{
	struct fuse_lseek_out out;
	struct fuse_lseek_in in;
	struct handle *h;
	off_t off;
	int r;

	op_take(op, &in, sizeof(in));
	if (in.whence != SEEK_DATA && in.whence != SEEK_HOLE)
		return -EINVAL;
	if (in.offset > INT64_MAX)
		return -ENXIO;
	h = handle_get(op->fs, in.fh, HANDLE_FILE, op->in.nodeid);
	if (!h)
		return -EBADF;
	off = lseek(h->fd, (off_t)in.offset, (int)in.whence);
	r = off < 0 ? -errno : 0;
	handle_put(h);
	out.offset = (uint64_t)off;
	return r < 0 ? r : reply(op, &out, sizeof(out));
}

static ssize_t copy_between(struct op *op, const struct fuse_copy_file_range_in *in,
			    const struct handle *from, const struct handle *to)
{
	off_t off_in = (off_t)in->off_in, off_out = (off_t)in->off_out;
	struct cred_scope scope;
	ssize_t n = cred_enter(&scope, op, cred_flags_of_change(op));

	if (n < 0)
		return n;
	inode_dirty(to->inode);
	n = copy_file_range(from->fd, &off_in, to->fd, &off_out, MIN(in->len, COPY_MAX_BYTES), 0);
	n = n < 0 ? -errno : n;
	cred_leave(&scope);
	return n;
}

static ssize_t copy_range(struct op *op)
{
	struct fuse_copy_file_range_in in;
	struct handle *from, *to;
	ssize_t n = -EBADF;

	op_take(op, &in, sizeof(in));
	if (in.flags || in.off_in > INT64_MAX || in.off_out > INT64_MAX)
		return -EINVAL;
	from = handle_get(op->fs, in.fh_in, HANDLE_FILE, op->in.nodeid);
	to = handle_get(op->fs, in.fh_out, HANDLE_FILE, in.nodeid_out);
	if (from && to)
		n = copy_between(op, &in, from, to);
	handle_put(to);
	handle_put(from);
	return n;
}

int op_copy_file_range(struct op *op)
{
	ssize_t n = copy_range(op);
	struct fuse_write_out out = {.size = n < 0 ? 0 : (uint32_t)n};

	return n < 0 ? (int)n : reply(op, &out, sizeof(out));
}

int op_copy_file_range_64(struct op *op)
{
	ssize_t n = copy_range(op);
	struct fuse_copy_file_range_wire_out out = {.bytes_copied = n < 0 ? 0 : (uint64_t)n};

	return n < 0 ? (int)n : reply(op, &out, sizeof(out));
}
