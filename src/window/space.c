/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "window/space.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"

static inline bool bit_test(const struct space *s, unsigned k, size_t i)
{
	return s->order[k].map[i / 64] >> (i % 64) & 1;
}

static void bit_set(struct space *s, unsigned k, size_t i)
{
	assert(!bit_test(s, k, i));
	s->order[k].map[i / 64] |= UINT64_C(1) << (i % 64);
	s->order[k].free++;
	s->order[k].first_hint = MIN(s->order[k].first_hint, i / 64);
}

static void bit_clear(struct space *s, unsigned k, size_t i)
{
	assert(bit_test(s, k, i));
	s->order[k].map[i / 64] &= ~(UINT64_C(1) << (i % 64));
	s->order[k].free--;
}

static size_t bit_first(struct space *s, unsigned k)
{
	size_t w = s->order[k].first_hint;

	assert(s->order[k].free);
	while (!s->order[k].map[w])
		w++;
	s->order[k].first_hint = w;
	return w * 64 + (size_t)__builtin_ctzll(s->order[k].map[w]);
}

int space_init(struct space *s, uint64_t len_bytes, unsigned min_shift)
{
	size_t words = 0, left = (size_t)(len_bytes >> min_shift), at = 0;

	*s = (struct space){.min_shift = min_shift};
	for (unsigned k = 0; k < SPACE_ORDERS_MAX && left >> k; k++) {
		s->order[k].blocks = left >> k;
		words += (s->order[k].blocks + 63) / 64;
		s->orders++;
	}
	s->bits = calloc(words ? words : 1, sizeof(*s->bits));
	if (!s->bits)
		return -ENOMEM;
	words = 0;
	for (unsigned k = 0; k < s->orders; k++) {
		s->order[k].map = s->bits + words;
		words += (s->order[k].blocks + 63) / 64;
	}
	/* A window that is not a power of two is a row of ever smaller blocks. */
	for (unsigned k = s->orders; k-- > 0;) {
		if (at >> k >= s->order[k].blocks)
			continue;
		bit_set(s, k, at >> k);
		at += (size_t)1 << k;
	}
	assert(at == left);
	s->free_bytes = len_bytes;
	return 0;
}

void space_fini(struct space *s)
{
	free(s->bits);
	*s = (struct space){0};
}

bool space_take(struct space *s, unsigned order, uint64_t *win_off)
{
	unsigned k = order;
	size_t i;

	while (k < s->orders && !s->order[k].free)
		k++;
	if (k >= s->orders)
		return false;
	i = bit_first(s, k);
	bit_clear(s, k, i);
	/* Halve it until it fits; the upper halves stay free. */
	for (; k > order; k--) {
		i *= 2;
		bit_set(s, k - 1, i + 1);
	}
	*win_off = (uint64_t)i << (order + s->min_shift);
	s->free_bytes -= UINT64_C(1) << (order + s->min_shift);
	return true;
}

void space_give(struct space *s, uint64_t win_off, unsigned order)
{
	unsigned k = order;
	size_t i = (size_t)(win_off >> (order + s->min_shift));

	assert(i < s->order[k].blocks);
	while (k + 1 < s->orders && i / 2 < s->order[k + 1].blocks && bit_test(s, k, i ^ 1)) {
		bit_clear(s, k, i ^ 1);
		i /= 2;
		k++;
	}
	bit_set(s, k, i);
	s->free_bytes += UINT64_C(1) << (order + s->min_shift);
}
