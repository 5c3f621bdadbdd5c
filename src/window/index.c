/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * index: a table beside an inode's map that finds the range under an offset with two cache misses,
 * its own and the range's, where the map of a million ranges takes six. It may forget, so it needs
 * no order and no chains: what it does not know the map knows, and is then noted. It is never
 * wrong, since a range leaves it with the map.
 *
 * A slot is for a piece of the file of the usual length of the inode's ranges, by the low bits of
 * the piece's number: in a file that is mapped as a whole each range has a slot of its own.
 */
#include <stdlib.h>

#include "base/bytes.h"
#include "window/internal.h"

#define COUNT_MIN 16 /* below it the map is as fast */

static uint32_t name_of(const struct window_range *r)
{
	return (uint32_t)(r - r->inode->w->pool) + 1;
}

/* Puts `to` into each slot of the range that has `from`; 0: any. */
static void replace(struct window_range *r, uint32_t from, uint32_t to)
{
	const struct index *x = &r->inode->index;
	uint64_t len = cover_bytes(r->inode->w, r);
	uint64_t first = r->file_off >> x->shift, n = (r->file_off + len - 1) >> x->shift;

	n = MIN(n - first, (uint64_t)x->mask) + 1;
	for (uint64_t i = first; i < first + n; i++)
		if (!from || x->slot[i & x->mask] == from)
			x->slot[i & x->mask] = to;
}

void index_drop(struct window_inode *inode)
{
	free(inode->index.slot);
	inode->index.slot = NULL;
}

/* For twice as many as there are, empty: look-ups fill it. Without memory there is none. */
static void renew(struct window_inode *inode)
{
	struct index *x = &inode->index;
	size_t len = COUNT_MIN;

	index_drop(inode);
	while (len < inode->map.count * 2)
		len *= 2;
	x->slot = calloc(len, sizeof(*x->slot));
	x->mask = (uint32_t)(len - 1);
	x->shift = inode->w->space.min_shift;
	for (uint64_t each = x->cover / inode->map.count; each > 1; each /= 2)
		x->shift++;
}

void index_add(struct window_range *r)
{
	struct window_inode *inode = r->inode;
	struct index *x = &inode->index;

	x->cover += r->cover;
	if (inode->map.count < COUNT_MIN)
		return;
	if (!x->slot || inode->map.count > x->mask)
		renew(inode);
	if (x->slot)
		replace(r, 0, name_of(r));
}

void index_remove(struct window_range *r)
{
	struct window_inode *inode = r->inode;
	struct index *x = &inode->index;

	x->cover -= r->cover;
	if (!x->slot)
		return;
	if (inode->map.count < x->mask / 16)
		index_drop(inode);
	else
		replace(r, name_of(r), 0);
}

struct window_range *index_miss(struct window_inode *inode, uint64_t file_off)
{
	const struct index *x = &inode->index;
	struct window_range *r = omap_floor(&inode->map, file_off, NULL);

	if (x->slot && r && file_off - r->file_off < cover_bytes(inode->w, r))
		x->slot[file_off >> x->shift & x->mask] = name_of(r);
	return r;
}
