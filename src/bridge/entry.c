/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/entry: what answers give, how references to nodes are noted (open.c: open handles), and
 * how all of it is given back when nobody takes the answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "bridge/passthrough.h"
#include "bridge/rebuild.h"

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
