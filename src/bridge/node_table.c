/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bridge/node_table: which nodes there are. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "bridge/node_internal.h"

int node_table_create(struct node_table **out)
{
	struct node_table *t = aligned_alloc(64, round_up(sizeof(*t), 64));

	if (!t)
		return -ENOMEM;
	t->ended = NULL;
	t->ledger = NULL;
	t->backings_lost = NULL;
	atomic_init(&t->fuse_fd, -1);
	atomic_init(&t->n_backings, 0);
	for (int i = 0; i < SHARDS; i++) {
		struct shard *s = &t->shards[i];

		pthread_mutex_init(&s->lock, NULL);
		s->n_buckets = 16;
		s->n_nodes = 0;
		s->buckets = calloc(s->n_buckets, sizeof(*s->buckets));
		if (!s->buckets) {
			while (i-- > 0)
				free(t->shards[i].buckets);
			free(t);
			return -ENOMEM;
		}
	}
	*out = t;
	return 0;
}

void node_table_destroy(struct node_table *t)
{
	if (!t)
		return;
	for (int i = 0; i < SHARDS; i++) {
		struct shard *s = &t->shards[i];

		for (size_t b = 0; b < s->n_buckets; b++) {
			while (s->buckets[b]) {
				struct node *n = s->buckets[b];

				s->buckets[b] = n->next;
				node_free(n);
			}
		}
		free(s->buckets);
		pthread_mutex_destroy(&s->lock);
	}
	free(t);
}

/* Called with the shard's lock held. Growing is an optimisation: failing to is not an error. */
static void grow(struct shard *s)
{
	struct shard bigger = {.n_buckets = s->n_buckets * 2};

	bigger.buckets = calloc(bigger.n_buckets, sizeof(*bigger.buckets));
	if (!bigger.buckets)
		return;
	for (size_t b = 0; b < s->n_buckets; b++) {
		while (s->buckets[b]) {
			struct node *n = s->buckets[b];
			struct node **to = bucket_of(&bigger, n->nodeid);

			s->buckets[b] = n->next;
			n->next = *to;
			*to = n;
		}
	}
	free(s->buckets);
	s->buckets = bigger.buckets;
	s->n_buckets = bigger.n_buckets;
}

struct node *node_find(struct node_table *t, uint64_t nodeid)
{
	struct shard *s = shard_lock(t, nodeid);
	struct node *n;

	n = shard_find_node(s, nodeid);
	shard_unlock(s);
	return n;
}

uint64_t node_id(const struct node *n)
{
	return n->nodeid;
}

struct node *node_lookup(struct node_table *t, uint64_t nodeid, uint64_t device_id, uint64_t by)
{
	struct shard *s = shard_lock(t, nodeid);
	struct node *n;

	n = shard_find_node(s, nodeid);
	if (!n) {
		n = calloc(1, sizeof(*n));
		if (n) {
			struct node **bucket = bucket_of(s, nodeid);

			n->table = t;
			n->nodeid = nodeid;
			list_init(&n->maps);
			n->next = *bucket;
			*bucket = n;
			if (++s->n_nodes > s->n_buckets)
				grow(s);
		}
	}
	if (n) {
		n->nlookup++;
		n->device_id = device_id;
		n->device_lookups++;
		if (n->origin)
			origin_named(n->origin, n->nlookup, by);
	}
	shard_unlock(s);
	return n;
}

void node_restore(struct node_table *t, struct node *n, struct node_origin *o)
{
	struct shard *s = shard_lock(t, n->nodeid);

	n->origin = o;
	n->nlookup = ledger_get(o->nlookup);
	n->device_id = n->device_lookups = 0;
	n->mode = o->type;
	n->mtime_late = n->written = ledger_get(o->mtime_late);
	shard_unlock(s);
}

uint64_t node_count(struct node_table *t)
{
	uint64_t n = 0;

	for (int i = 0; i < SHARDS; i++) {
		struct shard *s = &t->shards[i];

		pthread_mutex_lock(&s->lock);
		n += s->n_nodes;
		shard_unlock(s);
	}
	return n;
}

void node_each(struct node_table *t, void (*each)(void *ctx, struct node *n), void *ctx)
{
	for (int i = 0; i < SHARDS; i++)
		for (size_t b = 0; b < t->shards[i].n_buckets; b++)
			for (struct node *n = t->shards[i].buckets[b]; n; n = n->next)
				each(ctx, n);
}

static void unbind(void *ctx, struct node *n)
{
	(void)ctx;
	assert(!n->truncating && !n->closing && !n->n_maps);
	if (n->window)
		window_inode_free(n->window);
	n->window = n->leaving = NULL;
	n->device_id = n->device_lookups = 0;
	n->mapped_end = n->truncated_at = 0;
	n->asked_ns = 0;
	n->dax = false;
	n->caps_clear = n->suid_clear = false;
	n->privs_clock++;
	free(n->names);
	n->names = NULL;
}

void node_table_unbind(struct node_table *t)
{
	node_each(t, unbind, NULL);
}
