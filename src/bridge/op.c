/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bridge/op: the life of a request; the states are in internal.h. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/delay.h"
#include "base/probe.h"
#include "bridge/passthrough.h"
#include "bridge/rebuild.h"
#include "fuse/tell.h"

/* ------------------------------------------------------------------ begin, end */

void op_message(struct op *op)
{
	struct fs_req *req = op->req;

	req->in_off = 0;
	req->in_len = MIN(op->h.len, FS_IN_BYTES);
	req->in_payload_len = op->h.len - req->in_len;
}

static void keep_message(struct op *op)
{
	op->kept_len = op->h.len;
	memcpy(op->kept_head, op->req->in, sizeof(op->kept_head));
}

void op_begin(struct bridge_worker *w, const struct fuse_in_header *h, int fd,
	      struct bridge_call *call, size_t len)
{
	struct fs_req *req = w->slot;
	struct op *op = req->user;
	int err = 0;

	w->slot = NULL;
	atomic_fetch_add(&w->outstanding->n, 1);
	memset(op, 0, offsetof(struct op, saved));
	op->bridge = w->bridge;
	op->worker = op->here = w;
	op->req = req;
	op->fd = fd;
	op->call = call;
	op->h = *h;
	op->route = route_find(h->opcode);
	op->size_clock = atomic_load(&op->bridge->size_clock);
	PROBE(request_begin, h->unique, h->opcode, h->nodeid, h->len);
	memcpy(req->in, h, sizeof(*h));
	if (op->bridge->kept->goes_on)
		keep_message(op);
	/* Also where rights_add() may need it. */
	if (h->len + bridge_extension_room(op->bridge) > FS_IN_BYTES) {
		req->payload = w->payload;
		w->payload = NULL;
	}
	if (fuse_wants_answer(h->opcode))
		err = bridge_failure(op->bridge);
	if (rights_owner_only(op) && h->uid != FUSE_TOUCH_UID)
		err = -EACCES;
	/* The kernel's messages are whole. */
	if (h->len != len || len < sizeof(*h) + op->route->arg_min)
		err = -EIO;
	if (err) {
		op_end(op, err, NULL, 0);
		return;
	}
	measure_begun(op);
	op_message(op);
	if (!call && h->uid == FUSE_TOUCH_UID && touched(op))
		return;
	if (rebuild_ready(op))
		op->route->start(op);
}

void op_free(struct op *op)
{
	struct bridge_worker *worker = op->worker;

	op->state = OP_ENDED;
	notes_end(op);
	fs_req_put(op->req, op->here);
	/* The op may be another one by now. */
	atomic_fetch_sub(&worker->outstanding->n, 1);
}

/* `refused`: what answer_*() returned. */
static void op_answered(struct op *op, int err, int refused, const void *payload, size_t len)
{
	DELAY_POINT("op.after_answer");
	PROBE(request_end, op->h.unique, op->h.opcode, err);
	if (!refused)
		measure_ended(op);
	if (refused == -ENOENT || err)
		give_back(op, payload, len);
	else
		op_free(op);
}

void op_end(struct op *op, int err, const void *payload, size_t len)
{
	int refused = -ENOENT;

	op_unblock(op);
	passthrough_end(op);
	names_end(op);
	dirs_end(op);
	DELAY_POINT("op.before_answer");
	if (err && err != -EINTR && op_may_hold(op))
		op_hold(op);
	else if (!op->answered)
		refused = err ? answer_error(op, err) : answer_payload(op, payload, len);
	op_answered(op, err, refused, err ? NULL : payload, len);
}

void op_end_data(struct op *op, const uint8_t *data, size_t len)
{
	int refused = -ENOENT;

	assert(!op->blocked);
	DELAY_POINT("op.before_answer");
	if (!op->answered)
		refused = answer_data(op, data, len);
	op_answered(op, 0, refused, NULL, 0);
}

void op_drop(struct op *op)
{
	op_unblock(op);
	op_free(op);
}

/* ------------------------------------------------------------------ at the device */

static void op_returned(struct fs_req *req, void *ctx, int err)
{
	struct op *op = req->user;

	op->here = ctx;
	if (req->state == FS_REQ_LATE) {
		give_back_late(op);
		return;
	}
	assert(op->state == OP_AT_DEVICE);
	op->state = OP_RUNNING;
	if (req->in_off && req->state == FS_REQ_OWNED)
		op_message(op);
	op->then(op, err);
}

void op_submit(struct op *op, op_then then)
{
	struct bridge_worker *here = op->here;
	struct fs_channel *ch = op->req->channel;
	int err;

	op->then = then;
	op->state = OP_AT_DEVICE;
	op->req->done = op_returned;
	err = fs_req_submit(op->req);
	if (err)
		op_returned(op->req, here, err);
	/* Else it may be on another thread by now. A worker flushes its own channel before it
	 * waits. */
	else if (here->channel != ch || here == here->bridge->aside)
		fs_channel_flush(ch);
}

/* Writes it into the slot, behind the op's message. */
static struct fuse_in_header *write_ask(struct op *op, uint32_t opcode, uint64_t device_id,
					const void *arg, size_t arg_len, size_t room)
{
	stats_add(&op->here->stats.queue_requests[opcode], 1);
	fs_req_ask(op->req, opcode, device_id, op->h.unique, arg, (uint32_t)arg_len,
		   (uint32_t)room);
	return (struct fuse_in_header *)(op->req->in + op->req->in_off);
}

void op_ask_raw(struct op *op, uint32_t opcode, uint64_t device_id, const void *arg, size_t arg_len,
		size_t room, op_then then)
{
	write_ask(op, opcode, device_id, arg, arg_len, room);
	op_submit(op, then);
}

void op_ask(struct op *op, uint32_t opcode, uint64_t nodeid, const void *arg, size_t arg_len,
	    size_t room, op_then then)
{
	op_ask_raw(op, opcode, numbers_device(op->bridge->numbers, nodeid), arg, arg_len, room,
		   then);
}

void op_ask_as_caller(struct op *op, uint32_t opcode, uint64_t nodeid, const void *arg,
		      size_t arg_len, size_t room, op_then then)
{
	uint64_t device_id = numbers_device(op->bridge->numbers, nodeid);
	struct fuse_in_header *h = write_ask(op, opcode, device_id, arg, arg_len, room);

	h->uid = op->h.uid;
	h->gid = op->h.gid;
	h->pid = op->h.pid;
	op_submit(op, then);
}

int op_asked(struct op *op, int err, void *out, size_t len)
{
	struct fs_req *req = op->req;

	if (err)
		return fs_caller_error(err);
	if (req->answer.error)
		return req->answer.error;
	if (req->answer.len < sizeof(req->answer) + len)
		return -EIO;
	memcpy(out, req->out + sizeof(req->answer), len);
	return 0;
}

/* ------------------------------------------------------------------ waiting for the window */

static void op_woken(struct window_waiter *waiter, void *by, int err)
{
	struct op *op = container_of(waiter, struct op, waiter);

	DELAY_POINT("op.resume");
	op->here = by;
	op_unpark(op);
	if (op->answered)
		op_end(op, -EINTR, NULL, 0);
	else
		op->then(op, err);
}

void op_park(struct op *op, op_then then)
{
	op->then = then;
	op->state = OP_PARKED;
	op->waiter.wake = op_woken;
	/* The caller of a program cannot be killed alone. */
	if (op->call)
		return;
	atomic_store_explicit(&op->parked_fd, op->fd, memory_order_relaxed);
	atomic_store_explicit(&op->parked_unique, op->h.unique, memory_order_release);
}

void op_unpark(struct op *op)
{
	op->state = OP_RUNNING;
	if (!op->call)
		op->answered = atomic_exchange(&op->parked_unique, 0) & FUSE_UNIQUE_INTERRUPT;
}
