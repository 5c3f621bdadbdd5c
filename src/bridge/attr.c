/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/attr: attributes and times. A store into the window moves st_mtime on the host only when
 * it dirties a clean page, so the driver moves it itself, before anything that could see it or ends
 * the file's use.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "bridge/internal.h"

/* ------------------------------------------------------------------ what answers say */

/* The device has taken the DAX mark away: what is mapped goes, and nothing comes in any more.
 * Nobody waits for it; it is a wish, not a danger. */
static void leave_window(struct bridge_worker *here, struct node *node)
{
	struct bridge *b = here->bridge;
	struct window_inode *inode = node_window(b->nodes, node, b->window);

	if (!inode)
		return;
	window_block(here, inode, 0, UINT64_MAX, NULL);
	window_unblock(inode);
}

void note_attr(struct op *op, struct node *node, struct fuse_attr *attr)
{
	struct bridge *b = op->bridge;
	bool dax = bridge_wants_window(b, attr);

	if (attr->flags & FUSE_ATTR_DAX &&
	    !atomic_load_explicit(&b->dax_seen, memory_order_relaxed))
		atomic_store(&b->dax_seen, true);
	attr->flags &= ~(uint32_t)(FUSE_ATTR_DAX | FUSE_ATTR_SUBMOUNT);
	if (!node)
		return;
	if (node_note_attr(b->nodes, node, attr, dax, op->size_clock))
		leave_window(op->here, node);
	if (atomic_load_explicit(&b->n_maps, memory_order_relaxed))
		maps_note_size(b, node);
}

/* What the kernel is told of this node is old at once. */
static bool attr_is_moving(struct op *op, struct node *node, uint32_t mode)
{
	struct node_view view = {0};

	if (node)
		node_look(op->bridge->nodes, node, &view);
	return view.written_beside || may_lose_bits(mode);
}

static void note_root(struct op *op, const struct fuse_attr *attr)
{
	struct bridge *b = op->bridge;

	pthread_mutex_lock(&b->interrupt_lock);
	b->kept->root_attr = *attr;
	pthread_mutex_unlock(&b->interrupt_lock);
}

int finish_attr(struct op *op, uint8_t *payload, size_t len)
{
	struct fuse_attr_out *out = (struct fuse_attr_out *)payload;
	struct bridge *b = op->bridge;
	struct node *node = op->blocked ? op->node : node_find(b->nodes, op->h.nodeid);

	if (len < sizeof(*out))
		return -EIO;
	if (attr_is_moving(op, node, out->attr.mode))
		out->attr_valid = out->attr_valid_nsec = 0;
	/* The answer to our own truncation is the truth as of its end. */
	op_unblock(op);
	note_attr(op, node, &out->attr);
	if (op->h.nodeid == FUSE_ROOT_ID)
		note_root(op, &out->attr);
	return 0;
}

int finish_statx(struct op *op, uint8_t *payload, size_t len)
{
	struct fuse_statx_wire_out *out = (struct fuse_statx_wire_out *)payload;
	struct node *node = node_find(op->bridge->nodes, op->h.nodeid);

	if (len < sizeof(*out))
		return -EIO;
	if (node)
		node_note_ctime(op->bridge->nodes, node, (uint64_t)out->ctime.tv_sec,
				out->ctime.tv_nsec);
	if (attr_is_moving(op, node, out->mode))
		out->attr_valid = out->attr_valid_nsec = 0;
	return 0;
}

int finish_statfs(struct op *op, uint8_t *payload, size_t len)
{
	struct bridge *b = op->bridge;

	if (len < sizeof(b->kept->root_statfs))
		return -EIO;
	pthread_mutex_lock(&b->interrupt_lock);
	memcpy(&b->kept->root_statfs, payload, sizeof(b->kept->root_statfs));
	pthread_mutex_unlock(&b->interrupt_lock);
	return 0;
}

/* ------------------------------------------------------------------ times */

void times_not_moved(struct op *op)
{
	struct node *node = node_find(op->bridge->nodes, op->h.nodeid);

	if (node)
		node_set_mtime_late(op->bridge->nodes, node);
}

static void times_answered(struct op *op, int err)
{
	(void)err; /* the file may be read-only by now, or gone: the request itself will tell */
	if (op->req->state == FS_REQ_ABANDONED) {
		/* The slot is still the device's, nothing can be sent from it. */
		times_not_moved(op);
		op_end(op, fs_caller_error(err), NULL, 0);
		return;
	}
	op->after_times(op, 0);
}

void op_set_times(struct op *op, op_then then)
{
	struct bridge *b = op->bridge;
	struct node *node = b->window ? node_find(b->nodes, op->h.nodeid) : NULL;
	struct fuse_setattr_in in = {.valid = FATTR_MTIME | FATTR_MTIME_NOW};

	if (!node || !node_take_mtime_late(b->nodes, node)) {
		then(op, 0);
		return;
	}
	stats_add(&op->here->stats.mtime_updates, 1);
	if (fs_limits(b->session)->agreed & AGREE_MTIME_FIRST) {
		op->h.padding |= AGREEMENT_MTIME_NOW;
		memcpy(op->req->in, &op->h, sizeof(op->h));
		op->moves_mtime = true;
		then(op, 0);
		return;
	}
	op->after_times = then;
	op_ask(op, FUSE_SETATTR, op->h.nodeid, &in, sizeof(in), sizeof(struct fuse_attr_out),
	       times_answered);
}

void start_times(struct op *op)
{
	op_set_times(op, op_forward_after);
}

/*
 * close(2) waits for its FLUSH. Of a file that was neither written nor locked since the last one
 * there is nothing that the device could do, so it need not be asked.
 */
void start_flush(struct op *op)
{
	struct bridge *b = op->bridge;
	struct node *node = node_find(b->nodes, op->h.nodeid);

	if (node && !node_take_flush(b->nodes, node))
		op_end(op, 0, NULL, 0);
	else
		start_times(op);
}

/* ------------------------------------------------------------------ the root */

/*
 * umount(8) asks for the attributes and the statfs of the root before it unmounts. So that a silent
 * device can be unmounted, these two are answered from memory after a few seconds: what has the
 * shorter time-out may be. A program, which unmounts nothing, gets the truth: ETIMEDOUT.
 */
#define ROOT_TIMEOUT_MS 3000u

static void may_answer_from_memory(struct op *op)
{
	if (!op->call)
		op->req->timeout_ms = ROOT_TIMEOUT_MS;
}

void start_getattr(struct op *op)
{
	if (names_getattr(op))
		return;
	if (op->h.nodeid == FUSE_ROOT_ID)
		may_answer_from_memory(op);
	start_times(op);
}

void start_statfs(struct op *op)
{
	may_answer_from_memory(op);
	op_forward(op);
}

bool answer_from_memory(struct op *op)
{
	struct bridge *b = op->bridge;
	struct fuse_attr_out attr = {0};
	struct fuse_statfs_out statfs;

	if (!op->req->timeout_ms)
		return false;
	pthread_mutex_lock(&b->interrupt_lock);
	attr.attr = b->kept->root_attr;
	statfs = b->kept->root_statfs;
	pthread_mutex_unlock(&b->interrupt_lock);
	if (op->route->payload == PAYLOAD_STATFS)
		op_end(op, 0, &statfs, sizeof(statfs));
	else
		op_end(op, 0, &attr, sizeof(attr));
	return true;
}
