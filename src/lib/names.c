/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/names: what changes directories, and readlink.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/internal.h"

#define RENAME_FLAGS (RENAME_NOREPLACE | RENAME_EXCHANGE)

/* The place of a name that is to be made, changed or removed; `itself` is the error for a path that
 * ends with "/", "." or "..", which is no name in a directory. */
static int name_place(struct vfsdax *s, const char *path, int itself, struct place *p)
{
	int err;

	if (s->readonly)
		return -EROFS;
	err = place_find(s, NULL, path, WALK_NAME, p);
	if (!err && !p->name[0]) {
		place_drop(s, p);
		err = itself;
	}
	return err;
}

static int send_empty(struct vfsdax *s, struct request *r)
{
	ssize_t n = share_call(s, r);

	return n < 0 ? (int)n : 0;
}

/* Sends what makes a node, whose lookup is given back at once. */
static int send_making(struct vfsdax *s, const struct request *making)
{
	struct fuse_entry_out entry = {0};
	struct request r = *making;
	ssize_t n;

	r.out = &entry;
	r.out_min = r.out_max = sizeof(entry);
	n = share_call(s, &r);
	if (n < 0)
		return (int)n;
	if (entry.nodeid && entry.nodeid != FUSE_ROOT_ID)
		bridge_forget(s->bridge, entry.nodeid, 1);
	return entry.nodeid && entry_sane(&entry) ? 0 : -EIO;
}

ssize_t vfsdax_readlink(struct vfsdax *s, const char *path, char *buf, size_t size)
{
	char target[PATH_MAX];
	struct place p;
	int n;

	if (!size)
		return -EINVAL;
	IN_SCOPE_OF(s);
	n = place_of(s, path, false, &p);
	if (n)
		return n;
	n = S_ISLNK(p.attr.mode) ? readlink_node(s, p.nodeid, target) : -EINVAL;
	place_drop(s, &p);
	if (n < 0)
		return n;
	n = (int)MIN((size_t)n, size);
	memcpy(buf, target, (size_t)n);
	return n;
}

int vfsdax_mkdir(struct vfsdax *s, const char *path, mode_t mode)
{
	struct fuse_mkdir_in in = {.mode = mode & 01777, .umask = s->umask};
	struct request r = {.opcode = FUSE_MKDIR, .in = {{&in, sizeof(in)}}};
	struct place p;
	int err;

	IN_SCOPE_OF(s);
	if (!(s->flags & FUSE_DONT_MASK))
		in.mode &= ~s->umask;
	err = name_place(s, path, -EEXIST, &p);
	if (err)
		return err;
	r.nodeid = p.dir->nodeid;
	r.in[1].p = p.name;
	r.in[1].len = strlen(p.name) + 1;
	err = send_making(s, &r);
	place_drop(s, &p);
	return err;
}

int vfsdax_symlink(struct vfsdax *s, const char *target, const char *path)
{
	struct request r = {.opcode = FUSE_SYMLINK};
	struct place p;
	int err;

	if (!*target)
		return -ENOENT;
	if (strlen(target) >= PATH_MAX)
		return -ENAMETOOLONG;
	IN_SCOPE_OF(s);
	err = name_place(s, path, -EEXIST, &p);
	if (err)
		return err;
	r.nodeid = p.dir->nodeid;
	r.in[0].p = p.name;
	r.in[0].len = strlen(p.name) + 1;
	r.in[1].p = target;
	r.in[1].len = strlen(target) + 1;
	/* "x/" asks for a directory, which this will not be. */
	err = p.slash ? -ENOENT : send_making(s, &r);
	place_drop(s, &p);
	return err;
}

int vfsdax_link(struct vfsdax *s, const char *from, const char *to)
{
	struct fuse_link_in in;
	struct request r = {.opcode = FUSE_LINK, .in = {{&in, sizeof(in)}}};
	struct place p, old;
	int err;

	IN_SCOPE_OF(s);
	if (s->readonly)
		return -EROFS;
	/* As link(2): a symbolic link is linked itself. */
	err = place_of(s, from, false, &old);
	if (err)
		return err;
	err = name_place(s, to, -EEXIST, &p);
	if (err)
		goto no_name;
	in.oldnodeid = old.nodeid;
	r.nodeid = p.dir->nodeid;
	r.in[1].p = p.name;
	r.in[1].len = strlen(p.name) + 1;
	if (S_ISDIR(old.attr.mode))
		err = -EPERM;
	else
		err = p.slash ? -ENOENT : send_making(s, &r);
	place_drop(s, &p);
no_name:
	place_drop(s, &old);
	return err;
}

/* ------------------------------------------------------------------ removing */

/* What a name that is followed by "/" is: such a path means the directory. 0, or -errno. */
static int check_slash(struct vfsdax *s, const char *path, const struct place *p)
{
	struct place found;
	int err;

	if (!p->slash)
		return 0;
	err = place_of(s, path, false, &found);
	if (!err)
		place_drop(s, &found);
	return err; /* -ENOTDIR, -ENOENT */
}

static int remove_name(struct vfsdax *s, uint32_t opcode, struct place *p)
{
	struct request r = {
		.opcode = opcode,
		.nodeid = p->dir->nodeid,
		.in = {{p->name, strlen(p->name) + 1}},
	};

	return send_empty(s, &r);
}

int vfsdax_unlink(struct vfsdax *s, const char *path)
{
	struct place p;
	int err;

	IN_SCOPE_OF(s);
	err = name_place(s, path, -EISDIR, &p);
	if (err)
		return err;
	err = check_slash(s, path, &p);
	if (!err)
		err = p.slash ? -EISDIR : remove_name(s, FUSE_UNLINK, &p);
	place_drop(s, &p);
	return err;
}

/* rmdir(2): "x/." is -EINVAL, "x/.." -ENOTEMPTY, "/" -EBUSY. */
static int rmdir_itself(const char *path)
{
	size_t n = strlen(path);

	while (n && path[n - 1] == '/')
		n--;
	if (n >= 2 && path[n - 1] == '.' && path[n - 2] == '.')
		return -ENOTEMPTY;
	return n ? -EINVAL : -EBUSY;
}

int vfsdax_rmdir(struct vfsdax *s, const char *path)
{
	struct place p;
	int err;

	IN_SCOPE_OF(s);
	err = name_place(s, path, rmdir_itself(path), &p);
	if (err)
		return err;
	err = remove_name(s, FUSE_RMDIR, &p);
	place_drop(s, &p);
	return err;
}

/* ------------------------------------------------------------------ renaming */

static int send_rename(struct vfsdax *s, const struct place *from, const struct place *to,
		       unsigned flags)
{
	struct fuse_rename2_in in = {.newdir = to->dir->nodeid, .flags = flags};
	struct request r = {
		.opcode = flags ? FUSE_RENAME2 : FUSE_RENAME,
		.nodeid = from->dir->nodeid,
		.in = {{&in, flags ? sizeof(in) : sizeof(struct fuse_rename_in)},
		       {from->name, strlen(from->name) + 1},
		       {to->name, strlen(to->name) + 1}},
	};
	int err = send_empty(s, &r);

	return err == -ENOSYS && flags ? -EINVAL : err;
}

/* A "/" behind either name says that a directory is meant; of the new one only when it is there. */
static int check_rename(struct vfsdax *s, const char *from, const struct place *old,
			const struct place *new, unsigned flags)
{
	struct place found;
	int err;

	if (old->slash)
		return check_slash(s, from, old);
	if (!new->slash || flags & RENAME_EXCHANGE)
		return 0;
	err = place_of(s, from, false, &found);
	if (err)
		return err;
	if (!S_ISDIR(found.attr.mode))
		err = -ENOTDIR;
	place_drop(s, &found);
	return err;
}

int vfsdax_rename(struct vfsdax *s, const char *from, const char *to, unsigned flags)
{
	struct place old, new;
	int err;

	if (flags & ~(unsigned)RENAME_FLAGS || flags == RENAME_FLAGS)
		return -EINVAL;
	IN_SCOPE_OF(s);
	err = name_place(s, from, -EBUSY, &old);
	if (err)
		return err;
	err = name_place(s, to, flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY, &new);
	if (err)
		goto no_new;
	err = check_rename(s, from, &old, &new, flags);
	if (!err)
		err = send_rename(s, &old, &new, flags);
	place_drop(s, &new);
no_new:
	place_drop(s, &old);
	return err;
}
