/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/names: what changes directories, and readlink.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "lib/internal.h"

#define RENAME_FLAGS (RENAME_NOREPLACE | RENAME_EXCHANGE)

/* The place of a name that is to be made, changed or removed; `itself` is the error for a path that
 * ends with ".", ".." or is "/", which is no name in a directory. */
static int resolve_name(struct vfsdax *s, const char *path, int itself, struct path_node *p)
{
	int err;

	if (s->readonly)
		return share_is_readonly();
	err = path_walk(s, NULL, path, WALK_NAME, p);
	if (!err && !p->name[0]) {
		path_put(s, p);
		err = itself;
	}
	return err;
}

static ssize_t readlink_of(struct vfsdax *s, const char *path, char *buf, size_t size)
{
	char target[PATH_MAX];
	struct path_node p;
	int n;

	if (!size)
		return -EINVAL;
	IN_SCOPE_OF(s);
	n = path_resolve(s, path, false, &p);
	if (n)
		return n;
	n = S_ISLNK(p.attr.mode) ? readlink_node(s, p.nodeid, target) : -EINVAL;
	path_put(s, &p);
	if (n < 0)
		return n;
	n = (int)MIN((size_t)n, size);
	memcpy(buf, target, (size_t)n);
	return n;
}

ssize_t vfsdax_readlink(struct vfsdax *s, const char *path, char *buf, size_t size)
{
	return NOTED(readlink_of(s, path, buf, size), path);
}

/* ------------------------------------------------------------------ making */

/* Sends args, with the name of `path` as `*name`, for a new node, whose lookup is given back at
 * once; unless `refusal` is its result. */
static int make_name(struct vfsdax *s, const char *path, const struct fuse_args *args,
		     struct fuse_arg *name, int refusal)
{
	struct fuse_entry_out entry = {0};
	struct fuse_args sent;
	struct path_node p;
	int err = resolve_name(s, path, -EEXIST, &p);

	if (err)
		return err;
	*name = arg_string(p.name);
	sent = *args;
	sent.nodeid = p.dir->nodeid;
	sent.out = &entry;
	sent.out_len = sizeof(entry);
	/* "x/" asks for a directory. */
	if (!refusal && p.slash && args->opcode != FUSE_MKDIR)
		refusal = -ENOENT;
	err = refusal ? refusal : share_call(s, &sent);
	path_put(s, &p);
	if (err)
		return err;
	if (entry.nodeid && entry.nodeid != FUSE_ROOT_ID)
		share_forget(s, entry.nodeid);
	return entry.nodeid && entry_sane(&entry) ? 0 : -EIO;
}

int vfsdax_mkdir(struct vfsdax *s, const char *path, mode_t mode)
{
	struct fuse_mkdir_in in = {.mode = mode & 01777, .umask = s->umask};
	struct fuse_args args = {.opcode = FUSE_MKDIR, .in = {ARG_OF(in)}};

	IN_SCOPE_OF(s);
	if (!(s->flags & FUSE_DONT_MASK))
		in.mode &= ~s->umask;
	return (int)NOTED(make_name(s, path, &args, &args.in[1], 0), path);
}

static int symlink_at(struct vfsdax *s, const char *target, const char *path)
{
	struct fuse_args args = {.opcode = FUSE_SYMLINK, .in[1] = arg_string(target)};

	if (!*target)
		return -ENOENT;
	if (strlen(target) >= PATH_MAX)
		return -ENAMETOOLONG;
	IN_SCOPE_OF(s);
	return make_name(s, path, &args, &args.in[0], 0);
}

int vfsdax_symlink(struct vfsdax *s, const char *target, const char *path)
{
	return (int)NOTED(symlink_at(s, target, path), path);
}

static int link_names(struct vfsdax *s, const char *from, const char *to)
{
	struct fuse_link_in in;
	struct fuse_args args = {.opcode = FUSE_LINK, .in = {ARG_OF(in)}};
	struct path_node old;
	int err;

	IN_SCOPE_OF(s);
	if (s->readonly)
		return share_is_readonly();
	/* As link(2): a symbolic link is linked itself. */
	err = path_resolve(s, from, false, &old);
	if (err)
		return err;
	in.oldnodeid = old.nodeid;
	err = make_name(s, to, &args, &args.in[1], S_ISDIR(old.attr.mode) ? -EPERM : 0);
	path_put(s, &old);
	return err;
}

int vfsdax_link(struct vfsdax *s, const char *from, const char *to)
{
	return (int)NOTED(link_names(s, from, to), to);
}

/* ------------------------------------------------------------------ removing */

/* 0 where `path`, a symbolic link at its end not followed, is a directory; -ENOTDIR, -ENOENT. */
static int check_is_dir(struct vfsdax *s, const char *path)
{
	struct path_node p;
	int err = path_resolve(s, path, false, &p);

	if (err)
		return err;
	path_put(s, &p);
	return S_ISDIR(p.attr.mode) ? 0 : -ENOTDIR;
}

static int remove_by_name(struct vfsdax *s, const char *path, uint32_t opcode, int itself)
{
	struct fuse_args args = {.opcode = opcode};
	struct path_node p;
	int err;

	IN_SCOPE_OF(s);
	err = resolve_name(s, path, itself, &p);
	if (err)
		return err;
	args.nodeid = p.dir->nodeid;
	args.in[0] = arg_string(p.name);
	if (opcode == FUSE_UNLINK && p.slash)
		err = check_is_dir(s, path) ?: -EISDIR;
	else
		err = share_call(s, &args);
	path_put(s, &p);
	return err;
}

int vfsdax_unlink(struct vfsdax *s, const char *path)
{
	return (int)NOTED(remove_by_name(s, path, FUSE_UNLINK, -EISDIR), path);
}

/* rmdir(2): "x/." is -EINVAL, "x/.." -ENOTEMPTY, "/" -EBUSY. */
static int rmdir_itself(const char *path)
{
	size_t n = path ? strlen(path) : 0;

	while (n && path[n - 1] == '/')
		n--;
	if (n >= 2 && path[n - 1] == '.' && path[n - 2] == '.')
		return -ENOTEMPTY;
	return n ? -EINVAL : -EBUSY;
}

int vfsdax_rmdir(struct vfsdax *s, const char *path)
{
	return (int)NOTED(remove_by_name(s, path, FUSE_RMDIR, rmdir_itself(path)), path);
}

/* ------------------------------------------------------------------ renaming */

static int send_rename(struct vfsdax *s, const struct path_node *from, const struct path_node *to,
		       unsigned flags)
{
	struct fuse_rename2_in in = {.newdir = to->dir->nodeid, .flags = flags};
	struct fuse_args args = {
		.opcode = flags ? FUSE_RENAME2 : FUSE_RENAME,
		.nodeid = from->dir->nodeid,
		.in = {{&in, flags ? sizeof(in) : sizeof(struct fuse_rename_in)},
		       arg_string(from->name),
		       arg_string(to->name)},
	};
	int err = share_call(s, &args);

	return err == -ENOSYS && flags ? -EINVAL : err;
}

static int rename_names(struct vfsdax *s, const char *from, const char *to, unsigned flags)
{
	struct path_node old, new;
	int err;

	if (flags & ~(unsigned)RENAME_FLAGS || flags == RENAME_FLAGS)
		return -EINVAL;
	IN_SCOPE_OF(s);
	err = resolve_name(s, from, -EBUSY, &old);
	if (err)
		return err;
	err = resolve_name(s, to, flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY, &new);
	if (err)
		goto no_new;
	/* A "/" behind either name means a directory; behind the new one only where that exists. */
	if (old.slash || (new.slash && !(flags & RENAME_EXCHANGE)))
		err = check_is_dir(s, from);
	if (!err)
		err = send_rename(s, &old, &new, flags);
	path_put(s, &new);
no_new:
	path_put(s, &old);
	return err;
}

int vfsdax_rename(struct vfsdax *s, const char *from, const char *to, unsigned flags)
{
	return (int)NOTED(rename_names(s, from, to, flags), from);
}
