/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tell.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"

struct tell_item {
	struct list link;
	struct tell_item *next; /* in its bucket */
	uint64_t hash;
	bool is_inode;
	enum tell_of of;
	uint64_t nodeid;	   /* of an inode */
	struct agreement_change c; /* else */
	char names[];		   /* both, with their ends */
};

void tell_init(struct tell *t)
{
	memset(t, 0, sizeof(*t));
	pthread_mutex_init(&t->delivering, NULL);
	pthread_mutex_init(&t->lock, NULL);
	list_init(&t->items);
}

/* With the lock. */
static struct tell_item *pop_item(struct tell *t)
{
	struct list *l = list_pop_front(&t->items);
	struct tell_item *item = l ? container_of(l, struct tell_item, link) : NULL;
	struct tell_item **at;

	if (!item)
		return NULL;
	t->n_items--;
	for (at = &t->buckets[item->hash % TELL_BUCKETS]; *at && *at != item; at = &(*at)->next)
		;
	if (*at)
		*at = item->next;
	return item;
}

static void drop_items(struct tell *t)
{
	struct tell_item *item;

	while ((item = pop_item(t)))
		free(item);
}

void tell_fini(struct tell *t)
{
	drop_items(t);
	free(t->buffers);
	pthread_mutex_destroy(&t->delivering);
	pthread_mutex_destroy(&t->lock);
}

/* With the lock. */
static void overflow(struct tell *t)
{
	drop_items(t);
	t->all = true;
}

/* With the lock. The item is the list's, or freed. */
static void push_item(struct tell *t, struct tell_item *item)
{
	/* What comes after "everything" and is not yet told is part of it, where nobody wants to
	 * know what it was. */
	if (!item || t->n_items == TELL_MAX) {
		free(item);
		overflow(t);
		return;
	}
	if (item->is_inode) {
		struct tell_item **bucket = &t->buckets[item->hash % TELL_BUCKETS];

		item->next = *bucket;
		*bucket = item;
	}
	list_push_back(&t->items, &item->link);
	t->n_items++;
}

void tell_inode(struct tell *t, uint64_t nodeid, enum tell_of of)
{
	uint64_t hash = hash_u64(nodeid);
	struct tell_item *item;

	pthread_mutex_lock(&t->lock);
	item = t->buckets[hash % TELL_BUCKETS];
	while (item && (item->nodeid != nodeid || (item->of == TELL_PASSED) != (of == TELL_PASSED)))
		item = item->next;
	if (item) {
		item->of = MAX(item->of, of);
	} else {
		item = calloc(1, sizeof(*item));
		if (item) {
			item->hash = hash;
			item->is_inode = true;
			item->of = of;
			item->nodeid = nodeid;
		}
		push_item(t, item);
	}
	pthread_mutex_unlock(&t->lock);
}

static bool says_the_same(const struct tell_item *a, const struct tell_item *b)
{
	return !a->is_inode && memcmp(&a->c, &b->c, sizeof(a->c)) == 0 &&
	       memcmp(a->names, b->names, a->c.name_len + a->c.to_name_len) == 0;
}

static struct tell_item *name_item(const struct agreement_change *c, const char *name,
				   const char *to_name)
{
	size_t len = strlen(name), to_len = to_name ? strlen(to_name) : 0;
	struct tell_item *item = calloc(1, sizeof(*item) + len + to_len + 2);

	if (!item)
		return NULL;
	item->c = *c;
	item->c.name_len = (uint16_t)len;
	item->c.to_name_len = (uint16_t)to_len;
	memcpy(item->names, name, len + 1);
	if (to_len)
		memcpy(item->names + len + 1, to_name, to_len + 1);
	return item;
}

void tell_name(struct tell *t, const struct agreement_change *c, const char *name,
	       const char *to_name)
{
	struct tell_item *item = name_item(c, name, to_name);
	struct list *last;

	pthread_mutex_lock(&t->lock);
	last = t->items.prev;
	/* Of names the order counts: only what comes twice in a row is one. */
	if (item && last != &t->items &&
	    says_the_same(container_of(last, struct tell_item, link), item))
		free(item);
	else
		push_item(t, item);
	pthread_mutex_unlock(&t->lock);
}

void tell_all(struct tell *t)
{
	pthread_mutex_lock(&t->lock);
	overflow(t);
	pthread_mutex_unlock(&t->lock);
}

/* ------------------------------------------------------------------ messages */

struct message {
	struct fuse_out_header h;
	uint8_t body[AGREEMENT_NOTIFY_BYTES - sizeof(struct fuse_out_header)];
	size_t len;
};

static void message_begin(struct message *m, int32_t code)
{
	m->h = (struct fuse_out_header){.error = code};
	m->len = 0;
}

static void message_add(struct message *m, const void *bytes, size_t len)
{
	memcpy(m->body + m->len, bytes, len);
	m->len += len;
}

static void put_inode(struct message *m, const struct tell_item *item)
{
	struct fuse_notify_inval_inode_out out = {
		.ino = item->nodeid,
		.off = item->of == TELL_ATTRIB ? -1 : 0,
		.len = item->of == TELL_PASSED ? AGREEMENT_LEN_PASSED : 0,
	};

	message_begin(m, FUSE_NOTIFY_INVAL_INODE);
	message_add(m, &out, sizeof(out));
}

static void put_change(struct message *m, const struct tell_item *item)
{
	const struct agreement_change *c = &item->c;

	message_begin(m, AGREEMENT_NOTIFY_CHANGE);
	message_add(m, c, sizeof(*c));
	message_add(m, item->names, c->name_len + 1u + (c->to_name_len ? c->to_name_len + 1u : 0));
}

/* For a driver that knows nothing beyond FUSE. */
static void put_entry(struct message *m, uint64_t dir, const char *name, size_t len)
{
	struct fuse_notify_inval_entry_out out = {.parent = dir, .namelen = (uint32_t)len};

	message_begin(m, FUSE_NOTIFY_INVAL_ENTRY);
	message_add(m, &out, sizeof(out));
	message_add(m, name, len + 1);
}

static void put_delete(struct message *m, const struct tell_item *item)
{
	struct fuse_notify_delete_out out = {
		.parent = item->c.dir, .child = item->c.child, .namelen = item->c.name_len};

	message_begin(m, FUSE_NOTIFY_DELETE);
	message_add(m, &out, sizeof(out));
	message_add(m, item->names, item->c.name_len + 1u);
}

static void put_item(struct message *m, const struct tell_item *item, bool changes)
{
	if (item->is_inode)
		put_inode(m, item);
	else if (changes)
		put_change(m, item);
	else if (item->c.what == CHANGE_REMOVED && item->c.child)
		put_delete(m, item);
	else
		put_entry(m, item->c.dir, item->names, item->c.name_len);
}

/* ------------------------------------------------------------------ buffers */

bool tell_offer(struct tell *t, struct request *req)
{
	struct request **grown;
	bool kept = true;

	pthread_mutex_lock(&t->lock);
	if (t->n_buffers == t->cap_buffers) {
		unsigned cap = t->cap_buffers ? 2 * t->cap_buffers : 64;

		grown = realloc(t->buffers, cap * sizeof(struct request *));
		kept = grown;
		if (grown) {
			t->buffers = grown;
			t->cap_buffers = cap;
		}
	}
	if (kept)
		t->buffers[t->n_buffers++] = req;
	pthread_mutex_unlock(&t->lock);
	if (!kept)
		request_complete(req, 0);
	return kept;
}

/* False: it does not fit, and nothing was written. */
static bool write_message(struct request *req, struct message *m)
{
	struct iovec from[2] = {{&m->h, sizeof(m->h)}, {m->body, m->len}};
	size_t at = 0, off = 0;

	m->h.len = (uint32_t)(sizeof(m->h) + m->len);
	if (req->writable_bytes < m->h.len)
		return false;
	for (unsigned i = 0; i < 2; i++) {
		size_t done = 0;

		while (done < from[i].iov_len) {
			size_t n = MIN(from[i].iov_len - done, req->writable[at].iov_len - off);

			memcpy((uint8_t *)req->writable[at].iov_base + off,
			       (uint8_t *)from[i].iov_base + done, n);
			done += n;
			off += n;
			if (off == req->writable[at].iov_len) {
				at++;
				off = 0;
			}
		}
	}
	return true;
}

/* Takes what is to be told next and a buffer for it; NULL: there is not both. */
static struct request *take_next(struct tell *t, struct message *m)
{
	struct request *req = NULL;
	struct tell_item *item = NULL;

	pthread_mutex_lock(&t->lock);
	if (t->n_buffers && (t->all || t->n_items)) {
		req = t->buffers[--t->n_buffers];
		if (t->all)
			message_begin(m, FUSE_NOTIFICATION_INC_EPOCH);
		else
			item = pop_item(t);
		t->all = false;
	}
	if (item)
		put_item(m, item, t->changes);
	/* The other name of the two, for whom that is another message. */
	if (item && !item->is_inode && !t->changes && item->c.what == CHANGE_RENAMED) {
		struct agreement_change other = {.what = CHANGE_CREATED, .dir = item->c.to_dir};
		struct tell_item *second =
			name_item(&other, item->names + item->c.name_len + 1, NULL);

		push_item(t, second);
	}
	pthread_mutex_unlock(&t->lock);
	free(item);
	return req;
}

unsigned tell_deliver(struct tell *t)
{
	struct message m;
	struct request *req;
	unsigned n = 0;

	pthread_mutex_lock(&t->delivering);
	while ((req = take_next(t, &m))) {
		bool fits = write_message(req, &m);

		/* A driver with buffers that are too short for what its configuration space asks
		 * for is told so much at least, if there is room for that. */
		if (!fits && m.len)
			tell_all(t);
		request_complete(req, fits ? m.h.len : 0);
		n += fits;
	}
	pthread_mutex_unlock(&t->delivering);
	return n;
}

void tell_begin(struct tell *t, bool changes)
{
	pthread_mutex_lock(&t->lock);
	drop_items(t);
	t->all = false;
	t->changes = changes;
	pthread_mutex_unlock(&t->lock);
}

void tell_give_back(struct tell *t)
{
	pthread_mutex_lock(&t->delivering);
	pthread_mutex_lock(&t->lock);
	while (t->n_buffers) {
		struct request *req = t->buffers[--t->n_buffers];

		pthread_mutex_unlock(&t->lock);
		request_complete(req, 0);
		pthread_mutex_lock(&t->lock);
	}
	pthread_mutex_unlock(&t->lock);
	pthread_mutex_unlock(&t->delivering);
}
