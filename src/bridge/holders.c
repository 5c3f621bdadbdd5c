/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bridge/holders.h"

#include "base/hash.h"

_Static_assert(sizeof(void *) == sizeof(uint64_t), "numbers are kept as values of an omap");

/* The first stands below the name's key, the i-th of the others below a hash of key and i. */
static const struct omap *place(const struct holders *h, uint64_t key, unsigned i, uint64_t *at)
{
	*at = i ? hash_pair(key, i) : key;
	return i ? &h->others : &h->first;
}

static uint64_t get(const struct holders *h, uint64_t key, unsigned i)
{
	uint64_t at, found;
	const struct omap *m = place(h, key, i, &at);
	void *v = omap_floor(m, at, &found);

	return v && found == at ? (uint64_t)(uintptr_t)v : 0;
}

/* 0: none. */
static void set(struct holders *h, uint64_t key, unsigned i, uint64_t nodeid)
{
	uint64_t at;
	struct omap *m = i ? &h->others : &h->first;

	place(h, key, i, &at);
	omap_remove(m, at);
	if (nodeid)
		omap_insert(m, at, (void *)(uintptr_t)nodeid);
}

void holders_init(struct holders *h)
{
	omap_init(&h->first);
	omap_init(&h->others);
}

void holders_fini(struct holders *h)
{
	omap_clear(&h->first);
	omap_clear(&h->others);
}

unsigned holders_get(const struct holders *h, uint64_t key, uint64_t nodeids[HOLDERS_MAX])
{
	unsigned n = 0;

	while (n < HOLDERS_MAX && (nodeids[n] = get(h, key, n)))
		n++;
	return n;
}

void holders_add(struct holders *h, uint64_t key, uint64_t nodeid)
{
	uint64_t have[HOLDERS_MAX];
	unsigned n = holders_get(h, key, have);

	for (unsigned i = 0; i < n; i++)
		if (have[i] == nodeid)
			return;
	set(h, key, n < HOLDERS_MAX ? n : HOLDERS_MAX - 1, nodeid);
}

void holders_remove(struct holders *h, uint64_t key, uint64_t nodeid)
{
	uint64_t have[HOLDERS_MAX];
	unsigned n = holders_get(h, key, have);

	for (unsigned i = 0; i < n; i++) {
		if (have[i] != nodeid)
			continue;
		set(h, key, i, have[n - 1]);
		set(h, key, n - 1, 0);
		return;
	}
}
