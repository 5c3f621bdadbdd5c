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
#include "note.h"
#include "proc_path.h"
#include "reply.h"
#include "xattrmap.h"

#define ON_STACK 512

/* A kernel that does not know them would not forget what they change. */
static bool acls_allowed(struct fs *fs)
{
	return fs->options.posix_acl != ACL_NEVER &&
	       (fs_agreed(fs, FUSE_POSIX_ACL) || fs_checks_rights(fs));
}

static bool name_allowed(struct fs *fs, const char *name)
{
	static const char *const prefixes[] = {"user.", "security.", "trusted."};

	if (!strncmp(name, "system.posix_acl_", 17))
		return acls_allowed(fs);
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
			return true;
	return false;
}

/* The host knows what these two are, and whose, unless they have other names there. */
static bool is_roots(const char *name)
{
	return !strncmp(name, "trusted.", 8) || !strncmp(name, "security.", 9);
}

struct host_name {
	char s[XATTR_NAME_MAX + 1];
};

static int take_xattr_name(struct op *op, struct host_name *host)
{
	const char *name = bytes_take_string(&op->args);
	int r;

	if (!name || !*name)
		return -EINVAL;
	if (strlen(name) > XATTR_NAME_MAX)
		return -ERANGE;
	if (!name_allowed(op->fs, name))
		return -EOPNOTSUPP;
	r = xattrmap_to_host(op->fs->xattrmap, name, host->s, sizeof(host->s));
	if (r == 0 && fs_checks_rights(op->fs) && op->in.uid && is_roots(name) &&
	    !is_roots(host->s))
		r = -EPERM;
	return r;
}

/* Without XATTR_CREATE a second time finds, and leaves, what the first one has left. */
static int set_once(struct op *op, const char *path, const char *name,
		    const struct fuse_setxattr_in *in)
{
	bool creates = in->flags & XATTR_CREATE;
	int r = creates ? note_attribute(op, path, name) : 0;

	if (r < 0)
		return r;
	r = setxattr(path, name, op->args.at, in->size, (int)in->flags) < 0 ? -errno : 0;
	return creates ? note_attribute_made(op, r, path, name, op->args.at, in->size) : r;
}

int op_setxattr(struct op *op)
{
	/* fuse.h, SETXATTR_EXT: without it the struct ends after `flags`. */
	size_t fixed = fs_agreed(op->fs, FUSE_SETXATTR_EXT) ? sizeof(struct fuse_setxattr_in)
							    : FUSE_COMPAT_SETXATTR_IN_SIZE;
	struct fuse_setxattr_in in = {0};
	unsigned flags = CRED_JUDGED;
	struct cred_scope scope;
	struct host_name name;
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
	r = set_once(op, proc_path(op->node).s, name.s, &in);
	cred_leave(&scope);
	return r < 0 ? r : reply_ok(op);
}

static int remove_once(struct op *op, const char *path, const char *name)
{
	int r = note_attribute(op, path, name);

	if (r < 0)
		return r;
	r = removexattr(path, name) < 0 ? -errno : 0;
	return note_attribute_removed(op, r);
}

int op_removexattr(struct op *op)
{
	struct cred_scope scope;
	struct host_name name;
	int r;

	if (!op->fs->options.xattr)
		return -ENOSYS;
	r = take_xattr_name(op, &name);
	if (r == 0)
		r = cred_enter(&scope, op, CRED_JUDGED);
	if (r < 0)
		return r;
	r = remove_once(op, proc_path(op->node).s, name.s);
	cred_leave(&scope);
	return r < 0 ? r : reply_ok(op);
}

/* The host shows its own users none of these, but us. */
static bool name_shown(const struct op *op, const char *name)
{
	return name_allowed(op->fs, name) && (!op->in.uid || strncmp(name, "trusted.", 8) != 0);
}

/* Takes names out of a list that are not shown, and makes the others the guest's; the new length.
 */
static size_t filter_names(const struct op *op, char *list, size_t len)
{
	size_t kept = 0;

	for (size_t at = 0; at < len;) {
		const char *name;
		size_t n = strnlen(list + at, len - at) + 1;

		n = MIN(n, len - at);
		name = xattrmap_to_guest(op->fs->xattrmap, list + at);
		if (name && name_shown(op, name)) {
			size_t len_shown = n - (size_t)(name - (list + at));

			memmove(list + kept, name, len_shown);
			kept += len_shown;
		}
		at += n;
	}
	return kept;
}

/* `name` NULL: the list of names. */
static ssize_t get(struct op *op, const char *name, void *value, size_t size)
{
	struct fd_name path = proc_path(op->node);
	struct cred_scope scope;
	ssize_t n = cred_enter(&scope, op, CRED_JUDGED);

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

	return n < 0 ? n : (ssize_t)filter_names(op, list, (size_t)n);
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
	struct host_name name;
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
	r = value ? reply_value(op, value, get(op, name.s, value, size), in.size) : -ENOMEM;
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
