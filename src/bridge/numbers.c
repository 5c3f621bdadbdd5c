/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bridge/numbers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "bridge/node_internal.h"

/* Above what a device may give that counts. */
#define FIRST_OWN  (UINT64_C(1) << 62)
/* Names above each other; the host's paths are shorter. */
#define DEPTH_MAX  4096
#define NODE_IS(v) ((void *)(uintptr_t)(v))
#define NODE_OF(p) ((uint64_t)(uintptr_t)(p))
_Static_assert(sizeof(void *) == sizeof(uint64_t), "numbers are kept as values of an omap");

/* What a node was. Guarded by its shard's lock; the strings' owner. */
struct node_origin {
	uint64_t dir, name_key;
	uint64_t ino, generation;
	uint32_t type; /* S_IFMT */
	bool named;    /* else it has no name that we know */
	bool lost;     /* this device does not have it */
	char name[];
};

void numbers_init(struct numbers *u, struct node_table *nodes)
{
	memset(u, 0, sizeof(*u));
	u->nodes = nodes;
	u->last = FIRST_OWN;
	pthread_mutex_init(&u->lock, NULL);
	omap_init(&u->by_name);
	omap_init(&u->by_device);
	omap_init(&u->by_file);
}

void numbers_fini(struct numbers *u)
{
	omap_clear(&u->by_name);
	omap_clear(&u->by_device);
	omap_clear(&u->by_file);
	pthread_mutex_destroy(&u->lock);
}

/* ------------------------------------------------------------------ keys */

static uint64_t name_key(uint64_t dir, const char *name, size_t len)
{
	uint64_t key = hash_pair(dir, len);

	while (len) {
		size_t n = MIN(len, sizeof(uint64_t));
		uint64_t word = 0;

		memcpy(&word, name, n);
		key = hash_pair(word, key);
		name += n;
		len -= n;
	}
	return key;
}

static uint64_t file_key(uint64_t ino, uint64_t generation, uint32_t type)
{
	return hash_pair(ino, hash_pair(generation, type));
}

static bool is_same(const struct node_origin *o, const struct fuse_entry_out *e)
{
	return o->ino == e->attr.ino && o->generation == e->generation &&
	       o->type == (e->attr.mode & S_IFMT);
}

/* All with the lock held. */
static uint64_t get(const struct omap *m, uint64_t key)
{
	uint64_t found;
	void *v = omap_floor(m, key, &found);

	return v && found == key ? NODE_OF(v) : 0;
}

static void put(struct omap *m, uint64_t key, uint64_t nodeid)
{
	omap_remove(m, key);
	omap_insert(m, key, NODE_IS(nodeid)); /* without it the node is not found again */
}

static void drop(struct omap *m, uint64_t key, uint64_t nodeid)
{
	if (get(m, key) == nodeid)
		omap_remove(m, key);
}

/* ------------------------------------------------------------------ up: what the device names */

/* Called with the lock held. */
static uint64_t kernel_number(struct numbers *u, const struct fuse_entry_out *e)
{
	uint64_t nodeid = get(&u->by_device, e->nodeid);
	uint64_t key = file_key(e->attr.ino, e->generation, e->attr.mode & S_IFMT);

	if (e->nodeid == FUSE_ROOT_ID)
		return FUSE_ROOT_ID;
	if (nodeid)
		return nodeid;
	nodeid = get(&u->by_file, key);
	if (nodeid && node_find(u->nodes, nodeid)) {
		omap_remove(&u->by_file, key);
	} else {
		do
			nodeid = ++u->last;
		while (node_find(u->nodes, nodeid));
	}
	put(&u->by_device, e->nodeid, nodeid);
	return nodeid;
}

struct node *numbers_lookup(struct numbers *u, struct fuse_entry_out *e)
{
	uint64_t device_id = e->nodeid;
	struct node *n;

	if (!u->translates)
		return node_lookup(u->nodes, device_id, device_id);
	pthread_mutex_lock(&u->lock);
	e->nodeid = kernel_number(u, e);
	n = node_lookup(u->nodes, e->nodeid, device_id);
	pthread_mutex_unlock(&u->lock);
	return n;
}

void numbers_name(struct numbers *u, struct node *n, uint64_t dir, const char *name,
		  const struct fuse_attr *attr, uint64_t generation)
{
	size_t len = strlen(name);
	uint64_t key = name_key(dir, name, len), old = 0;
	struct node_origin *o;
	struct shard *s;

	if (!u->keeps || !len || len > NUMBERS_NAME_MAX || n->nodeid == FUSE_ROOT_ID)
		return;
	s = shard_lock(u->nodes, n->nodeid);
	o = n->origin;
	if (o && o->named && o->name_key == key && o->dir == dir && o->ino == attr->ino &&
	    o->generation == generation) {
		o->lost = false;
		shard_unlock(s);
		return;
	}
	shard_unlock(s);
	o = malloc(sizeof(*o) + len + 1);
	if (!o)
		return;
	*o = (struct node_origin){.dir = dir,
				  .name_key = key,
				  .ino = attr->ino,
				  .generation = generation,
				  .type = attr->mode & S_IFMT,
				  .named = true};
	memcpy(o->name, name, len + 1);
	pthread_mutex_lock(&u->lock);
	shard_lock(u->nodes, n->nodeid);
	if (n->origin && n->origin->named)
		old = n->origin->name_key;
	free(n->origin);
	n->origin = o;
	shard_unlock(s);
	if (old)
		drop(&u->by_name, old, n->nodeid);
	put(&u->by_name, key, n->nodeid);
	pthread_mutex_unlock(&u->lock);
}

/* Called with the lock held: the node of this name loses it. 0: there is none. */
static uint64_t take_name(struct numbers *u, uint64_t dir, const char *name,
			  struct node_origin **out)
{
	uint64_t key = name_key(dir, name, strlen(name)), nodeid = get(&u->by_name, key);
	struct node *n;
	struct shard *s;

	*out = NULL;
	if (!nodeid)
		return 0;
	omap_remove(&u->by_name, key);
	s = shard_lock(u->nodes, nodeid);
	n = shard_find_node(s, nodeid);
	if (n && n->origin && n->origin->named && n->origin->name_key == key) {
		n->origin->named = false;
		*out = n->origin;
	}
	shard_unlock(s);
	return *out ? nodeid : 0;
}

/* Called with the lock held: the node that had another name gets this one. */
static void give_name(struct numbers *u, uint64_t nodeid, uint64_t dir, const char *name)
{
	size_t len = strlen(name);
	struct node_origin *o = malloc(sizeof(*o) + len + 1);
	struct shard *s = shard_lock(u->nodes, nodeid);
	struct node *n = shard_find_node(s, nodeid);

	if (o && n && n->origin) {
		memcpy(o, n->origin, sizeof(*o));
		memcpy(o->name, name, len + 1);
		o->dir = dir;
		o->name_key = name_key(dir, name, len);
		o->named = true;
		free(n->origin);
		n->origin = o;
		put(&u->by_name, o->name_key, nodeid);
		o = NULL;
	}
	shard_unlock(s);
	free(o);
}

void numbers_unname(struct numbers *u, uint64_t dir, const char *name)
{
	struct node_origin *o;

	if (!u->keeps)
		return;
	pthread_mutex_lock(&u->lock);
	take_name(u, dir, name, &o);
	pthread_mutex_unlock(&u->lock);
}

void numbers_rename(struct numbers *u, uint64_t dir, const char *name, uint64_t newdir,
		    const char *newname, bool exchange)
{
	struct node_origin *o;
	uint64_t moved, replaced;

	if (!u->keeps)
		return;
	pthread_mutex_lock(&u->lock);
	moved = take_name(u, dir, name, &o);
	replaced = take_name(u, newdir, newname, &o);
	if (moved)
		give_name(u, moved, newdir, newname);
	if (replaced && exchange)
		give_name(u, replaced, dir, name);
	pthread_mutex_unlock(&u->lock);
}

/* ------------------------------------------------------------------ down */

uint64_t numbers_device(struct numbers *u, uint64_t nodeid)
{
	struct node *n;
	struct shard *s;
	uint64_t id;

	if (!u->translates || nodeid == FUSE_ROOT_ID || nodeid == 0)
		return nodeid;
	s = shard_lock(u->nodes, nodeid);
	n = shard_find_node(s, nodeid);
	id = n ? n->device_id : 0;
	shard_unlock(s);
	return id;
}

/* ------------------------------------------------------------------ another device */

void numbers_gone(void *ctx, struct node *n)
{
	struct numbers *u = ctx;
	struct node_origin *o = n->origin;

	if (!u->keeps)
		return;
	pthread_mutex_lock(&u->lock);
	/* It may have been named again meanwhile. */
	if (!node_find(u->nodes, n->nodeid)) {
		if (o && o->named)
			drop(&u->by_name, o->name_key, n->nodeid);
		if (o)
			drop(&u->by_file, file_key(o->ino, o->generation, o->type), n->nodeid);
		drop(&u->by_device, n->device_id, n->nodeid);
	}
	pthread_mutex_unlock(&u->lock);
}

static void index_file(void *ctx, struct node *n)
{
	struct numbers *u = ctx;
	struct node_origin *o = n->origin;

	if (!o)
		return;
	o->lost = false;
	put(&u->by_file, file_key(o->ino, o->generation, o->type), n->nodeid);
}

void numbers_unbind(struct numbers *u)
{
	u->translates = true;
	omap_clear(&u->by_device);
	omap_clear(&u->by_file);
	node_each(u->nodes, index_file, u);
}

int numbers_ask(struct numbers *u, uint64_t nodeid, struct numbers_question *q)
{
	if (!u->translates)
		return 0;
	for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
		struct shard *s = shard_lock(u->nodes, nodeid);
		struct node *n = shard_find_node(s, nodeid);
		const struct node_origin *o = n ? n->origin : NULL;
		bool known = nodeid == FUSE_ROOT_ID || (n && n->device_id);
		bool named = o && o->named && !o->lost;

		q->nodeid = nodeid;
		if (!known && named) {
			memcpy(q->name, o->name, strlen(o->name) + 1);
			nodeid = o->dir;
		}
		shard_unlock(s);
		if (known && !depth)
			return 0;
		if (!known && !named)
			return -ESTALE;
		q->device_dir = numbers_device(u, nodeid);
		if (!known && q->device_dir)
			return 1;
	}
	return -ESTALE;
}

/* Called with the lock held. 0, or -ESTALE: it is another file. */
static int bind_node(struct numbers *u, uint64_t nodeid, const struct fuse_entry_out *e)
{
	struct shard *s = shard_lock(u->nodes, nodeid);
	struct node *n = shard_find_node(s, nodeid);
	int err = -ESTALE;

	if (n && n->origin && e->nodeid && is_same(n->origin, e)) {
		n->device_id = e->nodeid;
		n->device_lookups++;
		err = 0;
	} else if (n && n->origin) {
		n->origin->lost = true;
	}
	shard_unlock(s);
	return err;
}

int numbers_found(struct numbers *u, uint64_t nodeid, int err, const struct fuse_entry_out *e)
{
	static const struct fuse_entry_out none;

	if (err && err != -ENOENT && err != -ENOTDIR && err != -ESTALE)
		return err;
	pthread_mutex_lock(&u->lock);
	err = bind_node(u, nodeid, err ? &none : e);
	if (!err) {
		put(&u->by_device, e->nodeid, nodeid);
		drop(&u->by_file, file_key(e->attr.ino, e->generation, e->attr.mode & S_IFMT),
		     nodeid);
	}
	pthread_mutex_unlock(&u->lock);
	return err;
}
