/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/path: from a path to a node, one LOOKUP a name, as a kernel would do it: symbolic links, "."
 * and "..", the rules of a "/" at the end. Nothing is cached, so nothing is stale.
 *
 * A walk is a row of messages, each of which its caller sends: path_walk() waits for the answer, a
 * queue (queue_path.c) does something else meanwhile.
 *
 * The directories that a walk has come through are a chain (struct dir), in which ".." is one step
 * back: a walk cannot leave the share whatever its links say. A lookup is given back with the last
 * reference to its link of the chain.
 */
#include "lib/path.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define LINKS_MAX 40

/* ------------------------------------------------------------------ the chain */

struct dir *dir_get(struct dir *dir)
{
	atomic_fetch_add(&dir->refs, 1);
	return dir;
}

void dir_put(struct vfsdax *s, struct dir *dir)
{
	while (dir && atomic_fetch_sub(&dir->refs, 1) == 1) {
		struct dir *parent = dir->parent;

		/* (the share has a reference to the root) */
		share_forget(s, dir->nodeid);
		free(dir);
		dir = parent;
	}
}

/* Extends the chain to `nodeid`; takes its lookup and the reference to the chain so far. */
static int dir_enter(struct vfsdax *s, struct dir **dir, uint64_t nodeid)
{
	struct dir *next = malloc(sizeof(*next));

	if (!next) {
		share_forget(s, nodeid);
		return -ENOMEM;
	}
	*next = (struct dir){.nodeid = nodeid, .parent = *dir};
	atomic_init(&next->refs, 1);
	*dir = next;
	return 0;
}

static void dir_leave(struct vfsdax *s, struct dir **dir)
{
	struct dir *up = (*dir)->parent;

	if (!up)
		return; /* ".." of the root is the root */
	dir_get(up);
	dir_put(s, *dir);
	*dir = up;
}

/* ------------------------------------------------------------------ answers */

bool attr_sane(const struct fuse_attr *attr)
{
	uint32_t m = attr->mode;
	bool known = S_ISREG(m) || S_ISDIR(m) || S_ISLNK(m) || S_ISFIFO(m) || S_ISSOCK(m) ||
		     S_ISBLK(m) || S_ISCHR(m);

	return known && attr->size <= INT64_MAX && attr->blocks <= INT64_MAX &&
	       attr->atimensec < 1000000000 && attr->mtimensec < 1000000000 &&
	       attr->ctimensec < 1000000000;
}

bool entry_sane(const struct fuse_entry_out *entry)
{
	/* No entry leads to the root. */
	return entry->nodeid != FUSE_ROOT_ID && attr_sane(&entry->attr);
}

/* The target of a link as the answer to READLINK gave it, with its 0: -EIO where it is none. */
static int end_target(char target[PATH_MAX], int n)
{
	if (n < 0)
		return n;
	target[n] = 0;
	/* A target is not empty and has no 0 inside. */
	return n && strlen(target) == (size_t)n ? n : -EIO;
}

static struct fuse_args readlink_args(uint64_t nodeid, char target[PATH_MAX])
{
	return (struct fuse_args){
		.opcode = FUSE_READLINK,
		.nodeid = nodeid,
		.out = target,
		.out_len = PATH_MAX - 1,
		.out_var = true,
	};
}

int readlink_node(struct vfsdax *s, uint64_t nodeid, char target[PATH_MAX])
{
	struct fuse_args args = readlink_args(nodeid, target);

	return end_target(target, share_call(s, &args));
}

/* ------------------------------------------------------------------ the walk */

/* The path leads to the directory that the walk has reached. */
static void arrive_at_dir(struct path_node *p)
{
	p->name[0] = 0;
	p->nodeid = p->dir->nodeid;
	p->attr.mode = S_IFDIR;
}

/* The answer to READLINK: the target comes in front of what is left. */
static int take_target(struct walk *w, int n)
{
	size_t left = strlen(w->at);

	share_forget(w->share, w->entry.nodeid);
	w->in_link = false;
	n = end_target(w->target, n);
	if (n < 0)
		return n;
	if ((size_t)n + left >= sizeof(w->rest))
		return -ENAMETOOLONG;
	memmove(w->rest + n, w->at, left + 1);
	memcpy(w->rest, w->target, (size_t)n);
	w->at = w->rest;
	if (w->target[0] == '/') {
		dir_put(w->share, w->to->dir);
		w->to->dir = dir_get(&w->share->root);
	}
	return 0;
}

/* The walk ends at the node that the last LOOKUP has named. */
static void arrive(struct walk *w)
{
	struct path_node *p = w->to;

	w->over = true;
	p->nodeid = w->entry.nodeid;
	p->attr = w->entry.attr;
	/* Without a time to live the times may be about to change: a GETATTR is due. */
	p->fresh = w->entry.attr_valid || w->entry.attr_valid_nsec;
}

/* A sane answer to LOOKUP, with its lookup, which goes to w->to or the chain, stays for
 * take_target(), or is given back. */
static int enter_entry(struct walk *w)
{
	bool link = S_ISLNK(w->entry.attr.mode), dir = S_ISDIR(w->entry.attr.mode);
	struct path_node *p = w->to;
	int err = 0;

	if (link && (!w->last || p->slash || w->how & WALK_FOLLOW)) {
		w->in_link = ++w->links <= LINKS_MAX;
		if (w->in_link)
			return 0;
		err = -ELOOP;
	} else if (!dir && (!w->last || p->slash)) {
		err = -ENOTDIR;
	}
	if (err) {
		share_forget(w->share, w->entry.nodeid);
		return err;
	}
	if (dir)
		err = dir_enter(w->share, &p->dir, w->entry.nodeid);
	p->owned = !dir;
	if (!err && w->last)
		arrive(w);
	return err;
}

static int take_entry(struct walk *w, int err)
{
	if (!err && !w->entry.nodeid)
		err = -ENOENT;
	if (err == -ENOENT && w->last && w->how & WALK_MISSING) {
		w->over = true;
		return 0;
	}
	if (err)
		return err;
	if (entry_sane(&w->entry))
		return enter_entry(w);
	if (w->entry.nodeid != FUSE_ROOT_ID)
		share_forget(w->share, w->entry.nodeid);
	return -EIO;
}

/* The next name of the path: 1 and in to->name; 0: there is none; -ENAMETOOLONG. */
static int next_name(struct walk *w)
{
	struct path_node *p = w->to;
	size_t n;

	w->at += strspn(w->at, "/");
	n = strcspn(w->at, "/");
	if (!n)
		return 0;
	if (n > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(p->name, w->at, n);
	p->name[n] = 0;
	w->at += n;
	p->slash = *w->at == '/';
	w->last = w->at[strspn(w->at, "/")] == 0;
	return 1;
}

int walk_next(struct walk *w)
{
	struct path_node *p = w->to;
	int r = 0;

	if (w->in_link) {
		w->args = readlink_args(w->entry.nodeid, w->target);
		return 1;
	}
	while (!w->over && (r = next_name(w)) > 0) {
		if (strcmp(p->name, ".") == 0)
			continue;
		if (strcmp(p->name, "..") == 0) {
			dir_leave(w->share, &p->dir);
			continue;
		}
		if (w->last && w->how & WALK_NAME)
			return 0;
		w->entry = (struct fuse_entry_out){0};
		w->args = (struct fuse_args){.opcode = FUSE_LOOKUP,
					     .nodeid = p->dir->nodeid,
					     .in = {arg_string(p->name)},
					     OUT_OF(w->entry)};
		return 1;
	}
	if (!w->over && !r)
		arrive_at_dir(p);
	return r;
}

int walk_take(struct walk *w, int result)
{
	return w->in_link ? take_target(w, result) : take_entry(w, result);
}

int walk_begin(struct vfsdax *s, struct dir *from, const char *path, unsigned how,
	       struct path_node *p, struct walk **out)
{
	struct walk *w;

	memset(p, 0, sizeof(*p));
	if (!path || !*path)
		return path ? -ENOENT : -EFAULT;
	if (strlen(path) >= PATH_MAX)
		return -ENAMETOOLONG;
	w = malloc(sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->share = s;
	w->to = p;
	w->how = how;
	w->links = 0;
	w->in_link = w->over = w->last = false;
	w->at = strcpy(w->rest, path);
	p->dir = dir_get(path[0] == '/' || !from ? &s->root : from);
	*out = w;
	return 0;
}

int walk_end(struct walk *w, int err)
{
	if (err)
		path_put(w->share, w->to);
	free(w);
	return err;
}

int path_walk(struct vfsdax *s, struct dir *from, const char *path, unsigned how,
	      struct path_node *p)
{
	struct walk *w;
	int err = walk_begin(s, from, path, how, p, &w), more = 1;

	if (err)
		return err;
	while (!err && (more = walk_next(w)) > 0)
		err = walk_take(w, share_call(s, &w->args));
	return walk_end(w, err ? err : more);
}

void path_put(struct vfsdax *s, struct path_node *p)
{
	if (p->owned)
		share_forget(s, p->nodeid);
	p->owned = false;
	dir_put(s, p->dir);
	p->dir = NULL;
}

int path_call(struct vfsdax *s, const char *path, struct fuse_args *args)
{
	struct path_node p;
	int r;

	IN_SCOPE_OF(s);
	r = path_resolve(s, path, true, &p);
	if (r)
		return r;
	args->nodeid = p.nodeid;
	r = share_call(s, args);
	path_put(s, &p);
	return r;
}
