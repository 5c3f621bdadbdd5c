/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * extents: a sorted array of extents that do not overlap, for what is mapped where: window space,
 * guest memory, I/O virtual addresses. An element is a struct of the caller's that begins with a
 * struct extent; the rest is payload, which is moved with memmove() and never looked at. It knows
 * no locks.
 *
 *     struct mapping { struct extent x; int fd; uint64_t fd_off; };
 *     extents_init(&t, sizeof(struct mapping), 1000);
 *     rc = extents_insert(&t, &(struct mapping){.x = extent_of(off, len), ...});
 *     for (size_t i = 0; i < t.n; i++) { struct mapping *m = extents_at(&t, i); ... }
 *
 * Pointers to elements are valid until the next insertion or removal.
 */
#ifndef VFSDAX_BASE_EXTENTS_H
#define VFSDAX_BASE_EXTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Both ends are inclusive, so that the last byte of a 64-bit space can be named. first <= last. */
struct extent {
	uint64_t first, last;
};

struct extents {
	unsigned char *elements; /* n of element_bytes, by offset */
	size_t element_bytes, n, capacity, limit;
};

/* The caller has checked that it is not empty and does not wrap. */
static inline struct extent extent_of(uint64_t off, uint64_t len_bytes)
{
	return (struct extent){.first = off, .last = off + (len_bytes - 1)};
}

/* 0: all of 2^64. */
static inline uint64_t extent_len(struct extent x)
{
	return x.last - x.first + 1;
}

static inline bool extent_holds(struct extent x, uint64_t off)
{
	return x.first <= off && off <= x.last;
}

/* `limit`: most elements at a time. Takes no memory before the first insertion. */
void extents_init(struct extents *t, size_t element_bytes, size_t limit);
void extents_fini(struct extents *t);
void extents_clear(struct extents *t);

static inline void *extents_at(const struct extents *t, size_t i)
{
	return t->elements + i * t->element_bytes;
}

/* Index of the first element that ends at or behind `off`; t->n: none. */
size_t extents_search(const struct extents *t, uint64_t off);
/* The element that holds `off`; the first one that shares an offset with x; the one that is
 * exactly x. NULL: none. */
void *extents_find(const struct extents *t, uint64_t off);
void *extents_find_overlap(const struct extents *t, struct extent x);
void *extents_find_exact(const struct extents *t, struct extent x);

/* Makes sure that the next insertion needs no memory. -ENOMEM; -ENOSPC: the limit. */
int extents_reserve(struct extents *t);
/* Inserts a copy of the element. -EEXIST: it overlaps another; or as extents_reserve(). */
int extents_insert(struct extents *t, const void *element);

/* Removes `count` elements from index `i` on. */
void extents_remove_at(struct extents *t, size_t i, size_t count);
/* Removes the element that a function above returned. */
void extents_remove(struct extents *t, void *element);

#endif
