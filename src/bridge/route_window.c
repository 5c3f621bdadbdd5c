/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/route_window: reads and writes of whole pages inside a file, served by a copy out of or
 * into the DAX window. Whatever the window has not, or may not, goes the way of route_queue.c.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/probe.h"
#include "bridge/rebuild.h"

/* A read that runs over the last whole page goes through the queue for its tail anyway; a head
 * shorter than this comes along with it. */
#define HEAD_MIN (32 * KIB)

static void read_try(struct op *op);
static void write_try(struct op *op);

/*
 * Pins [off, off + len) of the op's file, all of it or nothing. WINDOW_PENDING: the op is parked
 * and goes on in `again`. At the second attempt nothing is waited for any more: a window that
 * loses its ranges as fast as it gets them must not hold a request for ever.
 */
static enum window_result pin_all(struct op *op, const struct node_view *view, uint64_t off,
				  uint64_t len, unsigned flags, struct pins *pins, op_then again)
{
	enum window_result result;

	/* Nor with a payload buffer that others may need meanwhile. */
	if (op->attempts >= 2 ||
	    (op->req->payload && fs_payloads_free(op->req->channel) < PAYLOADS_SPARED))
		flags |= WINDOW_NOWAIT;
	op_park(op, again);
	result = pins_take(op->here, pins, view, off, len, flags, &op->waiter);
	/* After WINDOW_PENDING the op may already be running on another thread. */
	if (result == WINDOW_PENDING)
		return result;
	op_unpark(op);
	if (result == WINDOW_QUEUE)
		pins_drop(op->here, pins);
	return result;
}

/* ------------------------------------------------------------------ the size, asked for */

static void size_answered(struct op *op, int err)
{
	struct fuse_attr_out out;

	if (op->req->state == FS_REQ_ABANDONED) {
		op_end(op, fs_caller_error(err), NULL, 0);
		return;
	}
	if (op_asked(op, err, &out, sizeof(out))) {
		op_forward(op); /* which will say what is wrong */
		return;
	}
	note_attr(op, node_find(op->bridge->nodes, op->h.nodeid), &out.attr);
	if (op->h.opcode == FUSE_READ)
		read_try(op);
	else
		write_try(op);
}

/* True: the op goes on once the device has answered with the file's size. */
static bool ask_size(struct op *op, struct node *node, const struct node_view *view)
{
	struct bridge *b = op->bridge;
	struct fuse_getattr_in in = {0};
	uint64_t now_ns = clock_now_ns();

	if (now_ns - view->asked_ns < SIZE_BELIEVED_NS ||
	    !node_take_asking(b->nodes, node, now_ns, SIZE_BELIEVED_NS))
		return false;
	op->size_clock = atomic_load(&b->size_clock);
	op_ask(op, FUSE_GETATTR, op->h.nodeid, &in, sizeof(in), sizeof(struct fuse_attr_out),
	       size_answered);
	return true;
}

/* ------------------------------------------------------------------ READ */

/* The window delivered the head: what is behind the last whole page comes through the queue, into
 * the same buffer behind it. */
static void forward_tail(struct op *op, uint64_t head)
{
	struct fuse_read_in in;

	memcpy(&in, op_args(op), sizeof(in));
	in.offset = op->arg_off + head;
	in.size = (uint32_t)(op->arg_len - head);
	memcpy(op_args(op), &in, sizeof(in));
	op->head_len = (uint32_t)head;
	op_forward(op);
}

/* Where the data of a READ is copied to. With a tail to come: to where the device will put that. */
static uint8_t *read_buffer(struct op *op, bool tail)
{
	if (op->call || !tail)
		return answer_data_at(op);
	if (!op->req->payload)
		op->req->payload = fs_payload_get(op->req->channel, PAYLOADS_SPARED);
	return op->req->payload ? op->req->payload->va + DATA_AT : NULL;
}

static void read_again(struct op *op, int err);

static void read_try(struct op *op)
{
	struct bridge *b = op->bridge;
	struct node *node = b->window ? node_find(b->nodes, op->h.nodeid) : NULL;
	struct node_view view;
	struct pins pins;
	uint64_t limit, len;
	uint8_t *to;

	if (!node)
		goto queue;
	node_look(b->nodes, node, &view);
	limit = window_map_end(b->window, view.size);
	if (!view.dax || !view.window || op->arg_off >= limit)
		goto queue;
	len = MIN(op->arg_len, limit - op->arg_off);
	if (len < op->arg_len && len < HEAD_MIN)
		goto queue;
	if (measure_avoids(op->here, ROUTER_READ, len) || measure_tries_queue(op, len))
		goto queue;
	if (ask_size(op, node, &view))
		return;
	op->attempts++;
	switch (pin_all(op, &view, op->arg_off, len, 0, &pins, read_again)) {
	case WINDOW_PENDING:
		return;
	case WINDOW_QUEUE:
		goto queue;
	case WINDOW_PINNED:
		break;
	}
	to = read_buffer(op, len < op->arg_len);
	bool whole = to && pins_copy_out(op->here, &pins, to, len);

	pins_drop(op->here, &pins);
	if (!whole) {
		if (to)
			file_shrank(op->here, node, op->arg_off);
		goto queue;
	}
	PROBE(request_route, op->h.unique, op->h.opcode, true, op->arg_off, len);
	stats_add(&op->here->stats.window_read_bytes, len);
	if (len < op->arg_len) {
		forward_tail(op, len);
		return;
	}
	stats_add(&op->here->stats.window_reads, 1);
	op_end_data(op, to, len);
	return;
queue:
	op_forward(op);
}

static void read_again(struct op *op, int err)
{
	if (err)
		op->attempts =
			UINT8_MAX - 1; /* refused, or the device is gone: do not wait again */
	read_try(op);
}

void start_read(struct op *op)
{
	struct fuse_read_in in;

	memcpy(&in, op_args(op), sizeof(in));
	op->arg_off = in.offset;
	op->arg_len = MIN(in.size, FS_IO_BYTES_MAX);
	assert(!op->call || (op->call->data && op->call->data_len >= in.size));
	if (!op->arg_len) {
		op_forward(op);
		return;
	}
	read_try(op);
}

/* ------------------------------------------------------------------ WRITE */

static void write_again(struct op *op, int err);

static void write_try(struct op *op)
{
	struct bridge *b = op->bridge;
	struct node *node = node_find(b->nodes, op->h.nodeid);
	struct fuse_write_in in;
	struct node_view view;
	struct pins pins;
	uint64_t limit;
	bool whole;

	memcpy(&in, op_args(op), sizeof(in));
	if (!node || !b->window || b->params.readonly)
		goto queue;
	node_look(b->nodes, node, &view);
	op->privs_clock = view.privs_clock;
	limit = window_map_end(b->window, view.size);
	if (!view.dax || !view.window || !extent_within(op->arg_off, op->arg_len, limit) ||
	    !store_suffices(&view, in.flags, op->kills_suid) ||
	    measure_avoids(op->here, ROUTER_WRITE, op->arg_len))
		goto queue;
	if (ask_size(op, node, &view))
		return;
	op->attempts++;
	switch (pin_all(op, &view, op->arg_off, op->arg_len, WINDOW_WRITE, &pins, write_again)) {
	case WINDOW_PENDING:
		return;
	case WINDOW_QUEUE:
		goto queue;
	case WINDOW_PINNED:
		break;
	}
	const size_t at = sizeof(op->h) + sizeof(in);
	/* A WRITE's data begins in the slot and continues in the payload buffer. */
	struct iovec from[2] = {
		{op->req->in + at, op->req->in_len - at},
		{op->req->in_payload_len ? op->req->payload->va : NULL, op->req->in_payload_len},
	};

	store_begins(b, node, &view);
	whole = pins_copy_in(op->here, &pins, from, op->arg_len);
	store_ends(b, node);
	pins_drop(op->here, &pins);
	if (!whole) {
		/* Written again as a whole by the host, which also says what is wrong. */
		file_shrank(op->here, node, op->arg_off);
		goto queue;
	}
	PROBE(request_route, op->h.unique, op->h.opcode, true, op->arg_off, op->arg_len);
	stats_add(&op->here->stats.window_write_bytes, op->arg_len);
	stats_add(&op->here->stats.window_writes, 1);
	struct fuse_write_out out = {.size = (uint32_t)op->arg_len};

	op_end(op, 0, &out, sizeof(out));
	return;
queue:
	if (node)
		node_note_written(b->nodes, node);
	op_forward(op);
}

static void write_again(struct op *op, int err)
{
	if (err)
		op->attempts = UINT8_MAX - 1;
	write_try(op);
}

void start_write(struct op *op)
{
	struct fuse_write_in in;

	memcpy(&in, op_args(op), sizeof(in));
	op->arg_off = in.offset;
	op->arg_len = in.size;
	op->open_flags = in.flags;
	/* Without HANDLE_KILLPRIV_V2 the kernel does not say so, or clears the bits itself. */
	op->kills_suid = in.write_flags & FUSE_WRITE_KILL_SUIDGID ||
			 !(op->bridge->kernel_flags & FUSE_HANDLE_KILLPRIV_V2);
	if (op->h.len - sizeof(op->h) - sizeof(in) - note_in_message(&op->h) != in.size) {
		op_end(op, -EIO, NULL, 0);
		return;
	}
	if (!in.size)
		op_forward(op);
	else
		write_try(op);
}
