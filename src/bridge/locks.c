/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bridge/locks.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/list.h"

#define BUCKETS 1024u

/* A record of the ledger. */
struct lock {
	struct ledger_mark mark;
	struct list link; /* of this process */
	uint64_t nodeid;
	struct fuse_lk_in in;
};

struct locks {
	pthread_mutex_t lock; /* guards all of it; taken inside nothing, the ledger's inside */
	struct ledger *ledger;
	unsigned n;
	struct list buckets[BUCKETS];
};

int locks_create(struct ledger *ledger, struct locks **out)
{
	struct locks *l = malloc(sizeof(*l));

	if (!l)
		return -ENOMEM;
	pthread_mutex_init(&l->lock, NULL);
	l->ledger = ledger;
	l->n = 0;
	for (unsigned i = 0; i < BUCKETS; i++)
		list_init(&l->buckets[i]);
	*out = l;
	return 0;
}

/* Called with the lock held. */
static void remove_lock(struct locks *l, struct lock *k)
{
	list_del(&k->link);
	l->n--;
	ledger_remove(l->ledger, k);
}

void locks_destroy(struct locks *l)
{
	if (!l)
		return;
	for (unsigned i = 0; i < BUCKETS; i++)
		while (!list_empty(&l->buckets[i]))
			remove_lock(l, container_of(l->buckets[i].next, struct lock, link));
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static struct list *bucket_of(struct locks *l, uint64_t nodeid)
{
	return &l->buckets[hash_u64(nodeid) % BUCKETS];
}

static bool is_of(const struct lock *k, uint64_t nodeid, uint64_t owner, uint32_t flags)
{
	return k->nodeid == nodeid && k->in.owner == owner && k->in.lk_flags == flags;
}

/* Called with the lock held. Without memory another device will not be asked for it. */
static void add_to(struct locks *l, struct list *to, const struct lock *like, uint64_t start,
		   uint64_t end)
{
	struct lock *k = ledger_new(l->ledger, sizeof(*k));

	if (!k)
		return;
	k->nodeid = like->nodeid;
	k->in = like->in;
	k->in.lk.start = start;
	k->in.lk.end = end;
	ledger_enter(k, RECORD_LOCK);
	list_push_back(to, &k->link);
	l->n++;
}

static void add(struct locks *l, const struct lock *like, uint64_t start, uint64_t end)
{
	add_to(l, bucket_of(l, like->nodeid), like, start, end);
}

static void change(struct locks *l, uint64_t nodeid, const struct fuse_lk_in *in, bool only_what_is)
{
	struct lock new = {.nodeid = nodeid, .in = *in};
	uint64_t start = in->lk.start, end = in->lk.end;
	struct list *bucket = bucket_of(l, nodeid), *pos, *next, changed;

	if (start > end)
		return;
	list_init(&changed);
	new.in.lk_flags &= FUSE_LK_FLOCK;
	pthread_mutex_lock(&l->lock);
	for (pos = bucket->next; pos != bucket; pos = next) {
		struct lock *k = container_of(pos, struct lock, link);
		uint64_t k_start = k->in.lk.start, k_end = k->in.lk.end;

		next = pos->next;
		if (!is_of(k, nodeid, in->owner, new.in.lk_flags) || k_start > end || k_end < start)
			continue;
		if (k_start < start)
			add(l, k, k_start, start - 1);
		if (k_end > end)
			add(l, k, end + 1, k_end);
		if (only_what_is && in->lk.type != F_UNLCK)
			add_to(l, &changed, &new, MAX(k_start, start), MIN(k_end, end));
		remove_lock(l, k);
	}
	if (in->lk.type != F_UNLCK && !only_what_is)
		add(l, &new, start, end);
	list_splice_back(bucket, &changed);
	pthread_mutex_unlock(&l->lock);
}

void locks_note(struct locks *l, uint64_t nodeid, const struct fuse_lk_in *in)
{
	change(l, nodeid, in, false);
}

void locks_change(struct locks *l, uint64_t nodeid, const struct fuse_lk_in *in)
{
	change(l, nodeid, in, true);
}

void locks_end(struct locks *l, uint64_t nodeid, uint64_t owner, bool flock)
{
	struct fuse_lk_in all = {
		.owner = owner,
		.lk = {.start = 0, .end = UINT64_MAX, .type = F_UNLCK},
		.lk_flags = flock ? FUSE_LK_FLOCK : 0,
	};

	if (locks_count(l))
		locks_note(l, nodeid, &all);
}

unsigned locks_count(struct locks *l)
{
	unsigned n;

	pthread_mutex_lock(&l->lock);
	n = l->n;
	pthread_mutex_unlock(&l->lock);
	return n;
}

int locks_again(struct locks *l, int fatal,
		int (*again)(void *ctx, uint64_t nodeid, const struct fuse_lk_in *in), void *ctx)
{
	for (unsigned i = 0; i < BUCKETS; i++) {
		struct list *bucket = &l->buckets[i], *pos, *next;

		for (pos = bucket->next; pos != bucket; pos = next) {
			struct lock *k = container_of(pos, struct lock, link);
			int err = again(ctx, k->nodeid, &k->in);

			next = pos->next;
			if (err == fatal)
				return fatal;
			if (err)
				remove_lock(l, k);
		}
	}
	return 0;
}

struct loading {
	struct locks *l;
	void (*has)(void *ctx, uint64_t nodeid);
	void *ctx;
};

static int load(void *ctx, void *record, size_t size)
{
	struct loading *to = ctx;
	struct lock *k = record;

	(void)size;
	list_push_back(bucket_of(to->l, k->nodeid), &k->link);
	to->l->n++;
	to->has(to->ctx, k->nodeid);
	return 0;
}

int locks_load(struct locks *l, void (*has)(void *ctx, uint64_t nodeid), void *ctx)
{
	struct loading to = {l, has, ctx};

	return ledger_each(l->ledger, RECORD_LOCK, sizeof(struct lock), load, &to);
}
