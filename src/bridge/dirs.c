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
 * With another device, or one that checks rights at OPENDIR, and for a program, only the numbers
 * are ours, so that it can go on with a device that follows; where that cannot be they are the
 * device's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "bridge/dirs.h"
#include "bridge/internal.h"

#define BUCKETS 1024u

/* A record of the ledger. */
struct dir {
	struct ledger_mark mark;
	uint64_t id, nodeid;
	uint64_t by; /* the request that opened it */
	/* Of this process: */
	struct dir *next;
	struct dir_state state;
};

struct dirs {
	pthread_mutex_t lock; /* guards all of it; taken inside nothing, the ledger's inside */
	struct ledger *ledger;
	_Atomic uint64_t *last;
	struct dir *buckets[BUCKETS];
};

/* ------------------------------------------------------------------ the table */

struct dirs *dirs_create(struct ledger *ledger, _Atomic uint64_t *last)
{
	struct dirs *t = calloc(1, sizeof(*t));

	if (t) {
		pthread_mutex_init(&t->lock, NULL);
		t->ledger = ledger;
		t->last = last;
	}
	return t;
}

void dirs_destroy(struct dirs *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < BUCKETS; i++)
		while (t->buckets[i]) {
			struct dir *d = t->buckets[i];

			t->buckets[i] = d->next;
			ledger_remove(t->ledger, d);
		}
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* Called with the lock held: where the pointer to it is, or would be. */
static struct dir **place_of(struct dirs *t, uint64_t id, uint64_t nodeid)
{
	struct dir **at = &t->buckets[hash_u64(id) % BUCKETS];

	while (*at && ((*at)->id != id || (*at)->nodeid != nodeid))
		at = &(*at)->next;
	return at;
}

uint64_t dirs_add(struct dirs *t, uint64_t nodeid, const struct dir_state *state, uint64_t by)
{
	struct dir *d = ledger_new(t->ledger, sizeof(*d));
	uint64_t id;

	if (!d)
		return 0;
	d->nodeid = nodeid;
	d->by = by;
	d->state = *state;
	pthread_mutex_lock(&t->lock);
	d->id = id = ledger_get(*t->last) + 1;
	ledger_set(*t->last, id);
	ledger_enter(d, RECORD_DIR);
	*place_of(t, id, nodeid) = d;
	pthread_mutex_unlock(&t->lock);
	return id;
}

struct loading {
	struct dirs *t;
	const struct records_unanswered *unanswered;
};

static int load(void *ctx, void *record, size_t size)
{
	struct loading *l = ctx;
	struct dir *d = record, **at = place_of(l->t, d->id, d->nodeid);

	(void)size;
	if (*at)
		return -EPROTO;
	d->next = NULL;
	d->state = (struct dir_state){0};
	if (record_unanswered(l->unanswered, d->by))
		ledger_remove(l->t->ledger, d);
	else
		*at = d;
	return 0;
}

int dirs_load(struct dirs *t, const struct records_unanswered *unanswered)
{
	struct loading l = {t, unanswered};

	return ledger_each(t->ledger, RECORD_DIR, sizeof(struct dir), load, &l);
}

bool dirs_look(struct dirs *t, uint64_t id, uint64_t nodeid, struct dir_state *state)
{
	struct dir *d;

	pthread_mutex_lock(&t->lock);
	d = *place_of(t, id, nodeid);
	if (d)
		*state = d->state;
	pthread_mutex_unlock(&t->lock);
	return d;
}

bool dirs_remove(struct dirs *t, uint64_t id, uint64_t nodeid, struct dir_state *state)
{
	struct dir **at, *d;
	bool there;

	pthread_mutex_lock(&t->lock);
	at = place_of(t, id, nodeid);
	d = *at;
	there = d;
	if (d) {
		*at = d->next;
		*state = d->state;
	}
	pthread_mutex_unlock(&t->lock);
	ledger_remove(t->ledger, d);
	return there;
}

bool dirs_opened(struct dirs *t, uint64_t id, uint64_t nodeid, uint64_t fh)
{
	struct dir *d;
	bool first;

	pthread_mutex_lock(&t->lock);
	d = *place_of(t, id, nodeid);
	first = d && !d->state.opened;
	if (first) {
		d->state.opened = true;
		d->state.fh = fh;
	}
	pthread_mutex_unlock(&t->lock);
	return first;
}

void dirs_ended(struct dirs *t, uint64_t id, uint64_t nodeid, uint64_t end)
{
	struct dir *d;

	pthread_mutex_lock(&t->lock);
	d = *place_of(t, id, nodeid);
	if (d) {
		d->state.ended = true;
		d->state.end = end;
	}
	pthread_mutex_unlock(&t->lock);
}

bool dirs_take_end(struct dirs *t, uint64_t id, uint64_t nodeid, uint64_t offset)
{
	struct dir *d;
	bool take;

	pthread_mutex_lock(&t->lock);
	d = *place_of(t, id, nodeid);
	take = d && d->state.ended && d->state.end == offset;
	if (d)
		d->state.ended = false;
	pthread_mutex_unlock(&t->lock);
	return take;
}

void dirs_unbind(struct dirs *t)
{
	for (unsigned i = 0; t && i < BUCKETS; i++)
		for (struct dir *d = t->buckets[i]; d; d = d->next)
			d->state = (struct dir_state){0};
}

/* ------------------------------------------------------------------ OPENDIR, RELEASEDIR */

void dirs_begin(struct bridge *b)
{
	uint32_t agreed = fs_limits(b->session)->agreed;
	struct bridge_kept *k = b->kept;

	/* (who opens a directory in a program is to hear at once that it cannot) */
	b->listing_opens =
		b->pool && agreed & AGREE_LISTING_OPENS && !(agreed & AGREE_CHECK_PERMISSIONS);
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

void start_opendir(struct op *op)
{
	struct bridge *b = op->bridge;
	struct fuse_open_out out = {.open_flags = atomic_load(&b->dir_flags)};

	if (!b->listing_opens || out.open_flags == DIR_FLAGS_UNKNOWN) {
		op_forward(op);
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
	op->dir_id =
		dirs_add(b->dirs, op->h.nodeid, &(struct dir_state){.opened = true, .fh = out->fh},
			 request_id(op->h.unique));
	out->fh = op->dir_id;
	atomic_store(&b->dir_flags, out->open_flags);
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
	if (!err && !dirs_opened(dirs, op->dir_id, op->h.nodeid, out.fh)) {
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

void opened_late(struct op *op, const uint8_t *payload, size_t len)
{
	struct fuse_open_out out;

	if (!op->dir_id || len < sizeof(out))
		return;
	memcpy(&out, payload, sizeof(out));
	release_dir(op, out.fh);
}

static void open_first(struct op *op)
{
	struct fuse_open_in in = {.flags = O_RDONLY | O_DIRECTORY};

	op_ask_as_caller(op, FUSE_OPENDIR, op->h.nodeid, &in, sizeof(in),
			 sizeof(struct fuse_open_out), opened_for_it);
}

void start_on_dir(struct op *op)
{
	struct bridge *b = op->bridge;
	struct dir_state state;

	op->dir_id = b->dirs ? handle_of(op) : 0;
	if (!b->dirs)
		op_forward(op);
	else if (!dirs_look(b->dirs, op->dir_id, op->h.nodeid, &state))
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
	op->lists = b->listing_opens && in.offset == 0 &&
		    dirs_look(b->dirs, in.fh, op->h.nodeid, &state) && !state.opened;
	op->dir_id = in.fh;
	if (op->lists)
		forward_with(op, AGREEMENT_NO_FH);
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
