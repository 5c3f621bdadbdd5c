/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/path: from a path to a node, one LOOKUP a name, as a kernel would do it: symbolic links, "."
 * and "..", the rules of a "/" at the end. Nothing is cached, so nothing is stale.
 *
 * The directories that a walk has come through are a chain (struct dir), in which ".." is one step
 * back: a walk cannot leave the share whatever its links say. A lookup is given back with the last
 * reference to its link of the chain.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "lib/internal.h"

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

/* 0 and an entry with a lookup, or -errno. */
static int send_lookup(struct vfsdax *s, uint64_t parent, const char *name,
		       struct fuse_entry_out *entry)
{
	struct fuse_args args = {
		.opcode = FUSE_LOOKUP, .nodeid = parent, .in = {arg_string(name)}, OUT_OF(*entry)};
	int err = share_call(s, &args);

	if (err)
		return err;
	if (!entry->nodeid)
		return -ENOENT;
	if (entry_sane(entry))
		return 0;
	if (entry->nodeid != FUSE_ROOT_ID)
		share_forget(s, entry->nodeid);
	return -EIO;
}

int readlink_node(struct vfsdax *s, uint64_t nodeid, char target[PATH_MAX])
{
	struct fuse_args args = {
		.opcode = FUSE_READLINK,
		.nodeid = nodeid,
		.out = target,
		.out_len = PATH_MAX - 1,
		.out_var = true,
	};
	int n = share_call(s, &args);

	if (n < 0)
		return n;
	target[n] = 0;
	/* A target is not empty and has no 0 inside. */
	return n && strlen(target) == (size_t)n ? n : -EIO;
}

/* ------------------------------------------------------------------ the walk */

struct walk {
	struct vfsdax *share;
	struct path_node *to;
	unsigned how;
	unsigned links;
	char *at;	     /* what is left of the path, in `rest` */
	char rest[PATH_MAX]; /* with the targets of links put in */
};

/* Puts the link's target in front of what is left. */
static int follow_link(struct walk *w, uint64_t nodeid)
{
	char target[PATH_MAX];
	size_t left = strlen(w->at);
	int n;

	if (++w->links > LINKS_MAX)
		return -ELOOP;
	n = readlink_node(w->share, nodeid, target);
	if (n < 0)
		return n;
	if ((size_t)n + left >= sizeof(w->rest))
		return -ENAMETOOLONG;
	memmove(w->rest + n, w->at, left + 1);
	memcpy(w->rest, target, (size_t)n);
	w->at = w->rest;
	if (target[0] == '/') {
		dir_put(w->share, w->to->dir);
		w->to->dir = dir_get(&w->share->root);
	}
	return 0;
}

/* The path leads to the directory that the walk has reached. */
static void arrive_at_dir(struct path_node *p)
{
	p->name[0] = 0;
	p->nodeid = p->dir->nodeid;
	p->attr.mode = S_IFDIR;
}

/* With the answer of a LOOKUP; the lookup is passed to w->to or the chain, or given back. 1: the
 * walk is over; 0: it continues; -errno. */
static int enter_entry(struct walk *w, const struct fuse_entry_out *entry, bool last)
{
	bool link = S_ISLNK(entry->attr.mode), dir = S_ISDIR(entry->attr.mode);
	struct path_node *p = w->to;
	int err = 0;

	if (link && (!last || p->slash || w->how & WALK_FOLLOW))
		err = follow_link(w, entry->nodeid);
	else if (!dir && (!last || p->slash))
		err = -ENOTDIR;
	else if (dir)
		return dir_enter(w->share, &p->dir, entry->nodeid) ?: last;
	else
		p->owned = true;
	if (!p->owned)
		share_forget(w->share, entry->nodeid);
	return err ? err : p->owned;
}

static int lookup_step(struct walk *w, bool last)
{
	struct path_node *p = w->to;
	struct fuse_entry_out entry = {0};
	int err;

	if (last && w->how & WALK_NAME)
		return 1;
	err = send_lookup(w->share, p->dir->nodeid, p->name, &entry);
	if (err == -ENOENT && last && w->how & WALK_MISSING)
		return 1;
	if (err)
		return err;
	err = enter_entry(w, &entry, last);
	if (err > 0) {
		p->nodeid = entry.nodeid;
		p->attr = entry.attr;
		/* Without a time to live the times may be about to change: a GETATTR is due. */
		p->fresh = entry.attr_valid || entry.attr_valid_nsec;
	}
	return err;
}

/* The next name of the path: 1 and in to->name; 0: there is none; -ENAMETOOLONG. */
static int next_name(struct walk *w, bool *last)
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
	*last = w->at[strspn(w->at, "/")] == 0;
	return 1;
}

static int walk_path(struct walk *w)
{
	struct path_node *p = w->to;
	bool last = false;
	int r = 0;

	while (r == 0) {
		r = next_name(w, &last);
		if (r <= 0)
			break;
		r = 0;
		if (strcmp(p->name, "..") == 0)
			dir_leave(w->share, &p->dir);
		else if (strcmp(p->name, ".") != 0)
			r = lookup_step(w, last);
	}
	if (r == 0)
		arrive_at_dir(p);
	return r < 0 ? r : 0;
}

int path_walk(struct vfsdax *s, struct dir *from, const char *path, unsigned how,
	      struct path_node *p)
{
	struct walk *w;
	int err;

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
	w->at = strcpy(w->rest, path);
	p->dir = dir_get(path[0] == '/' || !from ? &s->root : from);
	err = walk_path(w);
	free(w);
	if (err)
		path_put(s, p);
	return err;
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
