/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lib/path: a walk along a path, message by message; path_walk() of internal.h is all of it. */
#ifndef VFSDAX_LIB_PATH_H
#define VFSDAX_LIB_PATH_H

#include "lib/internal.h"

struct walk {
	struct vfsdax *share;
	struct path_node *to;
	unsigned how, links;
	/* The last LOOKUP was of the path's last name; it named a link, whose target is due; the
	 * walk has arrived. */
	bool last, in_link, over;
	struct fuse_entry_out entry;
	struct fuse_args args;
	char *at;	     /* what is left of the path, in `rest` */
	char rest[PATH_MAX]; /* with the targets of links put in */
	char target[PATH_MAX];
};
/* `path` is copied; `from`: as path_walk(). 0, to be ended with walk_end(), or -errno. */
int walk_begin(struct vfsdax *s, struct dir *from, const char *path, unsigned how,
	       struct path_node *p, struct walk **out);
/* 1: w->args is to be sent, and share_call()'s result of it passed to walk_take(); 0: the path
 * leads to w->to; -errno. No lock but that of the walk's owner is held in both. */
int walk_next(struct walk *w);
int walk_take(struct walk *w, int result);
/* With 0: w->to is to be ended with path_put(). Returns err. */
int walk_end(struct walk *w, int err);

#endif
