/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bridge/numbers.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "bridge/node_internal.h"

/* Above what a device may give that counts. */
#define FIRST_OWN  (UINT64_C(1) << 62)
/* Names above each other; the host's paths are shorter. */
#define DEPTH_MAX  2048
#define NODE_IS(v) ((void *)(uintptr_t)(v))
#define NODE_OF(p) ((uint64_t)(uintptr_t)(p))
_Static_assert(sizeof(void *) == sizeof(uint64_t), "numbers are kept as values of an omap");

/* A node is looked for by the names that it was given last. Host and kernel may give it more. */
#define NAMES_MAX 8

/* A record of the ledger. Guarded by the lock of its node's shard. */
struct node_name {
	struct ledger_mark mark;
	uint32_t part; /* of its key */
	uint64_t nodeid, dir;
	struct node_name *next; /* of this process */
	bool holds;		/* its directory: hold_dir() */
	char name[];
};

void numbers_init(struct numbers *u, struct node_table *nodes, struct ledger *ledger,
		  _Atomic uint64_t *last)
{
	memset(u, 0, sizeof(*u));
	u->nodes = nodes;
	u->ledger = nodes->ledger = ledger;
	u->last = last;
	pthread_mutex_init(&u->lock, NULL);
	holders_init(&u->by_name);
	omap_init(&u->by_device);
	omap_init(&u->by_file);
	omap_init(&u->idle);
}

void numbers_fini(struct numbers *u)
{
	holders_fini(&u->by_name);
	omap_clear(&u->by_device);
	omap_clear(&u->by_file);
	omap_clear(&u->idle);
	pthread_mutex_destroy(&u->lock);
}

/* ------------------------------------------------------------------ keys */

static uint64_t name_key(uint64_t dir, const char *name)
{
	size_t len = strlen(name);
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

static uint64_t key_of(const struct node_name *name)
{
	return name_key(name->dir, name->name);
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
static uint64_t next_number(struct numbers *u)
{
	uint64_t number = MAX(ledger_get(*u->last), FIRST_OWN) + 1;

	ledger_set(*u->last, number);
	return number;
}

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
			nodeid = next_number(u);
		while (node_find(u->nodes, nodeid));
	}
	put(&u->by_device, e->nodeid, nodeid);
	return nodeid;
}

struct node *numbers_lookup(struct numbers *u, struct fuse_entry_out *e, uint64_t by)
{
	uint64_t device_id = e->nodeid;
	struct node *n;

	if (!u->translates)
		return node_lookup(u->nodes, device_id, device_id, by);
	pthread_mutex_lock(&u->lock);
	e->nodeid = kernel_number(u, e);
	n = node_lookup(u->nodes, e->nodeid, device_id, by);
	pthread_mutex_unlock(&u->lock);
	return n;
}

/* Not in the ledger yet. */
static struct node_name *new_name(struct numbers *u, uint64_t nodeid, uint64_t dir,
				  const char *name)
{
	size_t len = strlen(name);
	struct node_name *made = ledger_new(u->ledger, sizeof(*made) + len + 1);

	if (made) {
		made->nodeid = nodeid;
		made->dir = dir;
		made->part = (uint32_t)name_key(dir, name);
		memcpy(made->name, name, len + 1);
	}
	return made;
}

/* ------------------------------------------------------------------ directories of names */

/* Another device is asked for a name in a directory that it knows: so the directory stays as long,
 * though a program may have given it back. Both with the lock held. */
static void hold_dir(struct numbers *u, struct node_name *name)
{
	struct shard *s = shard_lock(u->nodes, name->dir);
	struct node *dir = shard_find_node(s, name->dir);

	name->holds = dir;
	if (dir)
		dir->children++;
	shard_unlock(s);
}

static void release_dir_of(struct numbers *u, const struct node_name *name)
{
	struct shard *s = shard_lock(u->nodes, name->dir);
	struct node *dir = name->holds ? shard_find_node(s, name->dir) : NULL;
	bool idle = false;

	if (dir && dir->children)
		idle = --dir->children == 0 && dir->nlookup == 0;
	shard_unlock(s);
	if (idle) {
		put(&u->idle, name->dir, name->dir);
		atomic_store(&u->any_idle, true);
	}
}

uint64_t numbers_idle(struct numbers *u)
{
	uint64_t dir = 0;

	if (!atomic_load_explicit(&u->any_idle, memory_order_relaxed))
		return 0;
	pthread_mutex_lock(&u->lock);
	if (omap_floor(&u->idle, UINT64_MAX, &dir))
		omap_remove(&u->idle, dir);
	else
		atomic_store(&u->any_idle, false);
	pthread_mutex_unlock(&u->lock);
	return dir;
}

/* ------------------------------------------------------------------ names */

/* Called with the shard's lock held: where the pointer to the name is, or would be. */
static struct node_name **name_at(struct node_origin *o, uint64_t key)
{
	struct node_name **at = &o->names;

	while (*at && ((*at)->part != (uint32_t)key || key_of(*at) != key))
		at = &(*at)->next;
	return at;
}

/* Called with the lock held: `made` is its node's first name now, or freed. A node that is not kept
 * is none. */
static void give_name(struct numbers *u, struct node_name *made)
{
	uint64_t nodeid = made->nodeid;
	struct node_name *last = NULL, **at;
	uint64_t key = key_of(made);
	unsigned count = 0;
	struct shard *s;
	struct node *n;

	hold_dir(u, made);
	s = shard_lock(u->nodes, nodeid);
	n = shard_find_node(s, nodeid);
	if (n && n->origin && !*name_at(n->origin, key)) {
		ledger_enter(made, RECORD_NAME);
		made->next = n->origin->names;
		n->origin->names = made;
		holders_add(&u->by_name, key, nodeid);
		made = NULL;
		for (at = &n->origin->names; *at && count < NAMES_MAX; at = &(*at)->next)
			count++;
		last = *at;
		*at = NULL;
	}
	shard_unlock(s);
	if (last) {
		holders_remove(&u->by_name, key_of(last), nodeid);
		release_dir_of(u, last);
	}
	if (made)
		release_dir_of(u, made);
	ledger_remove(u->ledger, last);
	ledger_remove(u->ledger, made);
}

/* Called with the lock held. */
static void take_name(struct numbers *u, uint64_t nodeid, uint64_t key)
{
	struct shard *s = shard_lock(u->nodes, nodeid);
	struct node *n = shard_find_node(s, nodeid);
	struct node_name *gone = NULL, **at;

	if (n && n->origin) {
		at = name_at(n->origin, key);
		gone = *at;
		if (gone)
			*at = gone->next;
	}
	shard_unlock(s);
	holders_remove(&u->by_name, key, nodeid);
	if (gone)
		release_dir_of(u, gone);
	ledger_remove(u->ledger, gone);
}

/* Called with the shard's lock held. False: out of memory. */
static bool has_origin(struct numbers *u, struct node *n, const struct fuse_attr *attr,
		       uint64_t generation, uint64_t by)
{
	struct node_origin *o = n->origin ? n->origin : ledger_new(u->ledger, sizeof(*o));

	if (!o)
		return false;
	o->ino = attr->ino;
	o->generation = generation;
	o->type = attr->mode & S_IFMT;
	if (n->origin)
		return true;
	o->nodeid = n->nodeid;
	o->mtime_late = n->mtime_late;
	origin_named(o, n->nlookup, by);
	ledger_enter(o, RECORD_NODE);
	n->origin = o;
	return true;
}

void numbers_name(struct numbers *u, struct node *n, uint64_t dir, const char *name,
		  const struct fuse_attr *attr, uint64_t generation, uint64_t by)
{
	size_t len = strlen(name);
	struct node_name *made;
	struct shard *s;
	bool needed;

	if (!u->keeps || !len || len > NUMBERS_NAME_MAX || n->nodeid == FUSE_ROOT_ID)
		return;
	s = shard_lock(u->nodes, n->nodeid);
	needed = has_origin(u, n, attr, generation, by) &&
		 !*name_at(n->origin, name_key(dir, name));
	shard_unlock(s);
	made = needed ? new_name(u, n->nodeid, dir, name) : NULL;
	if (!made)
		return;
	pthread_mutex_lock(&u->lock);
	give_name(u, made);
	pthread_mutex_unlock(&u->lock);
}

void numbers_unname(struct numbers *u, uint64_t dir, const char *name)
{
	uint64_t key = name_key(dir, name), nodeids[HOLDERS_MAX];

	if (!u->keeps)
		return;
	pthread_mutex_lock(&u->lock);
	for (unsigned n = holders_get(&u->by_name, key, nodeids); n;)
		take_name(u, nodeids[--n], key);
	pthread_mutex_unlock(&u->lock);
}

/* Called with the lock held. Those that have the name `key` get this one, too. */
static unsigned give_copies(struct numbers *u, uint64_t key, uint64_t dir, const char *name,
			    uint64_t nodeids[HOLDERS_MAX])
{
	unsigned n = holders_get(&u->by_name, key, nodeids);

	for (unsigned i = 0; i < n; i++) {
		struct node_name *made = new_name(u, nodeids[i], dir, name);

		if (made)
			give_name(u, made);
	}
	return n;
}

/* Called with the lock held: but for those who are among the others. */
static void take_names(struct numbers *u, uint64_t key, const uint64_t *nodeids, unsigned n,
		       const uint64_t *others, unsigned n_others)
{
	for (unsigned i = 0; i < n; i++) {
		bool stays = false;

		for (unsigned k = 0; k < n_others; k++)
			stays |= others[k] == nodeids[i];
		if (!stays)
			take_name(u, nodeids[i], key);
	}
}

void numbers_rename(struct numbers *u, uint64_t dir, const char *name, uint64_t newdir,
		    const char *newname, unsigned how)
{
	uint64_t old = name_key(dir, name), new = name_key(newdir, newname);
	uint64_t moved[HOLDERS_MAX], replaced[HOLDERS_MAX];
	unsigned n_moved, n_replaced;

	if (!u->keeps || old == new)
		return;
	pthread_mutex_lock(&u->lock);
	/* A name too many does no harm, for what answers to it is looked at; one too few does. So
	 * a driver that is killed in between has given, and not taken yet; and where nothing is
	 * known to move this was done before. */
	n_replaced = holders_get(&u->by_name, new, replaced);
	n_moved = give_copies(u, old, newdir, newname, moved);
	if (how & NUMBERS_EXCHANGE)
		give_copies(u, new, dir, name, replaced);
	if (n_moved && !(how & NUMBERS_PERHAPS)) {
		take_names(u, old, moved, n_moved, replaced, how & NUMBERS_EXCHANGE ? n_replaced : 0);
		take_names(u, new, replaced, n_replaced, moved, n_moved);
	}
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
	for (struct node_name *name = o ? o->names : NULL; name; name = name->next)
		release_dir_of(u, name);
	/* Unless it was named again meanwhile, as another node of the same number. */
	if (!node_find(u->nodes, n->nodeid)) {
		for (struct node_name *name = o ? o->names : NULL; name; name = name->next)
			holders_remove(&u->by_name, key_of(name), n->nodeid);
		if (o)
			drop(&u->by_file, file_key(o->ino, o->generation, o->type), n->nodeid);
		drop(&u->by_device, n->device_id, n->nodeid);
	}
	pthread_mutex_unlock(&u->lock);
}

void node_origin_free(struct ledger *l, struct node_origin *o)
{
	while (o->names) {
		struct node_name *gone = o->names;

		o->names = gone->next;
		ledger_remove(l, gone);
	}
	ledger_remove(l, o);
}

static void index_file(void *ctx, struct node *n)
{
	struct numbers *u = ctx;
	struct node_origin *o = n->origin;

	if (!o)
		return;
	put(&u->by_file, file_key(o->ino, o->generation, o->type), n->nodeid);
}

void numbers_unbind(struct numbers *u)
{
	u->translates = true;
	omap_clear(&u->by_device);
	omap_clear(&u->by_file);
	node_each(u->nodes, index_file, u);
}

struct loading {
	struct numbers *u;
	const struct records_unanswered *unanswered;
};

static int load_node(void *ctx, void *record, size_t size)
{
	struct loading *l = ctx;
	struct node_table *nodes = l->u->nodes;
	struct node_origin *o = record;
	uint64_t nlookup = ledger_get(o->nlookup), less = 0;
	struct node *n;

	(void)size;
	if (record_unanswered(l->unanswered, ledger_get(o->by)))
		less = ledger_get(o->by_count);
	if (node_find(nodes, o->nodeid))
		return -EPROTO;
	n = node_lookup(nodes, o->nodeid, 0, 0);
	if (!n)
		return -ENOMEM;
	ledger_set(o->nlookup, nlookup - MIN(less, nlookup));
	ledger_set(o->by_count, 0);
	o->names = NULL;
	node_restore(nodes, n, o);
	return 0;
}

static int load_name(void *ctx, void *record, size_t size)
{
	struct loading *l = ctx;
	struct node_name *name = record;

	if (!memchr(name->name, '\0', size - sizeof(*name)))
		return -EPROTO;
	name->part = (uint32_t)key_of(name);
	give_name(l->u, name);
	return 0;
}

/* Not a directory of what is known either. */
static void find_idle(void *ctx, struct node *n)
{
	struct numbers *u = ctx;

	if (n->nlookup || n->children)
		return;
	put(&u->idle, n->nodeid, n->nodeid);
	atomic_store(&u->any_idle, true);
}

int numbers_load(struct numbers *u, const struct records_unanswered *unanswered)
{
	struct loading l = {u, unanswered};
	int err = ledger_each(u->ledger, RECORD_NODE, sizeof(struct node_origin), load_node, &l);

	if (!err)
		err = ledger_each(u->ledger, RECORD_NAME, sizeof(struct node_name) + 1, load_name,
				  &l);
	if (err)
		return err;
	numbers_unbind(u);
	node_each(u->nodes, find_idle, u);
	return 0;
}

/* The i-th name of a node, newest first, and where it is. False: it has not so many. */
static bool name_of(struct numbers *u, uint64_t nodeid, unsigned i, struct numbers_question *q,
		    uint64_t *dir)
{
	struct shard *s = shard_lock(u->nodes, nodeid);
	struct node *n = shard_find_node(s, nodeid);
	const struct node_name *name = n && n->origin ? n->origin->names : NULL;

	while (name && i--)
		name = name->next;
	if (name) {
		memcpy(q->name, name->name, strlen(name->name) + 1);
		q->nodeid = nodeid;
		q->key = key_of(name);
		*dir = name->dir;
	}
	shard_unlock(s);
	return name;
}

/* A node on the way up, and how many of its names have been tried. */
struct step {
	uint64_t nodeid;
	unsigned tried;
};

static bool is_on(const struct step *way, unsigned depth, uint64_t nodeid)
{
	for (unsigned i = 0; i <= depth; i++)
		if (way[i].nodeid == nodeid)
			return true;
	return false;
}

/*
 * The way up by names ends at a directory that the device has. Not every name is true: with those
 * that are not a directory can be inside of itself, so a way that comes back to where it was is not
 * taken.
 */
static int find_way(struct numbers *u, uint64_t nodeid, struct numbers_question *q)
{
	struct step way[DEPTH_MAX];
	unsigned depth = 0;
	struct omap dead; /* from there no way leads on */
	int err = 0;

	omap_init(&dead);
	way[0] = (struct step){nodeid, 0};
	while (!err) {
		struct step *at = &way[depth];
		uint64_t dir, found;

		if (!name_of(u, at->nodeid, at->tried++, q, &dir)) {
			omap_insert(&dead, at->nodeid, u);
			if (!depth--)
				err = -ESTALE;
			continue;
		}
		q->device_dir = numbers_device(u, dir);
		if (q->device_dir)
			err = 1;
		else if (depth + 1 < DEPTH_MAX && !is_on(way, depth, dir) &&
			 !(omap_floor(&dead, dir, &found) && found == dir))
			way[++depth] = (struct step){dir, 0};
	}
	omap_clear(&dead);
	return err;
}

int numbers_ask(struct numbers *u, uint64_t nodeid, struct numbers_question *q)
{
	if (!u->translates || numbers_device(u, nodeid))
		return 0;
	return find_way(u, nodeid, q);
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
	}
	shard_unlock(s);
	return err;
}

int numbers_found(struct numbers *u, const struct numbers_question *q, int err,
		  const struct fuse_entry_out *e)
{
	static const struct fuse_entry_out none;
	uint64_t nodeid = q->nodeid;

	if (err && err != -ENOENT && err != -ENOTDIR && err != -ESTALE)
		return err;
	pthread_mutex_lock(&u->lock);
	err = bind_node(u, nodeid, err ? &none : e);
	if (!err) {
		put(&u->by_device, e->nodeid, nodeid);
		drop(&u->by_file, file_key(e->attr.ino, e->generation, e->attr.mode & S_IFMT),
		     nodeid);
	} else {
		take_name(u, nodeid, q->key);
	}
	pthread_mutex_unlock(&u->lock);
	return err;
}
