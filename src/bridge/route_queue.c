/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/route_queue: requests that the device answers. They go out from the buffer they were read
 * into; the answer goes to the kernel from the buffer it was written into, unless the bridge looks
 * at it: then it is copied first, for the device could change it under us.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/bytes.h"
#include "base/probe.h"
#include "bridge/rebuild.h"

/* ------------------------------------------------------------------ down to the ring */

/* Room for the answer: in the slot if it fits, else it needs a payload buffer: true. */
static bool plan_answer(struct op *op)
{
	const struct route *route = op->route;
	struct fs_req *req = op->req;
	uint64_t room = route->reply_max + names_room(op) + listing_room(op) + notes_room(op);

	if (route->size_at >= 0) {
		uint32_t size;

		memcpy(&size, op_args(op) + route->size_at, sizeof(size));
		room += size;
	}
	req->out_len = sizeof(struct fuse_out_header);
	req->out_payload_len = 0;
	if (!op->head_len && req->out_len + room <= FS_OUT_BYTES) {
		req->out_len += (uint32_t)room;
		notes_put(op);
		return false;
	}
	req->out_payload_off = DATA_AT + op->head_len;
	req->out_payload_len =
		(uint32_t)MIN(room, (uint64_t)FS_PAYLOAD_BYTES - req->out_payload_off);
	return true;
}

static void forward_answered(struct op *op, int err);

static void forward_now(struct op *op)
{
	uint32_t opcode = MIN(op->h.opcode, OPCODES_COUNTED - 1u);

	int err = rebuild_translate(op);

	if (err) {
		op_end(op, err, NULL, 0);
		return;
	}
	PROBE(request_route, op->h.unique, op->h.opcode, false, op->arg_off, op->arg_len);
	op->forwarded = true;
	stats_add(&op->here->stats.queue_requests[opcode], 1);
	measure_sent(op);
	op_submit(op, forward_answered);
}

static void forward_with_payload(struct fs_payload_waiter *waiter, void *ctx,
				 struct fs_payload *payload)
{
	struct op *op = container_of(waiter, struct op, payload_waiter);

	op->here = ctx;
	op_unpark(op);
	op->req->payload = payload;
	if (op->answered)
		op_end(op, -EINTR, NULL, 0);
	else if (payload)
		forward_now(op);
	else
		op_end(op, bridge_failure(op->bridge), NULL, 0);
}

void op_forward(struct op *op)
{
	struct fs_req *req = op->req;

	notes_begin(op);
	rights_add(op);
	if (plan_answer(op)) {
		if (req->in_payload_len) {
			/* a request and an answer that are both long: there is none such */
			op_end(op, -EIO, NULL, 0);
			return;
		}
		/* Others may have them all: it waits, and holds up nobody that needs none. */
		if (!req->payload) {
			op->payload_waiter.got = forward_with_payload;
			op_park(op, NULL); /* so that its caller can be killed meanwhile */
			req->payload = fs_payload_get_or_wait(req->channel, &op->payload_waiter);
			if (!req->payload)
				return; /* perhaps on another thread by now */
			op_unpark(op);
		}
	}
	forward_now(op);
}

void op_forward_after(struct op *op, int err)
{
	if (err)
		op_end(op, fs_caller_error(err), NULL, 0);
	else
		op_forward(op);
}

/* ------------------------------------------------------------------ up to the kernel */

/* File data is not looked at; a program has it where it wants it. */
static void data_answered(struct op *op, size_t len)
{
	len = MIN(len, op->arg_len - op->head_len);
	op->route->finish(op, NULL, len);
	if (op->call) {
		memcpy(answer_data_at(op) + op->head_len, op_device_payload(op), len);
		op_end_data(op, answer_data_at(op), op->head_len + len);
	} else {
		op_end_data(op, op_device_payload(op) - op->head_len, op->head_len + len);
	}
}

static void forward_answered(struct op *op, int err)
{
	const struct route *route = op->route;
	uint8_t *copy = op->here->scratch;
	const uint8_t *payload;
	size_t len;

	if (err && op->moves_mtime)
		times_not_moved(op);
	if (!err)
		err = op->req->answer.error;
	else if (err == -ETIMEDOUT && answer_from_memory(op))
		return;
	else
		err = fs_caller_error(err);
	if (err) {
		op_end(op, err, NULL, 0);
		return;
	}
	measure_answered(op);
	payload = op_device_payload(op);
	len = op->req->answer.len - sizeof(struct fuse_out_header);
	len = names_answered(op, len);
	err = listing_answered(op, &payload, &len);
	if (err || !route->finish) {
		op_end(op, err, payload, len);
		return;
	}
	if (route->payload == PAYLOAD_READ) {
		data_answered(op, len);
		return;
	}
	memcpy(copy, payload, len);
	err = route->finish(op, copy, len);
	if (err != OP_TAKEN)
		op_end(op, err, copy, len);
}

/* ------------------------------------------------------------------ what answers say */

int finish_read(struct op *op, uint8_t *payload, size_t len)
{
	struct bridge *b = op->bridge;
	struct node *node = len ? node_find(b->nodes, op->h.nodeid) : NULL;

	(void)payload;
	stats_add(&op->here->stats.queue_read_bytes, len);
	if (node && op->size_clock == atomic_load(&b->size_clock))
		node_note_reach(b->nodes, node, op->arg_off + op->head_len + len);
	return 0;
}

int finish_write(struct op *op, uint8_t *payload, size_t len)
{
	struct fuse_write_out *out = (struct fuse_write_out *)payload;
	struct bridge *b = op->bridge;
	struct node *node = node_find(b->nodes, op->h.nodeid);
	uint64_t end;

	if (len < sizeof(*out) || out->size > op->arg_len)
		return -EIO;
	stats_add(&op->here->stats.queue_write_bytes, out->size);
	if (node && out->size) {
		node_privs_cleared(b->nodes, node, op->kills_suid, op->privs_clock);
		/* As with a read: a truncation that ended meanwhile may have come after it. */
		if (!(op->open_flags & O_APPEND) && u64_add(op->arg_off, out->size, &end) &&
		    op->size_clock == atomic_load(&b->size_clock))
			node_note_reach(b->nodes, node, end);
	}
	return 0;
}

/* ------------------------------------------------------------------ requests with a twist */

void start_forward(struct op *op)
{
	op_forward(op);
}

void start_refuse(struct op *op)
{
	op_end(op, -ENOSYS, NULL, 0);
}

void start_drop(struct op *op)
{
	op_drop(op);
}

bool op_take_bytes(struct op *op, size_t *at, void *out, size_t len)
{
	size_t first = *at < FS_IN_BYTES ? MIN(len, FS_IN_BYTES - *at) : 0;

	if (!extent_within(*at, len, op->h.len))
		return false;
	if (first)
		memcpy(out, op->req->in + *at, first);
	if (first < len)
		memcpy((uint8_t *)out + first, op->req->payload->va + (*at + first - FS_IN_BYTES),
		       len - first);
	*at += len;
	return true;
}

void start_forget(struct op *op)
{
	size_t at = sizeof(op->h);
	struct fuse_forget_in in;
	struct fuse_batch_forget_in batch;
	struct fuse_forget_one one;

	if (op->h.opcode == FUSE_FORGET) {
		if (op_take_bytes(op, &at, &in, sizeof(in)))
			forget_lookups(op->here, op->h.nodeid, in.nlookup);
	} else if (op_take_bytes(op, &at, &batch, sizeof(batch))) {
		/* The kernel makes a batch as long as the read buffer. */
		for (uint32_t i = 0; i < batch.count && op_take_bytes(op, &at, &one, sizeof(one));
		     i++)
			forget_lookups(op->here, one.nodeid, one.nlookup);
	}
	op_drop(op);
}

void start_lock(struct op *op)
{
	struct bridge *b = op->bridge;
	struct node *node = node_find(b->nodes, op->h.nodeid);

	if (op->h.opcode == FUSE_SETLKW && !fs_channel_may_wait(op->req->channel)) {
		op_end(op, -ENOLCK, NULL, 0);
		return;
	}
	if (node)
		node_note_locked(b->nodes, node);
	op->req->untimed = op->h.opcode == FUSE_SETLKW;
	op_forward(op);
}

void start_setxattr(struct op *op)
{
	struct bridge *b = op->bridge;
	struct node *node = node_find(b->nodes, op->h.nodeid);

	/* It may be security.capability, which the next write must clear. */
	if (node)
		node_privs_changed(b->nodes, node);
	start_touch(op);
}

/* Again: a write that the host made before this may be answered only now. */
int finish_setxattr(struct op *op, uint8_t *payload, size_t len)
{
	struct bridge *b = op->bridge;
	struct node *node = node_find(b->nodes, op->h.nodeid);

	(void)payload;
	(void)len;
	if (node)
		node_privs_changed(b->nodes, node);
	return 0;
}
