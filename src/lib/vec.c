/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/vec: reads and writes with several buffers. What the window has is copied buffer by buffer;
 * what is sent goes as one message for as many buffers as fit, through memory of ours, unless one
 * buffer is a message by itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "lib/internal.h"

#define VEC_MAX 1024u

/* Where a transfer is: `skip` bytes of the first of the buffers are done. */
struct vec {
	const struct iovec *at;
	unsigned n;
	size_t skip;
	size_t left; /* bytes, of all of them */
	uint8_t *bounce;
	size_t bounce_bytes;
};

static int vec_init(struct vec *v, const struct iovec *buffers, unsigned count)
{
	*v = (struct vec){.at = buffers, .n = count};
	if (count > VEC_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < count; i++) {
		if (buffers[i].iov_len > SSIZE_MAX - v->left)
			return -EINVAL;
		v->left += buffers[i].iov_len;
	}
	return 0;
}

static void vec_advance(struct vec *v, size_t len)
{
	v->left -= len;
	len += v->skip;
	while (v->n && len >= v->at->iov_len) {
		len -= v->at->iov_len;
		v->at++;
		v->n--;
	}
	v->skip = len;
}

/* Copies between what follows in the buffers and `bounce`. */
static void vec_copy(const struct vec *v, bool out_of_them, size_t len)
{
	const struct iovec *io = v->at;
	size_t skip = v->skip, done = 0;

	for (; done < len; io++, skip = 0) {
		size_t n = MIN(io->iov_len - skip, len - done);
		uint8_t *theirs;

		if (!n)
			continue; /* (an empty buffer may be at NULL) */
		theirs = (uint8_t *)io->iov_base + skip;
		memcpy(out_of_them ? v->bounce + done : theirs,
		       out_of_them ? theirs : v->bounce + done, n);
		done += n;
	}
}

static int vec_need_bounce(struct vec *v, size_t len)
{
	uint8_t *larger;

	if (v->bounce_bytes >= len)
		return 0;
	larger = realloc(v->bounce, len);
	if (!larger)
		return -ENOMEM;
	v->bounce = larger;
	v->bounce_bytes = len;
	return 0;
}

/* One message: bytes; fewer than *asked at the end of the file. */
static ssize_t vec_send(struct vfsdax_file *f, bool write, struct vec *v, uint64_t off,
			size_t *asked)
{
	size_t max = f->share->io_max, len = MIN(v->at->iov_len - v->skip, max);
	ssize_t n;

	*asked = MIN(v->left, max);
	if (len == *asked)
		return file_send_io(f, write, (uint8_t *)v->at->iov_base + v->skip, len, off);
	n = vec_need_bounce(v, *asked);
	if (n)
		return n;
	if (write)
		vec_copy(v, true, *asked);
	n = file_send_io(f, write, v->bounce, *asked, off);
	if (!write && n > 0)
		vec_copy(v, false, (size_t)n);
	return n;
}

static ssize_t vec_transfer(struct vfsdax_file *f, bool write, struct vec *v, uint64_t off)
{
	size_t done = 0, asked = 0;

	vec_advance(v, 0); /* (empty buffers in front) */
	while (v->left) {
		size_t len = v->at->iov_len - v->skip;
		ssize_t n = file_copy(f, write, (uint8_t *)v->at->iov_base + v->skip,
				      write ? MIN(len, f->share->io_max) : len, off + done);
		bool message = n == -EAGAIN;

		if (message)
			n = vec_send(f, write, v, off + done, &asked);
		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		vec_advance(v, (size_t)n);
		if (message && !write && (size_t)n < asked)
			break; /* the end of the file */
	}
	return (ssize_t)done;
}

static ssize_t transfer_vec(struct vfsdax_file *f, bool write, const struct iovec *buffers,
			    unsigned count, uint64_t off)
{
	struct vec v;
	ssize_t n = vec_init(&v, buffers, count);

	if (!n)
		n = file_check_io(f, write, v.left, off);
	if (n)
		return n;
	IN_SCOPE_OF(f->share);
	n = vec_transfer(f, write, &v, off);
	free(v.bounce);
	return n;
}

ssize_t vfsdax_readv(struct vfsdax_file *f, const struct iovec *buffers, unsigned count,
		     uint64_t off)
{
	return NOTED(transfer_vec(f, false, buffers, count, off), f->path);
}

ssize_t vfsdax_writev(struct vfsdax_file *f, const struct iovec *buffers, unsigned count,
		      uint64_t off)
{
	return NOTED(transfer_vec(f, true, buffers, count, off), f->path);
}
