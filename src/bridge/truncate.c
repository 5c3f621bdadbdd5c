/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/truncate: what makes a file shorter, or moves its pages: block, ask, answer, unblock.
 *
 *   op_block()   no new pins (node_truncate_begin, window_block); long pins are asked to end; waits
 * for the ranges to leave op_forward() the request itself op_unblock() by finish_*(), so that the
 * answer counts as of the end; at the latest in op_end()
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/delay.h"
#include "bridge/passthrough.h"
#include "bridge/rebuild.h"

#ifndef FALLOC_FL_WRITE_ZEROES
#define FALLOC_FL_WRITE_ZEROES 0x80 /* Linux 6.17 */
#endif

/*
 * Takes the ranges from `off` on out of the window and keeps the inode out of it until
 * op_unblock(), then calls `then`. `size`: what the file will be cut to (UINT64_MAX: it will not).
 * err there: -EBUSY, a long pin of the node stays where it is; or as op_then has it.
 */
static void op_block(struct op *op, struct node *node, uint64_t off, uint64_t size, op_then then)
{
	struct bridge *b = op->bridge;
	struct window_inode *inode = node_window(b->nodes, node, b->window);
	struct node_view view;

	if (!inode) {
		op_end(op, -EIO, NULL, 0);
		return;
	}
	node_look(b->nodes, node, &view);
	node_truncate_begin(b->nodes, node, UINT64_MAX);
	/* From here on no long pin begins. Those that are there would make it wait for ever. */
	if (off < view.mapped_end && maps_revoke(b, node)) {
		node_truncate_end(b->nodes, node, atomic_fetch_add(&b->size_clock, 1) + 1,
				  op->size_clock);
		op_end(op, -EBUSY, NULL, 0);
		return;
	}
	op->node = node;
	op->blocked = true;
	if (!atomic_load(&b->n_truncating))
		atomic_store(&b->truncating_ns, clock_now_ns());
	atomic_fetch_add(&b->n_truncating, 1);
	node_note_shrunk(b->nodes, node, size);
	op_park(op, then);
	if (window_block(op->here, inode, off, UINT64_MAX - off, &op->waiter)) {
		op_unpark(op);
		then(op, 0);
	}
}

void op_unblock(struct op *op)
{
	struct bridge *b = op->bridge;
	struct node_view view;
	uint64_t now;

	if (!op->blocked)
		return;
	DELAY_POINT("op.unblock");
	op->blocked = false;
	atomic_fetch_sub(&b->n_truncating, 1);
	now = atomic_fetch_add(&b->size_clock, 1) + 1;
	if (node_truncate_end(b->nodes, op->node, now, op->size_clock))
		op->size_clock = now;
	node_look(b->nodes, op->node, &view);
	window_unblock(view.window);
}

/* ------------------------------------------------------------------ OPEN, CREATE */

void start_open(struct op *op)
{
	struct bridge *b = op->bridge;
	struct node *node = node_find(b->nodes, op->h.nodeid);
	struct fuse_open_in in;

	memcpy(&in, op_args(op), sizeof(in));
	op->open_flags = in.flags;
	bridge_drop_closed(op->here);
	passthrough_ask(op, node);
	if (in.flags & O_TRUNC && node && b->window)
		op_block(op, node, 0, 0, op_forward_after);
	else
		op_forward(op);
}

/*
 * CREATE with O_TRUNC: the file may exist, have another name, and be in the window under a nodeid
 * that only the answer contains. So it is opened without O_TRUNC, and truncated afterwards as by a
 * SETATTR.
 */

static void create_cut(struct op *op, int err)
{
	struct fuse_entry_out *entry = (struct fuse_entry_out *)op->saved;
	struct fuse_attr_out attr;

	err = op_asked(op, err, &attr, sizeof(attr));
	if (!err) {
		entry->attr = attr.attr;
		finish_attr(op, (uint8_t *)&attr, sizeof(attr));
		entry->attr.flags = 0;
	}
	op_end(op, err, op->saved, sizeof(op->saved));
}

static void create_cut_it(struct op *op, int err)
{
	struct fuse_setattr_in in = {
		.valid = FATTR_SIZE | FATTR_FH,
		.fh = op->given_fh,
	};

	if (err)
		op_end(op, fs_caller_error(err), NULL, 0);
	else
		op_ask_as_caller(op, FUSE_SETATTR, op->given_nodeid, &in, sizeof(in),
				 sizeof(struct fuse_attr_out), create_cut);
}

void start_create(struct op *op)
{
	struct fuse_create_in in;

	memcpy(&in, op_args(op), sizeof(in));
	op->open_flags = in.flags;
	if (in.flags & O_TRUNC && op->bridge->window) {
		in.flags &= ~(uint32_t)O_TRUNC;
		memcpy(op_args(op), &in, sizeof(in));
	}
	passthrough_ask(op, NULL);
	start_names(op);
}

int finish_create(struct op *op, uint8_t *payload, size_t len)
{
	struct fuse_entry_out *entry = (struct fuse_entry_out *)payload;
	struct fuse_open_out *open = (struct fuse_open_out *)(payload + sizeof(*entry));
	struct bridge *b = op->bridge;
	struct node_view view;
	struct node *node;
	int err;

	if (len < sizeof(op->saved))
		return -EIO;
	node = note_entry(op, entry, entry_name(op), &err);
	if (!node)
		return err ? err : -EIO;
	op->given_nodeid = entry->nodeid;
	err = note_open(op, node, open);
	if (err)
		return err;
	node_look(b->nodes, node, &view);
	if (view.written_beside)
		entry->attr_valid = entry->attr_valid_nsec = 0;
	if (!(op->open_flags & O_TRUNC) || !b->window || entry->attr.size == 0)
		return 0;
	memcpy(op->saved, payload, sizeof(op->saved));
	op_block(op, node, 0, 0, create_cut_it);
	return OP_TAKEN;
}

/* ------------------------------------------------------------------ SETATTR, FALLOCATE */

static void setattr_go(struct op *op, int err)
{
	struct bridge *b = op->bridge;
	struct node *node = node_find(b->nodes, op->h.nodeid);
	struct fuse_setattr_in in;

	(void)err;
	memcpy(&in, op_args(op), sizeof(in));
	names_touch(op);
	if (node && in.valid & FATTR_MODE)
		node_privs_changed(b->nodes, node);
	if (node && in.valid & FATTR_SIZE && b->window)
		op_block(op, node, in.size, in.size, op_forward_after);
	else
		op_forward(op);
}

/* Also before it sets the time itself: that may be refused. */
void start_setattr(struct op *op)
{
	op_set_times(op, setattr_go);
}

void start_fallocate(struct op *op)
{
	struct bridge *b = op->bridge;
	struct node *node = node_find(b->nodes, op->h.nodeid);
	struct fuse_fallocate_in in;
	bool moves;

	memcpy(&in, op_args(op), sizeof(in));
	if (node)
		node_note_written(b->nodes, node);
	moves = in.mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE);
	if (node && b->window &&
	    (moves ||
	     in.mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_WRITE_ZEROES)))
		op_block(op, node, in.offset, moves ? in.offset : UINT64_MAX, op_forward_after);
	else
		op_forward(op);
}

/* ------------------------------------------------------------------ COPY_FILE_RANGE */

/* The request is of the file that is read; the one that is written may get other pages (a reflink),
 * so its ranges leave meanwhile. */
void start_copy(struct op *op)
{
	struct bridge *b = op->bridge;
	struct fuse_copy_file_range_in in;
	struct node *to;

	memcpy(&in, op_args(op), sizeof(in));
	to = node_find(b->nodes, in.nodeid_out);
	op->arg_off = in.off_out;
	op->arg_len = in.len;
	if (to)
		node_note_written(b->nodes, to);
	if (to && b->window)
		op_block(op, to, in.off_out, UINT64_MAX, op_forward_after);
	else
		op_forward(op);
}

int finish_copy(struct op *op, uint8_t *payload, size_t len)
{
	struct bridge *b = op->bridge;
	struct node *to = op->blocked ? op->node : NULL;
	uint64_t copied = 0, before = op->size_clock, end;

	if (op->h.opcode == FUSE_COPY_FILE_RANGE) {
		const struct fuse_write_out *out = (const struct fuse_write_out *)payload;

		if (len < sizeof(*out))
			return -EIO;
		copied = out->size;
	} else {
		const struct fuse_copy_file_range_wire_out *out =
			(const struct fuse_copy_file_range_wire_out *)payload;

		if (len < sizeof(*out))
			return -EIO;
		copied = out->bytes_copied;
	}
	if (copied > op->arg_len)
		return -EIO;
	if (!to)
		return 0;
	op_unblock(op);
	/* No truncation has ended since: the file reaches to where we wrote. */
	if (copied && before + 1 == op->size_clock &&
	    atomic_load(&b->size_clock) == op->size_clock && u64_add(op->arg_off, copied, &end))
		node_note_reach(b->nodes, to, end);
	return 0;
}
