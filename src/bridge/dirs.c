/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/dirs: open directories. To list a small one takes OPENDIR, READDIRPLUS, READDIR for the
 * end, and RELEASEDIR; our device (AGREE_LISTING_OPENS) opens it with the first READDIRPLUS, says
 * that it ended there, and keeps nothing: one request. So the kernel's handles are numbers of ours:
 *
 *   OPENDIR      here, once an answer has told the open_flags
 *   READDIR...   at offset 0 opens; where the last answer ended: answered here, once
 *   RELEASEDIR   here, if the device has no handle
 *   FSYNCDIR, IOCTL, a READDIR that begins elsewhere: after an OPENDIR, if there was none
 *
 * A kernel that keeps what directories have (FOPEN_CACHE_DIR) needs no handles at all: to OPENDIR
 * the answer is ENOSYS, and none is sent any more, nor a RELEASEDIR. A request on a directory has
 * the handle 0 then, and stands alone: our device (AGREE_LISTING_ALONE) lists from any offset, as
 * an NFS server does; for all else, or at another device that follows, the directory is opened for
 * it.
 *
 * With another device, or one that checks rights at OPENDIR, and for a program, only the numbers
 * are ours, so that it can go on with a device that follows; where that cannot be they are the
 * device's.
 */
#include <errno.h>
#include <string.h>

#include "bridge/dirs.h"
#include "bridge/internal.h"

/* ------------------------------------------------------------------ OPENDIR, RELEASEDIR */

void dirs_begin(struct bridge *b)
{
	uint32_t agreed = fs_limits(b->session)->agreed;
	struct bridge_kept *k = b->kept;

	/* (who opens a directory in a program is to hear at once that it cannot) */
	b->listing_opens =
		b->pool && agreed & AGREE_LISTING_OPENS && !(agreed & AGREE_CHECK_PERMISSIONS);
	b->listing_alone = b->listing_opens && agreed & AGREE_LISTING_ALONE;
	atomic_store(&b->dir_flags, DIR_FLAGS_UNKNOWN);
	b->dirs = b->listing_opens || k->goes_on ? k->dirs : NULL;
}

/* Every argument of a request on an open directory begins with the handle. */
static uint64_t handle_of(struct op *op)
{
	uint64_t fh;

	memcpy(&fh, op_args(op), sizeof(fh));
	return fh;
}

static void forward_with(struct op *op, uint64_t fh)
{
	memcpy(op_args(op), &fh, sizeof(fh));
	op_forward(op);
}

/* (Since Linux 5.1; then all directories have FOPEN_CACHE_DIR.) */
static bool needs_no_handles(const struct bridge *b, uint32_t open_flags)
{
	return b->listing_alone && open_flags & FOPEN_CACHE_DIR;
}

void start_opendir(struct op *op)
{
	struct bridge *b = op->bridge;
	struct fuse_open_out out = {.open_flags = atomic_load(&b->dir_flags)};

	if (!b->listing_opens || out.open_flags == DIR_FLAGS_UNKNOWN) {
		op_forward(op);
		return;
	}
	if (needs_no_handles(b, out.open_flags)) {
		op_end(op, -ENOSYS, NULL, 0);
		return;
	}
	op->dir_id = out.fh =
		dirs_add(b->dirs, op->h.nodeid, &(struct dir_state){0}, request_id(op->h.unique));
	op_end(op, out.fh ? 0 : -ENOMEM, &out, sizeof(out));
}

int finish_opendir(struct op *op, uint8_t *payload, size_t len)
{
	struct fuse_open_out *out = (struct fuse_open_out *)payload;
	struct bridge *b = op->bridge;
	int err = finish_open(op, payload, len);

	if (err || !b->dirs)
		return err;
	atomic_store(&b->dir_flags, out->open_flags);
	if (needs_no_handles(b, out->open_flags))
		return -ENOSYS; /* what was opened is given back */
	op->dir_id =
		dirs_add(b->dirs, op->h.nodeid, &(struct dir_state){.opened = true, .fh = out->fh},
			 request_id(op->h.unique));
	out->fh = op->dir_id;
	return op->dir_id ? 0 : -ENOMEM;
}

void dir_not_wanted(struct op *op)
{
	struct dir_state state;

	if (op->dir_id)
		dirs_remove(op->bridge->dirs, op->dir_id, op->h.nodeid, &state);
}

void start_releasedir(struct op *op)
{
	struct bridge *b = op->bridge;
	struct dir_state state;

	if (!b->dirs)
		op_forward(op);
	else if (!dirs_remove(b->dirs, handle_of(op), op->h.nodeid, &state))
		op_end(op, -EBADF, NULL, 0);
	else if (state.opened)
		forward_with(op, state.fh);
	else
		op_end(op, 0, NULL, 0);
}

/* ------------------------------------------------------------------ READDIR, READDIRPLUS */

static void release_dir(struct op *op, uint64_t fh)
{
	release_apart(op, FUSE_RELEASEDIR, numbers_device(op->bridge->numbers, op->h.nodeid), fh);
}

static void opened_for_it(struct op *op, int err)
{
	struct dirs *dirs = op->bridge->dirs;
	struct dir_state state;
	struct fuse_open_out out;

	err = op_asked(op, err, &out, sizeof(out));
	if (!err && op->dir_id == DIR_NO_ID) {
		op->dir_fh = out.fh;
		op->dir_opened = true;
	} else if (!err && !dirs_opened(dirs, op->dir_id, op->h.nodeid, out.fh)) {
		/* Another request has opened it meanwhile. */
		release_dir(op, out.fh);
		if (dirs_look(dirs, op->dir_id, op->h.nodeid, &state))
			out.fh = state.fh;
		else
			err = -EBADF;
	}
	if (err)
		op_end(op, err, NULL, 0);
	else
		forward_with(op, out.fh);
}

void dirs_end(struct op *op)
{
	if (op->dir_opened)
		release_dir(op, op->dir_fh);
	op->dir_opened = false;
}

void opened_late(struct op *op, const uint8_t *payload, size_t len)
{
	struct fuse_open_out out;

	if (!op->opens_dir || len < sizeof(out))
		return;
	memcpy(&out, payload, sizeof(out));
	release_dir(op, out.fh);
}

static void open_first(struct op *op)
{
	struct fuse_open_in in = {.flags = O_RDONLY | O_DIRECTORY};

	op->opens_dir = true;
	op_ask_as_caller(op, FUSE_OPENDIR, op->h.nodeid, &in, sizeof(in),
			 sizeof(struct fuse_open_out), opened_for_it);
}

void start_on_dir(struct op *op)
{
	struct bridge *b = op->bridge;
	struct dir_state state = {0};

	op->dir_id = b->dirs ? handle_of(op) : DIR_NO_ID;
	if (!b->dirs)
		op_forward(op);
	else if (op->dir_id != DIR_NO_ID && !dirs_look(b->dirs, op->dir_id, op->h.nodeid, &state))
		op_end(op, -EBADF, NULL, 0);
	else if (state.opened)
		forward_with(op, state.fh);
	else
		open_first(op);
}

void start_readdir(struct op *op)
{
	struct bridge *b = op->bridge;
	struct dir_state state;
	struct fuse_read_in in;

	memcpy(&in, op_args(op), sizeof(in));
	names_read(op);
	if (b->dirs && dirs_take_end(b->dirs, in.fh, op->h.nodeid, in.offset)) {
		op_end(op, 0, NULL, 0);
		return;
	}
	op->dir_id = in.fh;
	if (in.fh == DIR_NO_ID)
		op->lists = b->listing_alone;
	else
		op->lists = b->listing_opens && in.offset == 0 &&
			    dirs_look(b->dirs, in.fh, op->h.nodeid, &state) && !state.opened;
	if (op->lists)
		forward_with(op, in.fh == DIR_NO_ID ? AGREEMENT_NO_DIR : AGREEMENT_NO_FH);
	else
		start_on_dir(op);
}

size_t listing_room(const struct op *op)
{
	return op->lists ? sizeof(struct agreement_listing) : 0;
}

int listing_answered(struct op *op, const uint8_t **payload, size_t *len)
{
	struct dirs *dirs = op->bridge->dirs;
	struct agreement_listing head;

	if (!op->lists)
		return 0;
	if (*len < sizeof(head))
		return -EIO;
	memcpy(&head, *payload, sizeof(head));
	*payload += sizeof(head);
	*len -= sizeof(head);
	if (head.flags & LISTING_OPENED && !dirs_opened(dirs, op->dir_id, op->h.nodeid, head.fh))
		release_dir(op, head.fh);
	if (head.flags & LISTING_ENDS)
		dirs_ended(dirs, op->dir_id, op->h.nodeid, head.end);
	return 0;
}

size_t listing_late(struct op *op, const uint8_t *payload, size_t len)
{
	struct agreement_listing head;

	if (!op->lists)
		return 0;
	if (len < sizeof(head))
		return len;
	memcpy(&head, payload, sizeof(head));
	if (head.flags & LISTING_OPENED)
		release_dir(op, head.fh);
	return sizeof(head);
}
