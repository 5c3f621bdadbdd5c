/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iotlb.h"

#include <errno.h>

#include "base/bytes.h"
#include "wire/vhost_user.h"

void iotlb_init(struct iotlb *t, size_t limit)
{
	*t = (struct iotlb){0};
	extents_init(&t->entries, sizeof(struct iotlb_entry), limit);
}

void iotlb_fini(struct iotlb *t)
{
	extents_fini(&t->entries);
}

void iotlb_flush(struct iotlb *t)
{
	extents_clear(&t->entries);
	t->next_victim = 0;
}

/* The part of an entry from `first` on. */
static struct iotlb_entry tail_of(const struct iotlb_entry *e, uint64_t first)
{
	return (struct iotlb_entry){.x = {.first = first, .last = e->x.last},
				    .user = e->user + (first - e->x.first),
				    .perm = e->perm};
}

void iotlb_remove(struct iotlb *t, uint64_t first, uint64_t last)
{
	size_t at = extents_search(&t->entries, first), end = at;
	struct iotlb_entry *e, above = {0};
	bool has_above = false;

	for (; end < t->entries.n; end++) {
		e = extents_at(&t->entries, end);
		if (e->x.first > last)
			break;
		has_above = e->x.last > last;
		if (has_above)
			above = tail_of(e, last + 1);
		if (e->x.first < first) {
			e->x.last = first - 1;
			at++;
		}
	}
	extents_remove_at(&t->entries, at, end - at);
	/* Without memory or room for the upper part it will be asked for again. */
	if (has_above)
		(void)extents_insert(&t->entries, &above);
}

static bool iotlb_continues(const struct iotlb_entry *a, const struct iotlb_entry *b)
{
	return a->perm == b->perm && a->x.last + 1 == b->x.first &&
	       a->user + extent_len(a->x) == b->user;
}

/* Takes the neighbours that *e continues, or that continue it, out and into *e. */
static void iotlb_merge(struct iotlb *t, struct iotlb_entry *e)
{
	size_t at = extents_search(&t->entries, e->x.first);
	struct iotlb_entry *below = at > 0 ? extents_at(&t->entries, at - 1) : NULL;
	struct iotlb_entry *above = at < t->entries.n ? extents_at(&t->entries, at) : NULL;

	if (above && iotlb_continues(e, above)) {
		e->x.last = above->x.last;
		extents_remove(&t->entries, above);
	}
	if (below && iotlb_continues(below, e)) {
		e->x.first = below->x.first;
		e->user = below->user;
		extents_remove(&t->entries, below);
	}
}

int iotlb_add(struct iotlb *t, uint64_t iova, uint64_t size, uint64_t user, uint8_t perm)
{
	struct iotlb_entry e = {.x = extent_of(iova, size), .user = user, .perm = perm};
	uint64_t end;

	if (!size || !u64_add(iova, size - 1, &end) || !u64_add(user, size - 1, &end))
		return -EINVAL;
	if (!perm || (perm & ~(VHOST_IOTLB_PERM_READ | VHOST_IOTLB_PERM_WRITE)))
		return -EINVAL;
	iotlb_remove(t, e.x.first, e.x.last);
	iotlb_merge(t, &e);
	if (t->entries.n && t->entries.n >= t->entries.limit)
		extents_remove_at(&t->entries, t->next_victim++ % t->entries.n, 1);
	return extents_insert(&t->entries, &e);
}

int iotlb_lookup(const struct iotlb *t, uint64_t iova, uint8_t perm, uint64_t *user,
		 uint64_t *run_bytes)
{
	const struct iotlb_entry *e = extents_find(&t->entries, iova);

	if (!e || (e->perm & perm) != perm)
		return -ENOENT;
	*user = e->user + (iova - e->x.first);
	if (!u64_add(e->x.last - iova, 1, run_bytes))
		*run_bytes = UINT64_MAX;
	return 0;
}
