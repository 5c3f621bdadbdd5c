/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bridge/open: files that are opened and closed, and how the kernel is to treat their data. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "bridge/authorise.h"
#include "bridge/backing.h"
#include "bridge/passthrough.h"
#include "bridge/rebuild.h"
#include "fuse/tell.h"

#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

#define TIDY_MS	       1000
#define TIDY_ANSWER_MS 10 /* while an answer is under way that nobody else may collect */

/* How the kernel is to treat the data of what is not passed through. */
static void choose_pages(struct bridge *b, const struct node_view *view, bool writes,
			 struct fuse_open_out *out)
{
	enum bridge_shared_mmap shared = b->params.shared_mmap;
	bool direct_mmap = b->kernel_flags & FUSE_DIRECT_IO_ALLOW_MMAP;
	/* What the window holds need not lie in the page cache a second time. */
	bool direct = b->params.cache == BRIDGE_CACHE_NONE || view->written_beside || view->wanted;

	if (b->params.cache == BRIDGE_CACHE_ALWAYS) {
		out->open_flags &= ~(uint32_t)FOPEN_DIRECT_IO;
		out->open_flags |= FOPEN_KEEP_CACHE;
		direct = false;
	} else if (shared == BRIDGE_SHARED_MMAP_CACHED && b->params.cache == BRIDGE_CACHE_AUTO) {
		direct = direct && direct_mmap;
	}
	/* What the kernel has written to by itself it may have older pages of. */
	if (b->kernel_flags & FUSE_PASSTHROUGH)
		out->open_flags &= ~(uint32_t)FOPEN_KEEP_CACHE;
	/* Who cannot write cannot map for writing. */
	if (direct || shared == BRIDGE_SHARED_MMAP_DENY ||
	    (shared == BRIDGE_SHARED_MMAP_COHERENT && writes)) {
		out->open_flags &= ~(uint32_t)FOPEN_KEEP_CACHE;
		out->open_flags |= FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
	}
}

int note_open(struct op *op, struct node *node, struct fuse_open_out *out)
{
	struct bridge *b = op->bridge;
	struct node_view view = {0};
	int passed;

	op->given_open = true;
	op->given_fh = op->given_number = out->fh;
	/* What the kernel was told by the LOOKUP just before may be old: for a writer that is too
	 * late. (CREATE brings attributes itself.) */
	if (node && node_note_opened(b->nodes, node, open_writes(op->open_flags)) && !op->call &&
	    op->h.opcode == FUSE_OPEN)
		fuse_tell_attr(b->fuse_fd, node_id(node));
	if (node)
		out->fh = op->given_number = handles_add(b->kept->handles, node_id(node), out->fh,
							 op->open_flags, request_id(op->h.unique));
	out->open_flags &= ~(uint32_t)FOPEN_PASSTHROUGH;
	if (node)
		node_look(b->nodes, node, &view);
	if (!S_ISREG(view.mode)) {
		passthrough_discard(op);
		return 0;
	}
	if (view.wanted && b->window)
		node_window(b->nodes, node, b->window);
	passed = passthrough_open(op, node, out);
	if (passed)
		return MIN(passed, 0);
	choose_pages(b, &view, open_writes(op->open_flags), out);
	if (!(out->open_flags & FOPEN_DIRECT_IO))
		node_note_paged(b->nodes, node);
	return 0;
}

void note_released(struct op *op, uint64_t nodeid, uint32_t flags)
{
	struct bridge *b = op->bridge;
	struct node *node = op->h.opcode == FUSE_OPENDIR ? NULL : node_find(b->nodes, nodeid);
	struct node_view view;

	bool last_writer;

	if (!node)
		return;
	last_writer = node_note_released(b->nodes, node, open_writes(flags));
	node_drop_backing(b->nodes, node);
	if (!last_writer)
		return;
	/* While a writable mapping is there the host does not execute the file. */
	node_look(b->nodes, node, &view);
	if (view.window)
		window_drop_writable(op->here, view.window);
}

void bridge_drop_closed(struct bridge_worker *here)
{
	struct bridge *b = here->bridge;
	uint64_t now_ns = clock_now_ns(), due = atomic_load(&b->drop_closed_ns);

	if (b->window && now_ns >= due &&
	    atomic_compare_exchange_strong(&b->drop_closed_ns, &due, now_ns + DROP_CLOSED_EACH_NS))
		window_drop_closed(here, b->window, now_ns);
}

int bridge_tidy(struct bridge *b)
{
	fs_session_look(b->session);
	if (!b->window)
		return fs_session_watched(b->session) ? TIDY_MS : -1;
	bridge_drop_closed(b->aside);
	return bridge_attend(b) ? TIDY_ANSWER_MS : TIDY_MS;
}

int finish_open(struct op *op, uint8_t *payload, size_t len)
{
	struct fuse_open_out *out = (struct fuse_open_out *)payload;
	struct bridge *b = op->bridge;

	if (len < sizeof(*out))
		return -EIO;
	op_unblock(op);
	return note_open(op, op->h.opcode == FUSE_OPEN ? node_find(b->nodes, op->h.nodeid) : NULL,
			 out);
}

void start_release(struct op *op)
{
	struct bridge *b = op->bridge;
	struct fuse_release_in in;
	uint64_t fh;
	bool known;

	memcpy(&in, op_args(op), sizeof(in));
	note_released(op, op->h.nodeid, in.flags);
	bridge_drop_closed(op->here);
	if (in.release_flags & FUSE_RELEASE_FLOCK_UNLOCK)
		locks_end(b->kept->locks, op->h.nodeid, in.lock_owner, true);
	known = handles_device(b->kept->handles, op->h.nodeid, in.fh, &fh) == 0;
	handles_drop(b->kept->handles, op->h.nodeid, in.fh);
	if (known)
		memcpy(op_args(op), &fh, sizeof(fh));
	if (!known && b->numbers->translates)
		op_end(op, 0, NULL, 0); /* this device does not have it */
	else
		start_times(op);
}
