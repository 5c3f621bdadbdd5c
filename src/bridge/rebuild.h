/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bridge/rebuild: a mount that goes on with another device; see rebuild.c for the order of things.
 */
#ifndef VFSDAX_BRIDGE_REBUILD_H
#define VFSDAX_BRIDGE_REBUILD_H

#include "bridge/internal.h"

/* ------------------------------------------------------------------ hold.c: the last device */

/* It has failed, and what it did not answer is for another one. */
static inline bool bridge_goes_on(struct bridge *b)
{
	return b->kept->goes_on && transport_may_return(b->transport);
}

/* Instead of an answer: the op's request is held. */
bool op_may_hold(const struct op *op);
void op_hold(struct op *op);
/* What was under way may have been done: the names and locks that are kept allow for both. */
void settle_held(struct bridge *b);

/* ------------------------------------------------------------------ rebuild.c: the next one */

/* Before the kernel is served: what it knows, at this device. 0, -EAGAIN: the device failed; or
 * -errno after a log line: it cannot take the place of the last one. */
int rebuild(struct bridge *b);
/* The device has been asked for every node that the op is about: true. Else the op goes on by
 * itself. */
bool rebuild_ready(struct op *op);
/* The op's message is in the kernel's numbers, and goes to the device now. 0, or what its caller
 * gets. */
int rebuild_translate(struct op *op);

/* ------------------------------------------------------------------ notes.c */

/* Before the message is sent. How much of it is a note that it brings from another device; that,
 * and whether the device is to leave one; the room that one takes in the answer; into which it is
 * put when that is laid out. */
size_t note_in_message(const struct fuse_in_header *h);
void notes_begin(struct op *op);
size_t notes_room(struct op *op);
void notes_put(struct op *op);
/* True: the message is held with this at its end, in the place of that which it has, and *h is its
 * header then. */
bool notes_hold(struct op *op, struct fuse_in_header *h, uint8_t ext[AGREEMENT_EXT_NOTE_BYTES]);
/* A program repeats a call: the note goes to the end of the message in w's slot, whose header is
 * *h. */
void note_bring(struct bridge_worker *w, struct fuse_in_header *h,
		const struct agreement_note *note);
/* It has its answer. */
void notes_end(struct op *op);
/* Another driver begins: its notes are in the ledger; 0 or -errno. Then, once the device has
 * nothing of that driver's in hand any more: what is held gets its notes. */
int notes_load(struct bridge_kept *k, const struct records_unanswered *unanswered);
void notes_bring(struct bridge *b);

/* ------------------------------------------------------------------ kept.c: what answers say */

/* The first name in the op's message behind `at` bytes of arguments, and what is behind it; NULL:
 * there is none that could be one. */
const char *op_name(struct op *op, size_t at, size_t *end);
/* entry.c: the name that the op's answer is about; NULL: none, or that of many. */
const char *entry_name(struct op *op);
int finish_remove(struct op *op, uint8_t *payload, size_t len);
int finish_rename(struct op *op, uint8_t *payload, size_t len);
/* The op's RENAME into this directory of the kernel's; `how` as of numbers_rename(). */
void note_rename(struct op *op, uint64_t newdir, unsigned how);
int finish_lock(struct op *op, uint8_t *payload, size_t len);
int finish_flush(struct op *op, uint8_t *payload, size_t len);

#endif
