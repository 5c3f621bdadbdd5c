/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bridge/node.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/clock.h"

#define SHARDS 64

struct node {
	struct node *next; /* in its bucket */
	struct node_table *table;
	uint64_t nodeid;
	uint64_t nlookup;  /* references that the kernel has */
	uint64_t released; /* references given back, not yet told to the device */
	uint64_t size;
	uint64_t mapped_end;
	uint64_t truncated_at; /* size_clock of the last truncation's end */
	uint32_t mode;
	unsigned truncating;
	bool dax;
	bool mtime_late;
	bool caps_clear, suid_clear;
	uint64_t privs_clock;
	uint64_t ctime_s;
	uint32_t ctime_ns;
	uint64_t asked_ns;
	bool closing; /* its ranges are being taken out of the window */
	struct window_inode *leaving; /* of `closing`: whose ranges, and blocked; NULL: none */
	struct window_inode *window;
	struct window_waiter waiter; /* of `closing` */
	node_forget_fn forget;
	void *forget_ctx;
	unsigned n_holds;
	bool orphan; /* ended, but for its holds */
	struct list holds;
};

/* A lock for a 64th of the nodes: guards the buckets and every field of their nodes but nodeid and
 * table. Held for a few loads and stores; nothing of the window is called and no other lock taken
 * inside it. */
struct shard {
	pthread_mutex_t lock;
	struct node **buckets;
	size_t n_buckets, n_nodes;
} __attribute__((aligned(64)));

struct node_table {
	struct shard shards[SHARDS];
};

static uint64_t mix(uint64_t nodeid)
{
	return nodeid * UINT64_C(0x9e3779b97f4a7c15);
}

static struct shard *shard_of(struct node_table *t, uint64_t nodeid)
{
	return &t->shards[mix(nodeid) >> 58];
}

static struct node **bucket_of(struct shard *s, uint64_t nodeid)
{
	return &s->buckets[(mix(nodeid) >> 20) & (s->n_buckets - 1)];
}

int node_table_create(struct node_table **out)
{
	struct node_table *t = aligned_alloc(64, sizeof(*t));

	if (!t)
		return -ENOMEM;
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
				free(n);
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

/* Called with the shard's lock held. */
static struct node *find(struct shard *s, uint64_t nodeid)
{
	struct node *n = *bucket_of(s, nodeid);

	while (n && n->nodeid != nodeid)
		n = n->next;
	return n;
}

struct node *node_find(struct node_table *t, uint64_t nodeid)
{
	struct shard *s = shard_of(t, nodeid);
	struct node *n;

	pthread_mutex_lock(&s->lock);
	n = find(s, nodeid);
	pthread_mutex_unlock(&s->lock);
	return n;
}

uint64_t node_id(const struct node *n)
{
	return n->nodeid;
}

struct node *node_lookup(struct node_table *t, uint64_t nodeid)
{
	struct shard *s = shard_of(t, nodeid);
	struct node *n;

	pthread_mutex_lock(&s->lock);
	n = find(s, nodeid);
	if (!n) {
		n = calloc(1, sizeof(*n));
		if (n) {
			struct node **bucket = bucket_of(s, nodeid);

			n->table = t;
			n->nodeid = nodeid;
			list_init(&n->holds);
			n->next = *bucket;
			*bucket = n;
			if (++s->n_nodes > s->n_buckets)
				grow(s);
		}
	}
	if (n)
		n->nlookup++;
	pthread_mutex_unlock(&s->lock);
	return n;
}

void node_look(struct node_table *t, struct node *n, struct node_view *view)
{
	struct shard *s = shard_of(t, n->nodeid);

	pthread_mutex_lock(&s->lock);
	view->size = n->size;
	view->mapped_end = n->mapped_end;
	view->mode = n->mode;
	view->wanted = n->dax;
	view->dax = n->dax && !n->truncating;
	view->mtime_late = n->mtime_late;
	view->caps_clear = n->caps_clear;
	view->suid_clear = n->suid_clear;
	view->privs_clock = n->privs_clock;
	view->asked_ns = n->asked_ns;
	view->window = n->window;
	pthread_mutex_unlock(&s->lock);
}

/* Called with the shard's lock held. */
static void privs_changed(struct node *n)
{
	n->caps_clear = n->suid_clear = false;
	n->privs_clock++;
}

/* The host may have set a capability or a bit: any change of the inode may have been that. Called with
 * the shard's lock held. */
static void note_ctime(struct node *n, uint64_t sec, uint32_t nsec)
{
	if (sec != n->ctime_s || nsec != n->ctime_ns)
		privs_changed(n);
	n->ctime_s = sec;
	n->ctime_ns = nsec;
}

void node_note_ctime(struct node_table *t, struct node *n, uint64_t sec, uint32_t nsec)
{
	struct shard *s = shard_of(t, n->nodeid);

	pthread_mutex_lock(&s->lock);
	note_ctime(n, sec, nsec);
	pthread_mutex_unlock(&s->lock);
}

bool node_note_attr(struct node_table *t, struct node *n, const struct fuse_attr *attr, bool dax,
		    uint64_t size_clock)
{
	struct shard *s = shard_of(t, n->nodeid);
	bool left;

	pthread_mutex_lock(&s->lock);
	n->mode = attr->mode;
	left = n->dax && !dax && n->window;
	n->dax = dax && S_ISREG(attr->mode);
	if (attr->size < n->size || (!n->truncating && size_clock >= n->truncated_at))
		n->size = attr->size;
	note_ctime(n, attr->ctime, attr->ctimensec);
	n->asked_ns = clock_now_ns();
	pthread_mutex_unlock(&s->lock);
	return left;
}

void node_note_reach(struct node_table *t, struct node *n, uint64_t end)
{
	struct shard *s = shard_of(t, n->nodeid);

	pthread_mutex_lock(&s->lock);
	if (!n->truncating && end > n->size)
		n->size = end;
	pthread_mutex_unlock(&s->lock);
}

void node_note_shrunk(struct node_table *t, struct node *n, uint64_t size)
{
	struct shard *s = shard_of(t, n->nodeid);

	pthread_mutex_lock(&s->lock);
	n->size = MIN(n->size, size);
	pthread_mutex_unlock(&s->lock);
}

void node_truncate_begin(struct node_table *t, struct node *n, uint64_t size)
{
	struct shard *s = shard_of(t, n->nodeid);

	pthread_mutex_lock(&s->lock);
	n->truncating++;
	n->size = MIN(n->size, size);
	pthread_mutex_unlock(&s->lock);
}

bool node_truncate_end(struct node_table *t, struct node *n, uint64_t now, uint64_t begun)
{
	struct shard *s = shard_of(t, n->nodeid);
	bool alone;

	pthread_mutex_lock(&s->lock);
	n->truncating--;
	alone = !n->truncating && n->truncated_at <= begun;
	n->truncated_at = MAX(n->truncated_at, now);
	pthread_mutex_unlock(&s->lock);
	return alone;
}

void node_note_mapped(struct node_table *t, struct node *n, uint64_t end)
{
	struct shard *s = shard_of(t, n->nodeid);

	pthread_mutex_lock(&s->lock);
	n->mapped_end = MAX(n->mapped_end, end);
	pthread_mutex_unlock(&s->lock);
}

struct window_inode *node_window(struct node_table *t, struct node *n, struct window *w)
{
	struct shard *s = shard_of(t, n->nodeid);
	struct window_inode *made = NULL, *got;

	pthread_mutex_lock(&s->lock);
	got = n->window;
	pthread_mutex_unlock(&s->lock);
	if (got)
		return got;
	if (window_inode_create(w, n->nodeid, &made))
		return NULL;
	pthread_mutex_lock(&s->lock);
	if (!n->window) {
		n->window = made;
		made = NULL;
	}
	got = n->window;
	pthread_mutex_unlock(&s->lock);
	if (made)
		window_inode_free(made); /* another thread was faster */
	return got;
}

bool node_take_asking(struct node_table *t, struct node *n, uint64_t now_ns, uint64_t old_ns)
{
	struct shard *s = shard_of(t, n->nodeid);
	bool old;

	pthread_mutex_lock(&s->lock);
	old = now_ns > n->asked_ns && now_ns - n->asked_ns > old_ns;
	if (old)
		n->asked_ns = now_ns;
	pthread_mutex_unlock(&s->lock);
	return old;
}

void node_privs_changed(struct node_table *t, struct node *n)
{
	struct shard *s = shard_of(t, n->nodeid);

	pthread_mutex_lock(&s->lock);
	privs_changed(n);
	pthread_mutex_unlock(&s->lock);
}

void node_privs_cleared(struct node_table *t, struct node *n, bool suid, uint64_t privs_clock)
{
	struct shard *s = shard_of(t, n->nodeid);

	pthread_mutex_lock(&s->lock);
	if (n->privs_clock == privs_clock) {
		n->caps_clear = true;
		n->suid_clear |= suid;
	}
	pthread_mutex_unlock(&s->lock);
}

void node_set_mtime_late(struct node_table *t, struct node *n)
{
	struct shard *s = shard_of(t, n->nodeid);

	pthread_mutex_lock(&s->lock);
	n->mtime_late = true;
	pthread_mutex_unlock(&s->lock);
}

bool node_take_mtime_late(struct node_table *t, struct node *n)
{
	struct shard *s = shard_of(t, n->nodeid);
	bool late;

	pthread_mutex_lock(&s->lock);
	late = n->mtime_late;
	n->mtime_late = false;
	pthread_mutex_unlock(&s->lock);
	return late;
}

/* ------------------------------------------------------------------ the end of a node */

/* Called with the shard's lock held. */
static void unlink_node(struct shard *s, struct node *n)
{
	struct node **at = bucket_of(s, n->nodeid);

	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	s->n_nodes--;
}

static void leave_window(struct node *n);

/* The node's ranges have left the window (or it never had any): tell the device. The kernel may
 * have looked the node up again meanwhile; then it lives on, and only the old count is returned. */
static void node_closed(struct node *n)
{
	struct shard *s = shard_of(n->table, n->nodeid);
	node_forget_fn forget = n->forget;
	void *ctx = n->forget_ctx;
	struct window_inode *window;
	uint64_t nodeid = n->nodeid, released;
	bool gone, held;

	if (n->leaving)
		window_unblock(n->leaving);
	pthread_mutex_lock(&s->lock);
	window = n->window;
	if (n->nlookup == 0 && window != n->leaving) {
		/* It had none, and was looked up, opened and forgotten again meanwhile. */
		n->leaving = window;
		pthread_mutex_unlock(&s->lock);
		leave_window(n);
		return;
	}
	released = n->released;
	n->released = 0;
	n->closing = false;
	gone = n->nlookup == 0;
	if (gone)
		unlink_node(s, n);
	held = gone && n->n_holds;
	n->orphan = held;
	pthread_mutex_unlock(&s->lock);
	if (gone && window)
		window_inode_free(window);
	if (gone && !held)
		free(n);
	forget(ctx, nodeid, released);
}

void node_hold(struct node_table *t, struct node *n)
{
	struct shard *s = shard_of(t, n->nodeid);

	pthread_mutex_lock(&s->lock);
	n->n_holds++;
	pthread_mutex_unlock(&s->lock);
}

void node_unhold(struct node_table *t, struct node *n)
{
	struct shard *s = shard_of(t, n->nodeid);
	bool last;

	pthread_mutex_lock(&s->lock);
	last = --n->n_holds == 0 && n->orphan;
	pthread_mutex_unlock(&s->lock);
	if (last)
		free(n);
}

struct list *node_holds(struct node *n)
{
	return &n->holds;
}

static void on_window_left(struct window_waiter *waiter, int err)
{
	(void)err; /* refused or gone: the space is never used again, the node still ends */
	node_closed(container_of(waiter, struct node, waiter));
}

static void leave_window(struct node *n)
{
	if (!n->leaving || window_block(n->leaving, 0, UINT64_MAX, &n->waiter))
		node_closed(n);
}

void node_forget(struct node_table *t, uint64_t nodeid, uint64_t nlookup, node_forget_fn forget,
		 void *ctx)
{
	struct shard *s = shard_of(t, nodeid);
	struct node *n;
	bool close = false;

	pthread_mutex_lock(&s->lock);
	n = find(s, nodeid);
	if (n) {
		nlookup = MIN(nlookup, n->nlookup);
		n->nlookup -= nlookup;
		n->released += nlookup;
		close = n->nlookup == 0 && !n->closing;
		if (close) {
			n->closing = true;
			n->leaving = n->window;
			n->forget = forget;
			n->forget_ctx = ctx;
			n->waiter.wake = on_window_left;
		}
	}
	pthread_mutex_unlock(&s->lock);
	if (close)
		leave_window(n);
}

void node_forget_all(struct node_table *t, node_forget_fn forget, void *ctx)
{
	for (int i = 0; i < SHARDS; i++) {
		struct shard *s = &t->shards[i];

		for (size_t b = 0; b < s->n_buckets; b++)
			while (s->buckets[b]) {
				struct node *n = s->buckets[b];

				node_forget(t, n->nodeid, UINT64_MAX, forget, ctx);
				/* Its ranges did not leave: a device that answers no more. */
				if (s->buckets[b] == n)
					break;
			}
	}
}

uint64_t node_count(struct node_table *t)
{
	uint64_t n = 0;

	for (int i = 0; i < SHARDS; i++) {
		struct shard *s = &t->shards[i];

		pthread_mutex_lock(&s->lock);
		n += s->n_nodes;
		pthread_mutex_unlock(&s->lock);
	}
	return n;
}
