/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * space: which parts of the window are free, as a binary buddy allocator. A block of order k is
 * 2^(min_shift + k) bytes at a multiple of its size. It owns two bits for each smallest block and
 * nothing else; giving a block back therefore cannot fail. The caller's lock guards it.
 */
#ifndef VFSDAX_WINDOW_SPACE_H
#define VFSDAX_WINDOW_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPACE_ORDERS_MAX 44

struct space {
	unsigned min_shift;
	unsigned orders; /* orders 0 .. orders - 1 exist */
	uint64_t free_bytes;
	uint64_t *bits; /* all orders' bitmaps, one allocation */
	struct {
		uint64_t *map; /* bit i: block i of this order is free, and not part of a larger one
				*/
		size_t blocks; /* whole blocks of this order in the window */
		size_t free;   /* bits set */
		size_t first_hint; /* no word before this one has a bit set */
	} order[SPACE_ORDERS_MAX];
};

/* len_bytes is a multiple of the smallest block. -ENOMEM. */
int space_init(struct space *s, uint64_t len_bytes, unsigned min_shift);
void space_fini(struct space *s);

/* The free block of this order at the lowest offset of the best fitting order; false: none. */
bool space_take(struct space *s, unsigned order, uint64_t *win_off);
void space_give(struct space *s, uint64_t win_off, unsigned order);

#endif
