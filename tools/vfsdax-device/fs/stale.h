/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stale: an OPEN of a file that the host has given no name any more. The guest's kernel may believe
 * in a name that is another file's now, or nobody's: it looks again for who gets ESTALE, once, and
 * opens what it finds. So the first OPEN of a thread is refused; the one that follows may open
 *
 *   - what the thread has found by the LOOKUP in between: it had the name meanwhile;
 *   - if there was none, the same file: no name was used (/proc/self/fd).
 */
#ifndef VFSDAX_DEVICE_FS_STALE_H
#define VFSDAX_DEVICE_FS_STALE_H

#include <stdbool.h>
#include <stdint.h>

#define STALE_SLOTS 256u

/* Threads of the guest that were refused last; two in one slot forget each other. */
struct stale {
	struct {
		_Atomic uint64_t thread; /* and when, in milliseconds, below 32 bits; 0: none */
		_Atomic uint64_t nodeid; /* what it may open */
	} told[STALE_SLOTS];
};

/* `thread` opens what has no name: may it? */
bool stale_may_open(struct stale *s, uint32_t thread, uint64_t nodeid);
/* It is answered ESTALE, for this reason or because nothing is left of the file. */
void stale_refused(struct stale *s, uint32_t thread, uint64_t nodeid);
/* `thread` has looked a name up, and found this; or (0) nothing, or has opened something else. */
void stale_found(struct stale *s, uint32_t thread, uint64_t nodeid);

#endif
