/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* label: struct fuse_secctx -> extended attribute. See label.h. */
#include "label.h"

#include <errno.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/xattr.h>

#include "inode.h"
#include "proc_path.h"
#include "xattrmap.h"

int label_take(struct op *op, struct bytes ext, uint32_t n)
{
	struct fuse_secctx ctx;
	const char *name;

	if (!n)
		return 0;
	if (n > 1 || op->label_name || !bytes_take(&ext, &ctx, sizeof(ctx)))
		return -EINVAL;
	name = bytes_take_string(&ext);
	if (!name || strncmp(name, "security.", 9) != 0 || strlen(name) > XATTR_NAME_MAX ||
	    ctx.size > ext.left)
		return -EINVAL;
	op->label_name = name;
	op->label = ext.at;
	op->label_len = ctx.size;
	return 0;
}

int label_new_file(const struct op *op, const struct inode *inode)
{
	char name[XATTR_NAME_MAX + 1];
	int r;

	if (!op->label_name || !op->label_len)
		return 0;
	r = xattrmap_to_host(op->fs->xattrmap, op->label_name, name, sizeof(name));
	if (r < 0)
		return r;
	return setxattr(proc_path(inode).s, name, op->label, op->label_len, 0) < 0 ? -errno : 0;
}
