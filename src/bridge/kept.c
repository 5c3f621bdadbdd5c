/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bridge/kept.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "bridge/node_internal.h"
#include "bridge/rebuild.h"
#include "fuse/reply.h"

/* close(2) of a file of which the device had nothing to hear; see start_flush(). */
static bool needs_no_flush(struct bridge_kept *k, uint64_t nodeid)
{
	struct node *n = node_find(k->nodes, nodeid);
	bool due = !n || node_take_flush(k->nodes, n);

	if (n && due)
		node_note_written(k->nodes, n); /* still */
	return !due;
}

/* What needs no device: that, and what umount(8) asks before it unmounts. */
static bool answer_alone(void *ctx, int fd, const void *message, size_t len)
{
	struct bridge_kept *k = ctx;
	struct fuse_attr_out attr = {.attr = k->root_attr};
	struct fuse_in_header h;

	(void)len;
	memcpy(&h, message, sizeof(h));
	if (h.opcode == FUSE_FLUSH && needs_no_flush(k, h.nodeid))
		fuse_reply_error(fd, h.unique, 0);
	else if (h.opcode == FUSE_GETATTR && h.nodeid == FUSE_ROOT_ID)
		fuse_reply_data(fd, h.unique, &attr, sizeof(attr));
	else if (h.opcode == FUSE_STATFS)
		fuse_reply_data(fd, h.unique, &k->root_statfs, sizeof(k->root_statfs));
	else
		return false;
	return true;
}

struct bridge_kept *bridge_kept_create(bool goes_on)
{
	struct bridge_kept *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->goes_on = goes_on;
	if (node_table_create(&k->nodes) || handles_create(&k->handles) ||
	    locks_create(&k->locks) || fuse_held_create(answer_alone, k, &k->held)) {
		bridge_kept_destroy(k);
		return NULL;
	}
	numbers_init(&k->numbers, k->nodes);
	k->numbers.keeps = goes_on;
	k->nodes->ended = numbers_gone;
	k->nodes->ended_ctx = &k->numbers;
	return k;
}

void bridge_kept_destroy(struct bridge_kept *k)
{
	if (!k)
		return;
	if (k->nodes)
		numbers_fini(&k->numbers);
	node_table_destroy(k->nodes);
	handles_destroy(k->handles);
	dirs_destroy(k->dirs);
	locks_destroy(k->locks);
	fuse_held_destroy(k->held);
	free(k);
}

struct fuse_held *bridge_held(struct bridge_kept *k)
{
	return k->held;
}

void bridge_kept_end(struct bridge_kept *k)
{
	k->goes_on = false;
}

/* ------------------------------------------------------------------ what answers say */

const char *op_name(struct op *op, size_t at, size_t *end)
{
	const char *name = (const char *)op_args(op) + at, *nul;
	size_t all = MIN(op->h.len, FS_IN_BYTES), from = sizeof(op->h) + at;

	nul = from < all ? memchr(name, 0, all - from) : NULL;
	if (!nul || nul == name || nul - name > NUMBERS_NAME_MAX)
		return NULL;
	*end = at + (size_t)(nul - name) + 1;
	return name;
}

int finish_remove(struct op *op, uint8_t *payload, size_t len)
{
	size_t end;
	const char *name = op_name(op, 0, &end);

	(void)payload, (void)len;
	if (name)
		numbers_unname(op->bridge->numbers, op->h.nodeid, name);
	return 0;
}

void note_rename(struct op *op, uint64_t newdir, unsigned how)
{
	struct fuse_rename2_in in = {0};
	size_t at = op->h.opcode == FUSE_RENAME2 ? sizeof(in) : sizeof(struct fuse_rename_in);
	const char *name = op_name(op, at, &at);
	const char *newname = name ? op_name(op, at, &at) : NULL;

	memcpy(&in, op_args(op), op->h.opcode == FUSE_RENAME2 ? sizeof(in) : sizeof(in.newdir));
	if (newname)
		numbers_rename(op->bridge->numbers, op->h.nodeid, name, newdir, newname,
			       how | (in.flags & RENAME_EXCHANGE ? NUMBERS_EXCHANGE : 0));
}

int finish_rename(struct op *op, uint8_t *payload, size_t len)
{
	(void)payload, (void)len;
	/* The directory's number in the message may be the device's by now. */
	note_rename(op, op->arg_off, 0);
	return 0;
}

int finish_lock(struct op *op, uint8_t *payload, size_t len)
{
	struct fuse_lk_in in;

	(void)payload, (void)len;
	/* As the kernel sent it: with its number of the handle. */
	memcpy(&in, op->kept_head + sizeof(op->h), sizeof(in));
	if (op->bridge->kept->goes_on)
		locks_note(op->bridge->kept->locks, op->h.nodeid, &in);
	return 0;
}

int finish_flush(struct op *op, uint8_t *payload, size_t len)
{
	struct fuse_flush_in in;

	(void)payload, (void)len;
	memcpy(&in, op_args(op), sizeof(in));
	locks_end(op->bridge->kept->locks, op->h.nodeid, in.lock_owner, false);
	return 0;
}
