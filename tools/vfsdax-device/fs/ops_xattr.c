/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ops_xattr: extended attributes. Which names reach the host is decided here, what they are
 * worth there is not checked.
 */
#include "ops.h"

#include <errno.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "cred.h"
#include "inode.h"
#include "proc_path.h"
#include "reply.h"

#define ON_STACK 512

static bool name_allowed(const struct fs *fs, const char *name)
{
	static const char *const prefixes[] = {"user.", "security.", "trusted."};

	if (!strncmp(name, "system.posix_acl_", 17))
		return fs->options.posix_acl;
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
			return true;
	return false;
}

static int take_xattr_name(struct op *op, const char **name)
{
	*name = bytes_take_string(&op->args);
	if (!*name || !**name)
		return -EINVAL;
	if (strlen(*name) > XATTR_NAME_MAX)
		return -ERANGE;
	return name_allowed(op->fs, *name) ? 0 : -EOPNOTSUPP;
}

int op_setxattr(struct op *op)
{
	/* fuse.h, SETXATTR_EXT: without it the struct ends after `flags`. */
	size_t fixed = fs_agreed(op->fs, FUSE_SETXATTR_EXT) ? sizeof(struct fuse_setxattr_in)
							    : FUSE_COMPAT_SETXATTR_IN_SIZE;
	struct fuse_setxattr_in in = {0};
	unsigned flags = CRED_CALLER;
	struct cred_scope scope;
	const char *name;
	int r;

	if (!op->fs->options.xattr)
		return -ENOSYS; /* Linux does not ask again */
	if (!bytes_take(&op->args, &in, fixed))
		return -EINVAL;
	r = take_xattr_name(op, &name);
	if (r < 0)
		return r;
	if (in.size != op->args.left)
		return -EINVAL;
	if (in.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID)
		flags |= CRED_KILL_SUID;
	r = cred_enter(&scope, op, flags);
	if (r < 0)
		return r;
	r = setxattr(proc_path(op->node).s, name, op->args.at, in.size, (int)in.flags) < 0 ? -errno
											   : 0;
	cred_leave(&scope);
	return r < 0 ? r : reply_ok(op);
}

int op_removexattr(struct op *op)
{
	struct cred_scope scope;
	const char *name;
	int r;

	if (!op->fs->options.xattr)
		return -ENOSYS;
	r = take_xattr_name(op, &name);
	if (r == 0)
		r = cred_enter(&scope, op, CRED_CALLER);
	if (r < 0)
		return r;
	r = removexattr(proc_path(op->node).s, name) < 0 ? -errno : 0;
	cred_leave(&scope);
	return r < 0 ? r : reply_ok(op);
}

/* Takes names out of a list that name_allowed would refuse; the new length. */
static size_t filter_names(const struct fs *fs, char *list, size_t len)
{
	size_t kept = 0;

	for (size_t at = 0; at < len;) {
		size_t n = strnlen(list + at, len - at) + 1;

		n = MIN(n, len - at);
		if (name_allowed(fs, list + at)) {
			memmove(list + kept, list + at, n);
			kept += n;
		}
		at += n;
	}
	return kept;
}

/* As the caller. `name` NULL: the list of names. */
static ssize_t get(struct op *op, const char *name, void *value, size_t size)
{
	struct fd_name path = proc_path(op->node);
	struct cred_scope scope;
	ssize_t n = cred_enter(&scope, op, CRED_CALLER);

	if (n < 0)
		return n;
	n = name ? getxattr(path.s, name, value, size) : listxattr(path.s, value, size);
	n = n < 0 ? -errno : n;
	cred_leave(&scope);
	return n;
}

/* `list` always has the whole list, because only a filtered list has the right length. */
static ssize_t get_list(struct op *op, char *list, size_t size)
{
	ssize_t n = get(op, NULL, list, size);

	return n < 0 ? n : (ssize_t)filter_names(op->fs, list, (size_t)n);
}

/* Answers with the value, or with its length when the guest asked with size 0. */
static int reply_value(struct op *op, const void *value, ssize_t n, uint32_t size)
{
	struct fuse_getxattr_out out = {.size = (uint32_t)n};

	if (n < 0)
		return (int)n;
	if (size == 0)
		return reply(op, &out, sizeof(out));
	if ((size_t)n > size || (size_t)n > reply_room(op->req))
		return -ERANGE;
	return reply(op, value, (size_t)n);
}

int op_getxattr(struct op *op)
{
	uint8_t small[ON_STACK], *value = small;
	struct fuse_getxattr_in in;
	const char *name;
	size_t size;
	int r;

	if (!op->fs->options.xattr)
		return -ENOSYS;
	op_take(op, &in, sizeof(in));
	r = take_xattr_name(op, &name);
	if (r < 0)
		return r;
	size = MIN(in.size, XATTR_SIZE_MAX);
	if (size > sizeof(small))
		value = malloc(size);
	r = value ? reply_value(op, value, get(op, name, value, size), in.size) : -ENOMEM;
	if (value != small)
		free(value);
	return r;
}

int op_listxattr(struct op *op)
{
	struct fuse_getxattr_in in;
	char *list;
	int r;

	if (!op->fs->options.xattr)
		return -ENOSYS;
	op_take(op, &in, sizeof(in));
	list = malloc(XATTR_LIST_MAX);
	if (!list)
		return -ENOMEM;
	r = reply_value(op, list, get_list(op, list, XATTR_LIST_MAX), in.size);
	free(list);
	return r;
}
