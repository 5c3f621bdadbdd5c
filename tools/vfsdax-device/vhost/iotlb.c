/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iotlb.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "wire/vhost_user.h"

void iotlb_init(struct iotlb *t, size_t limit)
{
	*t = (struct iotlb){.limit = limit};
}

void iotlb_fini(struct iotlb *t)
{
	free(t->entries);
	iotlb_init(t, t->limit);
}

void iotlb_flush(struct iotlb *t)
{
	t->n = 0;
	t->hand = 0;
}

/* Index of the first entry that ends at or after `iova`; n when there is none. */
static size_t find(const struct iotlb *t, uint64_t iova)
{
	size_t low = 0, high = t->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (t->entries[mid].last < iova)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void delete_at(struct iotlb *t, size_t at, size_t count)
{
	if (!count)
		return;
	memmove(&t->entries[at], &t->entries[at + count],
		(t->n - at - count) * sizeof(t->entries[0]));
	t->n -= count;
}

static int reserve_one(struct iotlb *t)
{
	struct iotlb_entry *grown;
	size_t capacity = t->capacity ? t->capacity * 2 : 64;

	if (t->n < t->capacity)
		return 0;
	grown = realloc(t->entries, capacity * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	t->entries = grown;
	t->capacity = capacity;
	return 0;
}

/* The caller has made room with reserve_one(). */
static void insert_at(struct iotlb *t, size_t at, struct iotlb_entry e)
{
	memmove(&t->entries[at + 1], &t->entries[at], (t->n - at) * sizeof(t->entries[0]));
	t->entries[at] = e;
	t->n++;
}

void iotlb_remove(struct iotlb *t, uint64_t first, uint64_t last)
{
	size_t at = find(t, first), end;

	if (at < t->n && t->entries[at].first < first) {
		struct iotlb_entry *e = &t->entries[at];
		struct iotlb_entry above = {.first = last + 1,
					    .last = e->last,
					    .user = e->user + (last - e->first) + 1,
					    .perm = e->perm};
		bool has_above = e->last > last;

		e->last = first - 1;
		at++;
		if (has_above) {
			/* No memory, or no room, for the upper piece: it will be asked for again. */
			if (t->n < t->limit && reserve_one(t) == 0)
				insert_at(t, at, above);
			return;
		}
	}
	for (end = at; end < t->n && t->entries[end].last <= last; end++)
		;
	delete_at(t, at, end - at);
	if (at < t->n && t->entries[at].first <= last) {
		t->entries[at].user += last - t->entries[at].first + 1;
		t->entries[at].first = last + 1;
	}
}

static bool continues(const struct iotlb_entry *a, const struct iotlb_entry *b)
{
	return a->perm == b->perm && a->last + 1 == b->first &&
	       a->user + (a->last - a->first) + 1 == b->user;
}

int iotlb_add(struct iotlb *t, uint64_t iova, uint64_t size, uint64_t user, uint8_t perm)
{
	struct iotlb_entry e = {.first = iova, .user = user, .perm = perm};
	uint64_t user_last;
	size_t at;

	if (!size || !u64_add(iova, size - 1, &e.last) || !u64_add(user, size - 1, &user_last))
		return -EINVAL;
	if (!perm || (perm & ~(VHOST_IOTLB_PERM_READ | VHOST_IOTLB_PERM_WRITE)))
		return -EINVAL;
	iotlb_remove(t, e.first, e.last);
	at = find(t, e.first);
	if (at > 0 && continues(&t->entries[at - 1], &e)) {
		e.first = t->entries[at - 1].first;
		e.user = t->entries[at - 1].user;
		delete_at(t, --at, 1);
	}
	if (at < t->n && continues(&e, &t->entries[at])) {
		e.last = t->entries[at].last;
		delete_at(t, at, 1);
	}
	if (t->n && t->n >= t->limit) {
		delete_at(t, t->hand % t->n, 1);
		t->hand++;
		at = find(t, e.first);
	}
	if (reserve_one(t))
		return -ENOMEM;
	insert_at(t, at, e);
	return 0;
}

int iotlb_lookup(const struct iotlb *t, uint64_t iova, uint8_t perm, uint64_t *user,
		 uint64_t *run_bytes)
{
	size_t at = find(t, iova);
	const struct iotlb_entry *e;

	if (at == t->n)
		return -ENOENT;
	e = &t->entries[at];
	if (e->first > iova || (e->perm & perm) != perm)
		return -ENOENT;
	*user = e->user + (iova - e->first);
	if (!u64_add(e->last - iova, 1, run_bytes))
		*run_bytes = UINT64_MAX;
	return 0;
}
