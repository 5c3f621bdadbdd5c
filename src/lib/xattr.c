/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/xattr: extended attributes of what a path leads to.
 */
#include <errno.h>
#include <linux/limits.h>
#include <sys/xattr.h>

#include "lib/internal.h"

/* What Linux allows a value, and a list of names, to have. */
#define VALUE_MAX ((size_t)XATTR_SIZE_MAX)

static int check_xattr_name(const char *name, struct fuse_arg *arg)
{
	size_t n = name ? strlen(name) : 0;

	*arg = (struct fuse_arg){name, n + 1};
	return n && n <= XATTR_NAME_MAX ? 0 : -ERANGE;
}

static int xattr_call(struct vfsdax *s, const char *path, struct fuse_args *args)
{
	int n = path_call(s, path, args);

	return n == -ENOSYS ? -EOPNOTSUPP : n;
}

/* GETXATTR or LISTXATTR; the length alone where `size` is 0. */
static ssize_t read_xattr(struct vfsdax *s, const char *path, struct fuse_args *args, void *to,
			  size_t size)
{
	struct fuse_getxattr_out needed;
	struct fuse_getxattr_in in = {.size = (uint32_t)MIN(size, VALUE_MAX)};
	int n;

	args->in[0] = (struct fuse_arg)ARG_OF(in);
	args->out = size ? to : &needed;
	args->out_len = size ? in.size : sizeof(needed);
	args->out_var = size;
	n = xattr_call(s, path, args);
	if (n < 0 || size)
		return n;
	return needed.size <= VALUE_MAX ? (ssize_t)needed.size : -EIO;
}

static ssize_t getxattr_of(struct vfsdax *share, const char *path, const char *name, void *value,
			   size_t size)
{
	struct fuse_args args = {.opcode = FUSE_GETXATTR};
	int err = check_xattr_name(name, &args.in[1]);

	return err ? err : read_xattr(share, path, &args, value, size);
}

ssize_t vfsdax_getxattr(struct vfsdax *share, const char *path, const char *name, void *value,
			size_t size)
{
	return NOTED(getxattr_of(share, path, name, value, size), path);
}

ssize_t vfsdax_listxattr(struct vfsdax *share, const char *path, char *list, size_t size)
{
	struct fuse_args args = {.opcode = FUSE_LISTXATTR};
	ssize_t n = read_xattr(share, path, &args, list, size);

	/* The names end with a 0 each: so does the list. */
	return NOTED(n > 0 && size && list[n - 1] ? -EIO : n, path);
}

static int setxattr_of(struct vfsdax *share, const char *path, const char *name, const void *value,
		       size_t size, int flags)
{
	bool ext = share->flags & FUSE_SETXATTR_EXT;
	struct fuse_setxattr_in in = {.size = (uint32_t)size, .flags = (uint32_t)flags};
	struct fuse_args args = {
		.opcode = FUSE_SETXATTR,
		.in = {{&in, ext ? sizeof(in) : FUSE_COMPAT_SETXATTR_IN_SIZE}, {0}, {value, size}},
	};
	int err = check_xattr_name(name, &args.in[1]);

	if (err)
		return err;
	if (flags & ~(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	if (size > VALUE_MAX)
		return -E2BIG;
	return share->readonly ? share_is_readonly() : xattr_call(share, path, &args);
}

int vfsdax_setxattr(struct vfsdax *share, const char *path, const char *name, const void *value,
		    size_t size, int flags)
{
	return (int)NOTED(setxattr_of(share, path, name, value, size, flags), path);
}

static int removexattr_of(struct vfsdax *share, const char *path, const char *name)
{
	struct fuse_args args = {.opcode = FUSE_REMOVEXATTR};
	int err = check_xattr_name(name, &args.in[0]);

	if (err)
		return err;
	return share->readonly ? share_is_readonly() : xattr_call(share, path, &args);
}

int vfsdax_removexattr(struct vfsdax *share, const char *path, const char *name)
{
	return (int)NOTED(removexattr_of(share, path, name), path);
}
