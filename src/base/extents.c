/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/extents.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define CAPACITY_FIRST 64

void extents_init(struct extents *t, size_t element_bytes, size_t limit)
{
	*t = (struct extents){.element_bytes = element_bytes, .limit = limit};
}

void extents_fini(struct extents *t)
{
	free(t->elements);
	extents_init(t, t->element_bytes, t->limit);
}

void extents_clear(struct extents *t)
{
	t->n = 0;
}

size_t extents_search(const struct extents *t, uint64_t off)
{
	size_t low = 0, high = t->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct extent *x = extents_at(t, mid);

		if (x->last < off)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

void *extents_find(const struct extents *t, uint64_t off)
{
	return extents_find_overlap(t, (struct extent){off, off});
}

void *extents_find_overlap(const struct extents *t, struct extent x)
{
	size_t i = extents_search(t, x.first);
	struct extent *found = i < t->n ? extents_at(t, i) : NULL;

	return found && found->first <= x.last ? found : NULL;
}

void *extents_find_exact(const struct extents *t, struct extent x)
{
	struct extent *found = extents_find_overlap(t, x);

	return found && found->first == x.first && found->last == x.last ? found : NULL;
}

int extents_reserve(struct extents *t)
{
	size_t capacity = t->capacity ? 2 * t->capacity : CAPACITY_FIRST;
	unsigned char *grown;

	if (t->n >= t->limit)
		return -ENOSPC;
	if (t->n < t->capacity)
		return 0;
	capacity = MIN(capacity, t->limit);
	grown = reallocarray(t->elements, capacity, t->element_bytes);
	if (!grown)
		return -ENOMEM;
	t->elements = grown;
	t->capacity = capacity;
	return 0;
}

int extents_insert(struct extents *t, const void *element)
{
	const struct extent *x = element;
	size_t i = extents_search(t, x->first);
	unsigned char *at;
	int rc;

	if (extents_find_overlap(t, *x))
		return -EEXIST;
	rc = extents_reserve(t);
	if (rc)
		return rc;
	at = extents_at(t, i);
	memmove(at + t->element_bytes, at, (t->n - i) * t->element_bytes);
	memcpy(at, element, t->element_bytes);
	t->n++;
	return 0;
}

void extents_remove_at(struct extents *t, size_t i, size_t count)
{
	unsigned char *at;

	if (!count)
		return;
	at = extents_at(t, i);
	memmove(at, at + count * t->element_bytes, (t->n - i - count) * t->element_bytes);
	t->n -= count;
}

void extents_remove(struct extents *t, void *element)
{
	extents_remove_at(t, (size_t)((unsigned char *)element - t->elements) / t->element_bytes,
			  1);
}
