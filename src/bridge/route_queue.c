/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/route_queue: requests that the device answers. They go out from the buffer they were read
 * into; the answer goes to the kernel from the buffer it was written into, unless the bridge looks
 * at it: then it is copied first, for the device could change it under us.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/log.h"
#include "bridge/internal.h"

#ifndef FALLOC_FL_WRITE_ZEROES
#define FALLOC_FL_WRITE_ZEROES 0x80 /* Linux 6.17 */
#endif
#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif
#define FOPEN_PASSTHROUGH_BIT (1u << 7)

static void undo_dirplus(struct op *op, uint8_t *payload, size_t len);
static void forget_dirplus(struct op *op, size_t len);

/* ------------------------------------------------------------------ the end of a request */

void op_drop(struct op *op)
{
	op_unblock(op);
	fs_req_put(op->req);
}

void op_reply_error(struct op *op, int err)
{
	answer_error(op, err);
	op_drop(op);
}

/* The last step: the node's count may fall to 0, and the node be gone. */
static void undo_lookup(struct op *op)
{
	struct bridge *b = op->bridge;

	if (op->undo_nodeid)
		bridge_forget(b, op->undo_nodeid, 1);
	op_drop(op);
}

static void undo_done(struct fs_req *req, int err)
{
	(void)err;
	undo_lookup(req->user);
}

/*
 * The kernel does not want the answer: the caller was killed, or the request timed out before the
 * device answered. What the answer gave is given back: an open file, a reference to a node. The
 * request's own slot carries the RELEASE.
 */
static void undo(struct op *op)
{
	op_unblock(op);
	if (op->undo_open)
		proof_undo_open(op);
	if (op->undo_open && op->req->state == FS_REQ_OWNED) {
		struct fuse_release_in in = {.fh = op->undo_fh, .flags = op->open_flags};
		bool dir = op->h.opcode == FUSE_OPENDIR;

		fs_req_header(op->req, dir ? FUSE_RELEASEDIR : FUSE_RELEASE,
			      op->undo_nodeid ? op->undo_nodeid : op->h.nodeid, sizeof(in));
		memcpy(op_args(op), &in, sizeof(in));
		op->req->out_len = sizeof(struct fuse_out_header);
		op->req->in_big_len = op->req->out_big_len = 0;
		op_submit(op, undo_done);
		return;
	}
	undo_lookup(op);
}

static void op_replied(struct op *op, int err)
{
	if (err == -ENOENT)
		undo(op);
	else
		op_drop(op);
}

void op_reply_payload(struct op *op, const void *payload, size_t len)
{
	op_replied(op, answer_payload(op, payload, len));
}

/* ------------------------------------------------------------------ down to the ring */

static void op_late(struct fs_req *req);

void op_submit(struct op *op, void (*done)(struct fs_req *req, int err))
{
	struct fs_channel *ch = op->req->channel;

	op->req->done = done;
	/* Said before it goes out: the device may answer while the time-out is being told. */
	op->req->late = done == op_answered ? op_late : NULL;
	fs_req_submit(op->req);
	/* A worker flushes its own channel before it waits. */
	if (!bridge_self || bridge_self->channel != ch)
		fs_channel_flush(ch);
}

/* Room for the answer: in the slot if it fits, else its data in the big buffer. */
static int plan_answer(struct op *op)
{
	const struct route *route = op->route;
	struct fs_req *req = op->req;
	uint64_t room = route->reply_max;

	if (route->size_at >= 0) {
		uint32_t size;

		memcpy(&size, op_args(op) + route->size_at, sizeof(size));
		room += size;
	}
	req->out_len = sizeof(struct fuse_out_header);
	/* The kernel's data has its header in front of it, so it is not in the slot. */
	if (req->out_len + room <= FS_OUT_BYTES && (route->payload != PAYLOAD_READ || op->call)) {
		req->out_len += (uint32_t)room;
		return 0;
	}
	if (req->in_big_len || !req->big)
		return -EIO; /* a request and an answer that are both long: there is none such */
	req->out_big_off = DATA_AT + op->head_len;
	req->out_big_len = (uint32_t)MIN(room, (uint64_t)FS_BIG_BYTES - req->out_big_off);
	return 0;
}

void op_forward(struct op *op)
{
	int err = plan_answer(op);

	if (err) {
		op_reply_error(op, err);
		return;
	}
	/* Big buffers are few. A request that needs none may take as long as it likes. */
	if (!op->req->in_big_len && !op->req->out_big_len &&
	    (op->route->payload != PAYLOAD_READ || op->call)) {
		fs_big_put(op->req->channel, op->req->big);
		op->req->big = NULL;
	}
	tally_add(&bridge_tally(op->bridge)->queue_requests[MIN(op->h.opcode, OPCODES_COUNTED - 1u)],
		  1);
	measure_sent(op);
	op_submit(op, op_answered);
}

/* What op_block() was refused for, as the caller sees it. */
static int block_error(int err)
{
	return err == -ETXTBSY ? -EBUSY : fs_caller_error(err);
}

static void op_forward_after(struct op *op, int err)
{
	if (err)
		op_reply_error(op, block_error(err));
	else
		op_forward(op);
}

/* ------------------------------------------------------------------ up to the kernel */

static uint8_t *device_payload(struct op *op)
{
	struct fs_req *req = op->req;

	return req->out_big_len ? req->big->va + req->out_big_off
				: req->out + sizeof(struct fuse_out_header);
}

static void release_done(struct fs_req *req, int err)
{
	(void)err;
	fs_req_put(req);
}

/* The op's own slot is still the device's for a moment: the RELEASE goes out in another one. */
static void release_late(struct op *op, uint64_t nodeid, uint64_t fh)
{
	struct fuse_release_in in = {.fh = fh, .flags = op->open_flags};
	struct fs_req *req = fs_req_get(op->req->channel, 0);

	if (!req)
		return; /* the host keeps one file open until the unmount */
	fs_req_header(req, op->h.opcode == FUSE_OPENDIR ? FUSE_RELEASEDIR : FUSE_RELEASE, nodeid,
		      sizeof(in));
	memcpy(req->in + sizeof(struct fuse_in_header), &in, sizeof(in));
	req->out_len = sizeof(struct fuse_out_header);
	req->done = release_done;
	fs_req_submit(req);
	fs_channel_flush(req->channel);
}

/* An abandoned LOOKUP, OPEN or READDIRPLUS was answered after all. The kernel will never FORGET or
 * RELEASE what it gave, and the node table has not counted it. */
static void op_late(struct fs_req *req)
{
	struct op *op = req->user;
	struct fs_session *session = op->bridge->session;
	size_t len = req->answer.len - sizeof(req->answer);
	uint64_t nodeid = op->h.nodeid;
	struct fuse_entry_out entry;
	struct fuse_open_out open;

	if (req->answer.error)
		return;
	switch (op->route->payload) {
	case PAYLOAD_ENTRY:
	case PAYLOAD_CREATE:
		if (len < sizeof(entry))
			return;
		memcpy(&entry, device_payload(op), sizeof(entry));
		nodeid = entry.nodeid;
		if (op->route->payload == PAYLOAD_CREATE && len >= sizeof(entry) + sizeof(open)) {
			memcpy(&open, device_payload(op) + sizeof(entry), sizeof(open));
			release_late(op, nodeid, open.fh);
		}
		if (nodeid)
			fs_forget(session, nodeid, 1);
		return;
	case PAYLOAD_OPEN:
		if (len < sizeof(open))
			return;
		memcpy(&open, device_payload(op), sizeof(open));
		release_late(op, nodeid, open.fh);
		return;
	case PAYLOAD_DIRPLUS:
		forget_dirplus(op, len);
		return;
	default:
		return;
	}
}

/* A program has its data where it wants it. */
static size_t take_data(struct op *op, size_t len)
{
	len = MIN(len, op->arg_len - op->head_len);
	memcpy(answer_data_at(op) + op->head_len, device_payload(op), len);
	return len;
}

void op_answered(struct fs_req *req, int err)
{
	struct op *op = req->user;
	const struct route *route = op->route;
	uint8_t *copy;
	size_t len;

	if (err) {
		op_reply_error(op, fs_caller_error(err));
		return;
	}
	if (req->answer.error) {
		op_reply_error(op, req->answer.error);
		return;
	}
	measure_answered(op);
	len = req->answer.len - sizeof(struct fuse_out_header);
	if (!route->finish) {
		op_reply_payload(op, device_payload(op), len);
		return;
	}
	if (route->payload == PAYLOAD_READ) {
		/* File data is not looked at; the header in front of it is written anew. */
		if (op->call)
			len = take_data(op, len);
		route->finish(op, NULL, len);
		op_replied(op, answer_data(op, op->head_len + len));
		return;
	}
	copy = bridge_self ? bridge_self->scratch : op->bridge->scratch;
	memcpy(copy, device_payload(op), len);
	err = route->finish(op, copy, len);
	if (err == OP_TAKEN)
		return;
	if (err < 0) {
		op_reply_error(op, err);
		return;
	}
	err = answer_payload(op, copy, len);
	if (err == -ENOENT && route->payload == PAYLOAD_DIRPLUS)
		undo_dirplus(op, copy, len);
	op_replied(op, err);
}

/* ------------------------------------------------------------------ what answers say */

/* The device has taken the DAX mark away: what is mapped goes, and nothing comes in any more. Nobody
 * waits for it; it is a wish, not a danger. */
static void leave_window(struct bridge *b, struct node *node)
{
	struct window_inode *inode = node_window(b->nodes, node, b->window);

	if (!inode)
		return;
	window_block(inode, 0, UINT64_MAX, NULL);
	window_unblock(inode);
}

/* Notes the attributes and hides from the kernel what is between the device and us. */
static void note_attr(struct op *op, struct node *node, struct fuse_attr *attr)
{
	struct bridge *b = op->bridge;
	bool dax = b->window && (!b->per_inode_dax || attr->flags & FUSE_ATTR_DAX);

	if (attr->flags & FUSE_ATTR_DAX && !atomic_load_explicit(&b->dax_seen, memory_order_relaxed))
		atomic_store(&b->dax_seen, true);
	attr->flags &= ~(uint32_t)(FUSE_ATTR_DAX | FUSE_ATTR_SUBMOUNT);
	if (!node)
		return;
	if (node_note_attr(b->nodes, node, attr, dax, op->size_clock))
		leave_window(b, node);
	if (atomic_load_explicit(&b->n_holds, memory_order_relaxed))
		holds_note_size(b, node);
}

void op_note_attr(struct op *op, struct fuse_attr *attr)
{
	note_attr(op, node_find(op->bridge->nodes, op->h.nodeid), attr);
}

/* A write clears these bits without a word to the kernel, which would show them until the attributes
 * are too old: so of such a file they are too old at once. */
static bool may_lose_bits(uint32_t mode)
{
	return S_ISREG(mode) && mode & (S_ISUID | S_ISGID);
}

int finish_attr(struct op *op, uint8_t *payload, size_t len)
{
	struct fuse_attr_out *out = (struct fuse_attr_out *)payload;
	struct bridge *b = op->bridge;

	if (len < sizeof(*out))
		return -EIO;
	if (may_lose_bits(out->attr.mode))
		out->attr_valid = out->attr_valid_nsec = 0;
	if (op->blocked) {
		/* Our own truncation: its answer is the truth. */
		struct node *node = op->node;

		op_unblock(op);
		op->size_clock = atomic_load(&b->size_clock);
		note_attr(op, node, &out->attr);
		return 0;
	}
	note_attr(op, node_find(b->nodes, op->h.nodeid), &out->attr);
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
	if (may_lose_bits(out->mode))
		out->attr_valid = out->attr_valid_nsec = 0;
	return 0;
}

/* Counts a lookup. NULL for a negative entry, or when memory ran out (*err is set then). */
static struct node *note_entry(struct op *op, struct fuse_entry_out *entry, int *err)
{
	struct bridge *b = op->bridge;
	struct node_view view;
	struct node *node;

	*err = 0;
	if (!entry->nodeid)
		return NULL;
	node = node_lookup(b->nodes, entry->nodeid);
	if (!node) {
		fs_forget(b->session, entry->nodeid, 1);
		*err = -ENOMEM;
		return NULL;
	}
	note_attr(op, node, &entry->attr);
	node_look(b->nodes, node, &view);
	if (view.mtime_late || may_lose_bits(entry->attr.mode)) {
		/* The times in this answer are old: let the kernel ask with GETATTR, which mends
		 * them first (start_times). */
		entry->attr_valid = 0;
		entry->attr_valid_nsec = 0;
	}
	return node;
}

int finish_entry(struct op *op, uint8_t *payload, size_t len)
{
	struct fuse_entry_out *out = (struct fuse_entry_out *)payload;
	int err;

	if (len < sizeof(*out))
		return -EIO;
	note_entry(op, out, &err);
	if (!err)
		op->undo_nodeid = out->nodeid;
	return err;
}

/* How the kernel is to treat the open file's data. */
static void note_open(struct op *op, struct node *node, struct fuse_open_out *out)
{
	struct bridge *b = op->bridge;
	struct node_view view = {0};
	bool direct_mmap = b->kernel_flags & FUSE_DIRECT_IO_ALLOW_MMAP;

	op->undo_open = true;
	op->undo_fh = out->fh;
	out->open_flags &= ~FOPEN_PASSTHROUGH_BIT;
	if (node)
		node_look(b->nodes, node, &view);
	if (view.wanted && b->window)
		node_window(b->nodes, node, b->window);
	if (!S_ISREG(view.mode))
		return;
	if (b->params.cache == BRIDGE_CACHE_ALWAYS) {
		out->open_flags &= ~(uint32_t)FOPEN_DIRECT_IO;
		out->open_flags |= FOPEN_KEEP_CACHE;
	} else if (b->params.cache == BRIDGE_CACHE_NONE || (view.wanted && direct_mmap)) {
		/* What the window holds need not lie in the page cache a second time. */
		out->open_flags &= ~(uint32_t)FOPEN_KEEP_CACHE;
		out->open_flags |= FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
	}
}

int finish_open(struct op *op, uint8_t *payload, size_t len)
{
	struct fuse_open_out *out = (struct fuse_open_out *)payload;
	struct bridge *b = op->bridge;

	if (len < sizeof(*out))
		return -EIO;
	if (op->blocked)
		op_unblock(op);
	note_open(op, op->h.opcode == FUSE_OPEN ? node_find(b->nodes, op->h.nodeid) : NULL, out);
	return 0;
}

int finish_read(struct op *op, uint8_t *payload, size_t len)
{
	struct bridge *b = op->bridge;
	struct node *node = len ? node_find(b->nodes, op->h.nodeid) : NULL;

	(void)payload;
	tally_add(&bridge_tally(b)->queue_read_bytes, len);
	if (node && op->size_clock == atomic_load(&b->size_clock))
		node_note_reach(b->nodes, node, op->arg_off + op->head_len + len);
	return 0;
}

int finish_write(struct op *op, uint8_t *payload, size_t len)
{
	struct fuse_write_out *out = (struct fuse_write_out *)payload;
	struct bridge *b = op->bridge;
	struct node *node = node_find(b->nodes, op->h.nodeid);
	uint64_t end;

	if (len < sizeof(*out) || out->size > op->arg_len)
		return -EIO;
	tally_add(&bridge_tally(b)->queue_write_bytes, out->size);
	if (node && out->size) {
		node_privs_cleared(b->nodes, node, op->kills_suid, op->privs_clock);
		/* As with a read: a truncation that ended meanwhile may have come after it. */
		if (!(op->open_flags & O_APPEND) && u64_add(op->arg_off, out->size, &end) &&
		    op->size_clock == atomic_load(&b->size_clock))
			node_note_reach(b->nodes, node, end);
	}
	return 0;
}

/* The next whole entry that carries a reference ("." and ".." do not), or NULL; moves *at on.
 * What the kernel would not parse ends the walk, so it is not counted either. */
static struct fuse_direntplus *next_entry(uint8_t *payload, size_t len, size_t *at)
{
	while (len - *at >= FUSE_NAME_OFFSET_DIRENTPLUS) {
		struct fuse_direntplus *e = (struct fuse_direntplus *)(payload + *at);
		uint32_t namelen = e->dirent.namelen;
		size_t size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + (size_t)namelen);

		if (!namelen || size > len - *at)
			return NULL;
		*at += size;
		if (!(namelen <= 2 && memcmp(e->dirent.name, "..", namelen) == 0))
			return e;
	}
	return NULL;
}

int finish_dirplus(struct op *op, uint8_t *payload, size_t len)
{
	struct fuse_direntplus *e;
	size_t at = 0;
	int err;

	while ((e = next_entry(payload, len, &at))) {
		note_entry(op, &e->entry_out, &err);
		if (err)
			memset(&e->entry_out, 0, sizeof(e->entry_out));
	}
	return 0;
}

static void undo_dirplus(struct op *op, uint8_t *payload, size_t len)
{
	struct bridge *b = op->bridge;
	struct fuse_direntplus *e;
	size_t at = 0;

	while ((e = next_entry(payload, len, &at)))
		if (e->entry_out.nodeid)
			bridge_forget(b, e->entry_out.nodeid, 1);
}

/* The same for an answer that nothing was noted of. */
static void forget_dirplus(struct op *op, size_t len)
{
	uint8_t *copy = bridge_self ? bridge_self->scratch : op->bridge->scratch;
	struct fuse_direntplus *e;
	size_t at = 0;

	memcpy(copy, device_payload(op), len);
	while ((e = next_entry(copy, len, &at)))
		if (e->entry_out.nodeid)
			fs_forget(op->bridge->session, e->entry_out.nodeid, 1);
}

/* ------------------------------------------------------------------ requests with a twist */

void start_forward(struct op *op)
{
	op_forward(op);
}

void start_refuse(struct op *op)
{
	op_reply_error(op, -ENOSYS);
}

void start_drop(struct op *op)
{
	op_drop(op);
}

void start_interrupt(struct op *op)
{
	struct fuse_interrupt_in in;

	memcpy(&in, op_args(op), sizeof(in));
	/* Only a wait for a lock can be called off; the device ends it with EINTR. */
	fs_interrupt(op->bridge->session, in.unique);
	op_drop(op);
}

void start_forget(struct op *op)
{
	struct bridge *b = op->bridge;

	if (op->h.opcode == FUSE_FORGET) {
		struct fuse_forget_in in;

		memcpy(&in, op_args(op), sizeof(in));
		bridge_forget(b, op->h.nodeid, in.nlookup);
	} else {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one;
		size_t room = op->req->in_len - sizeof(op->h) - sizeof(in);

		memcpy(&in, op_args(op), sizeof(in));
		/* The kernel makes a batch as long as the read buffer: the rest is in `big`. */
		for (uint32_t i = 0; i < in.count; i++) {
			size_t at = (size_t)i * sizeof(one);

			if (at + sizeof(one) <= room)
				memcpy(&one, op_args(op) + sizeof(in) + at, sizeof(one));
			else if (at >= room && at - room + sizeof(one) <= op->req->in_big_len)
				memcpy(&one, op->req->big->va + (at - room), sizeof(one));
			else if (at < room && at + sizeof(one) - room <= op->req->in_big_len) {
				size_t first = room - at;

				memcpy(&one, op_args(op) + sizeof(in) + at, first);
				memcpy((uint8_t *)&one + first, op->req->big->va, sizeof(one) - first);
			} else {
				break;
			}
			bridge_forget(b, one.nodeid, one.nlookup);
		}
	}
	op_drop(op);
}

void start_lock_wait(struct op *op)
{
	if (!fs_channel_may_wait(op->req->channel)) {
		op_reply_error(op, -ENOLCK);
		return;
	}
	op->req->untimed = true;
	op_forward(op);
}

void start_setxattr(struct op *op)
{
	struct bridge *b = op->bridge;
	struct node *node = node_find(b->nodes, op->h.nodeid);

	/* It may be security.capability, which the next write must clear. */
	if (node)
		node_privs_changed(b->nodes, node);
	op_forward(op);
}

/* Again: a write that the host made before this may be answered only now. */
int finish_setxattr(struct op *op, uint8_t *payload, size_t len)
{
	struct bridge *b = op->bridge;
	struct node *node = node_find(b->nodes, op->h.nodeid);

	(void)payload;
	(void)len;
	if (node)
		node_privs_changed(b->nodes, node);
	return 0;
}

void start_open(struct op *op)
{
	struct bridge *b = op->bridge;
	struct node *node = node_find(b->nodes, op->h.nodeid);
	struct fuse_open_in in;

	memcpy(&in, op_args(op), sizeof(in));
	op->open_flags = in.flags;
	if (in.flags & O_TRUNC && node && b->window)
		op_block(op, node, 0, 0, op_forward_after);
	else
		op_forward(op);
}

/* ---- CREATE with O_TRUNC. The file may exist, have another name, and be in the window under a
 * nodeid that only the answer tells. So it is opened without O_TRUNC, and truncated afterwards the
 * way every truncation goes. */

static void create_truncated(struct fs_req *req, int err)
{
	struct op *op = req->user;
	struct fuse_entry_out *entry = (struct fuse_entry_out *)op->saved;
	struct fuse_attr_out attr;

	if (!err && !req->answer.error && req->answer.len >= sizeof(req->answer) + sizeof(attr)) {
		memcpy(&attr, req->out + sizeof(req->answer), sizeof(attr));
		entry->attr = attr.attr;
		finish_attr(op, (uint8_t *)&attr, sizeof(attr));
		entry->attr.flags = 0;
	} else {
		err = err ? fs_caller_error(err) : req->answer.error ? req->answer.error : -EIO;
		answer_error(op, err);
		undo(op);
		return;
	}
	op_unblock(op);
	op_reply_payload(op, op->saved, sizeof(op->saved));
}

static void create_truncate(struct op *op, int err)
{
	struct fuse_setattr_in in = {
		.valid = FATTR_SIZE | FATTR_FH,
		.fh = op->undo_fh,
	};
	struct fuse_in_header *h = (struct fuse_in_header *)op->req->in;

	if (err) {
		answer_error(op, block_error(err));
		undo(op);
		return;
	}
	fs_req_header(op->req, FUSE_SETATTR, op->undo_nodeid, sizeof(in));
	h->uid = op->h.uid;
	h->gid = op->h.gid;
	h->pid = op->h.pid;
	memcpy(op_args(op), &in, sizeof(in));
	op->req->in_big_len = op->req->out_big_len = 0;
	op->req->out_len = sizeof(struct fuse_out_header) + sizeof(struct fuse_attr_out);
	op_submit(op, create_truncated);
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
	op_forward(op);
}

int finish_create(struct op *op, uint8_t *payload, size_t len)
{
	struct fuse_entry_out *entry = (struct fuse_entry_out *)payload;
	struct fuse_open_out *open = (struct fuse_open_out *)(payload + sizeof(*entry));
	struct bridge *b = op->bridge;
	struct node *node;
	int err;

	if (len < sizeof(op->saved))
		return -EIO;
	node = note_entry(op, entry, &err);
	if (!node)
		return err ? err : -EIO;
	op->undo_nodeid = entry->nodeid;
	note_open(op, node, open);
	if (!(op->open_flags & O_TRUNC) || !b->window || entry->attr.size == 0)
		return 0;
	memcpy(op->saved, payload, sizeof(op->saved));
	op_block(op, node, 0, 0, create_truncate);
	return OP_TAKEN;
}

/* ---- Times. A store into the window moves st_mtime on the host only when it dirties a clean page,
 * so the driver moves it itself, before anything that could see it or ends the file's use. */

static void times_set(struct fs_req *req, int err)
{
	struct op *op = req->user;
	uint8_t *original = req->in + FS_IN_BYTES / 2;

	(void)err; /* the file may be read-only by now, or gone: the request itself will tell */
	if (req->state != FS_REQ_OWNED) {
		struct node *node = node_find(op->bridge->nodes, op->h.nodeid);

		/* Timed out: the slot is still the device's, nothing can be sent from it. */
		if (node)
			node_set_mtime_late(op->bridge->nodes, node);
		op_reply_error(op, fs_caller_error(-ETIMEDOUT));
		return;
	}
	memcpy(req->in, original, op->h.len);
	req->in_len = op->h.len;
	op->resume(op, 0);
}

/* Sets the times of the op's node if the window was written, then goes on with `next`. */
static void op_set_times(struct op *op, void (*next)(struct op *op, int err))
{
	struct bridge *b = op->bridge;
	struct node *node = b->window ? node_find(b->nodes, op->h.nodeid) : NULL;
	struct fuse_setattr_in in = {.valid = FATTR_MTIME | FATTR_MTIME_NOW};
	struct fs_req *req = op->req;

	if (!node || op->h.len > FS_IN_BYTES / 2 || !node_take_mtime_late(b->nodes, node)) {
		next(op, 0);
		return;
	}
	tally_add(&bridge_tally(b)->mtime_updates, 1);
	memcpy(req->in + FS_IN_BYTES / 2, req->in, op->h.len);
	fs_req_header(req, FUSE_SETATTR, op->h.nodeid, sizeof(in));
	memcpy(op_args(op), &in, sizeof(in));
	req->out_len = sizeof(struct fuse_out_header) + sizeof(struct fuse_attr_out);
	op->resume = next;
	op_submit(op, times_set);
}

void start_times(struct op *op)
{
	op_set_times(op, op_forward_after);
}

static void setattr_go(struct op *op, int err)
{
	struct bridge *b = op->bridge;
	struct node *node = node_find(b->nodes, op->h.nodeid);
	struct fuse_setattr_in in;

	(void)err;
	memcpy(&in, op_args(op), sizeof(in));
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
	moves = in.mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE);
	if (node && b->window &&
	    (moves || in.mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_WRITE_ZEROES)))
		op_block(op, node, in.offset, moves ? in.offset : UINT64_MAX, op_forward_after);
	else
		op_forward(op);
}

/* ---- COPY_FILE_RANGE. The request is of the file that is read; the one that is written may get
 * other pages (a reflink), so its ranges leave meanwhile. */

void start_copy(struct op *op)
{
	struct bridge *b = op->bridge;
	struct fuse_copy_file_range_in in;
	struct node *to;

	memcpy(&in, op_args(op), sizeof(in));
	to = b->window ? node_find(b->nodes, in.nodeid_out) : NULL;
	op->arg_off = in.off_out;
	op->arg_len = in.len;
	if (to)
		op_block(op, to, in.off_out, UINT64_MAX, op_forward_after);
	else
		op_forward(op);
}

int finish_copy(struct op *op, uint8_t *payload, size_t len)
{
	struct bridge *b = op->bridge;
	struct node *to = op->blocked ? op->node : NULL;
	uint64_t copied = 0, end;

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
	/* Ours was the only truncation that has ended since: the file reaches to where we wrote. */
	if (copied && atomic_load(&b->size_clock) == op->size_clock + 1 &&
	    u64_add(op->arg_off, copied, &end))
		node_note_reach(b->nodes, to, end);
	return 0;
}
