/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/records: what is in the ledger of a mount, for the next driver if this one dies. Each kind
 * of record belongs to one file, which has it in its own table at the same time.
 */
#ifndef VFSDAX_BRIDGE_RECORDS_H
#define VFSDAX_BRIDGE_RECORDS_H

#include "base/ledger.h"
#include "wire/fuse.h"

/* Of all that follows, and of the structures in the records. */
#define RECORDS_VERSION 1u

enum record_kind {
	RECORD_STATE = 1, /* kept.h: one */
	RECORD_NODE,	  /* node_internal.h */
	RECORD_NAME,	  /* numbers.c */
	RECORD_HANDLE,	  /* handles.c */
	RECORD_DIR,	  /* dirs.c */
	RECORD_LOCK,	  /* locks.c */
	RECORD_NOTE,	  /* notes.c */
	RECORD_BACKING,	  /* backing.h */
};

/*
 * What a driver has given in an answer that it has not sent, when it died, the kernel does not
 * have. So a record of what was given has the request's id, and when records are read again this
 * says of which requests there was no answer.
 */
struct records_unanswered {
	bool (*is_one)(void *ctx, uint64_t request);
	void *ctx;
};

/* A request's id, which stays the same when it is sent again. */
static inline uint64_t request_id(uint64_t unique)
{
	return unique & ~FUSE_UNIQUE_RESEND_BIT;
}

static inline bool record_unanswered(const struct records_unanswered *u, uint64_t request)
{
	return u->is_one(u->ctx, request);
}

#endif
