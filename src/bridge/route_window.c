/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/route_window: reads and writes of whole pages inside a file, served by a copy out of or
 * into the DAX window. Whatever the window has not, or may not, goes the way of route_queue.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "bridge/internal.h"
#include "fuse/reply.h"

#define PAGE_BYTES 4096u
/* A read that runs over the last whole page goes through the queue for its tail anyway; a head
 * shorter than this comes along with it. */
#define HEAD_MIN   (32 * KIB)

/* A size that nobody has confirmed for so long is asked for; see node.h. */
#define SIZE_BELIEVED_NS NS_PER_S

/* The pinned pieces of one request, in order. */
struct pins {
	struct window_pin pin[PINS_MAX];
	unsigned n;
};

static void unpin_all(struct pins *pins)
{
	while (pins->n)
		window_unpin(&pins->pin[--pins->n]);
}

/*
 * Pins [off, off + len) of the op's file, all of it or nothing. WINDOW_PENDING: the op is parked
 * and `again` will be called. At the second attempt nothing is waited for any more: a window that
 * loses its ranges as fast as it gets them must not hold a request for ever.
 */
static enum window_result pin_all(struct op *op, const struct node_view *view, uint64_t off,
				  uint64_t len, unsigned flags, struct pins *pins,
				  void (*again)(struct op *op, int err))
{
	enum window_result result = WINDOW_QUEUE;

	if (op->attempts >= 2)
		flags |= WINDOW_NOWAIT;
	pins->n = 0;
	op_park(op, again);
	while (len) {
		struct window_pin *pin = &pins->pin[pins->n];

		if (pins->n == PINS_MAX) {
			result = WINDOW_QUEUE;
			break;
		}
		result = window_pin(view->window, off, len, view->size, flags, pin, &op->waiter);
		if (result != WINDOW_PINNED)
			break;
		pins->n++;
		off += pin->len_bytes;
		len -= pin->len_bytes;
	}
	if (result == WINDOW_PINNED) {
		op_unpark(op);
		return result;
	}
	unpin_all(pins);
	/* After WINDOW_PENDING the op may already be running on another thread. */
	if (result == WINDOW_QUEUE)
		op_unpark(op);
	return result;
}

/* The host took pages away under a copy: the file is shorter than we knew. Its ranges go, and so
 * does our idea of its size, until an answer tells the new one. */
static void file_shrank(struct op *op, struct node *node, uint64_t off)
{
	struct bridge *b = op->bridge;

	tally_add(&bridge_tally(b)->copy_faults, 1);
	node_note_shrunk(b->nodes, node, round_down(off, PAGE_BYTES));
}

/* ------------------------------------------------------------------ the size, asked for */

/* What of a READ or WRITE a GETATTR overwrites in their slot. */
#define KEPT_BYTES (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
_Static_assert(sizeof(struct fuse_read_in) == sizeof(struct fuse_write_in) &&
		       sizeof(struct fuse_getattr_in) <= sizeof(struct fuse_write_in) &&
		       KEPT_BYTES <= sizeof(((struct op *)0)->saved),
	       "a request is kept in op.saved");

static void size_told(struct fs_req *req, int err)
{
	struct op *op = req->user;
	struct fuse_attr_out out;

	if (req->state != FS_REQ_OWNED) {
		/* Timed out: the slot is still the device's, nothing can be sent from it. */
		op_reply_error(op, fs_caller_error(-ETIMEDOUT));
		return;
	}
	memcpy(req->in, op->saved, KEPT_BYTES);
	req->in_len = op->kept_len;
	req->in_big_len = op->kept_big_len;
	if (err || req->answer.error || req->answer.len < sizeof(req->answer) + sizeof(out)) {
		op_forward(op); /* which will say what is wrong */
		return;
	}
	memcpy(&out, req->out + sizeof(req->answer), sizeof(out));
	op_note_attr(op, &out.attr);
	op->resume(op, 0);
}

/* True: the op goes on in `again` once the device has told the file's size. */
static bool ask_size(struct op *op, struct node *node, const struct node_view *view,
		     void (*again)(struct op *op, int err))
{
	struct bridge *b = op->bridge;
	struct fuse_getattr_in in = {0};
	struct fs_req *req = op->req;
	uint64_t now_ns = clock_now_ns();

	if (now_ns - view->asked_ns < SIZE_BELIEVED_NS ||
	    !node_take_asking(b->nodes, node, now_ns, SIZE_BELIEVED_NS))
		return false;
	tally_add(&bridge_tally(b)->queue_requests[FUSE_GETATTR], 1);
	memcpy(op->saved, req->in, KEPT_BYTES);
	op->kept_len = req->in_len;
	op->kept_big_len = req->in_big_len;
	op->size_clock = atomic_load(&b->size_clock);
	fs_req_header(req, FUSE_GETATTR, op->h.nodeid, sizeof(in));
	memcpy(op_args(op), &in, sizeof(in));
	req->in_big_len = req->out_big_len = 0;
	req->out_len = sizeof(struct fuse_out_header) + sizeof(struct fuse_attr_out);
	op->resume = again;
	op_submit(op, size_told);
	return true;
}

/* ------------------------------------------------------------------ READ */

static bool is_first(const struct pins *pins)
{
	for (unsigned i = 0; i < pins->n; i++)
		if (pins->pin[i].first)
			return true;
	return false;
}

static bool copy_out(struct op *op, const struct pins *pins, uint8_t *to, uint64_t len)
{
	struct copy_sample sample = measure_copy(op->bridge, ROUTER_READ, len);
	int (*copy)(void *dst, const uint8_t *src, size_t n) =
		sample.how == ROUTER_COPY_WIDE ? window_copy_out_wide : window_copy_out;

	for (unsigned i = 0; i < pins->n; i++) {
		if (copy(to, pins->pin[i].va, pins->pin[i].len_bytes))
			return false;
		to += pins->pin[i].len_bytes;
	}
	measure_copied(op->bridge, &sample, is_first(pins));
	return true;
}

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

static void read_again(struct op *op, int err);

static void read_try(struct op *op)
{
	struct bridge *b = op->bridge;
	struct node *node = b->window && op->req->big ? node_find(b->nodes, op->h.nodeid) : NULL;
	struct node_view view;
	struct pins pins;
	uint64_t limit, len;

	if (!node)
		goto queue;
	node_look(b->nodes, node, &view);
	limit = round_down(view.size, PAGE_BYTES);
	if (!view.dax || !view.window || op->arg_off >= limit)
		goto queue;
	len = MIN(op->arg_len, limit - op->arg_off);
	if (len < op->arg_len && len < HEAD_MIN)
		goto queue;
	if (measure_avoids(op, ROUTER_READ, len))
		goto queue;
	if (ask_size(op, node, &view, read_again))
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
	uint8_t *data = op->req->big->va + DATA_AT;
	bool whole = copy_out(op, &pins, data, len);

	unpin_all(&pins);
	if (!whole) {
		file_shrank(op, node, op->arg_off);
		goto queue;
	}
	tally_add(&bridge_tally(b)->window_read_bytes, len);
	if (len < op->arg_len) {
		forward_tail(op, len);
		return;
	}
	fuse_reply_in_place(op->fd, op->h.unique, data, len);
	op_drop(op);
	return;
queue:
	op_forward(op);
}

static void read_again(struct op *op, int err)
{
	if (err)
		op->attempts = UINT8_MAX - 1; /* refused, or the device is gone: do not wait again */
	read_try(op);
}

void start_read(struct op *op)
{
	struct fuse_read_in in;

	memcpy(&in, op_args(op), sizeof(in));
	op->arg_off = in.offset;
	op->arg_len = MIN(in.size, FS_IO_BYTES_MAX);
	if (!op->arg_len) {
		op_forward(op);
		return;
	}
	read_try(op);
}

/* ------------------------------------------------------------------ WRITE */

/* A WRITE's data begins in the slot and continues in the big buffer. Copies it into the pins. */
static bool copy_in(struct op *op, const struct pins *pins)
{
	const size_t at = sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in);
	const uint8_t *from = op->req->in + at;
	size_t left = op->req->in_len - at; /* in this piece */
	struct copy_sample sample = measure_copy(op->bridge, ROUTER_WRITE, op->arg_len);
	int (*copy)(uint8_t *dst, const void *src, size_t n) =
		sample.how == ROUTER_COPY_WIDE ? window_copy_in_wide : window_copy_in;

	for (unsigned i = 0; i < pins->n; i++) {
		uint8_t *to = pins->pin[i].va;
		size_t len = pins->pin[i].len_bytes;

		while (len) {
			size_t n;

			if (!left) {
				from = op->req->big->va;
				left = op->req->in_big_len;
			}
			n = MIN(len, left);
			if (copy(to, from, n))
				return false;
			to += n;
			from += n;
			len -= n;
			left -= n;
		}
	}
	measure_copied(op->bridge, &sample, is_first(pins));
	return true;
}

/* May this write be a mere store? What the host's write(2) does besides must not be owed. */
static bool store_suffices(const struct op *op, const struct node_view *view,
			   const struct fuse_write_in *in)
{
	if (in->flags & (O_APPEND | O_SYNC | O_DSYNC))
		return false; /* the host picks the offset, or makes the data durable */
	if (!view->caps_clear)
		return false; /* security.capability may be there, which a write removes */
	return view->suid_clear || !op->kills_suid;
}

static void write_again(struct op *op, int err);

static void write_try(struct op *op)
{
	struct bridge *b = op->bridge;
	struct node *node = b->window ? node_find(b->nodes, op->h.nodeid) : NULL;
	struct fuse_write_in in;
	struct node_view view;
	struct pins pins;
	uint64_t limit;
	bool whole;

	memcpy(&in, op_args(op), sizeof(in));
	if (!node || b->params.readonly)
		goto queue;
	node_look(b->nodes, node, &view);
	op->privs_clock = view.privs_clock;
	limit = round_down(view.size, PAGE_BYTES);
	if (!view.dax || !view.window || !extent_within(op->arg_off, op->arg_len, limit) ||
	    !store_suffices(op, &view, &in) || measure_avoids(op, ROUTER_WRITE, op->arg_len))
		goto queue;
	if (ask_size(op, node, &view, write_again))
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
	/* Before the first byte: whoever sees the new data must find the time late, not old. */
	if (!view.mtime_late)
		node_set_mtime_late(b->nodes, node);
	whole = copy_in(op, &pins);
	/* And again: a GETATTR that was answered meanwhile may have mended the time, before the data
	 * were there to be seen. */
	node_set_mtime_late(b->nodes, node);
	unpin_all(&pins);
	if (!whole) {
		/* Written again as a whole by the host, which also says what is wrong. */
		file_shrank(op, node, op->arg_off);
		goto queue;
	}
	tally_add(&bridge_tally(b)->window_write_bytes, op->arg_len);
	struct fuse_write_out out = {.size = (uint32_t)op->arg_len};

	op_reply_payload(op, &out, sizeof(out));
	return;
queue:
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
	/* Without HANDLE_KILLPRIV_V2 the kernel does not say, or has seen to it itself. */
	op->kills_suid = in.write_flags & FUSE_WRITE_KILL_SUIDGID ||
			 !(op->bridge->kernel_flags & FUSE_HANDLE_KILLPRIV_V2);
	if (op->h.len - sizeof(op->h) - sizeof(in) != in.size) {
		op_reply_error(op, -EIO);
		return;
	}
	if (!in.size)
		op_forward(op);
	else
		write_try(op);
}
