/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hiprio: the messages of queue 0 that fs_forget() and fs_interrupt() do not send: whole, cut off
 * and with lies. One at a time, and returned before these return. */
#ifndef VFSDAX_TESTS_FUZZ_DEVICE_STATE_HIPRIO_H
#define VFSDAX_TESTS_FUZZ_DEVICE_STATE_HIPRIO_H

#include "message.h"

struct fs_session;

/* Returns when nothing of fs_forget() and fs_interrupt() is left on the ring. Call it first. */
void hiprio_settle(struct fs_session *session);
/*
 * Some known nodes and some others, when no request is under way. With a count that is a lie, or
 * cut off, what is forgotten is not known: then known.h is not told.
 */
void hiprio_batch_forget(struct fs_session *session, const struct record *r);
void hiprio_interrupt(struct fs_session *session, const struct record *r, uint64_t unique);

#endif
