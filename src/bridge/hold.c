/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/hold: requests that a failed device has not answered. Whether it has done them nobody
 * knows; what that leaves open is settled before another device is asked for anything.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "bridge/rebuild.h"

bool op_may_hold(const struct op *op)
{
	return !op->answered && bridge_goes_on(op->bridge);
}

/* A program has the message, and makes it again. */
static void hold_call(struct op *op)
{
	struct bridge_call *call = op->call;
	uint8_t ext[AGREEMENT_EXT_NOTE_BYTES];
	struct fuse_in_header h;
	uint64_t newdir;

	memcpy(&h, op->kept_head, sizeof(h));
	call->noted = notes_hold(op, &h, ext);
	call->note = op->note;
	memcpy(&newdir, op->kept_head + sizeof(h), sizeof(newdir));
	/* It has done that, perhaps. */
	if (h.opcode == FUSE_RENAME || h.opcode == FUSE_RENAME2)
		note_rename(op, newdir, NUMBERS_PERHAPS);
	call->held(call);
}

void op_hold(struct op *op)
{
	const struct fs_req *req = op->req;
	uint8_t ext[AGREEMENT_EXT_NOTE_BYTES];
	struct fuse_in_header h;
	size_t bare, head, slot;

	if (op->call) {
		hold_call(op);
		return;
	}
	memcpy(&h, op->kept_head, sizeof(h));
	bare = op->kept_len - note_in_message(&h);
	notes_hold(op, &h, ext);
	memcpy(op->kept_head, &h, sizeof(h));
	head = MIN(bare, sizeof(op->kept_head));
	slot = MIN(bare, FS_IN_BYTES);

	struct iovec message[4] = {
		{op->kept_head, head},
		{req->in + head, slot - head},
		{req->payload ? req->payload->va : NULL, bare - slot},
		{ext, sizeof(ext)},
	};

	fuse_held_add(op->bridge->kept->held, op->fd, message, 4, h.len);
}

/* ------------------------------------------------------------------ what was under way */

static const char *second_name(const char *name, const char *end)
{
	const char *next = name + strnlen(name, (size_t)(end - name)) + 1;

	return next < end && memchr(next, 0, (size_t)(end - next)) ? next : NULL;
}

/* A RENAME that the last device has done, perhaps: what it moves is looked for by both names. */
static void settle_name(void *ctx, const void *message, size_t len)
{
	struct bridge *b = ctx;
	const char *args = (const char *)message + sizeof(struct fuse_in_header);
	const char *end = (const char *)message + len, *newname;
	struct fuse_rename2_in in = {0};
	struct fuse_in_header h;
	size_t fixed;

	memcpy(&h, message, sizeof(h));
	if (h.opcode != FUSE_RENAME && h.opcode != FUSE_RENAME2)
		return;
	fixed = h.opcode == FUSE_RENAME ? sizeof(struct fuse_rename_in) : sizeof(in);
	if ((size_t)(end - args) <= fixed)
		return;
	memcpy(&in, args, fixed);
	newname = second_name(args + fixed, end);
	if (newname)
		numbers_rename(b->numbers, h.nodeid, args + fixed, in.newdir, newname,
			       NUMBERS_PERHAPS |
				       (in.flags & RENAME_EXCHANGE ? NUMBERS_EXCHANGE : 0));
}

/* Who was giving up a lock, or part of it, has perhaps done so, and somebody else got it. */
static void settle_lock(void *ctx, const void *message, size_t len)
{
	struct locks *locks = ctx;
	const uint8_t *args = (const uint8_t *)message + sizeof(struct fuse_in_header);
	union {
		struct fuse_lk_in lk;
		struct fuse_flush_in flush;
		struct fuse_release_in release;
	} in = {0};
	struct fuse_in_header h;

	memcpy(&h, message, sizeof(h));
	memcpy(&in, args, MIN(len - sizeof(h), sizeof(in)));
	switch (h.opcode) {
	case FUSE_SETLK:
	case FUSE_SETLKW:
		if (in.lk.lk.type != F_WRLCK)
			locks_change(locks, h.nodeid, &in.lk);
		break;
	case FUSE_FLUSH:
		locks_end(locks, h.nodeid, in.flush.lock_owner, false);
		break;
	case FUSE_RELEASE:
		if (in.release.release_flags & FUSE_RELEASE_FLOCK_UNLOCK)
			locks_end(locks, h.nodeid, in.release.lock_owner, true);
		break;
	default:
		break;
	}
}

void settle_held(struct bridge *b)
{
	fuse_held_each(b->kept->held, settle_name, b);
	fuse_held_each(b->kept->held, settle_lock, b->kept->locks);
}
