/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/xattr: extended attributes of what a path leads to.
 */
#include <errno.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/xattr.h>

#include "lib/internal.h"

/* What Linux allows a value, and a list of names, to have. */
#define VALUE_MAX ((size_t)XATTR_SIZE_MAX)

static int check_name(const char *name)
{
	size_t n = name ? strlen(name) : 0;

	return n && n <= XATTR_NAME_MAX ? 0 : -ERANGE;
}

/* GETXATTR or LISTXATTR: `name` NULL for the latter. */
static ssize_t ask(struct vfsdax *s, const char *path, uint32_t opcode, const char *name, void *to,
		   size_t size)
{
	struct fuse_getxattr_out needed;
	struct fuse_getxattr_in in = {.size = (uint32_t)MIN(size, VALUE_MAX)};
	struct request r = {
		.opcode = opcode,
		.in = {{&in, sizeof(in)}, {name, name ? strlen(name) + 1 : 0}},
		.out = size ? to : &needed,
		.out_min = size ? 0 : sizeof(needed),
		.out_max = size ? in.size : sizeof(needed),
	};
	struct place p;
	ssize_t n;

	IN_SCOPE_OF(s);
	n = place_of(s, path, true, &p);
	if (n)
		return n;
	r.nodeid = p.nodeid;
	n = share_call(s, &r);
	place_drop(s, &p);
	if (n == -ENOSYS)
		return -EOPNOTSUPP;
	if (n < 0 || size)
		return n;
	return needed.size <= VALUE_MAX ? (ssize_t)needed.size : -EIO;
}

ssize_t vfsdax_getxattr(struct vfsdax *share, const char *path, const char *name, void *value,
			size_t size)
{
	int err = check_name(name);

	return err ? err : ask(share, path, FUSE_GETXATTR, name, value, size);
}

ssize_t vfsdax_listxattr(struct vfsdax *share, const char *path, char *list, size_t size)
{
	ssize_t n = ask(share, path, FUSE_LISTXATTR, NULL, list, size);

	/* The names end with a 0 each: so does the list. */
	return n > 0 && size && list[n - 1] ? -EIO : n;
}

static int send_change(struct vfsdax *s, const char *path, struct request *r)
{
	struct place p;
	ssize_t n;

	if (s->readonly)
		return -EROFS;
	IN_SCOPE_OF(s);
	n = place_of(s, path, true, &p);
	if (n)
		return (int)n;
	r->nodeid = p.nodeid;
	n = share_call(s, r);
	place_drop(s, &p);
	if (n == -ENOSYS)
		return -EOPNOTSUPP;
	return n < 0 ? (int)n : 0;
}

int vfsdax_setxattr(struct vfsdax *share, const char *path, const char *name, const void *value,
		    size_t size, int flags)
{
	bool ext = share->flags & FUSE_SETXATTR_EXT;
	struct fuse_setxattr_in in = {.size = (uint32_t)size, .flags = (uint32_t)flags};
	struct request r = {
		.opcode = FUSE_SETXATTR,
		.in = {{&in, ext ? sizeof(in) : FUSE_COMPAT_SETXATTR_IN_SIZE},
		       {name, name ? strlen(name) + 1 : 0},
		       {value, size}},
	};
	int err = check_name(name);

	if (err)
		return err;
	if (flags & ~(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	return size > VALUE_MAX ? -E2BIG : send_change(share, path, &r);
}

int vfsdax_removexattr(struct vfsdax *share, const char *path, const char *name)
{
	struct request r = {
		.opcode = FUSE_REMOVEXATTR,
		.in = {{name, name ? strlen(name) + 1 : 0}},
	};
	int err = check_name(name);

	return err ? err : send_change(share, path, &r);
}
