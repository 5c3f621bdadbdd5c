/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/queue_path: stat by path as a request of a queue: the walk's messages and a GETATTR, of which
 * one is under way at a time. Its thread takes each step, in vfsdax_submit() and vfsdax_reap().
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/path.h"
#include "lib/queue.h"

struct path_stat {
	struct walk *walk; /* NULL: it has arrived at `node` */
	struct path_node node;
};

int queue_stat_begin(struct queue_entry *e, struct vfsdax_file *dir, const char *path, int flags)
{
	struct path_stat *p = malloc(sizeof(*p));
	unsigned how = flags & AT_SYMLINK_NOFOLLOW ? 0 : WALK_FOLLOW;
	int err;

	if (!p)
		return -ENOMEM;
	err = walk_begin(e->queue->share, dir ? dir->dir : NULL, path, how, &p->node, &p->walk);
	if (err)
		free(p);
	else
		e->walk = p;
	return err;
}

static bool end_stat(struct queue_entry *e, int err)
{
	struct path_stat *p = e->walk;

	if (p->walk)
		err = walk_end(p->walk, err);
	else
		path_put(e->queue->share, &p->node);
	free(p);
	e->walk = NULL;
	e->result = caller_error(err);
	return true;
}

/* The walk has arrived. */
static bool stat_node(struct queue_entry *e)
{
	struct path_stat *p = e->walk;

	walk_end(p->walk, 0);
	p->walk = NULL;
	if (p->node.fresh)
		return end_stat(e, attr_to_stat(&p->node.attr, e->buf));
	e->in.getattr = (struct fuse_getattr_in){0};
	e->io.args = (struct fuse_args){.opcode = FUSE_GETATTR,
					.nodeid = p->node.nodeid,
					.in = {ARG_OF(e->in.getattr)},
					OUT_OF(e->attr)};
	return false;
}

bool queue_stat_next(struct queue_entry *e)
{
	int more = walk_next(e->walk->walk);

	if (more < 0)
		return end_stat(e, more);
	if (!more)
		return stat_node(e);
	e->io.args = e->walk->walk->args;
	return false;
}

bool queue_stat_take(struct queue_entry *e)
{
	struct walk *walk = e->walk->walk;
	int err;

	if (!walk)
		return end_stat(e, e->answer ?: attr_to_stat(&e->attr.attr, e->buf));
	err = walk_take(walk, e->answer);
	return err ? end_stat(e, err) : queue_stat_next(e);
}
