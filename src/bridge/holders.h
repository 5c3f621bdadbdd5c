/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/holders: which nodes have a name, by the name's key. It should be one; but where nobody
 * knows whether a RENAME was done, what it moves and what it replaces have the name both, and what
 * the host has replaced keeps it as long as the kernel knows the node. Each is a guess that is
 * looked at before it is believed, so none may push another one out.
 *
 * Guarded by numbers.lock.
 */
#ifndef VFSDAX_BRIDGE_HOLDERS_H
#define VFSDAX_BRIDGE_HOLDERS_H

#include <stdint.h>

#include "base/omap.h"

/* More than that have lost one. */
#define HOLDERS_MAX 16u

struct holders {
	struct omap first, others;
};

void holders_init(struct holders *h);
void holders_fini(struct holders *h);
/* Without memory the node is not found by it. */
void holders_add(struct holders *h, uint64_t key, uint64_t nodeid);
void holders_remove(struct holders *h, uint64_t key, uint64_t nodeid);
/* How many. */
unsigned holders_get(const struct holders *h, uint64_t key, uint64_t nodeids[HOLDERS_MAX]);

#endif
