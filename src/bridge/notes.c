/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/notes: requests that must not be done twice. Our device leaves a note in the answer's
 * buffer before it begins one (AGREE_NOTES in wire/agreement.h). If it dies, the request is held
 * with the note at its end, and the next device finds out from that whether it was done.
 *
 * What is in a note is the device's business.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/bytes.h"
#include "bridge/rebuild.h"

#define EXT_UNITS (AGREEMENT_EXT_NOTE_BYTES / 8)

/* Would a second time find something else than the first? */
static bool is_worth_one(struct op *op)
{
	struct fuse_fallocate_in fallocate;
	uint32_t flags;

	switch (op->h.opcode) {
	case FUSE_CREATE:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_SYMLINK:
	case FUSE_LINK:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_REMOVEXATTR:
		return true;
	case FUSE_SETXATTR:
		memcpy(&flags, op_args(op) + offsetof(struct fuse_setxattr_in, flags),
		       sizeof(flags));
		return flags & XATTR_CREATE;
	case FUSE_WRITE:
		return op->open_flags & O_APPEND;
	case FUSE_FALLOCATE:
		memcpy(&fallocate, op_args(op), sizeof(fallocate));
		return fallocate.mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE);
	default:
		return false;
	}
}

static bool is_agreed(const struct op *op)
{
	return op->bridge->kept->goes_on && fs_limits(op->bridge->session)->agreed & AGREE_NOTES;
}

size_t note_in_message(const struct fuse_in_header *h)
{
	return h->padding & AGREEMENT_NOTED ? AGREEMENT_EXT_NOTE_BYTES : 0;
}

size_t notes_room(struct op *op)
{
	return is_agreed(op) && is_worth_one(op) ? AGREEMENT_NOTE_BYTES : 0;
}

/* The message is `len` bytes long, the note at its end; unless notes_begin() has read it already,
 * and cut it off. */
static void read_note(struct op *op, size_t len)
{
	size_t at = len - sizeof(op->note);

	op_take_bytes(op, &at, &op->note, sizeof(op->note));
}

void notes_begin(struct op *op)
{
	size_t brought = note_in_message(&op->h);
	bool wanted = notes_room(op);

	memset(&op->note, 0, sizeof(op->note));
	if (brought)
		read_note(op, op->h.len);
	if (brought && !is_agreed(op)) {
		/* Another make of device: it does it again, for better or worse. */
		op->h.len -= (uint32_t)brought;
		op->h.total_extlen -= (uint16_t)EXT_UNITS;
	}
	op->h.padding &= (uint16_t)~AGREEMENT_NOTED;
	if (wanted)
		op->h.padding |= AGREEMENT_NOTED;
	if (brought || wanted) {
		memcpy(op->req->in, &op->h, sizeof(op->h));
		op_message(op);
	}
}

void notes_put(struct op *op)
{
	struct fs_req *req = op->req;

	if (!(op->h.padding & AGREEMENT_NOTED))
		return;
	op->note_at = req->out_len - AGREEMENT_NOTE_BYTES;
	memcpy(req->out + op->note_at, &op->note, sizeof(op->note));
}

static bool is_empty(const struct agreement_note *note)
{
	static const struct agreement_note none;

	return memcmp(note, &none, sizeof(none)) == 0;
}

/* The extension, and the header of a message that it is put behind. */
static void write_ext(struct fuse_in_header *h, const struct agreement_note *note,
		      uint8_t ext[AGREEMENT_EXT_NOTE_BYTES])
{
	struct fuse_ext_header head = {.size = sizeof(head) + sizeof(*note),
				       .type = AGREEMENT_EXT_NOTE};

	if (!note_in_message(h)) {
		h->len += AGREEMENT_EXT_NOTE_BYTES;
		h->total_extlen += (uint16_t)EXT_UNITS;
		h->padding |= AGREEMENT_NOTED;
	}
	memset(ext, 0, AGREEMENT_EXT_NOTE_BYTES);
	memcpy(ext, &head, sizeof(head));
	memcpy(ext + sizeof(head), note, sizeof(*note));
}

bool notes_hold(struct op *op, struct fuse_in_header *h, uint8_t ext[AGREEMENT_EXT_NOTE_BYTES])
{
	if (op->note_at)
		memcpy(&op->note, op->req->out + op->note_at, sizeof(op->note));
	else if (note_in_message(h))
		read_note(op, op->kept_len);
	else
		return false;
	if (is_empty(&op->note) && !note_in_message(h))
		return false;
	write_ext(h, &op->note, ext);
	return true;
}

void note_bring(struct bridge_worker *w, struct fuse_in_header *h,
		const struct agreement_note *note)
{
	const struct iovec message[2] = {
		{w->slot->in, FS_IN_BYTES},
		{w->payload ? w->payload->va : NULL, FS_PAYLOAD_BYTES},
	};
	uint8_t ext[AGREEMENT_EXT_NOTE_BYTES];
	size_t end = h->len;

	write_ext(h, note, ext);
	bytes_put(message, end, ext, sizeof(ext));
}
