/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy: how much is mapped at once, and when not to ask again. It takes no lock and no
 * memory; everything it looks at is the inode's, under the caller's inode lock.
 */
#include "base/bytes.h"
#include "base/clock.h"
#include "window/internal.h"

#define REFUSAL_FIRST_NS NS_PER_S
#define REFUSAL_LAST_NS	 (64 * NS_PER_S)

/*
 * A set-up anew is two round trips to the device. A log that grows by a line at a time would pay
 * them for each line read; its last pages are cheaper through the queue until they are many.
 */
bool policy_regrow(const struct window_range *r, uint64_t new_len_bytes)
{
	uint64_t grown = new_len_bytes - r->len_bytes;

	return grown >= MAX(r->len_bytes / 8, 64 * KIB);
}

/* The smallest order whose block holds `bytes`. */
static unsigned order_for(const struct window *w, uint64_t bytes)
{
	unsigned order = 0;

	while (order < w->order_max && block_bytes(w, order) < bytes)
		order++;
	return order;
}

static bool follows_setup(const struct window_inode *inode, uint64_t file_off)
{
	return inode->last_end && file_off >= inode->last_end &&
	       file_off - inode->last_end < block_bytes(inode->w, inode->last_order);
}

bool policy_sequential(const struct window_inode *inode, uint64_t file_off, uint64_t len_bytes)
{
	return file_off == inode->miss_end ||
	       (follows_setup(inode, file_off) &&
		file_off - inode->last_end < 2 * MIN(len_bytes, MIB));
}

/*
 * The device's cost is by the mapping, not by the byte, so large is good as long as a block is not
 * filled for one cold page: the base is the size with which the budget of ranges just fills the
 * window. A file that fits well is taken in few pieces, a sequential reader in doubling ones
 * (which is also its map-ahead), a small file in no more than it needs.
 */
unsigned policy_order(const struct window_inode *inode, uint64_t file_off, uint64_t map_end)
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

void policy_mapped(struct window_inode *inode, const struct window_range *r)
{
	inode->last_order = r->order;
	/* Wraps to 0, "none", for the last block of all. */
	inode->last_end = r->file_off + block_bytes(inode->w, r->order);
}

bool policy_refused(const struct window_inode *inode, uint64_t file_size, bool write)
{
	const struct refusal *r = &inode->refusal[write];

	return r->until_ns && r->file_size == file_size && clock_now_ns() < r->until_ns;
}

void policy_refuse(struct window_inode *inode, uint64_t file_size, bool write)
{
	struct refusal *r = &inode->refusal[write];

	r->backoff_ns = r->backoff_ns ? MIN(2 * r->backoff_ns, REFUSAL_LAST_NS) : REFUSAL_FIRST_NS;
	r->file_size = file_size;
	r->until_ns = clock_now_ns() + r->backoff_ns;
}

void policy_accept(struct window_inode *inode, bool write)
{
	inode->refusal[write] = (struct refusal){0};
}
