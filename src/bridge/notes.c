/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/notes: requests that must not be done twice. Our device leaves a note in the answer's
 * buffer before it begins one (AGREE_NOTES in wire/agreement.h). If it dies, the request is held
 * with the note at its end, and the next device finds out from that whether it was done.
 *
 * What is in a note is the device's business.
 *
 * If the driver dies, the note is found by a record of the ledger: it says where in the memory of
 * that driver the device has stored it, or, of a request that is held, has a copy.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/bytes.h"
#include "bridge/rebuild.h"

#define EXT_UNITS (AGREEMENT_EXT_NOTE_BYTES / 8)

/* A record of the ledger: either an op's or, of what is held, in bridge_kept.notes. */
struct kept_note {
	struct ledger_mark mark;
	uint32_t unused;
	uint64_t request;    /* request_id() */
	_Atomic uint64_t at; /* in the driver's memory (fs_memory_fd()); 0: what follows is it */
	struct agreement_note note;
	struct list link; /* of this process */
};

/* NULL also where no other driver follows: a program has the notes of its calls itself. */
static struct kept_note *new_kept(struct op *op)
{
	struct ledger *l = op->bridge->kept->ledger;
	struct kept_note *n = ledger_fd(l) < 0 ? NULL : ledger_new(l, sizeof(*n));

	if (n)
		n->request = request_id(op->h.unique);
	return n;
}

/* That of a request that was held, if there is one. */
static struct kept_note *take_kept(struct bridge_kept *k, uint64_t request)
{
	struct kept_note *found = NULL;

	pthread_mutex_lock(&k->note_lock);
	for (struct list *pos = k->notes.next; pos != &k->notes && !found; pos = pos->next) {
		struct kept_note *n = container_of(pos, struct kept_note, link);

		if (n->request == request)
			found = n;
	}
	if (found)
		list_del(&found->link);
	pthread_mutex_unlock(&k->note_lock);
	return found;
}

static void put_kept(struct bridge_kept *k, struct kept_note *n)
{
	pthread_mutex_lock(&k->note_lock);
	list_push_back(&k->notes, &n->link);
	pthread_mutex_unlock(&k->note_lock);
}

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
	if (brought) {
		read_note(op, op->h.len);
		op->kept_note = take_kept(op->bridge->kept, request_id(op->h.unique));
	}
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
	if (!op->kept_note) {
		op->kept_note = new_kept(op);
		if (!op->kept_note)
			return; /* if the driver dies, too, it may be done twice */
	}
	ledger_set(op->kept_note->at,
		   fs_memory_offset(op->bridge->session, req->out + op->note_at));
	ledger_enter(op->kept_note, RECORD_NOTE);
}

void notes_end(struct op *op)
{
	ledger_remove(op->bridge->kept->ledger, op->kept_note);
	op->kept_note = NULL;
}

static bool is_empty(const struct agreement_note *note)
{
	static const struct agreement_note none;

	return memcmp(note, &none, sizeof(none)) == 0;
}

static void add_note(struct fuse_in_header *h)
{
	h->len += AGREEMENT_EXT_NOTE_BYTES;
	h->total_extlen += (uint16_t)EXT_UNITS;
	h->padding |= AGREEMENT_NOTED;
}

static void write_ext(uint8_t *to, const struct agreement_note *note)
{
	struct fuse_ext_header head = {.size = sizeof(head) + sizeof(*note),
				       .type = AGREEMENT_EXT_NOTE};

	memset(to, 0, AGREEMENT_EXT_NOTE_BYTES);
	memcpy(to, &head, sizeof(head));
	memcpy(to + sizeof(head), note, sizeof(*note));
}

/* A copy for another driver, instead of where it is. */
static void keep_note(struct op *op)
{
	struct kept_note *n = op->kept_note ? op->kept_note : new_kept(op);

	op->kept_note = NULL;
	if (!n)
		return;
	n->note = op->note;
	ledger_set(n->at, 0);
	ledger_enter(n, RECORD_NOTE);
	put_kept(op->bridge->kept, n);
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
	if (!note_in_message(h))
		add_note(h);
	write_ext(ext, &op->note);
	keep_note(op);
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

	write_ext(ext, note);
	bytes_put(message, h->len, ext, sizeof(ext));
	add_note(h);
}

/* ------------------------------------------------------------------ another driver's */

struct loading {
	struct bridge_kept *k;
	const struct records_unanswered *unanswered;
};

static int load(void *ctx, void *record, size_t size)
{
	struct loading *l = ctx;
	struct kept_note *n = record;

	(void)size;
	if (record_unanswered(l->unanswered, n->request))
		put_kept(l->k, n);
	else
		ledger_remove(l->k->ledger, n);
	return 0;
}

int notes_load(struct bridge_kept *k, const struct records_unanswered *unanswered)
{
	struct loading l = {k, unanswered};

	return ledger_each(k->ledger, RECORD_NOTE, sizeof(struct kept_note), load, &l);
}

/* The device may write there no more. It has the file, too, so it is read, not mapped. */
static void copy_note(struct kept_note *n, int fd)
{
	uint64_t at = ledger_get(n->at);

	if (!at)
		return;
	if (fd < 0 || pread(fd, &n->note, sizeof(n->note), (off_t)at) != sizeof(n->note))
		memset(&n->note, 0, sizeof(n->note));
	ledger_set(n->at, 0);
}

/* As notes_hold() would have held it. */
static size_t bring(void *ctx, uint8_t *message, size_t len)
{
	struct bridge_kept *k = ctx;
	struct fuse_in_header h;
	struct kept_note *n;

	memcpy(&h, message, sizeof(h));
	n = h.unique & FUSE_UNIQUE_RESEND_BIT ? take_kept(k, request_id(h.unique)) : NULL;
	if (!n)
		return len;
	if (is_empty(&n->note)) {
		ledger_remove(k->ledger, n);
		return len;
	}
	put_kept(k, n);
	add_note(&h);
	memcpy(message, &h, sizeof(h));
	write_ext(message + len, &n->note);
	return h.len;
}

void notes_bring(struct bridge *b)
{
	struct bridge_kept *k = b->kept;

	if (!k->notes_due)
		return;
	k->notes_due = false;
	for (struct list *pos = k->notes.next; pos != &k->notes; pos = pos->next)
		copy_note(container_of(pos, struct kept_note, link), k->noted_fd);
	if (k->noted_fd >= 0)
		close(k->noted_fd);
	k->noted_fd = -1;
	fuse_held_extend(k->held, AGREEMENT_EXT_NOTE_BYTES, bring, k);
}
