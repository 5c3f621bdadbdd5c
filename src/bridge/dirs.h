/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bridge/dirs: the kernel's handles of directories, and what the device has for them; see dirs.c.
 */
#ifndef VFSDAX_BRIDGE_DIRS_H
#define VFSDAX_BRIDGE_DIRS_H

#include <stdbool.h>
#include <stdint.h>

#include "bridge/records.h"

struct dirs;

/* Of a request on a directory that was never opened. Of such ones only ends are kept, some. */
#define DIR_NO_ID 0u

struct dir_state {
	bool opened; /* the device has `fh` for it */
	bool ended;  /* no entry follows at offset `end`, the last answer said */
	uint64_t fh, end;
};

/* They are kept in `ledger`; *last, which is 0 at first, is the last handle. NULL: out of memory.
 */
struct dirs *dirs_create(struct ledger *ledger, _Atomic uint64_t *last);
void dirs_destroy(struct dirs *t);

/* A new handle, for the request `by`; 0: out of memory. All others: false, there is no such handle
 * of that node. */
uint64_t dirs_add(struct dirs *t, uint64_t nodeid, const struct dir_state *state, uint64_t by);
bool dirs_look(struct dirs *t, uint64_t id, uint64_t nodeid, struct dir_state *state);
bool dirs_remove(struct dirs *t, uint64_t id, uint64_t nodeid, struct dir_state *state);
/* Or the device has one for it already. */
bool dirs_opened(struct dirs *t, uint64_t id, uint64_t nodeid, uint64_t fh);
void dirs_ended(struct dirs *t, uint64_t id, uint64_t nodeid, uint64_t end);
/* Another device: it has none of them. No other thread is here. */
void dirs_unbind(struct dirs *t);
/* Another driver begins, with what is in the ledger. 0 or -errno. */
int dirs_load(struct dirs *t, const struct records_unanswered *unanswered);
/* Or more may follow at `offset`. What the last answer said is no longer known then. */
bool dirs_take_end(struct dirs *t, uint64_t id, uint64_t nodeid, uint64_t offset);

#endif
