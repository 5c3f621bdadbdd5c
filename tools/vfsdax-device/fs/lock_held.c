/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lock_held: the ranges that an owner has, as the kernel keeps them: the last lock of a byte
 * counts, and neighbours of one type are one range. Pure. */
#include "lock_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

/* Of one type and without a gap: one range. */
static bool joins(const struct held *h, const struct lock_wish *wish)
{
	return h->type == wish->type && (h->first == 0 || h->first - 1 <= wish->last) &&
	       (wish->first == 0 || wish->first - 1 <= h->last);
}

static struct held joined(const struct held_list *now, const struct lock_wish *wish)
{
	struct held all = {wish->first, wish->last, wish->type};

	for (unsigned i = 0; i < now->n; i++) {
		const struct held *h = &now->at[i];

		if (!joins(h, wish))
			continue;
		all.first = h->first < all.first ? h->first : all.first;
		all.last = h->last > all.last ? h->last : all.last;
	}
	return all;
}

static void push(struct held_list *list, struct held h)
{
	list->at[list->n++] = h;
}

int held_after(const struct held_list *now, const struct lock_wish *wish, struct held_list *out)
{
	const struct held all = joined(now, wish);

	/* One may be cut in two around the new one. */
	*out = (struct held_list){.at = calloc(now->n + 2, sizeof(*out->at))};
	if (!out->at)
		return -ENOLCK;
	for (unsigned i = 0; i < now->n && now->at[i].first < all.first; i++) {
		struct held h = now->at[i];

		h.last = h.last < all.first ? h.last : all.first - 1;
		push(out, h);
	}
	if (wish->type != F_UNLCK)
		push(out, all);
	for (unsigned i = 0; i < now->n; i++) {
		struct held h = now->at[i];

		if (h.last <= all.last)
			continue;
		h.first = h.first > all.last ? h.first : all.last + 1;
		push(out, h);
	}
	return 0;
}

const struct held *held_against(const struct lock_owner *owner, const struct lock_wish *wish)
{
	for (unsigned i = 0; i < owner->held.n; i++) {
		const struct held *h = &owner->held.at[i];

		if (h->first <= wish->last && wish->first <= h->last &&
		    (h->type == F_WRLCK || wish->type == F_WRLCK))
			return h;
	}
	return NULL;
}
