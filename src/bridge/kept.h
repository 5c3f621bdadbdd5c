/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/kept: what outlives a device. A bridge begins and ends with its device; the mount may go
 * on with another one (bridge_leave(), then bridge_open() again), and the kernel must not notice.
 * What it knows of us is here: nodes, open files and directories, locks, what INIT told it, and the
 * requests that were not answered.
 */
#ifndef VFSDAX_BRIDGE_KEPT_H
#define VFSDAX_BRIDGE_KEPT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bridge/bridge.h"
#include "bridge/dirs.h"
#include "bridge/handles.h"
#include "bridge/locks.h"
#include "bridge/node.h"
#include "bridge/numbers.h"
#include "fuse/held.h"
#include "wire/agreement.h"

struct bridge_kept {
	/* A device that fails is followed by another one: what it did not answer is held. */
	atomic_bool goes_on;
	struct node_table *nodes;
	struct numbers numbers;
	struct handles *handles;
	struct dirs *dirs;
	struct locks *locks;
	struct fuse_held *held; /* of a mount; a program holds its calls itself */
	unsigned bridges;	/* how many there have been */
	/* INIT: what the kernel offered, and what it was told. */
	struct fuse_init_in offered;
	struct fuse_init_out told;
	struct fuse_attr root; /* of the first device */
	/* Of a program, whose calls are all its own. */
	unsigned n_own_groups;
	uint32_t own_groups[AGREEMENT_GROUPS_MAX];
	/* The last answers about the root; guarded by the bridge's interrupt_lock, while there is
	 * one. */
	struct fuse_attr root_attr;
	struct fuse_statfs_out root_statfs;
};

#endif
