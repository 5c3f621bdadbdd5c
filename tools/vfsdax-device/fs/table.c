/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* table: chained hash tables in shards. See table.h. */
#include "table.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"

#define BUCKETS_AT_START 16

int table_init(struct table *t)
{
	t->shards = aligned_alloc(64, TABLE_SHARDS * sizeof(*t->shards));
	if (!t->shards)
		return -ENOMEM;
	for (unsigned i = 0; i < TABLE_SHARDS; i++) {
		struct table_shard *s = &t->shards[i];

		s->n_nodes = s->first = 0;
		s->n_buckets = BUCKETS_AT_START;
		s->buckets = calloc(s->n_buckets, sizeof(struct table_node *));
		if (!s->buckets) {
			while (i--)
				free(t->shards[i].buckets);
			free(t->shards);
			t->shards = NULL;
			return -ENOMEM;
		}
		pthread_mutex_init(&s->lock, NULL);
	}
	return 0;
}

void table_fini(struct table *t)
{
	if (!t->shards)
		return;
	for (unsigned i = 0; i < TABLE_SHARDS; i++) {
		pthread_mutex_destroy(&t->shards[i].lock);
		free(t->shards[i].buckets);
	}
	free(t->shards);
	t->shards = NULL;
}

struct table_shard *table_lock(struct table *t, uint64_t hash)
{
	struct table_shard *s = &t->shards[hash % TABLE_SHARDS];

	pthread_mutex_lock(&s->lock);
	return s;
}

void table_unlock(struct table_shard *s)
{
	pthread_mutex_unlock(&s->lock);
}

/* The low bits chose the shard, so the bucket takes the bits above them. */
static struct table_node **shard_bucket(struct table_shard *s, uint64_t hash)
{
	return &s->buckets[(hash / TABLE_SHARDS) & (s->n_buckets - 1)];
}

static struct table_node *first_with_hash(struct table_node *node, uint64_t hash)
{
	while (node && node->hash != hash)
		node = node->next;
	return node;
}

struct table_node *shard_find(struct table_shard *s, uint64_t hash)
{
	return first_with_hash(*shard_bucket(s, hash), hash);
}

struct table_node *shard_find_next(struct table_node *node)
{
	return first_with_hash(node->next, node->hash);
}

static void shard_push(struct table_shard *s, struct table_node *node)
{
	struct table_node **bucket = shard_bucket(s, node->hash);

	node->next = *bucket;
	*bucket = node;
	s->first = MIN(s->first, (size_t)(bucket - s->buckets));
}

/* Without memory the chains only grow longer. */
static void shard_grow(struct table_shard *s)
{
	struct table_node **old = s->buckets;
	size_t n_old = s->n_buckets;
	struct table_node **buckets = calloc(n_old * 2, sizeof(struct table_node *));

	if (!buckets)
		return;
	s->buckets = buckets;
	s->n_buckets = n_old * 2;
	s->first = s->n_buckets;
	for (size_t i = 0; i < n_old; i++) {
		for (struct table_node *node = old[i], *next; node; node = next) {
			next = node->next;
			shard_push(s, node);
		}
	}
	free(old);
}

void shard_insert(struct table_shard *s, struct table_node *node)
{
	if (++s->n_nodes > s->n_buckets)
		shard_grow(s);
	shard_push(s, node);
}

bool shard_remove(struct table_shard *s, struct table_node *node)
{
	struct table_node **at = shard_bucket(s, node->hash);

	while (*at && *at != node)
		at = &(*at)->next;
	if (!*at)
		return false;
	*at = node->next;
	s->n_nodes--;
	return true;
}

void table_visit_shard(struct table *t, unsigned i, void (*visit)(struct table_node *, void *ctx),
		       void *ctx)
{
	struct table_shard *s = table_lock(t, i);

	for (size_t b = 0; b < s->n_buckets; b++)
		for (struct table_node *node = s->buckets[b]; node; node = node->next)
			visit(node, ctx);
	table_unlock(s);
}

static struct table_node *shard_pop(struct table_shard *s)
{
	struct table_node *node;

	if (!s->n_nodes)
		return NULL;
	while (!s->buckets[s->first])
		s->first++;
	node = s->buckets[s->first];
	shard_remove(s, node);
	return node;
}

struct table_node *table_pop(struct table *t, struct table_shard **locked)
{
	for (unsigned i = 0; i < TABLE_SHARDS; i++) {
		struct table_shard *s = table_lock(t, i);
		struct table_node *node = shard_pop(s);

		*locked = s;
		if (node)
			return node;
		table_unlock(s);
	}
	return NULL;
}
