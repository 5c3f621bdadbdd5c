/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/rebuild: a mount that goes on with another device.
 *
 * bridge_leave(): what was not answered is held (op_hold); the bridge ends, what the kernel knows
 * stays (kept.h).
 *
 * rebuild(), at the new device, before anybody is served: open files are opened again, and their
 * locks taken again; neither must come later than somebody else.
 *
 * rebuild_ready(): all other nodes are asked for when they are needed. The held requests are read
 * again by the workers, as if the kernel had sent them now.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/log.h"
#include "bridge/backing.h"
#include "bridge/rebuild.h"

/* The device failed while it was asked: nothing is known. */
#define FAILED (-ENOLINK)

/* ------------------------------------------------------------------ one node */

/* It is there: as an answer to a request would tell. */
static void note_found(struct bridge *b, uint64_t nodeid, const struct fuse_entry_out *e)
{
	struct node *n = node_find(b->nodes, nodeid);
	bool dax = bridge_wants_window(b, &e->attr);

	if (!n)
		return;
	node_note_attr(b->nodes, n, &e->attr, dax, atomic_load(&b->size_clock));
	if (dax && S_ISREG(e->attr.mode))
		node_window(b->nodes, n, b->window);
}

/* What follows from an answer to numbers_ask()'s question. */
static int take_answer(struct bridge *b, const struct numbers_question *q, int err,
		       const struct fuse_entry_out *e)
{
	uint64_t named = err ? 0 : e->nodeid;

	err = numbers_found(b->numbers, q, err, e);
	if (!err)
		note_found(b, q->nodeid, e);
	else if (named && named != FUSE_ROOT_ID)
		fs_forget(b->session, named, 1);
	return err;
}

static int call(struct bridge *b, uint32_t opcode, uint64_t device_id, const void *arg, size_t len,
		void *out, size_t out_len)
{
	int got =
		fs_call(b->session, opcode, device_id, arg, (uint32_t)len, out, (uint32_t)out_len);

	if (bridge_failure(b))
		return FAILED;
	return got < 0 ? got : got < (int)out_len ? -EIO : 0;
}

static int find_node(struct bridge *b, uint64_t nodeid)
{
	struct numbers_question q;
	struct fuse_entry_out e;
	int err;

	while ((err = numbers_ask(b->numbers, nodeid, &q)) > 0) {
		err = call(b, FUSE_LOOKUP, q.device_dir, q.name, strlen(q.name) + 1, &e, sizeof(e));
		if (err != FAILED)
			err = take_answer(b, &q, err, &e);
		if (err && err != -ESTALE)
			return err;
	}
	return err;
}

/* ------------------------------------------------------------------ open files, locks */

static int open_again(void *ctx, uint64_t nodeid, uint32_t open_flags, uint64_t *fh)
{
	struct bridge *b = ctx;
	struct fuse_open_in in = {.flags = open_flags};
	struct fuse_open_out out;
	int err = find_node(b, nodeid);

	if (!err && fs_limits(b->session)->agreed & AGREE_FILES &&
	    node_passed_last(b->nodes, nodeid))
		in.open_flags = AGREEMENT_OPEN_PASSED;
	if (!err)
		err = call(b, FUSE_OPEN, numbers_device(b->numbers, nodeid), &in, sizeof(in), &out,
			   sizeof(out));
	if (err)
		return err;
	*fh = out.fh;
	return 0;
}

static int lock_again(void *ctx, uint64_t nodeid, const struct fuse_lk_in *lock)
{
	struct bridge *b = ctx;
	struct fuse_lk_in in = *lock;
	int err;

	/* What was locked by flock(2), or is open file description locks, ends with that handle. */
	err = handles_device(b->kept->handles, nodeid, lock->fh, &in.fh);
	if (err)
		return err;
	err = call(b, FUSE_SETLK, numbers_device(b->numbers, nodeid), &in, sizeof(in), NULL, 0);
	if (err && err != FAILED) {
		log_warn("%s: a lock of process %u was lost, the file is in error for who has it "
			 "open: %s",
			 b->transport->source, in.lk.pid, strerror(-err));
		handles_lose(b->kept->handles, nodeid, -EIO);
	}
	return err;
}

/* ------------------------------------------------------------------ all of it */

static bool is_enough(struct bridge *b)
{
	const struct bridge_kept *k = b->kept;
	const struct fs_limits *limits = fs_limits(b->session);
	struct fuse_init_out out;
	uint64_t missing;

	fs_init_reply(&k->state->offered, limits, &out);
	/* Files that are passed through stay so; further ones will not be. */
	missing = b->kernel_flags & ~fs_init_out_flags(&out) & ~FUSE_PASSTHROUGH;
	if (missing || out.max_write < k->state->told.max_write ||
	    out.max_pages < k->state->told.max_pages) {
		log_error("%s: this device cannot do what the last one could (flags %#" PRIx64
			  ", requests of %u bytes): unmount, and mount again",
			  b->transport->source, missing, k->state->told.max_write);
		return false;
	}
	if (fs_root_attr(b->session)->ino != k->state->root.ino) {
		log_error("%s: another directory is shared there now: unmount, and mount again",
			  b->transport->source);
		return false;
	}
	return true;
}

int rebuild(struct bridge *b)
{
	struct bridge_kept *k = b->kept;
	int err;

	if (!is_enough(b))
		return -EXDEV;
	notes_bring(b);
	settle_held(b);
	err = handles_reopen(k->handles, FAILED, open_again, b);
	if (!err)
		err = locks_again(k->locks, FAILED, lock_again, b);
	fs_hiprio_progress(b->session);
	return err ? -EAGAIN : 0;
}

/* ------------------------------------------------------------------ a request */

/* Where else than in the header a node's number stands in the arguments; false: nowhere. */
static bool other_node_at(uint32_t opcode, size_t *at)
{
	switch (opcode) {
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_LINK:
		*at = 0;
		return true;
	case FUSE_COPY_FILE_RANGE:
	case FUSE_OP_COPY_FILE_RANGE_64:
		*at = offsetof(struct fuse_copy_file_range_in, nodeid_out);
		return true;
	default:
		return false;
	}
}

static uint64_t arg_at(struct op *op, size_t at)
{
	uint64_t v;

	memcpy(&v, op_args(op) + at, sizeof(v));
	return v;
}

/* Requests that are of no node, or whose node need not be at the device. */
static bool needs_no_node(const struct op *op)
{
	switch (op->h.opcode) {
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
	case FUSE_DESTROY:
	case FUSE_NOTIFY_REPLY:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		return true;
	default:
		return !op->h.nodeid;
	}
}

static void asked(struct op *op, int err)
{
	struct numbers_question q = {.nodeid = op->asked_node, .key = op->asked_name};
	struct fuse_entry_out e;

	if (op->req->state == FS_REQ_ABANDONED) {
		op_end(op, fs_caller_error(err), NULL, 0);
		return;
	}
	err = op_asked(op, err, &e, sizeof(e));
	if (!bridge_failure(op->bridge))
		err = take_answer(op->bridge, &q, err, &e);
	if (err && err != -ESTALE)
		op_end(op, err, NULL, 0);
	else if (rebuild_ready(op))
		op->route->start(op);
}

/* 0: it is known; OP_TAKEN: it is being asked for; -ESTALE. */
static int ask_for(struct op *op, uint64_t nodeid)
{
	struct numbers_question q;
	int err = numbers_ask(op->bridge->numbers, nodeid, &q);

	if (err <= 0)
		return err;
	op->asked_node = q.nodeid;
	op->asked_name = q.key;
	op_ask_raw(op, FUSE_LOOKUP, q.device_dir, q.name, strlen(q.name) + 1,
		   sizeof(struct fuse_entry_out), asked);
	return OP_TAKEN;
}

bool rebuild_ready(struct op *op)
{
	size_t at;
	int err;

	if (!op->bridge->numbers->translates || needs_no_node(op))
		return true;
	err = ask_for(op, op->h.nodeid);
	if (!err && other_node_at(op->h.opcode, &at))
		err = ask_for(op, arg_at(op, at));
	if (err < 0)
		op_end(op, err, NULL, 0);
	return !err;
}

/* ------------------------------------------------------------------ translation */

/* Where the handle of an open file stands; false: nowhere. Those of directories are in dirs.c. */
static bool handle_at(struct op *op, size_t *at)
{
	uint32_t flags;

	*at = 0;
	switch (op->h.opcode) {
	case FUSE_READ:
	case FUSE_WRITE:
	case FUSE_FLUSH:
	case FUSE_FSYNC:
	case FUSE_GETLK:
	case FUSE_SETLK:
	case FUSE_SETLKW:
	case FUSE_POLL:
	case FUSE_FALLOCATE:
	case FUSE_LSEEK:
	case FUSE_COPY_FILE_RANGE:
	case FUSE_OP_COPY_FILE_RANGE_64:
		return true;
	case FUSE_IOCTL:
		memcpy(&flags, op_args(op) + offsetof(struct fuse_ioctl_in, flags), sizeof(flags));
		return !(flags & FUSE_IOCTL_DIR);
	case FUSE_GETATTR:
	case FUSE_OP_STATX:
		memcpy(&flags, op_args(op), sizeof(flags));
		*at = offsetof(struct fuse_getattr_in, fh);
		return flags & FUSE_GETATTR_FH;
	case FUSE_SETATTR:
		memcpy(&flags, op_args(op), sizeof(flags));
		*at = offsetof(struct fuse_setattr_in, fh);
		return flags & FATTR_FH;
	default:
		return false;
	}
}

static int translate_handle(struct op *op, uint64_t nodeid, size_t at)
{
	uint64_t fh;
	int err = handles_device(op->bridge->kept->handles, nodeid, arg_at(op, at), &fh);

	if (!err)
		memcpy(op_args(op) + at, &fh, sizeof(fh));
	return err;
}

static int translate_node(struct op *op, uint64_t nodeid, void *to)
{
	uint64_t device_id = numbers_device(op->bridge->numbers, nodeid);

	memcpy(to, &device_id, sizeof(device_id));
	return device_id ? 0 : -ESTALE;
}

int rebuild_translate(struct op *op)
{
	uint64_t other = 0;
	size_t at;
	int err = 0;

	if (!op->bridge->numbers->translates || !op->h.nodeid)
		return 0;
	if (handle_at(op, &at))
		err = translate_handle(op, op->h.nodeid, at);
	if (!err && other_node_at(op->h.opcode, &at)) {
		other = arg_at(op, at);
		if (op->h.opcode == FUSE_COPY_FILE_RANGE ||
		    op->h.opcode == FUSE_OP_COPY_FILE_RANGE_64)
			err = translate_handle(op, other,
					       offsetof(struct fuse_copy_file_range_in, fh_out));
		if (!err)
			err = translate_node(op, other, op_args(op) + at);
	}
	if (!err)
		err = translate_node(op, op->h.nodeid,
				     op->req->in + offsetof(struct fuse_in_header, nodeid));
	return err;
}
