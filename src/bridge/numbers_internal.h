/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the kernel's and the device's numbers share: numbers.c (which is which),
 * numbers_names.c (what a node is called), numbers_way.c (how another device is asked for it). */
#ifndef VFSDAX_BRIDGE_NUMBERS_INTERNAL_H
#define VFSDAX_BRIDGE_NUMBERS_INTERNAL_H

#include "base/hash.h"
#include "bridge/node_internal.h"
#include "bridge/numbers.h"

/* A record of the ledger. Guarded by the lock of its node's shard. */
struct node_name {
	struct ledger_mark mark;
	uint32_t part; /* of its key */
	uint64_t nodeid, dir;
	struct node_name *next; /* of this process */
	bool holds;		/* its directory: hold_dir() */
	char name[];
};

uint64_t name_key(uint64_t dir, const char *name);

static inline uint64_t key_of(const struct node_name *name)
{
	return name_key(name->dir, name->name);
}

static inline uint64_t file_key(uint64_t ino, uint64_t generation, uint32_t type)
{
	return hash_pair(ino, hash_pair(generation, type));
}

/* The rest with the lock held. `made` is its node's first name now, or freed: a node that is not
 * kept has none. */
void give_name(struct numbers *u, struct node_name *made);
void take_name(struct numbers *u, uint64_t nodeid, uint64_t key);
/* Its directory need not stay for it any more. */
void release_dir_of(struct numbers *u, const struct node_name *name);

/* Kept as values of an omap: 0 where there is none; put() without memory forgets the node; drop()
 * if it is that. */
uint64_t number_get(const struct omap *m, uint64_t key);
void number_put(struct omap *m, uint64_t key, uint64_t nodeid);
void number_drop(struct omap *m, uint64_t key, uint64_t nodeid);

#endif
