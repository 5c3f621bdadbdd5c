/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table: a hash table in shards, each with a lock of its own, so that queue threads that work
 * on different files do not meet. It links nodes and owns none; it does not know what a key is
 * beyond 64 bits of hash.
 */
#ifndef VFSDAX_DEVICE_FS_TABLE_H
#define VFSDAX_DEVICE_FS_TABLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TABLE_SHARDS 64

struct table_node {
	struct table_node *next;
	uint64_t hash;
};

struct table_shard {
	/* Guards the chains of this shard and whatever its user says so. */
	_Alignas(64) pthread_mutex_t lock;
	struct table_node **buckets; /* n_buckets, a power of two */
	size_t n_buckets;
	size_t n_nodes;
	size_t first; /* no bucket below it has a node */
};

struct table {
	struct table_shard *shards;
};

int table_init(struct table *t);
/* The nodes must be gone. */
void table_fini(struct table *t);

/* The shard of a hash, locked. */
struct table_shard *table_lock(struct table *t, uint64_t hash);
void table_unlock(struct table_shard *s);

/* With the shard locked: the first node of this hash, and the next one of the same hash. */
struct table_node *shard_find(struct table_shard *s, uint64_t hash);
struct table_node *shard_find_next(struct table_node *node);
void shard_insert(struct table_shard *s, struct table_node *node);
/* False when the node is not in the table. */
bool shard_remove(struct table_shard *s, struct table_node *node);

/* All nodes of one shard, locked meanwhile; `i` < TABLE_SHARDS. The visitor removes none. */
void table_visit_shard(struct table *t, unsigned i, void (*visit)(struct table_node *, void *ctx),
		       void *ctx);

/* Any node, taken out, with its shard still locked; NULL and no lock when the table is empty. */
struct table_node *table_pop(struct table *t, struct table_shard **locked);

/* A count of users. The last put frees what is counted. */
struct ref {
	_Atomic uint32_t n;
};

static inline void ref_init(struct ref *r, uint32_t n)
{
	atomic_init(&r->n, n);
}

static inline void ref_get(struct ref *r)
{
	atomic_fetch_add_explicit(&r->n, 1, memory_order_relaxed);
}

/* True for the last one; orders all last uses before the free that follows. */
static inline bool ref_put(struct ref *r)
{
	return atomic_fetch_sub_explicit(&r->n, 1, memory_order_acq_rel) == 1;
}

#endif
