/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/io: reading and writing files. Data in the window is copied without a message; the rest is
 * READs and WRITEs of at most 1 MiB, straight from and to the program's buffer.
 */
#include <errno.h>

#include "lib/internal.h"

/* As Linux: what one call moves at most. */
#define IO_CALL_MAX ((size_t)0x7ffff000)

int file_check_io(const struct vfsdax_file *f, bool write, size_t len, uint64_t off)
{
	if (f->dir)
		return write ? -EBADF : -EISDIR;
	if (write ? !file_writes(f) : !file_reads(f))
		return -EBADF;
	return off > INT64_MAX || len > INT64_MAX - off ? -EINVAL : 0;
}

ssize_t file_copy(struct vfsdax_file *f, bool write, void *buf, size_t len, uint64_t off)
{
	struct vfsdax *s = f->share;
	struct lane *lane = f->node ? share_enter(s) : NULL;
	ssize_t n;

	if (!lane)
		return -EAGAIN;
	/* Without KILLPRIV_V2 the device is not asked to clear the bits: then each write does. */
	if (write)
		n = bridge_write(s->bridge, f->node, buf, len, off, (uint32_t)f->flags,
				 !(s->flags & FUSE_HANDLE_KILLPRIV_V2) || share_kills_suid(s));
	else
		n = bridge_read(s->bridge, f->node, buf, len, off);
	gate_unlock(s, lane);
	return n;
}

void io_request_init(struct io_request *r, const struct vfsdax_file *f, bool write, void *buf,
		     size_t len, uint64_t off)
{
	bool kill = f->share->flags & FUSE_HANDLE_KILLPRIV_V2 && share_kills_suid(f->share);

	if (!write) {
		r->in.read = (struct fuse_read_in){
			.fh = f->fh,
			.offset = off,
			.size = (uint32_t)len,
			.flags = (uint32_t)f->flags,
		};
		r->args = (struct fuse_args){
			.opcode = FUSE_READ,
			.nodeid = f->nodeid,
			.in = {ARG_OF(r->in.read)},
			.out = buf,
			.out_len = len,
			.out_var = true,
			.in_place = true,
		};
		return;
	}
	r->in.write = (struct fuse_write_in){
		.fh = f->fh,
		.offset = off,
		.size = (uint32_t)len,
		.write_flags = kill ? FUSE_WRITE_KILL_SUIDGID : 0,
		.flags = (uint32_t)f->flags,
	};
	r->args = (struct fuse_args){
		.opcode = FUSE_WRITE,
		.nodeid = f->nodeid,
		.in = {ARG_OF(r->in.write), {buf, len}},
		OUT_OF(r->written),
	};
}

ssize_t io_request_bytes(const struct io_request *r, int result)
{
	if (r->args.opcode == FUSE_READ || result < 0)
		return result;
	/* Of a write of 0 bytes without an error the rest would be sent for ever. */
	return r->written.size && r->written.size <= r->in.write.size ? (ssize_t)r->written.size
								      : -EIO;
}

ssize_t file_send_io(struct vfsdax_file *f, bool write, void *buf, size_t len, uint64_t off)
{
	struct io_request r;

	io_request_init(&r, f, write, buf, len, off);
	return io_request_bytes(&r, share_call(f->share, &r.args));
}

/* Inline, since a copy takes no longer than a few branches. */
static inline __attribute__((always_inline)) ssize_t
transfer(struct vfsdax_file *f, bool write, uint8_t *buf, size_t len, uint64_t off)
{
	size_t done = 0;
	int err;

	len = MIN(len, IO_CALL_MAX);
	err = file_check_io(f, write, len, off);
	if (err)
		return err;
	IN_SCOPE_OF(f->share);
	while (done < len) {
		size_t asked = MIN(len - done, f->share->io_max);
		ssize_t n = file_copy(f, write, buf + done, write ? asked : len - done, off + done);
		bool message = n == -EAGAIN;

		if (message)
			n = file_send_io(f, write, buf + done, asked, off + done);
		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		/* (after a short write the next piece gets the error of a full disk) */
		if (message && !write && (size_t)n < asked)
			break; /* the end of the file */
	}
	return (ssize_t)done;
}

ssize_t vfsdax_read(struct vfsdax_file *f, void *buf, size_t len, uint64_t off)
{
	return NOTED(transfer(f, false, buf, len, off), f->path);
}

ssize_t vfsdax_write(struct vfsdax_file *f, const void *buf, size_t len, uint64_t off)
{
	/* (a WRITE's buffer is only read) */
	return NOTED(transfer(f, true, (uint8_t *)(uintptr_t)buf, len, off), f->path);
}
