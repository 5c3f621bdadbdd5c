/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/mapping: the window's two wishes, to map and to unmap, as SETUPMAPPING and REMOVEMAPPING.
 * A window whose mappings are not known must not be read, so a device that does not answer one of
 * them in time is given up; for a removal that is when somebody has waited for it for that long.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/delay.h"
#include "base/probe.h"
#include "bridge/internal.h"

/* Counted as outstanding before it goes out, so that its answer is reaped. */
static int submit(struct bridge_worker *here, struct fs_req *req)
{
	int err;

	req->out_len = sizeof(struct fuse_out_header);
	req->fatal_on_timeout = true;
	atomic_fetch_add(&here->outstanding->n, 1);
	err = fs_req_submit(req);
	if (err)
		atomic_fetch_sub(&here->outstanding->n, 1);
	else if (here == here->bridge->aside)
		fs_channel_flush(here->channel);
	return err;
}

/* ------------------------------------------------------------------ set up */

/* In place of a struct op, in the slot's user area. */
struct setup {
	struct bridge_worker *sender;
	struct window_range *range;
	struct window_map map;
	uint64_t sent_ns;
};
_Static_assert(sizeof(struct setup) <= offsetof(struct op, parked_unique),
	       "it takes the place of one");

/* Is it mapped indeed, as far as the transport can know? It stays so until release_extents(). */
static int claim_mapping(struct bridge *b, const struct window_map *map)
{
	struct transport *t = b->transport;

	return t->ops->window_claim
		       ? t->ops->window_claim(t, map->win_off, map->len_bytes, map->writable)
		       : 0;
}

static void release_extents(struct bridge *b, const struct window_extent *extents, unsigned n)
{
	struct transport *t = b->transport;

	for (unsigned i = 0; i < n && t->ops->window_release; i++)
		t->ops->window_release(t, extents[i].win_off, extents[i].len_bytes);
}

static void setup_done(struct fs_req *req, void *ctx, int err)
{
	struct setup *setup = req->user;
	struct bridge_worker *sender = setup->sender;
	struct window_range *range = setup->range;

	if (!err)
		err = req->answer.error;
	if (!err)
		err = claim_mapping(sender->bridge, &setup->map);
	PROBE(mapping_end, setup->map.nodeid, setup->map.win_off, setup->map.len_bytes, err);
	if (!err)
		router_note_setup(&sender->bridge->router, clock_now_ns() - setup->sent_ns);
	fs_req_put(req, ctx);
	DELAY_POINT("mapping.set_up");
	window_setup_done(ctx, range, err);
	atomic_fetch_sub(&sender->outstanding->n, 1);
}

static void mapping_setup(void *ctx, void *by, struct window_range *range,
			  const struct window_map *map)
{
	struct bridge *b = ctx;
	struct bridge_worker *here = by;
	struct fs_req *req = fs_req_get(here->channel, 0);
	struct fuse_setupmapping_in in = {
		.fh = UINT64_MAX, /* the device opens the inode itself */
		.foffset = map->file_off,
		.len = map->len_bytes,
		.flags = FUSE_SETUPMAPPING_FLAG_READ |
			 (map->writable ? FUSE_SETUPMAPPING_FLAG_WRITE : 0),
		.moffset = map->win_off,
	};
	struct node *node = node_find(b->nodes, map->nodeid);
	int err;

	if (!req) {
		window_setup_done(here, range, -EAGAIN);
		return;
	}
	if (node)
		node_note_mapped(b->nodes, node, map->file_off + map->len_bytes);
	PROBE(mapping_begin, map->nodeid, map->file_off, map->win_off, map->len_bytes,
	      map->writable);
	stats_add(&here->stats.queue_requests[FUSE_SETUPMAPPING], 1);
	*(struct setup *)req->user = (struct setup){here, range, *map, clock_now_ns()};
	fs_req_header(req, FUSE_SETUPMAPPING, numbers_device(b->numbers, map->nodeid), sizeof(in));
	memcpy(req->in + sizeof(struct fuse_in_header), &in, sizeof(in));
	req->done = setup_done;
	err = submit(here, req);
	if (err) {
		fs_req_put(req, here);
		window_setup_done(here, range, err);
	}
}

/* ------------------------------------------------------------------ remove */

struct removal {
	struct bridge_worker *sender;
	uint64_t sent_ns;
	unsigned n;
};

static void remove_done(struct fs_req *req, void *ctx, int err)
{
	struct removal *removal = req->user;
	struct bridge_worker *sender = removal->sender;
	struct bridge *b = sender->bridge;

	PROBE(removal_end, removal->n, err ? err : req->answer.error);
	if (!err)
		router_note_remove(&b->router, removal->n, clock_now_ns() - removal->sent_ns);
	/* The slot is kept for the next removal, so that one can always be sent. */
	window_remove_done(ctx, b->window, err ? err : req->answer.error);
	atomic_fetch_sub(&sender->outstanding->n, 1);
}

/* A range leaves for who truncates its file, or because nobody uses it: then a device that stands
 * still is waited for. Its part of the window is not used again before. */
static uint64_t removal_awaited_ns(const struct fs_req *req)
{
	struct bridge *b = ((const struct removal *)req->user)->sender->bridge;

	return atomic_load(&b->n_truncating) ? atomic_load(&b->truncating_ns) : 0;
}

static void mapping_remove(void *ctx, void *by, const struct window_extent *extents, unsigned n)
{
	struct bridge *b = ctx;
	struct bridge_worker *here = by;
	struct fs_req *req = here->remover;
	struct fuse_removemapping_in in = {.count = n};
	uint8_t *at = req->in + sizeof(struct fuse_in_header);
	int err;

	stats_add(&here->stats.queue_requests[FUSE_REMOVEMAPPING], 1);
	release_extents(b, extents, n);
	*(struct removal *)req->user = (struct removal){here, clock_now_ns(), n};
	fs_req_header(req, FUSE_REMOVEMAPPING, FUSE_ROOT_ID,
		      (uint32_t)(sizeof(in) + n * sizeof(struct fuse_removemapping_one)));
	memcpy(at, &in, sizeof(in));
	at += sizeof(in);
	for (unsigned i = 0; i < n; i++, at += sizeof(struct fuse_removemapping_one)) {
		struct fuse_removemapping_one one = {
			.moffset = extents[i].win_off,
			.len = extents[i].len_bytes,
		};

		PROBE(removal_begin, one.moffset, one.len);
		memcpy(at, &one, sizeof(one));
	}
	req->done = remove_done;
	req->awaited_ns = removal_awaited_ns;
	err = submit(here, req);
	if (err)
		window_remove_done(here, b->window, err);
}

const struct window_ops bridge_window_ops = {.setup = mapping_setup, .remove = mapping_remove};
