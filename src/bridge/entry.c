/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/entry: what answers give (references to nodes, open handles), how it is noted, and how it
 * is given back when nobody takes the answer.
 */
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

#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

#define TIDY_MS	       1000
#define TIDY_ANSWER_MS 10 /* while an answer is under way that nobody else may collect */

/* ------------------------------------------------------------------ nodes */

struct node *note_entry(struct op *op, struct fuse_entry_out *entry, const char *name, int *err)
{
	struct bridge *b = op->bridge;
	uint64_t device_id = entry->nodeid;
	struct node_view view;
	struct node *node;

	*err = 0;
	if (!device_id)
		return NULL;
	node = numbers_lookup(b->numbers, entry, request_id(op->h.unique));
	if (!node) {
		fs_forget(b->session, device_id, 1);
		*err = -ENOMEM;
		return NULL;
	}
	if (name)
		numbers_name(b->numbers, node, op->h.nodeid, name, &entry->attr, entry->generation,
			     request_id(op->h.unique));
	if (fs_limits(b->session)->agreed & AGREE_BIRTH)
		entry->generation = 0; /* between the device and us */
	note_attr(op, node, &entry->attr);
	node_look(b->nodes, node, &view);
	if (view.mtime_late || view.written_beside || may_lose_bits(entry->attr.mode)) {
		/* The times in this answer are old: let the kernel ask with GETATTR, which mends
		 * them first (start_times). */
		entry->attr_valid = 0;
		entry->attr_valid_nsec = 0;
	}
	return node;
}

const char *entry_name(struct op *op)
{
	size_t end;

	switch (op->h.opcode) {
	case FUSE_LOOKUP:
	case FUSE_SYMLINK:
		return op_name(op, 0, &end);
	case FUSE_MKNOD:
		return op_name(op, sizeof(struct fuse_mknod_in), &end);
	case FUSE_MKDIR:
		return op_name(op, sizeof(struct fuse_mkdir_in), &end);
	case FUSE_LINK:
		return op_name(op, sizeof(struct fuse_link_in), &end);
	case FUSE_CREATE:
		return op_name(op, sizeof(struct fuse_create_in), &end);
	default:
		return NULL;
	}
}

int finish_entry(struct op *op, uint8_t *payload, size_t len)
{
	struct fuse_entry_out *out = (struct fuse_entry_out *)payload;
	int err;

	if (len < sizeof(*out))
		return -EIO;
	note_entry(op, out, entry_name(op), &err);
	if (!err)
		op->given_nodeid = out->nodeid;
	return err;
}

static size_t entry_size(uint32_t namelen)
{
	return FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + (size_t)namelen);
}

static bool is_dots(const char *name, uint32_t namelen)
{
	return namelen <= 2 && memcmp(name, "..", namelen) == 0;
}

/* The next whole entry that carries a reference ("." and ".." do not), or NULL; moves *at on.
 * What the kernel would not parse ends the walk, so it is not counted either. */
static struct fuse_direntplus *next_entry(uint8_t *payload, size_t len, size_t *at)
{
	while (len - *at >= FUSE_NAME_OFFSET_DIRENTPLUS) {
		struct fuse_direntplus *e = (struct fuse_direntplus *)(payload + *at);
		uint32_t namelen = e->dirent.namelen;
		size_t size = entry_size(namelen);

		if (!namelen || size > len - *at)
			return NULL;
		*at += size;
		if (!is_dots(e->dirent.name, namelen))
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
		char name[NUMBERS_NAME_MAX + 1];
		size_t n = MIN(e->dirent.namelen, sizeof(name) - 1);

		memcpy(name, e->dirent.name, n);
		name[n] = '\0';
		note_entry(op, &e->entry_out, name, &err);
		if (err)
			memset(&e->entry_out, 0, sizeof(e->entry_out));
	}
	return 0;
}

/* ------------------------------------------------------------------ handles */

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
	if (node)
		node_note_opened(b->nodes, node, open_writes(op->open_flags));
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

/* ------------------------------------------------------------------ giving back */

/* The last step: the node's count may fall to 0, and the node be gone. */
static void give_node_back(struct op *op, int err)
{
	(void)err;
	if (op->given_nodeid)
		forget_lookups(op->here, op->given_nodeid, 1);
	op_free(op);
}

static uint32_t release_opcode(const struct op *op)
{
	return op->h.opcode == FUSE_OPENDIR ? FUSE_RELEASEDIR : FUSE_RELEASE;
}

static void release_returned(struct fs_req *req, void *ctx, int err)
{
	(void)err;
	if (req->state != FS_REQ_LATE)
		fs_req_put(req, ctx);
}

/* The op's own slot is the device's: this goes out in another one, and nobody waits for it. Without
 * a free one it is not sent: the host keeps a file open, or a lock, until the unmount. */
static void send_apart(struct op *op, uint32_t opcode, uint64_t device_id, const void *arg,
		       uint32_t len)
{
	struct fs_req *req = fs_req_get(op->req->channel, 0);

	if (!req)
		return;
	fs_req_header(req, opcode, device_id, len);
	memcpy(req->in + sizeof(struct fuse_in_header), arg, len);
	req->out_len = sizeof(struct fuse_out_header);
	req->done = release_returned;
	if (fs_req_submit(req))
		fs_req_put(req, op->here);
	else
		fs_channel_flush(op->req->channel);
}

void release_apart(struct op *op, uint32_t opcode, uint64_t device_id, uint64_t fh)
{
	struct fuse_release_in in = {.fh = fh, .flags = op->open_flags};

	send_apart(op, opcode, device_id, &in, sizeof(in));
}

static void give_dirplus_back(struct op *op, uint8_t *payload, size_t len)
{
	struct fuse_direntplus *e;
	size_t at = 0;

	while ((e = next_entry(payload, len, &at)))
		if (e->entry_out.nodeid)
			forget_lookups(op->here, e->entry_out.nodeid, 1);
}

void give_back(struct op *op, const void *payload, size_t len)
{
	uint64_t nodeid = op->given_nodeid ? op->given_nodeid : op->h.nodeid;
	struct fuse_release_in in = {.fh = op->given_fh, .flags = op->open_flags};

	if (op->h.opcode == FUSE_OPENDIR)
		dir_not_wanted(op);
	if (payload && op->route->payload == PAYLOAD_DIRPLUS)
		give_dirplus_back(op, (uint8_t *)payload, len);
	if (!op->given_open) {
		give_node_back(op, 0);
		return;
	}
	op->given_open = false;
	if (op->h.opcode != FUSE_OPENDIR)
		handles_drop(op->bridge->kept->handles, nodeid, op->given_number);
	note_released(op, nodeid, in.flags);
	if (op->req->state == FS_REQ_OWNED) {
		op_ask(op, release_opcode(op), nodeid, &in, sizeof(in), 0, give_node_back);
		return;
	}
	release_apart(op, release_opcode(op), numbers_device(op->bridge->numbers, nodeid), in.fh);
	give_node_back(op, 0);
}

/* Nothing of the answer was noted: the FORGETs go straight to the device. */
static void forget_late(struct op *op, uint64_t nodeid)
{
	if (nodeid)
		fs_forget(op->bridge->session, nodeid, 1);
}

static void forget_dirplus_late(struct op *op, size_t len)
{
	const uint8_t *payload = op_device_payload(op);
	struct fuse_direntplus e;
	size_t at = listing_late(op, payload, len);

	/* One entry after the other is copied, and the copy checked: see next_entry(). */
	while (len - at >= FUSE_NAME_OFFSET_DIRENTPLUS) {
		size_t size;

		memcpy(&e, payload + at, FUSE_NAME_OFFSET_DIRENTPLUS);
		size = entry_size(e.dirent.namelen);
		if (!e.dirent.namelen || size > len - at)
			return;
		if (!is_dots((const char *)payload + at + FUSE_NAME_OFFSET_DIRENTPLUS,
			     e.dirent.namelen))
			forget_late(op, e.entry_out.nodeid);
		at += size;
	}
}

/* A lock that nobody waits for any more. */
static void unlock_late(struct op *op)
{
	struct fuse_lk_in in;

	memcpy(&in, op_args(op), sizeof(in));
	in.lk.type = F_UNLCK;
	send_apart(op, FUSE_SETLK, numbers_device(op->bridge->numbers, op->h.nodeid), &in,
		   sizeof(in));
}

void give_back_late(struct op *op)
{
	struct fs_req *req = op->req;
	size_t len = req->answer.len - sizeof(req->answer);
	const uint8_t *payload = op_device_payload(op);
	struct fuse_entry_out entry = {.nodeid = op->h.nodeid};
	struct fuse_open_out open;

	passthrough_discard(op);
	if (req->answer.error)
		return;
	if (req->in_off) { /* what it did on behalf of another request (op_ask) */
		opened_late(op, payload, len);
		return;
	}
	switch (op->route->payload) {
	case PAYLOAD_ENTRY:
	case PAYLOAD_CREATE:
		if (len < sizeof(entry))
			return;
		memcpy(&entry, payload, sizeof(entry));
		if (op->route->payload == PAYLOAD_CREATE && len >= sizeof(entry) + sizeof(open)) {
			memcpy(&open, payload + sizeof(entry), sizeof(open));
			release_apart(op, FUSE_RELEASE, entry.nodeid, open.fh);
		}
		forget_late(op, entry.nodeid);
		return;
	case PAYLOAD_OPEN:
		if (len < sizeof(open))
			return;
		memcpy(&open, payload, sizeof(open));
		release_apart(op, release_opcode(op),
			      numbers_device(op->bridge->numbers, op->h.nodeid), open.fh);
		return;
	case PAYLOAD_DIRPLUS:
		forget_dirplus_late(op, len);
		return;
	default:
		listing_late(op, payload, len);
		if (op->h.opcode == FUSE_SETLKW || op->h.opcode == FUSE_SETLK)
			unlock_late(op);
		return;
	}
}
