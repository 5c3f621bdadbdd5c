/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/kept: what outlives a device. A bridge begins and ends with its device; the mount may go
 * on with another one (bridge_leave(), then bridge_open() again), and the kernel must not notice.
 * What it knows of us is here: nodes, open files and directories, locks, what INIT told it, and the
 * requests that were not answered. All but the last is also in a memory file, so that a driver may
 * follow another one (bridge_kept_load()).
 */
#ifndef VFSDAX_BRIDGE_KEPT_H
#define VFSDAX_BRIDGE_KEPT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "bridge/bridge.h"
#include "bridge/dirs.h"
#include "bridge/handles.h"
#include "bridge/locks.h"
#include "bridge/node.h"
#include "bridge/numbers.h"
#include "bridge/records.h"
#include "fuse/held.h"
#include "wire/agreement.h"

/* A record of the ledger, which has one. */
struct kept_state {
	struct ledger_mark mark;
	_Atomic uint32_t ready; /* the kernel was told: what follows INIT's is valid */
	_Atomic uint64_t last_node, last_handle, last_dir;
	_Atomic uint64_t takeovers;
	/* INIT: what the kernel offered, and what it was told. */
	struct fuse_init_in offered;
	struct fuse_init_out told;
	struct fuse_attr root; /* of the first device */
	char source[256], tag[40];
};

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
	/* All of the above but `held` is in it, for another driver; see records.h. */
	struct ledger *ledger;
	struct kept_state *state;
	/* notes.c: of what is held. Guarded by note_lock; the ledger's is taken inside. */
	struct list notes;
	pthread_mutex_t note_lock;
	bool notes_due; /* another driver's are to be read, in its memory, if that is there */
	int noted_fd;
	/* Of a program, whose calls are all its own. */
	unsigned n_own_groups;
	uint32_t own_groups[AGREEMENT_GROUPS_MAX];
	/* The last answers about the root; guarded by the bridge's interrupt_lock, while there is
	 * one. */
	struct fuse_attr root_attr;
	struct fuse_statfs_out root_statfs;
};

#endif
