/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * omap: an ordered map from 64-bit keys to pointers, as a B+tree. It owns its nodes and nothing
 * that the pointers point at. Not thread-safe: the owner's lock guards it.
 *
 * A tree of intervals that never overlap is this map with an interval's start as the key: the only
 * interval that can contain x is the one that omap_floor(x) finds. Why not an intrusive balanced
 * tree: at 10^6 entries that is twenty cache misses in turn, this is three nodes.
 */
#ifndef VFSDAX_BASE_OMAP_H
#define VFSDAX_BASE_OMAP_H

#include <stddef.h>
#include <stdint.h>

struct omap_node;

struct omap {
	struct omap_node *root; /* NULL while empty */
	unsigned height;	/* inner levels above the leaves */
	size_t count;
};

void omap_init(struct omap *m);
/* Frees the nodes; the map is empty and usable afterwards. */
void omap_clear(struct omap *m);

/* 0, -EEXIST or -ENOMEM; a failure changes nothing. `value` is not NULL. */
int omap_insert(struct omap *m, uint64_t key, void *value);
/* The value that was there, or NULL. Never fails for want of memory. */
void *omap_remove(struct omap *m, uint64_t key);

/* The entry with the greatest key <= `key`, the smallest key >= `key`; NULL when there is none.
 * `found` (may be NULL) receives its key. */
void *omap_floor(const struct omap *m, uint64_t key, uint64_t *found);
void *omap_ceil(const struct omap *m, uint64_t key, uint64_t *found);

#endif
