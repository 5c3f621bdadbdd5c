/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/io: reading and writing files. What the window has is copied without a message; the rest goes
 * as READs and WRITEs of at most 1 MiB, straight from and to the program's buffer.
 */
#include <errno.h>

#include "lib/internal.h"

/* As Linux: what one call moves at most. */
#define IO_CALL_MAX ((size_t)0x7ffff000)

/* ------------------------------------------------------------------ may it */

static int check(const struct vfsdax_file *f, bool may, size_t len, uint64_t off)
{
	if (f->dir)
		return -EISDIR;
	if (!may)
		return -EBADF;
	return off > INT64_MAX || len > INT64_MAX - off ? -EINVAL : 0;
}

int file_may_read(const struct vfsdax_file *f, size_t len, uint64_t off)
{
	return check(f, file_reads(f), len, off);
}

int file_may_write(const struct vfsdax_file *f, size_t len, uint64_t off)
{
	int err = check(f, file_writes(f), len, off);

	return err == -EISDIR ? -EBADF : err;
}

/* ------------------------------------------------------------------ with and without a message */

static bool kills_suid(const struct vfsdax_file *f)
{
	/* Without V2 nobody says: then each write does. */
	return !(f->share->flags & FUSE_HANDLE_KILLPRIV_V2) || share_kills_suid(f->share);
}

ssize_t file_read_now(struct vfsdax_file *f, void *buf, size_t len, uint64_t off)
{
	return f->node ? bridge_read(f->share->bridge, f->node, buf, len, off) : -EAGAIN;
}

ssize_t file_write_now(struct vfsdax_file *f, const void *buf, size_t len, uint64_t off)
{
	if (!f->node)
		return -EAGAIN;
	return bridge_write(f->share->bridge, f->node, buf, len, off, (uint32_t)f->flags,
			    kills_suid(f));
}

struct fuse_read_in read_args(const struct vfsdax_file *f, size_t len, uint64_t off)
{
	return (struct fuse_read_in){
		.fh = f->fh,
		.offset = off,
		.size = (uint32_t)len,
		.flags = (uint32_t)f->flags,
	};
}

struct fuse_write_in write_args(const struct vfsdax_file *f, size_t len, uint64_t off)
{
	bool kill = f->share->flags & FUSE_HANDLE_KILLPRIV_V2 && share_kills_suid(f->share);

	return (struct fuse_write_in){
		.fh = f->fh,
		.offset = off,
		.size = (uint32_t)len,
		.write_flags = kill ? FUSE_WRITE_KILL_SUIDGID : 0,
		.flags = (uint32_t)f->flags,
	};
}

static ssize_t read_by_message(struct vfsdax_file *f, void *buf, size_t len, uint64_t off)
{
	struct fuse_read_in in = read_args(f, MIN(len, f->share->io_max), off);
	struct request r = {
		.opcode = FUSE_READ,
		.nodeid = f->nodeid,
		.in = {{&in, sizeof(in)}},
		.data = buf,
		.data_len = in.size,
	};

	return share_call(f->share, &r);
}

static ssize_t write_by_message(struct vfsdax_file *f, const void *buf, size_t len, uint64_t off)
{
	struct fuse_write_in in = write_args(f, MIN(len, f->share->io_max), off);
	struct fuse_write_out out;
	struct request r = {
		.opcode = FUSE_WRITE,
		.nodeid = f->nodeid,
		.in = {{&in, sizeof(in)}, {buf, in.size}},
		.out = &out,
		.out_min = sizeof(out),
		.out_max = sizeof(out),
	};
	ssize_t n = share_call(f->share, &r);

	if (n < 0)
		return n;
	/* A host that takes nothing of a write, without a word, would be asked for ever. */
	return out.size && out.size <= in.size ? (ssize_t)out.size : -EIO;
}

/* ------------------------------------------------------------------ the functions */

ssize_t vfsdax_read(struct vfsdax_file *f, void *buf, size_t len, uint64_t off)
{
	uint8_t *to = buf;
	size_t done = 0;
	int err;

	len = MIN(len, IO_CALL_MAX);
	err = file_may_read(f, len, off);
	if (err)
		return err;
	IN_SCOPE_OF(f->share);
	while (done < len) {
		ssize_t n = file_read_now(f, to + done, len - done, off + done);
		size_t asked = MIN(len - done, f->share->io_max);

		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		n = read_by_message(f, to + done, len - done, off + done);
		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		if ((size_t)n < asked)
			break; /* the end of the file */
	}
	return (ssize_t)done;
}

ssize_t vfsdax_write(struct vfsdax_file *f, const void *buf, size_t len, uint64_t off)
{
	const uint8_t *from = buf;
	size_t done = 0;
	int err;

	len = MIN(len, IO_CALL_MAX);
	err = file_may_write(f, len, off);
	if (err)
		return err;
	IN_SCOPE_OF(f->share);
	while (done < len) {
		size_t asked = MIN(len - done, f->share->io_max);
		ssize_t n = file_write_now(f, from + done, asked, off + done);

		if (n == -EAGAIN)
			n = write_by_message(f, from + done, asked, off + done);
		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		/* (fewer than asked for: a full disk says so with the next piece) */
	}
	return (ssize_t)done;
}
