/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bridge/dirs_table: what is known of each handle of a directory. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/ledger.h"
#include "bridge/dirs.h"

#define BUCKETS 1024u
#define ENDS	64u /* of directories without a handle; one that is forgotten costs a request */

/* A record of the ledger. */
struct dir {
	struct ledger_mark mark;
	uint64_t id, nodeid;
	uint64_t by; /* the request that opened it */
	/* Of this process: */
	struct dir *next;
	struct dir_state state;
};

struct dirs {
	pthread_mutex_t lock; /* guards all of it; taken inside nothing, the ledger's inside */
	struct ledger *ledger;
	_Atomic uint64_t *last;
	struct dir *buckets[BUCKETS];
	struct {
		uint64_t nodeid;
		struct dir_state state;
	} ends[ENDS];
};

struct dirs *dirs_create(struct ledger *ledger, _Atomic uint64_t *last)
{
	struct dirs *t = calloc(1, sizeof(*t));

	if (t) {
		pthread_mutex_init(&t->lock, NULL);
		t->ledger = ledger;
		t->last = last;
	}
	return t;
}

void dirs_destroy(struct dirs *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < BUCKETS; i++)
		while (t->buckets[i]) {
			struct dir *d = t->buckets[i];

			t->buckets[i] = d->next;
			ledger_remove(t->ledger, d);
		}
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* Called with the lock held: where the pointer to it is, or would be. */
static struct dir **place_of(struct dirs *t, uint64_t id, uint64_t nodeid)
{
	struct dir **at = &t->buckets[hash_u64(id) % BUCKETS];

	while (*at && ((*at)->id != id || (*at)->nodeid != nodeid))
		at = &(*at)->next;
	return at;
}

/* Called with the lock held: NULL, or what is known of the handle. */
static struct dir_state *state_of(struct dirs *t, uint64_t id, uint64_t nodeid)
{
	unsigned i = hash_u64(nodeid) % ENDS;
	struct dir *d;

	if (id == DIR_NO_ID)
		return t->ends[i].nodeid == nodeid ? &t->ends[i].state : NULL;
	d = *place_of(t, id, nodeid);
	return d ? &d->state : NULL;
}

uint64_t dirs_add(struct dirs *t, uint64_t nodeid, const struct dir_state *state, uint64_t by)
{
	struct dir *d = ledger_new(t->ledger, sizeof(*d));
	uint64_t id;

	if (!d)
		return 0;
	d->nodeid = nodeid;
	d->by = by;
	d->state = *state;
	pthread_mutex_lock(&t->lock);
	d->id = id = ledger_get(*t->last) + 1;
	ledger_set(*t->last, id);
	ledger_enter(d, RECORD_DIR);
	*place_of(t, id, nodeid) = d;
	pthread_mutex_unlock(&t->lock);
	return id;
}

struct loading {
	struct dirs *t;
	const struct records_unanswered *unanswered;
};

static int load(void *ctx, void *record, size_t size)
{
	struct loading *l = ctx;
	struct dir *d = record, **at = place_of(l->t, d->id, d->nodeid);

	(void)size;
	if (*at)
		return -EPROTO;
	d->next = NULL;
	d->state = (struct dir_state){0};
	if (record_unanswered(l->unanswered, d->by))
		ledger_remove(l->t->ledger, d);
	else
		*at = d;
	return 0;
}

int dirs_load(struct dirs *t, const struct records_unanswered *unanswered)
{
	struct loading l = {t, unanswered};

	return ledger_each(t->ledger, RECORD_DIR, sizeof(struct dir), load, &l);
}

bool dirs_look(struct dirs *t, uint64_t id, uint64_t nodeid, struct dir_state *state)
{
	const struct dir_state *s;

	pthread_mutex_lock(&t->lock);
	s = state_of(t, id, nodeid);
	if (s)
		*state = *s;
	pthread_mutex_unlock(&t->lock);
	return s;
}

bool dirs_remove(struct dirs *t, uint64_t id, uint64_t nodeid, struct dir_state *state)
{
	struct dir **at, *d;
	bool there;

	pthread_mutex_lock(&t->lock);
	at = place_of(t, id, nodeid);
	d = *at;
	there = d;
	if (d) {
		*at = d->next;
		*state = d->state;
	}
	pthread_mutex_unlock(&t->lock);
	ledger_remove(t->ledger, d);
	return there;
}

bool dirs_opened(struct dirs *t, uint64_t id, uint64_t nodeid, uint64_t fh)
{
	struct dir_state *s;
	bool first;

	pthread_mutex_lock(&t->lock);
	s = id == DIR_NO_ID ? NULL : state_of(t, id, nodeid);
	first = s && !s->opened;
	if (first) {
		s->opened = true;
		s->fh = fh;
	}
	pthread_mutex_unlock(&t->lock);
	return first;
}

void dirs_ended(struct dirs *t, uint64_t id, uint64_t nodeid, uint64_t end)
{
	struct dir_state *s;

	pthread_mutex_lock(&t->lock);
	if (id == DIR_NO_ID)
		t->ends[hash_u64(nodeid) % ENDS].nodeid = nodeid;
	s = state_of(t, id, nodeid);
	if (s) {
		s->ended = true;
		s->end = end;
	}
	pthread_mutex_unlock(&t->lock);
}

bool dirs_take_end(struct dirs *t, uint64_t id, uint64_t nodeid, uint64_t offset)
{
	struct dir_state *s;
	bool take;

	pthread_mutex_lock(&t->lock);
	s = state_of(t, id, nodeid);
	take = s && s->ended && s->end == offset;
	if (s)
		s->ended = false;
	pthread_mutex_unlock(&t->lock);
	return take;
}

void dirs_unbind(struct dirs *t)
{
	for (unsigned i = 0; t && i < BUCKETS; i++)
		for (struct dir *d = t->buckets[i]; d; d = d->next)
			d->state = (struct dir_state){0};
	if (t)
		memset(t->ends, 0, sizeof(t->ends));
}
