/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a node is called, so that another device can be asked for it. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "bridge/numbers_internal.h"

/* A node is looked for by the names that it was given last. Host and kernel may give it more. */
#define NAMES_MAX 8

uint64_t name_key(uint64_t dir, const char *name)
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

void release_dir_of(struct numbers *u, const struct node_name *name)
{
	struct shard *s = shard_lock(u->nodes, name->dir);
	struct node *dir = name->holds ? shard_find_node(s, name->dir) : NULL;
	bool idle = false;

	if (dir && dir->children)
		idle = --dir->children == 0 && dir->nlookup == 0;
	shard_unlock(s);
	if (idle) {
		number_put(&u->idle, name->dir, name->dir);
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
void give_name(struct numbers *u, struct node_name *made)
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
void take_name(struct numbers *u, uint64_t nodeid, uint64_t key)
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
	needed =
		has_origin(u, n, attr, generation, by) && !*name_at(n->origin, name_key(dir, name));
	shard_unlock(s);
	made = needed ? new_name(u, n->nodeid, dir, name) : NULL;
	if (!made)
		return;
	pthread_mutex_lock(&u->lock);
	give_name(u, made);
	pthread_mutex_unlock(&u->lock);
}

unsigned numbers_names(struct numbers *u, uint64_t nodeid,
		       struct numbers_name out[NUMBERS_NAMES_MAX])
{
	struct node_name *name;
	struct shard *s;
	struct node *node;
	unsigned n = 0;

	pthread_mutex_lock(&u->lock);
	s = shard_lock(u->nodes, nodeid);
	node = shard_find_node(s, nodeid);
	name = node && node->origin ? node->origin->names : NULL;
	for (; name && n < NUMBERS_NAMES_MAX; name = name->next) {
		out[n].dir = name->dir;
		snprintf(out[n++].name, sizeof(out[0].name), "%s", name->name);
	}
	shard_unlock(s);
	pthread_mutex_unlock(&u->lock);
	return n;
}

uint64_t numbers_named(struct numbers *u, uint64_t dir, const char *name, uint32_t low)
{
	uint64_t nodeids[HOLDERS_MAX], found = 0;
	unsigned n;

	pthread_mutex_lock(&u->lock);
	n = holders_get(&u->by_name, name_key(dir, name), nodeids);
	pthread_mutex_unlock(&u->lock);
	while (n--)
		if ((uint32_t)nodeids[n] == low)
			found = nodeids[n];
	return found;
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
		take_names(u, old, moved, n_moved, replaced,
			   how & NUMBERS_EXCHANGE ? n_replaced : 0);
		take_names(u, new, replaced, n_replaced, moved, n_moved);
	}
	pthread_mutex_unlock(&u->lock);
}
