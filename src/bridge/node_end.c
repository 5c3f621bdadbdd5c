/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bridge/node_end: FORGET, and what comes before it: the ranges of a node leave the window. */
#include <stdlib.h>

#include "base/bytes.h"
#include "bridge/node_internal.h"

/* Called with the shard's lock held. */
static void unlink_node(struct shard *s, struct node *n)
{
	struct node **at = bucket_of(s, n->nodeid);

	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	s->n_nodes--;
}

static void leave_window(void *by, struct node *n);

/* The node's ranges have left the window (or it never had any): tell the device. The kernel may
 * have looked the node up again meanwhile; then it lives on. */
static void node_closed(void *by, struct node *n)
{
	struct shard *s;
	node_forget_fn forget = n->forget;
	void *ctx = n->forget_ctx;
	struct node_table *t = n->table;
	struct window_inode *window;
	uint64_t device_id = 0, lookups = 0;
	bool gone, held;

	if (n->leaving)
		window_unblock(n->leaving);
	s = shard_lock(t, n->nodeid);
	window = n->window;
	if (n->nlookup == 0 && !n->children && window != n->leaving) {
		/* It had none, and was looked up, opened and forgotten again meanwhile. */
		n->leaving = window;
		shard_unlock(s);
		leave_window(by, n);
		return;
	}
	n->closing = false;
	gone = n->nlookup == 0 && !n->children;
	if (gone) {
		unlink_node(s, n);
		device_id = n->device_id;
		lookups = n->device_lookups;
	}
	held = gone && n->n_maps;
	n->orphan = held;
	shard_unlock(s);
	if (!gone)
		return;
	if (window)
		window_inode_free(window);
	if (t->ended)
		t->ended(t->ended_ctx, n);
	if (!held)
		node_free(n);
	if (lookups)
		forget(ctx, device_id, lookups);
}

void node_keep(struct node_table *t, struct node *n)
{
	struct shard *s = shard_lock(t, n->nodeid);

	n->n_maps++;
	shard_unlock(s);
}

void node_unkeep(struct node_table *t, struct node *n)
{
	struct shard *s = shard_lock(t, n->nodeid);
	bool last;

	last = --n->n_maps == 0 && n->orphan;
	shard_unlock(s);
	if (last)
		node_free(n);
}

bool node_note_changed(struct node_table *t, uint64_t nodeid, uint64_t now)
{
	struct shard *s = shard_lock(t, nodeid);
	struct node *n = shard_find_node(s, nodeid);

	if (n) {
		n->asked_ns = 0;
		n->truncated_at = MAX(n->truncated_at, now);
		n->caps_clear = n->suid_clear = false;
		n->privs_clock++;
	}
	shard_unlock(s);
	return n;
}

bool node_hold_mapped(struct node_table *t, uint64_t nodeid)
{
	struct shard *s = shard_lock(t, nodeid);
	struct node *n = shard_find_node(s, nodeid);
	bool held = n && n->n_maps;

	if (held) {
		n->nlookup++;
		if (n->origin)
			ledger_set(n->origin->nlookup, n->nlookup);
	}
	shard_unlock(s);
	return held;
}

struct node *node_lookup_again(struct node_table *t, uint64_t nodeid, uint64_t by)
{
	struct shard *s = shard_lock(t, nodeid);
	struct node *n = shard_find_node(s, nodeid);

	if (n) {
		n->nlookup++;
		if (n->origin)
			origin_named(n->origin, n->nlookup, by);
	}
	shard_unlock(s);
	return n;
}

uint64_t *node_table_ids(struct node_table *t, size_t *n)
{
	size_t room = (size_t)node_count(t) + 1024, found = 0;
	uint64_t *ids = malloc(room * sizeof(*ids));

	/* What comes meanwhile is new. */
	for (int i = 0; ids && i < SHARDS; i++) {
		struct shard *s = &t->shards[i];

		pthread_mutex_lock(&s->lock);
		for (size_t b = 0; b < s->n_buckets; b++)
			for (struct node *at = s->buckets[b]; at && found < room; at = at->next)
				ids[found++] = at->nodeid;
		shard_unlock(s);
	}
	*n = found;
	return ids;
}

void node_io_begin(struct node_table *t, struct node *n)
{
	struct shard *s;

	node_keep(t, n);
	s = shard_lock(t, n->nodeid);
	n->ios++;
	shard_unlock(s);
}

void node_io_end(struct node_table *t, struct node *n)
{
	struct shard *s = shard_lock(t, n->nodeid);

	n->ios--;
	shard_unlock(s);
	node_unkeep(t, n);
}

struct list *node_maps(struct node *n)
{
	return &n->maps;
}

static void on_window_left(struct window_waiter *waiter, void *by, int err)
{
	(void)err; /* refused or gone: the space is never used again, the node still ends */
	node_closed(by, container_of(waiter, struct node, waiter));
}

static void leave_window(void *by, struct node *n)
{
	if (!n->leaving || window_block(by, n->leaving, 0, UINT64_MAX, &n->waiter))
		node_closed(by, n);
}

void node_forget(struct node_table *t, void *by, uint64_t nodeid, uint64_t nlookup,
		 node_forget_fn forget, void *ctx)
{
	struct shard *s = shard_lock(t, nodeid);
	struct node *n;
	bool close = false;

	n = shard_find_node(s, nodeid);
	if (n) {
		n->nlookup -= MIN(nlookup, n->nlookup);
		if (nlookup == UINT64_MAX)
			n->children = 0;
		if (n->origin)
			ledger_set(n->origin->nlookup, n->nlookup);
		close = n->nlookup == 0 && !n->children && !n->closing;
		if (close) {
			n->closing = true;
			n->leaving = n->window;
			n->forget = forget;
			n->forget_ctx = ctx;
			n->waiter.wake = on_window_left;
		}
	}
	shard_unlock(s);
	if (close)
		leave_window(by, n);
}

bool node_is_closing(struct node_table *t, uint64_t nodeid)
{
	struct shard *s = shard_lock(t, nodeid);
	struct node *n = shard_find_node(s, nodeid);
	bool closing = n && n->closing;

	shard_unlock(s);
	return closing;
}

void node_forget_all(struct node_table *t, void *by, node_forget_fn forget, void *ctx)
{
	for (int i = 0; i < SHARDS; i++) {
		struct shard *s = &t->shards[i];

		for (size_t b = 0; b < s->n_buckets; b++)
			while (s->buckets[b]) {
				struct node *n = s->buckets[b];

				node_forget(t, by, n->nodeid, UINT64_MAX, forget, ctx);
				/* Its ranges did not leave: a device that answers no more. */
				if (s->buckets[b] == n)
					break;
			}
	}
}
