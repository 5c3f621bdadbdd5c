/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bridge/answer: the one place that knows who asked, the kernel or a program. */
#include <string.h>

#include "base/bytes.h"
#include "bridge/internal.h"
#include "fuse/reply.h"

int answer_error(struct op *op, int err)
{
	if (!op->call)
		return fuse_reply_error(op->fd, op->h.unique, err);
	op->call->done(op->call, err, NULL, 0);
	return 0;
}

int answer_payload(struct op *op, const void *payload, size_t len)
{
	if (!op->call)
		return fuse_reply_data(op->fd, op->h.unique, payload, len);
	op->call->done(op->call, 0, payload, len);
	return 0;
}

uint8_t *answer_data_at(struct op *op)
{
	return op->call ? op->call->data : op->req->big->va + DATA_AT;
}

int answer_data(struct op *op, size_t len)
{
	if (!op->call)
		return fuse_reply_in_place(op->fd, op->h.unique, answer_data_at(op), len);
	op->call->done(op->call, 0, op->call->data, len);
	return 0;
}
