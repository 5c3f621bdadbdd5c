/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/locks: the locks that the device has granted to the kernel's owners, so that another
 * device can be asked for them. An owner has each byte of a file once: what comes later counts.
 */
#ifndef VFSDAX_BRIDGE_LOCKS_H
#define VFSDAX_BRIDGE_LOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "bridge/records.h"

struct locks;

/* They are kept in `ledger`. */
int locks_create(struct ledger *ledger, struct locks **out);
void locks_destroy(struct locks *l);

/* A SETLK or SETLKW of this node has succeeded, also one that unlocks; `fh` is the kernel's number.
 * Any thread. */
void locks_note(struct locks *l, uint64_t nodeid, const struct fuse_lk_in *in);
/* The same, but only where the owner has a lock. */
void locks_change(struct locks *l, uint64_t nodeid, const struct fuse_lk_in *in);
/* What a FLUSH (of ranges) or a RELEASE (of flock(2)) has ended. */
void locks_end(struct locks *l, uint64_t nodeid, uint64_t owner, bool flock);
unsigned locks_count(struct locks *l);

/* Each of them, in some order, while no other thread is here. What `again` does not return 0 for is
 * lost, unless it is `fatal`, which ends it and is returned. */
int locks_again(struct locks *l, int fatal,
		int (*again)(void *ctx, uint64_t nodeid, const struct fuse_lk_in *in), void *ctx);

/* Another driver begins, with what is in the ledger; each is told to has(). 0 or -errno. */
int locks_load(struct locks *l, void (*has)(void *ctx, uint64_t nodeid), void *ctx);

#endif
