/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bridge/numbers_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"

/* Above what a device may give that counts. */
#define FIRST_OWN (UINT64_C(1) << 62)
_Static_assert(sizeof(void *) == sizeof(uint64_t), "numbers are kept as values of an omap");

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

/* ------------------------------------------------------------------ maps of numbers */

uint64_t number_get(const struct omap *m, uint64_t key)
{
	uint64_t found;
	void *v = omap_floor(m, key, &found);

	return v && found == key ? (uint64_t)(uintptr_t)v : 0;
}

void number_put(struct omap *m, uint64_t key, uint64_t nodeid)
{
	omap_remove(m, key);
	omap_insert(m, key, (void *)(uintptr_t)nodeid); /* without it the node is not found again */
}

void number_drop(struct omap *m, uint64_t key, uint64_t nodeid)
{
	if (number_get(m, key) == nodeid)
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
	uint64_t nodeid = number_get(&u->by_device, e->nodeid);
	uint64_t key = file_key(e->attr.ino, e->generation, e->attr.mode & S_IFMT);

	if (e->nodeid == FUSE_ROOT_ID)
		return FUSE_ROOT_ID;
	if (nodeid)
		return nodeid;
	nodeid = number_get(&u->by_file, key);
	if (nodeid && node_find(u->nodes, nodeid)) {
		omap_remove(&u->by_file, key);
	} else {
		do
			nodeid = next_number(u);
		while (node_find(u->nodes, nodeid));
	}
	number_put(&u->by_device, e->nodeid, nodeid);
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

uint64_t numbers_kernel(struct numbers *u, uint64_t device_id)
{
	uint64_t nodeid = device_id;

	if (u->translates && device_id != FUSE_ROOT_ID) {
		pthread_mutex_lock(&u->lock);
		nodeid = number_get(&u->by_device, device_id);
		pthread_mutex_unlock(&u->lock);
	}
	return nodeid && node_find(u->nodes, nodeid) ? nodeid : 0;
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
			number_drop(&u->by_file, file_key(o->ino, o->generation, o->type),
				    n->nodeid);
		number_drop(&u->by_device, n->device_id, n->nodeid);
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
	number_put(&u->by_file, file_key(o->ino, o->generation, o->type), n->nodeid);
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
	number_put(&u->idle, n->nodeid, n->nodeid);
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
