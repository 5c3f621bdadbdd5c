/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* reply: headers and bodies into guest memory. See reply.h. */
#include "reply.h"

#include <errno.h>
#include <string.h>

unsigned pieces_slice(const struct iovec *pieces, unsigned n, uint64_t skip, uint64_t len,
		      struct iovec *out, unsigned max)
{
	unsigned filled = 0;

	for (unsigned i = 0; i < n && len && filled < max; i++) {
		uint64_t have = pieces[i].iov_len;

		if (skip >= have) {
			skip -= have;
			continue;
		}
		have = MIN(have - skip, len);
		out[filled].iov_base = (uint8_t *)pieces[i].iov_base + skip;
		out[filled++].iov_len = (size_t)have;
		len -= have;
		skip = 0;
	}
	return filled;
}

enum direction { TO_PIECES, FROM_PIECES };

static bool pieces_copy(const struct iovec *pieces, unsigned n, uint64_t skip, uint8_t *ours,
			size_t len, enum direction direction)
{
	for (unsigned i = 0; i < n && len; i++) {
		uint64_t have = pieces[i].iov_len;
		uint8_t *theirs;

		if (skip >= have) {
			skip -= have;
			continue;
		}
		theirs = (uint8_t *)pieces[i].iov_base + skip;
		have = MIN(have - skip, len);
		if (direction == TO_PIECES)
			memcpy(theirs, ours, (size_t)have);
		else
			memcpy(ours, theirs, (size_t)have);
		ours += have;
		len -= (size_t)have;
		skip = 0;
	}
	return len == 0;
}

bool pieces_read(const struct iovec *pieces, unsigned n, uint64_t skip, void *to, size_t len)
{
	return pieces_copy(pieces, n, skip, to, len, FROM_PIECES);
}

bool pieces_write(const struct iovec *pieces, unsigned n, uint64_t skip, const void *from,
		  size_t len)
{
	return pieces_copy(pieces, n, skip, (uint8_t *)from, len, TO_PIECES);
}

/* Writes the header of an answer whose body, if any, stands behind it. */
static int reply_finish(struct request *req, uint64_t unique, int error, size_t len)
{
	struct fuse_out_header out = {
		.len = (uint32_t)(sizeof(out) + len),
		.error = error,
		.unique = unique,
	};

	/* A chain without room for a header gets none; its owner sees 0 bytes written. */
	if (req->writable_bytes < sizeof(out) ||
	    !pieces_write(req->writable, req->n_writable, 0, &out, sizeof(out)))
		return reply_none(req);
	request_complete(req, out.len);
	return 0;
}

int reply_body(struct request *req, uint64_t unique, const void *body, size_t len)
{
	if (len > reply_room(req) ||
	    (len && !pieces_write(req->writable, req->n_writable, REPLY_HEADER_BYTES, body, len)))
		return reply_error(req, unique, -EIO);
	return reply_finish(req, unique, 0, len);
}

int reply_in_place(struct op *op, size_t len)
{
	return reply_finish(op->req, op->in.unique, 0, len);
}

int reply_error(struct request *req, uint64_t unique, int error)
{
	return reply_finish(req, unique, error, 0);
}

int reply_none(struct request *req)
{
	request_complete(req, 0);
	return 0;
}
