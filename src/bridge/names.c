/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/names: requests that change the names in a directory. The kernel then takes the
 * directory's attributes for old, and with default_permissions asks for them before the next name.
 * Our device appends them to the answer (AGREE_DIRECTORY_ATTR), and that GETATTR is answered from
 * here, once:
 *
 *   names_begin()     nothing that is kept is true any more
 *   names_answered()  kept, if no other request on the directory's attributes began meanwhile
 *   names_getattr()   taken, if it is not old; the kernel's own time begins with that
 *
 * Whatever else may change what GETATTR says (SETATTR, xattrs, READDIR's atime) is a change whose
 * answer brings nothing: names_touch().
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "bridge/internal.h"
#include "bridge/node_internal.h"

/* The host may change the directory meanwhile; the next GETATTR comes at once or is not worth it.
 */
#define KEPT_NS (50 * NS_PER_MS)

/* Of a directory in which the kernel has changed a name. */
struct node_names {
	uint64_t turn; /* counts beginnings */
	unsigned under_way;
	bool kept;
	uint64_t kept_ns;
	struct fuse_attr_out attr;
};

/* ------------------------------------------------------------------ the directory's node */

/* False: there is nothing to end (out of memory, a file, or not to be made). *turn: 0 if it is not
 * alone. */
static bool change_begins(struct node *n, bool make, uint64_t *turn)
{
	struct shard *s = shard_lock(n->table, n->nodeid);
	struct node_names *names = n->names;

	if (!names && make && S_ISDIR(n->mode))
		names = n->names = calloc(1, sizeof(*names));
	if (names) {
		names->kept = false;
		names->turn++;
		*turn = names->under_way++ ? 0 : names->turn;
	}
	shard_unlock(s);
	return names != NULL;
}

/* `attr`: what the directory was like after it; NULL: not known. */
static void change_ends(struct node *n, uint64_t turn, const struct fuse_attr_out *attr)
{
	struct shard *s = shard_lock(n->table, n->nodeid);
	struct node_names *names = n->names;

	names->under_way--;
	if (attr && names->turn == turn) {
		names->attr = *attr;
		names->kept = true;
		names->kept_ns = clock_now_ns();
	}
	shard_unlock(s);
}

void names_drop(struct bridge *b, uint64_t nodeid)
{
	struct shard *s = shard_lock(b->nodes, nodeid);
	struct node *n = shard_find_node(s, nodeid);

	if (n && n->names) {
		n->names->kept = false;
		n->names->turn++; /* nor what is under way */
	}
	shard_unlock(s);
}

static bool take_kept(struct node_table *t, uint64_t nodeid, struct fuse_attr_out *out)
{
	struct shard *s = shard_lock(t, nodeid);
	struct node *n = shard_find_node(s, nodeid);
	struct node_names *names = n ? n->names : NULL;
	bool take = names && names->kept && clock_now_ns() - names->kept_ns < KEPT_NS;

	if (take) {
		names->kept = false;
		*out = names->attr;
	}
	shard_unlock(s);
	return take;
}

/* ------------------------------------------------------------------ the requests */

/* A program asks when it wants to know, and is told what the device says then. */
static bool is_used(const struct op *op)
{
	return !op->call && fs_limits(op->bridge->session)->agreed & AGREE_DIRECTORY_ATTR;
}

static struct node *begin(struct op *op, uint64_t nodeid, bool make, uint64_t *turn)
{
	struct node *n = is_used(op) ? node_find(op->bridge->nodes, nodeid) : NULL;

	return n && change_begins(n, make, turn) ? n : NULL;
}

static void names_begin(struct op *op, uint64_t other)
{
	uint64_t none;

	op->dir = begin(op, op->h.nodeid, true, &op->dir_turn);
	if (other != op->h.nodeid)
		op->other_dir = begin(op, other, true, &none);
}

void names_touch(struct op *op)
{
	uint64_t none;

	op->dir = begin(op, op->h.nodeid, true, &none);
}

void names_end(struct op *op)
{
	if (op->dir)
		change_ends(op->dir, 0, NULL);
	if (op->other_dir)
		change_ends(op->other_dir, 0, NULL);
	op->dir = op->other_dir = NULL;
}

size_t names_room(const struct op *op)
{
	bool agreed = fs_limits(op->bridge->session)->agreed & AGREE_DIRECTORY_ATTR;

	return agreed && op->route->size_at == SIZE_NAMES ? sizeof(struct fuse_attr_out) : 0;
}

size_t names_answered(struct op *op, size_t len)
{
	struct fuse_attr_out attr;
	size_t body = op->route->reply_max;

	if (!names_room(op) || len != body + sizeof(attr))
		return len;
	memcpy(&attr, op_device_payload(op) + body, sizeof(attr));
	/* What is not to be kept by the kernel is not to be kept here. */
	if (op->dir && (attr.attr_valid || attr.attr_valid_nsec)) {
		note_attr(op, op->dir, &attr.attr);
		change_ends(op->dir, op->dir_turn, &attr);
		op->dir = NULL;
	}
	return body;
}

bool names_getattr(struct op *op)
{
	struct fuse_attr_out attr;

	if (!is_used(op) || !take_kept(op->bridge->nodes, op->h.nodeid, &attr))
		return false;
	op_end(op, 0, &attr, sizeof(attr));
	return true;
}

void start_names(struct op *op)
{
	names_begin(op, op->h.nodeid);
	op_forward(op);
}

/* RENAME and RENAME2 begin with the nodeid of the other directory. */
void start_rename(struct op *op)
{
	uint64_t newdir;

	memcpy(&newdir, op_args(op), sizeof(newdir));
	op->arg_off = newdir;
	names_begin(op, newdir);
	op_forward(op);
}

void start_touch(struct op *op)
{
	names_touch(op);
	op_forward(op);
}

/* Not worth memory for each directory that is read. */
void names_read(struct op *op)
{
	uint64_t none;

	op->dir = begin(op, op->h.nodeid, false, &none);
}
