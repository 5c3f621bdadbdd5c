/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bridge/handles.h"

#include "base/bytes.h"
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#define BUCKETS_MIN 1024u
/* Above what a device may give that counts, or that gives addresses. */
#define FIRST_OWN   (UINT64_C(1) << 63)

/* A record of the ledger. */
struct handle {
	struct ledger_mark mark;
	_Atomic uint32_t open_flags;
	uint64_t nodeid;
	uint64_t number;	/* the kernel's */
	uint64_t by;		/* the request that opened it first */
	_Atomic uint32_t count; /* how often that number was given */
	/* Of this process: */
	int err;
	uint64_t fh; /* the device's, if `err` is 0 */
	struct handle *next;
	bool reads, writes;
};

struct handles {
	pthread_mutex_t lock; /* guards all of it; taken inside nothing, the ledger's inside */
	size_t n, n_buckets;
	struct handle **buckets;
	bool own_numbers; /* there has been another device */
	struct ledger *ledger;
	_Atomic uint64_t *last;
};

int handles_create(struct ledger *ledger, _Atomic uint64_t *last, struct handles **out)
{
	struct handles *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->n_buckets = BUCKETS_MIN;
	h->buckets = calloc(h->n_buckets, sizeof(struct handle *));
	if (!h->buckets) {
		free(h);
		return -ENOMEM;
	}
	h->ledger = ledger;
	h->last = last;
	pthread_mutex_init(&h->lock, NULL);
	*out = h;
	return 0;
}

void handles_destroy(struct handles *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < h->n_buckets; i++)
		while (h->buckets[i]) {
			struct handle *one = h->buckets[i];

			h->buckets[i] = one->next;
			ledger_remove(h->ledger, one);
		}
	free(h->buckets);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

/* Called with the lock held: where the pointer to it is, or would be. */
static struct handle **place_of(struct handles *h, uint64_t nodeid, uint64_t number)
{
	struct handle **at = &h->buckets[hash_pair(nodeid, number) & (h->n_buckets - 1)];

	while (*at && ((*at)->nodeid != nodeid || (*at)->number != number))
		at = &(*at)->next;
	return at;
}

/* Called with the lock held. Failing to is no error. */
static void grow(struct handles *h)
{
	struct handle **bigger = calloc(2 * h->n_buckets, sizeof(struct handle *));

	if (!bigger)
		return;
	for (size_t i = 0; i < h->n_buckets; i++)
		while (h->buckets[i]) {
			struct handle *one = h->buckets[i], **to;

			h->buckets[i] = one->next;
			to = &bigger[hash_pair(one->nodeid, one->number) & (2 * h->n_buckets - 1)];
			one->next = *to;
			*to = one;
		}
	free(h->buckets);
	h->buckets = bigger;
	h->n_buckets *= 2;
}

static bool may_read(uint32_t open_flags)
{
	return (open_flags & O_ACCMODE) != O_WRONLY;
}

static bool may_write(uint32_t open_flags)
{
	return (open_flags & O_ACCMODE) != O_RDONLY;
}

/* Called with the lock held. */
static uint64_t next_number(struct handles *h)
{
	uint64_t number = MAX(ledger_get(*h->last), FIRST_OWN) + 1;

	ledger_set(*h->last, number);
	return number;
}

/* Called with the lock held. */
static void insert(struct handles *h, struct handle **at, struct handle *one)
{
	one->next = NULL;
	one->reads = may_read(one->open_flags);
	one->writes = may_write(one->open_flags);
	*at = one;
	if (++h->n > h->n_buckets)
		grow(h);
}

uint64_t handles_add(struct handles *h, uint64_t nodeid, uint64_t fh, uint32_t open_flags,
		     uint64_t by)
{
	struct handle **at, *one;
	uint64_t number = fh;

	pthread_mutex_lock(&h->lock);
	if (h->own_numbers)
		number = next_number(h);
	at = place_of(h, nodeid, number);
	one = *at;
	if (one) {
		/* Opened again it must do for all of them. */
		if ((one->open_flags ^ open_flags) & O_ACCMODE)
			one->open_flags = (one->open_flags & ~(uint32_t)O_ACCMODE) | O_RDWR;
		one->reads &= may_read(open_flags);
		one->writes &= may_write(open_flags);
		one->count++;
	} else if ((one = ledger_new(h->ledger, sizeof(*one)))) {
		one->nodeid = nodeid;
		one->number = number;
		one->by = by;
		one->fh = fh;
		one->count = 1;
		one->open_flags = open_flags;
		ledger_enter(one, RECORD_HANDLE);
		insert(h, at, one);
	} else {
		number = fh;
	}
	pthread_mutex_unlock(&h->lock);
	return number;
}

void handles_drop(struct handles *h, uint64_t nodeid, uint64_t number)
{
	struct handle **at, *one;

	pthread_mutex_lock(&h->lock);
	at = place_of(h, nodeid, number);
	one = *at;
	if (one && --one->count == 0) {
		*at = one->next;
		h->n--;
		ledger_remove(h->ledger, one);
	}
	pthread_mutex_unlock(&h->lock);
}

bool handles_find(struct handles *h, uint64_t nodeid, uint64_t number, bool *reads, bool *writes)
{
	const struct handle *one;
	bool known;

	pthread_mutex_lock(&h->lock);
	one = *place_of(h, nodeid, number);
	known = one && !one->err;
	if (known) {
		*reads = one->reads;
		*writes = one->writes;
	}
	pthread_mutex_unlock(&h->lock);
	return known;
}

int handles_device(struct handles *h, uint64_t nodeid, uint64_t number, uint64_t *fh)
{
	const struct handle *one;
	int err = -EBADF;

	pthread_mutex_lock(&h->lock);
	one = *place_of(h, nodeid, number);
	if (one) {
		err = one->err;
		*fh = one->fh;
	}
	pthread_mutex_unlock(&h->lock);
	return err;
}

void handles_lose(struct handles *h, uint64_t nodeid, int err)
{
	pthread_mutex_lock(&h->lock);
	for (size_t i = 0; i < h->n_buckets; i++)
		for (struct handle *one = h->buckets[i]; one; one = one->next)
			if (one->nodeid == nodeid)
				one->err = err;
	pthread_mutex_unlock(&h->lock);
}

int handles_reopen(struct handles *h, int fatal,
		   int (*open)(void *ctx, uint64_t nodeid, uint32_t open_flags, uint64_t *fh),
		   void *ctx)
{
	h->own_numbers = true;
	for (size_t i = 0; i < h->n_buckets; i++)
		for (struct handle *one = h->buckets[i]; one; one = one->next) {
			one->err = open(ctx, one->nodeid,
					one->open_flags & ~(uint32_t)(O_CREAT | O_EXCL | O_TRUNC),
					&one->fh);
			if (one->err == fatal)
				return fatal;
		}
	return 0;
}

struct loading {
	struct handles *h;
	const struct records_unanswered *unanswered;
	void (*opened)(void *ctx, uint64_t nodeid, bool writes);
	void *ctx;
};

static int load(void *ctx, void *record, size_t size)
{
	struct loading *l = ctx;
	struct handle *one = record, **at = place_of(l->h, one->nodeid, one->number);

	(void)size;
	if (*at)
		return -EPROTO;
	if (record_unanswered(l->unanswered, one->by) && ledger_get(one->count))
		one->count--;
	if (!ledger_get(one->count)) {
		ledger_remove(l->h->ledger, one);
		return 0;
	}
	one->err = -EBADF; /* no device has it yet */
	insert(l->h, at, one);
	for (unsigned i = 0; i < ledger_get(one->count); i++)
		l->opened(l->ctx, one->nodeid, one->writes);
	return 0;
}

int handles_load(struct handles *h, const struct records_unanswered *unanswered,
		 void (*opened)(void *ctx, uint64_t nodeid, bool writes), void *ctx)
{
	struct loading l = {h, unanswered, opened, ctx};

	return ledger_each(h->ledger, RECORD_HANDLE, sizeof(struct handle), load, &l);
}
