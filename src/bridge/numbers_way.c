/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How another device is asked for a node: by its names, and those of the directories above it. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "bridge/numbers_internal.h"

/* Names above each other; the host's paths are shorter. */
#define DEPTH_MAX 2048

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

static bool is_same(const struct node_origin *o, const struct fuse_entry_out *e)
{
	return o->ino == e->attr.ino && o->generation == e->generation &&
	       o->type == (e->attr.mode & S_IFMT);
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
		number_put(&u->by_device, e->nodeid, nodeid);
		number_drop(&u->by_file,
			    file_key(e->attr.ino, e->generation, e->attr.mode & S_IFMT), nodeid);
	} else {
		take_name(u, nodeid, q->key);
	}
	pthread_mutex_unlock(&u->lock);
	return err;
}
