/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reply: answers, written into the request's writable pieces and never beyond them. Each of
 * these calls request_complete(); the request is gone afterwards.
 */
#ifndef VFSDAX_DEVICE_FS_REPLY_H
#define VFSDAX_DEVICE_FS_REPLY_H

#include "fs.h"
#include "inode.h"

#define REPLY_HEADER_BYTES sizeof(struct fuse_out_header)

/* Room for what follows the header. */
static inline uint64_t reply_room(const struct request *req)
{
	return req->writable_bytes < REPLY_HEADER_BYTES ? 0
							: req->writable_bytes - REPLY_HEADER_BYTES;
}

/*
 * All return 0 ("answered"), so that a handler can end with one of them. A body that does not fit
 * becomes -EIO.
 */
int reply_body(struct request *req, uint64_t unique, const void *body, size_t len);
static inline int reply_ok(struct op *op)
{
	return reply_body(op->req, op->in.unique, NULL, 0);
}
static inline int reply(struct op *op, const void *body, size_t len)
{
	return reply_body(op->req, op->in.unique, body, len);
}
/* The body stands in the pieces already. */
int reply_in_place(struct op *op, size_t len);
int reply_error(struct request *req, uint64_t unique, int error);
/* FORGET and its like: nothing is written. */
int reply_none(struct request *req);

/*
 * The extent [skip, skip + len) of `n` pieces, as pieces; at most `max`, so the result may be
 * shorter than asked. Returns how many.
 */
unsigned pieces_slice(const struct iovec *pieces, unsigned n, uint64_t skip, uint64_t len,
		      struct iovec *out, unsigned max);
/* Copies out of / into pieces; false when they are shorter than that. */
bool pieces_read(const struct iovec *pieces, unsigned n, uint64_t skip, void *to, size_t len);
bool pieces_write(const struct iovec *pieces, unsigned n, uint64_t skip, const void *from,
		  size_t len);

#endif
