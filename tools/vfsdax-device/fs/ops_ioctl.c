/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ops_ioctl: what may be asked of a file beyond POSIX. A list: those behind chattr(1), lsattr(1)
 * and xfs_io. Everything else is -ENOTTY, whatever the host's file system would do with it.
 */
#include "ops.h"

#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#include "cred.h"
#include "handle.h"
#include "reply.h"

/* A value of fixed size in or out, no pointers. Linux calls FLAGS with an int, though its number
 * says long. */
static const struct file_ioctl {
	unsigned long cmd;
	uint32_t size;
	bool sets;
} file_ioctls[] = {
	{FS_IOC_GETFLAGS, sizeof(int), false},
	{FS_IOC_SETFLAGS, sizeof(int), true},
	{FS_IOC_FSGETXATTR, sizeof(struct fsxattr), false},
	{FS_IOC_FSSETXATTR, sizeof(struct fsxattr), true},
};

static const struct file_ioctl *find_ioctl(uint32_t cmd)
{
	for (size_t i = 0; i < ARRAY_SIZE(file_ioctls); i++)
		if (file_ioctls[i].cmd == cmd)
			return &file_ioctls[i];
	return NULL;
}

/*
 * Whether the file would leave its project, or what is made in it would not be in it any more. An
 * owner outside of user name spaces may do that by the host's rules; but what a host limits by a
 * project's quota must not be a guest's user's to decide.
 */
static int check_project(const struct handle *h, unsigned long cmd, const void *value)
{
	const struct fsxattr *to = value;
	struct fsxattr is = {0};
	int flags, is_flags = 0;

	switch (cmd) {
	case FS_IOC_SETFLAGS:
		memcpy(&flags, value, sizeof(flags));
		if (ioctl(h->fd, FS_IOC_GETFLAGS, &is_flags) < 0)
			return -errno;
		return (flags ^ is_flags) & FS_PROJINHERIT_FL ? -EPERM : 0;
	case FS_IOC_FSSETXATTR:
		if (ioctl(h->fd, FS_IOC_FSGETXATTR, &is) < 0)
			return -errno;
		return to->fsx_projid != is.fsx_projid ||
				       (to->fsx_xflags ^ is.fsx_xflags) & FS_XFLAG_PROJINHERIT
			       ? -EPERM
			       : 0;
	}
	return 0;
}

/* The kernel of the guest may have checked nothing: the host does, who owns the file and who may
 * make it immutable. */
static int ioctl_as_caller(struct op *op, const struct handle *h, unsigned long cmd, void *value)
{
	struct cred_scope scope;
	int r = op->in.uid && op->fs->privileged ? check_project(h, cmd, value) : 0;

	if (r == 0)
		r = cred_enter(&scope, op, CRED_CALLER);
	if (r < 0)
		return r;
	r = ioctl(h->fd, cmd, value) < 0 ? -errno : 0;
	cred_leave(&scope);
	return r;
}

int op_ioctl(struct op *op)
{
	struct {
		struct fuse_ioctl_out head;
		_Alignas(struct fsxattr) uint8_t value[sizeof(struct fsxattr)];
	} out = {0};
	const struct file_ioctl *io;
	struct fuse_ioctl_in in;
	struct handle *h;
	int r;

	op_take(op, &in, sizeof(in));
	io = find_ioctl(in.cmd);
	if (!io || in.flags & ~(uint32_t)(FUSE_IOCTL_DIR | FUSE_IOCTL_COMPAT))
		return -ENOTTY;
	if (io->sets && op->fs->options.readonly)
		return -EROFS;
	if (io->sets ? !bytes_take(&op->args, out.value, io->size) : in.out_size < io->size)
		return -EINVAL;
	h = handle_get(op->fs, in.fh, in.flags & FUSE_IOCTL_DIR ? HANDLE_DIR : HANDLE_FILE,
		       op->in.nodeid);
	if (!h)
		return -EBADF;
	r = ioctl_as_caller(op, h, io->cmd, out.value);
	handle_put(h);
	return r < 0 ? r : reply(op, &out, sizeof(out.head) + (io->sets ? 0 : io->size));
}
