/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * extent: which part of a file a new range maps. Inode lock throughout.
 *
 * Ranges of one inode never overlap in the file. Each has a number of blocks of order 0 there
 * (window_range.cover), at a multiple of their size, so that a block of order 0 fits around any
 * offset that no range has. Usually that number is its block's, and it begins at a multiple of it;
 * a span begins where it must and ends where the next range does.
 */
#include "base/bytes.h"
#include "window/internal.h"

/* The smallest order whose block holds `bytes`. */
static unsigned order_for(const struct window *w, uint64_t bytes)
{
	unsigned order = 0;

	while (order < w->order_max && block_bytes(w, order) < bytes)
		order++;
	return order;
}

bool follows_setup(const struct window_inode *inode, uint64_t file_off)
{
	return inode->last_end && file_off >= inode->last_end &&
	       file_off - inode->last_end < block_bytes(inode->w, inode->last_order);
}

/*
 * The device's cost is by the mapping, not by the byte, so large is good as long as a block is not
 * filled for one cold page: the base is the size with which the budget of ranges just fills the
 * window. A file that fits well is taken in few pieces, a sequential reader in doubling ones
 * (which is also its map-ahead), a small file in no more than it needs.
 */
static unsigned wanted_order(const struct window_inode *inode, uint64_t file_off, uint64_t map_end)
{
	const struct window *w = inode->w;
	unsigned order = w->order_base;

	if (map_end <= w->len_bytes / 2)
		order = MAX(order, order_for(w, map_end / 16));
	if (follows_setup(inode, file_off))
		order = MAX(order, inode->last_order + 1u);
	order = MIN(order, order_for(w, map_end));
	return MIN(order, w->order_max);
}

/* The largest order up to `order` whose block around file_off touches no other range. */
static unsigned fit_order(struct window_inode *inode, uint64_t file_off, unsigned order)
{
	const struct window *w = inode->w;
	const struct window_range *prev = map_floor(inode, file_off);
	const struct window_range *next = map_ceil(inode, file_off);

	for (; order > 0; order--) {
		uint64_t size = block_bytes(w, order);
		uint64_t start = round_down(file_off, size);

		if (prev &&
		    (prev->file_off >= start || start - prev->file_off < cover_bytes(w, prev)))
			continue;
		if (next && next->file_off - start < size)
			continue;
		break;
	}
	return order;
}

struct file_extent extent_for(struct window_inode *inode, const struct window_range *old,
			      const struct pin_request *q)
{
	const struct window *w = inode->w;
	unsigned order;

	if (old)
		return (struct file_extent){
			.file_off = old->file_off,
			.cover_bytes = cover_bytes(w, old),
			.order = old->order,
			.renew = true,
		};
	order = fit_order(inode, q->file_off, wanted_order(inode, q->file_off, q->map_end));
	return (struct file_extent){
		.file_off = round_down(q->file_off, block_bytes(w, order)),
		.cover_bytes = block_bytes(w, order),
		.order = order,
	};
}

bool extent_for_span(struct window_inode *inode, const struct pin_request *q, struct file_extent *e)
{
	const struct window *w = inode->w;
	uint64_t start = round_down(q->file_off, block_bytes(w, 0));
	uint64_t need = round_up(q->file_off - start + q->len_bytes, block_bytes(w, 0));
	const struct window_range *r = map_first(inode, q->file_off);
	unsigned order = 0;

	/* One range has it all, but will not do. */
	if (r && r->file_off <= start && start - r->file_off < cover_bytes(w, r) &&
	    need <= cover_bytes(w, r) - (start - r->file_off)) {
		*e = extent_for(inode, r, q);
		e->span = true;
		return true;
	}
	while (order + 1 < w->space.orders && block_bytes(w, order) < need)
		order++;
	if (block_bytes(w, order) < need || block_bytes(w, order) > w->len_bytes / 2)
		return false;
	*e = (struct file_extent){
		.file_off = start,
		.cover_bytes = block_bytes(w, order),
		.order = order,
		.span = true,
	};
	/* What is behind it, up to the block's end, is mapped too unless another range has it. */
	r = u64_add(start, need, &start) ? map_ceil(inode, start) : NULL;
	if (r)
		e->cover_bytes = MIN(e->cover_bytes, r->file_off - e->file_off);
	return true;
}

void extent_shrink(const struct window *w, struct file_extent *e, unsigned order, uint64_t file_off)
{
	uint64_t size = block_bytes(w, order), block = round_down(file_off, size);
	uint64_t start = MAX(block, e->file_off);

	e->cover_bytes = MIN(size - (start - block), e->cover_bytes - (start - e->file_off));
	e->file_off = start;
	e->order = order;
}
