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
	return op->call ? op->call->data : op->here->scratch + DATA_AT;
}

int answer_data(struct op *op, const uint8_t *data, size_t len)
{
	uint8_t *ours = op->here->scratch + DATA_AT;

	if (op->call)
		return answer_payload(op, data, len);
	/* One segment where the header can stand in front of it; not in memory of the device. */
	if (data == ours)
		return fuse_reply_in_place(op->fd, op->h.unique, ours, len);
	return fuse_reply_data(op->fd, op->h.unique, data, len);
}
