/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/mapping: the window's two wishes, to map and to unmap, as SETUPMAPPING and REMOVEMAPPING;
 * and the pause that a truncation needs. Both requests are vital: a window whose mappings are not
 * known must not be read, so a device that does not answer one is given up.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "bridge/internal.h"

/* ------------------------------------------------------------------ set up */

/* In place of a struct op, in the slot's user area. */
struct setup {
	struct bridge *bridge;
	struct window_range *range;
	uint64_t sent_ns;
	unsigned live;
	bool stray;
};

/* Sent by a thread that is no worker, through the first queue, whose worker may be asleep; see
 * bridge_attend(). */
static bool stray_begins(struct bridge *b)
{
	if (bridge_self)
		return false;
	atomic_fetch_add(&b->strays, 1);
	return true;
}

static void stray_ends(struct bridge *b, bool stray)
{
	if (stray)
		atomic_fetch_sub(&b->strays, 1);
}

static void setup_done(struct fs_req *req, int err)
{
	struct setup *setup = req->user;
	struct window_range *range = setup->range;

	stray_ends(setup->bridge, setup->stray);
	if (!err)
		err = req->answer.error;
	if (!err)
		router_note_setup(&setup->bridge->router, setup->live, clock_now_ns() - setup->sent_ns);
	fs_req_put(req);
	window_setup_done(range, err);
}

static void count_request(struct bridge *b, uint32_t opcode)
{
	tally_add(&bridge_tally(b)->queue_requests[opcode], 1);
}

static void mapping_setup(void *ctx, struct window_range *range, const struct window_map *map)
{
	struct bridge *b = ctx;
	struct fs_channel *ch = bridge_self ? bridge_self->channel : fs_channel(b->session, 0);
	struct fs_req *req = fs_req_get(ch, 0);
	struct fuse_setupmapping_in in = {
		.fh = UINT64_MAX, /* the device opens the inode itself */
		.foffset = map->file_off,
		.len = map->len_bytes,
		.flags = FUSE_SETUPMAPPING_FLAG_READ |
			 (map->writable ? FUSE_SETUPMAPPING_FLAG_WRITE : 0),
		.moffset = map->win_off,
	};
	struct node *node = node_find(b->nodes, map->nodeid);

	if (!req) {
		window_setup_done(range, -EAGAIN);
		return;
	}
	if (node)
		node_note_mapped(b->nodes, node, map->file_off + map->len_bytes);
	count_request(b, FUSE_SETUPMAPPING);
	*(struct setup *)req->user = (struct setup){b, range, clock_now_ns(), map->live,
						stray_begins(b)};
	fs_req_header(req, FUSE_SETUPMAPPING, map->nodeid, sizeof(in));
	memcpy(req->in + sizeof(struct fuse_in_header), &in, sizeof(in));
	req->out_len = sizeof(struct fuse_out_header);
	req->vital = true;
	req->done = setup_done;
	fs_req_submit(req);
	if (!bridge_self)
		fs_channel_flush(ch);
}

/* ------------------------------------------------------------------ remove */

struct removal {
	struct bridge *bridge;
	uint64_t sent_ns;
	unsigned n;
	bool stray;
};

static void remove_done(struct fs_req *req, int err)
{
	struct removal *removal = req->user;
	struct bridge *b = removal->bridge;

	stray_ends(b, removal->stray);
	if (!err)
		router_note_remove(&b->router, removal->n, clock_now_ns() - removal->sent_ns);
	/* The slot is kept for the next removal, so that one can always be sent. */
	window_remove_done(b->window, err ? err : req->answer.error);
}

static void mapping_remove(void *ctx, const struct window_extent *extents, unsigned n)
{
	struct bridge *b = ctx;
	struct fs_req *req = bridge_self ? bridge_self->remover : b->remover;
	struct fuse_removemapping_in in = {.count = n};
	uint8_t *at = req->in + sizeof(struct fuse_in_header);

	count_request(b, FUSE_REMOVEMAPPING);
	*(struct removal *)req->user = (struct removal){b, clock_now_ns(), n, stray_begins(b)};
	fs_req_header(req, FUSE_REMOVEMAPPING, FUSE_ROOT_ID,
		      (uint32_t)(sizeof(in) + n * sizeof(struct fuse_removemapping_one)));
	memcpy(at, &in, sizeof(in));
	at += sizeof(in);
	for (unsigned i = 0; i < n; i++, at += sizeof(struct fuse_removemapping_one)) {
		struct fuse_removemapping_one one = {
			.moffset = extents[i].win_off,
			.len = extents[i].len_bytes,
		};

		memcpy(at, &one, sizeof(one));
	}
	req->out_len = sizeof(struct fuse_out_header);
	req->vital = true;
	req->done = remove_done;
	fs_req_submit(req);
	if (!bridge_self)
		fs_channel_flush(req->channel);
}

const struct window_ops bridge_window_ops = {.setup = mapping_setup, .remove = mapping_remove};

/* ------------------------------------------------------------------ waiting for the window */

static void op_woken(struct window_waiter *waiter, int err)
{
	struct op *op = container_of(waiter, struct op, waiter);
	struct bridge_worker *worker = op->worker;

	op->resume(op, err);
	/* Only now: until what resume() sent is in flight, the worker must not block. */
	atomic_fetch_sub(&worker->parked, 1);
}

void op_park(struct op *op, void (*resume)(struct op *op, int err))
{
	op->resume = resume;
	op->waiter.wake = op_woken;
	atomic_fetch_add(&op->worker->parked, 1);
}

void op_unpark(struct op *op)
{
	atomic_fetch_sub(&op->worker->parked, 1);
}

void op_block(struct op *op, struct node *node, uint64_t off, uint64_t size,
	      void (*next)(struct op *op, int err))
{
	struct bridge *b = op->bridge;
	struct window_inode *inode = node_window(b->nodes, node, b->window);
	struct node_view view;

	if (!inode) {
		next(op, -ENOMEM);
		return;
	}
	node_look(b->nodes, node, &view);
	op->node = node;
	op->blocked = true;
	node_truncate_begin(b->nodes, node, UINT64_MAX);
	/* From here on no hold begins. Those that are there would make it wait for ever. */
	if (off < view.mapped_end && holds_revoke(b, node)) {
		op->blocked = false;
		node_truncate_end(b->nodes, node, atomic_fetch_add(&b->size_clock, 1) + 1);
		next(op, -ETXTBSY);
		return;
	}
	node_note_shrunk(b->nodes, node, size);
	op_park(op, next);
	if (window_block(inode, off, UINT64_MAX - off, &op->waiter)) {
		op_unpark(op);
		next(op, 0);
	}
}

void op_unblock(struct op *op)
{
	struct bridge *b = op->bridge;
	struct node_view view;

	if (!op->blocked)
		return;
	op->blocked = false;
	node_truncate_end(b->nodes, op->node, atomic_fetch_add(&b->size_clock, 1) + 1);
	node_look(b->nodes, op->node, &view);
	window_unblock(view.window);
}
