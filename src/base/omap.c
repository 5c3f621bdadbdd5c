/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/omap.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A node is a header of 16 bytes, the keys and the pointers: 2 KiB. Measured against 31, 62 and
 * 254: the widest whose keys are still in reach of the prefetch in rank(). */
#define FANOUT	  126
#define ROOT_MIN  2  /* a map of one entry costs 48 bytes, not 2 KiB */
#define DEPTH_MAX 12 /* a root splits when it is full: 63^11 entries */

/*
 *   keys[0..n) ascending; slot(i) belongs to keys[i]: in a leaf the value, above it the child whose
 *   smallest key is exactly keys[i]. Only a leaf that is the root has cap < FANOUT. No node is
 * empty.
 */
struct omap_node {
	uint16_t n, cap;
	uint32_t reserved[3];
	uint64_t keys[]; /* cap keys, then cap pointers */
};

static inline void **slots(const struct omap_node *node)
{
	return (void **)(uintptr_t)(node->keys + node->cap);
}

static inline struct omap_node *child(const struct omap_node *node, unsigned i)
{
	return slots(node)[i];
}

static struct omap_node *node_new(unsigned cap)
{
	struct omap_node *node = malloc(sizeof(*node) + cap * (sizeof(uint64_t) + sizeof(void *)));

	if (node) {
		node->n = 0;
		node->cap = (uint16_t)cap;
	}
	return node;
}

/*
 * How many keys are <= key. By a mask, since compilers make a branch of ?:, and one that is taken
 * by chance costs more than the search. All lines of the keys are asked for at once: in a large map
 * the node is not in the cache, and the search would miss three times in turn.
 */
static inline unsigned rank(const struct omap_node *node, uint64_t key)
{
	const uint64_t *base = node->keys;
	unsigned n = node->n;

	if (node->cap == FANOUT)
		for (unsigned at = 64; at < sizeof(*node) + FANOUT * sizeof(uint64_t); at += 64)
			__builtin_prefetch((const char *)node + at);
	while (n > 1) {
		unsigned half = n / 2;

		base += half & -(size_t)(base[half - 1] <= key);
		n -= half;
	}
	return (unsigned)(base - node->keys) + (n && *base <= key);
}

/* Where a key was found or belongs: node[0] is the leaf, node[height] the root. */
struct path {
	struct omap_node *node[DEPTH_MAX];
	unsigned idx[DEPTH_MAX];
};

/* To the leaf that holds the floor of `key`; idx[0] is the number of keys <= key there. */
static void descend(const struct omap *m, uint64_t key, struct path *p)
{
	struct omap_node *node = m->root;

	/* No code: gcc 12 loses sight of which levels are filled below, and warns. */
	__asm__("" : "=m"(*p));
	for (unsigned level = m->height; level > 0; level--) {
		unsigned r = rank(node, key);

		p->node[level] = node;
		p->idx[level] = r ? r - 1 : 0;
		node = child(node, p->idx[level]);
	}
	p->node[0] = node;
	p->idx[0] = rank(node, key);
}

/* The smallest key of the node at `level` changed: say so above it. */
static void update_smallest(const struct omap *m, struct path *p, unsigned level)
{
	for (; level < m->height; level++) {
		struct omap_node *up = p->node[level + 1];
		unsigned i = p->idx[level + 1];

		up->keys[i] = p->node[level]->keys[0];
		if (i)
			return;
	}
}

static void node_insert(struct omap_node *node, unsigned at, uint64_t key, void *slot)
{
	void **s = slots(node);

	memmove(node->keys + at + 1, node->keys + at, (node->n - at) * sizeof(*node->keys));
	memmove(s + at + 1, s + at, (node->n - at) * sizeof(*s));
	node->keys[at] = key;
	s[at] = slot;
	node->n++;
}

static void node_remove(struct omap_node *node, unsigned at)
{
	void **s = slots(node);

	node->n--;
	memmove(node->keys + at, node->keys + at + 1, (node->n - at) * sizeof(*node->keys));
	memmove(s + at, s + at + 1, (node->n - at) * sizeof(*s));
}

/* Moves the entries of `from` behind entry `first` to the end of `to`. */
static void node_move(struct omap_node *to, struct omap_node *from, unsigned first)
{
	unsigned n = from->n - first;

	memcpy(to->keys + to->n, from->keys + first, n * sizeof(*to->keys));
	memcpy(slots(to) + to->n, slots(from) + first, n * sizeof(void *));
	to->n = (uint16_t)(to->n + n);
	from->n = (uint16_t)first;
}

void omap_init(struct omap *m)
{
	*m = (struct omap){0};
}

static void free_below(struct omap_node *node, unsigned level)
{
	if (level)
		for (unsigned i = 0; i < node->n; i++)
			free_below(child(node, i), level - 1);
	free(node);
}

void omap_clear(struct omap *m)
{
	if (m->root)
		free_below(m->root, m->height);
	omap_init(m);
}

/* Room for one more in a root leaf that is not yet a full node. */
static int grow_root_leaf(struct omap *m)
{
	unsigned cap = m->root ? m->root->cap * 2u : ROOT_MIN;
	struct omap_node *bigger = node_new(cap < FANOUT ? cap : FANOUT);

	if (!bigger)
		return -ENOMEM;
	if (m->root)
		node_move(bigger, m->root, 0);
	free(m->root);
	m->root = bigger;
	return 0;
}

/* One new node for each full one on the way up, and one for a new root: all, or none. */
static int alloc_splits(const struct omap *m, const struct path *p, struct omap_node **fresh)
{
	unsigned want = 0;

	while (want <= m->height && p->node[want]->n == FANOUT)
		want++;
	if (want == m->height + 1)
		want++;
	for (unsigned i = 0; i < want; i++) {
		fresh[i] = node_new(FANOUT);
		if (fresh[i])
			continue;
		while (i--)
			free(fresh[i]);
		return -ENOMEM;
	}
	return 0;
}

/*
 * Puts the entry into a full node, whose upper half moves to `right`. An entry that goes to the end
 * takes nothing with it: keys that come in ascending order leave full nodes behind.
 */
static void split_insert(struct omap_node *node, struct omap_node *right, unsigned at, uint64_t key,
			 void *slot)
{
	node_move(right, node, at == node->n ? at : FANOUT / 2);
	if (at <= node->n && right->n)
		node_insert(node, at, key, slot);
	else
		node_insert(right, at - node->n, key, slot);
}

int omap_insert(struct omap *m, uint64_t key, void *value)
{
	struct omap_node *fresh[DEPTH_MAX + 1];
	unsigned nfresh = 0, level = 0;
	struct path p;
	void *slot = value;
	int err;

	assert(value);
	if (!m->root) {
		err = grow_root_leaf(m);
		if (err)
			return err;
	}
	descend(m, key, &p);
	if (p.idx[0] && p.node[0]->keys[p.idx[0] - 1] == key)
		return -EEXIST;
	if (p.node[0]->n == p.node[0]->cap && p.node[0]->cap < FANOUT) {
		err = grow_root_leaf(m);
		if (err)
			return err;
		p.node[0] = m->root;
	}
	err = alloc_splits(m, &p, fresh);
	if (err)
		return err;

	m->count++;
	for (;;) {
		struct omap_node *node = p.node[level], *right;
		unsigned at = level ? p.idx[level] + 1 : p.idx[0];

		if (node->n < FANOUT) {
			node_insert(node, at, key, slot);
			update_smallest(m, &p, level);
			return 0;
		}
		right = fresh[nfresh++];
		split_insert(node, right, at, key, slot);
		update_smallest(m, &p, level);
		key = right->keys[0];
		slot = right;
		if (level++ < m->height)
			continue;
		/* The root was split: one above it. */
		m->root = fresh[nfresh];
		node_insert(m->root, 0, node->keys[0], node);
		node_insert(m->root, 1, key, slot);
		m->height++;
		return 0;
	}
}

/* Joins the nearly empty node at `level` with a neighbour when both fit into one with room left. */
static bool merge(struct path *p, unsigned level)
{
	struct omap_node *up = p->node[level + 1];
	unsigned i = p->idx[level + 1];

	for (int side = 0; side < 2; side++) {
		unsigned left = side ? i - 1 : i;
		struct omap_node *l, *r;

		if (side ? i == 0 : i + 1 >= up->n)
			continue;
		l = child(up, left);
		r = child(up, left + 1);
		if (l->n + r->n > FANOUT * 3 / 4)
			continue;
		node_move(l, r, 0);
		free(r);
		node_remove(up, left + 1);
		return true;
	}
	return false;
}

void *omap_remove(struct omap *m, uint64_t key)
{
	struct path p;
	void *value;
	unsigned at;

	if (!m->root)
		return NULL;
	descend(m, key, &p);
	at = p.idx[0];
	if (!at || p.node[0]->keys[at - 1] != key)
		return NULL;
	value = slots(p.node[0])[at - 1];
	node_remove(p.node[0], at - 1);
	m->count--;

	for (unsigned level = 0; level <= m->height; level++) {
		struct omap_node *node = p.node[level];

		if (level == m->height)
			break;
		if (!node->n) {
			free(node);
			node_remove(p.node[level + 1], p.idx[level + 1]);
			continue;
		}
		update_smallest(m, &p, level);
		if (node->n >= FANOUT / 4 || !merge(&p, level))
			return value;
	}
	/* The root lost an entry. */
	while (m->height && m->root->n == 1) {
		struct omap_node *old = m->root;

		m->root = child(old, 0);
		m->height--;
		free(old);
	}
	if (!m->root->n)
		omap_clear(m);
	return value;
}

void *omap_floor(const struct omap *m, uint64_t key, uint64_t *found)
{
	const struct omap_node *node = m->root;
	unsigned r;

	if (!node)
		return NULL;
	for (unsigned level = m->height; level > 0; level--) {
		r = rank(node, key);
		if (!r)
			return NULL;
		node = child(node, r - 1);
	}
	r = rank(node, key);
	if (!r)
		return NULL;
	if (found)
		*found = node->keys[r - 1];
	return slots(node)[r - 1];
}

void *omap_ceil(const struct omap *m, uint64_t key, uint64_t *found)
{
	struct omap_node *node;
	unsigned level = 0, at;
	struct path p;

	if (!m->root)
		return NULL;
	descend(m, key, &p);
	at = p.idx[0];
	if (at && p.node[0]->keys[at - 1] == key)
		at--;
	node = p.node[0];
	if (at == node->n) {
		/* The next leaf: up until there is a way to the right, then down its left edge. */
		do {
			if (level++ == m->height)
				return NULL;
			node = p.node[level];
			at = p.idx[level] + 1;
		} while (at == node->n);
		for (; level > 0; level--) {
			node = child(node, at);
			at = 0;
		}
	}
	if (found)
		*found = node->keys[at];
	return slots(node)[at];
}
