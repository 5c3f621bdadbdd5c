/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bridge/node_internal: the nodes, for node_table.c (which there are), node.c (what is known of
 * one), names.c (of a directory) and node_end.c (how it comes to its end). */
#ifndef VFSDAX_BRIDGE_NODE_INTERNAL_H
#define VFSDAX_BRIDGE_NODE_INTERNAL_H

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/ledger.h"
#include "bridge/backing.h"
#include "bridge/node.h"

#define SHARDS 64

struct node_name;

/*
 * What another device, or another driver, must know of a node: a record of the ledger. Guarded by
 * the shard's lock.
 */
struct node_origin {
	struct ledger_mark mark;
	uint16_t type; /* S_IFMT */
	_Atomic uint16_t mtime_late;
	uint64_t nodeid;
	_Atomic uint64_t nlookup;
	uint64_t ino, generation;
	/* By which request it was named last, and how often: if the driver dies before it has
	 * answered that, the kernel does not count them. */
	_Atomic uint64_t by;
	struct node_name *names; /* numbers.c; of this process */
	_Atomic uint32_t by_count;
};

struct node {
	struct node *next; /* in its bucket */
	struct node_table *table;
	uint64_t nodeid;  /* as the kernel knows it */
	uint64_t nlookup; /* references that the kernel has */
	/* What the device that is there now calls it (0: it has not been asked), and how often it
	 * has named it: what it is given back at the end. */
	uint64_t device_id, device_lookups;
	struct node_origin *origin; /* numbers.c; NULL: not kept, or the root */
	unsigned children;	    /* numbers.c: names in it, which need it; it stays as long */
	uint64_t size;
	uint64_t mapped_end;
	uint64_t truncated_at; /* size_clock of the last truncation's end */
	uint32_t mode;
	unsigned truncating;
	unsigned opens, writers; /* handles, and those that may write */
	bool dax;
	bool mtime_late;
	bool paged;   /* has been open so that the kernel keeps pages of it, since `opens` was 0 */
	unsigned ios; /* processes that write the host's file themselves */
	struct backing *backing; /* backing.h; NULL: not passed through */
	bool passed_last;	 /* when it was opened last */
	unsigned opens_here;	 /* of `opens`: not passed through, all or none */
	unsigned opening;	 /* OPENs under way that have not asked for the file */
	bool written, locked;	 /* what a FLUSH is for */
	bool caps_clear, suid_clear;
	uint64_t privs_clock;
	uint64_t ctime_s;
	uint32_t ctime_ns;
	uint64_t asked_ns;
	bool closing;		      /* its ranges are being taken out of the window */
	struct window_inode *leaving; /* of `closing`: whose ranges, and blocked; NULL: none */
	struct window_inode *window;
	struct window_waiter waiter; /* of `closing` */
	node_forget_fn forget;
	void *forget_ctx;
	struct node_names *names; /* names.c; NULL: not a directory, or not one that was changed */
	unsigned n_maps;
	bool orphan; /* ended, but for its maps */
	struct list maps;
};

/* A lock for a 64th of the nodes: guards the buckets and every field of their nodes but nodeid and
 * table. Held for a few loads and stores; no other lock is taken inside it, and of the window only
 * window_set_closed() called. */
struct shard {
	pthread_mutex_t lock;
	struct node **buckets;
	size_t n_buckets, n_nodes;
} __attribute__((aligned(64)));

struct node_table {
	struct shard shards[SHARDS];
	/* A node is no more; without locks. */
	void (*ended)(void *ctx, struct node *n);
	void *ended_ctx;
	struct ledger *ledger; /* NULL: nodes have no origin */
	/* backing.c: of the connection, -1 as long as there is none; and another driver's files of
	 * nodes that nobody has open. */
	_Atomic int fuse_fd;
	struct backing *backings_lost;
	_Atomic uint64_t n_backings;
	bool writes_are_shared;
};

/* A node as another driver had it. */
void node_restore(struct node_table *t, struct node *n, struct node_origin *o);

/* Called with the shard's lock held. In this order: a kill in between counts one too many. */
static inline void origin_named(struct node_origin *o, uint64_t nlookup, uint64_t by)
{
	ledger_set(o->nlookup, nlookup);
	if (ledger_get(o->by) != by) {
		ledger_set(o->by_count, 0);
		ledger_set(o->by, by);
	}
	ledger_set(o->by_count, ledger_get(o->by_count) + 1);
}

/* Called with the shard's lock held. */
static inline struct node **bucket_of(struct shard *s, uint64_t nodeid)
{
	return &s->buckets[(hash_u64(nodeid) >> 20) & (s->n_buckets - 1)];
}

/* Called with the shard's lock held. */
static inline struct node *shard_find_node(struct shard *s, uint64_t nodeid)
{
	struct node *n = *bucket_of(s, nodeid);

	while (n && n->nodeid != nodeid)
		n = n->next;
	return n;
}

static inline struct shard *shard_lock(struct node_table *t, uint64_t nodeid)
{
	struct shard *s = &t->shards[hash_u64(nodeid) >> 58];

	pthread_mutex_lock(&s->lock);
	return s;
}

void node_origin_free(struct ledger *l, struct node_origin *o);

static inline void node_free(struct node *n)
{
	free(n->names);
	if (n->backing)
		backing_free(n->table, n->backing);
	if (n->origin)
		node_origin_free(n->table->ledger, n->origin);
	free(n);
}

static inline void shard_unlock(struct shard *s)
{
	pthread_mutex_unlock(&s->lock);
}

#endif
