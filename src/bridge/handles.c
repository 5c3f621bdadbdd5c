/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bridge/handles.h"

#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#define BUCKETS 4096u

struct handle {
	struct handle *next;
	uint64_t nodeid, fh;
	unsigned count;
	bool reads, writes;
};

struct handles {
	pthread_mutex_t lock; /* guards all of it; taken inside nothing, nothing is taken inside */
	unsigned n;
	struct handle *buckets[BUCKETS];
};

int handles_create(struct handles **out)
{
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	pthread_mutex_init(&(*out)->lock, NULL);
	return 0;
}

void handles_destroy(struct handles *h)
{
	if (!h)
		return;
	for (unsigned i = 0; i < BUCKETS; i++)
		while (h->buckets[i]) {
			struct handle *one = h->buckets[i];

			h->buckets[i] = one->next;
			free(one);
		}
	pthread_mutex_destroy(&h->lock);
	free(h);
}

/* Called with the lock held: where the pointer to it is, or would be. */
static struct handle **place_of(struct handles *h, uint64_t nodeid, uint64_t fh)
{
	struct handle **at = &h->buckets[hash_pair(nodeid, fh) >> 52];

	while (*at && ((*at)->nodeid != nodeid || (*at)->fh != fh))
		at = &(*at)->next;
	return at;
}

void handles_add(struct handles *h, uint64_t nodeid, uint64_t fh, uint32_t open_flags)
{
	bool reads = (open_flags & O_ACCMODE) != O_WRONLY;
	bool writes = (open_flags & O_ACCMODE) != O_RDONLY;
	struct handle **at, *one;

	pthread_mutex_lock(&h->lock);
	at = place_of(h, nodeid, fh);
	one = *at;
	if (one) {
		one->reads &= reads;
		one->writes &= writes;
		one->count++;
	} else if (h->n < HANDLES_MAX && (one = malloc(sizeof(*one)))) {
		*one = (struct handle){
			.nodeid = nodeid, .fh = fh, .count = 1, .reads = reads, .writes = writes};
		*at = one;
		h->n++;
	}
	pthread_mutex_unlock(&h->lock);
}

void handles_drop(struct handles *h, uint64_t nodeid, uint64_t fh)
{
	struct handle **at, *one;

	pthread_mutex_lock(&h->lock);
	at = place_of(h, nodeid, fh);
	one = *at;
	if (one && --one->count == 0) {
		*at = one->next;
		h->n--;
		free(one);
	}
	pthread_mutex_unlock(&h->lock);
}

bool handles_find(struct handles *h, uint64_t nodeid, uint64_t fh, bool *reads, bool *writes)
{
	const struct handle *one;

	pthread_mutex_lock(&h->lock);
	one = *place_of(h, nodeid, fh);
	if (one) {
		*reads = one->reads;
		*writes = one->writes;
	}
	pthread_mutex_unlock(&h->lock);
	return one;
}
