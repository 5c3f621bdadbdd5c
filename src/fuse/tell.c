/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuse/tell.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "wire/fuse.h"

static int tell(int fd, int32_t code, struct iovec body[2], unsigned n)
{
	struct fuse_out_header h = {.len = sizeof(h), .error = code};
	struct iovec iov[3] = {{&h, sizeof(h)}};

	for (unsigned i = 0; i < n; i++) {
		iov[1 + i] = body[i];
		h.len += (uint32_t)body[i].iov_len;
	}
	return writev(fd, iov, (int)(1 + n)) < 0 ? -errno : 0;
}

static int tell_inode(int fd, uint64_t nodeid, int64_t off)
{
	struct fuse_notify_inval_inode_out out = {.ino = nodeid, .off = off};
	struct iovec body[2] = {{&out, sizeof(out)}};

	return tell(fd, FUSE_NOTIFY_INVAL_INODE, body, 1);
}

int fuse_tell_attr(int fd, uint64_t nodeid)
{
	return tell_inode(fd, nodeid, -1);
}

int fuse_tell_data(int fd, uint64_t nodeid)
{
	return tell_inode(fd, nodeid, 0);
}

int fuse_tell_everything(int fd)
{
	return tell(fd, FUSE_NOTIFICATION_INC_EPOCH, NULL, 0);
}

int fuse_tell_name(int fd, uint64_t dir, const char *name)
{
	struct fuse_notify_inval_entry_out out = {.parent = dir, .namelen = (uint32_t)strlen(name)};
	struct iovec body[2] = {{&out, sizeof(out)}, {(void *)name, out.namelen + 1}};

	/* In older headers that field has another name, and older kernels do not look at it: they
	 * drop the name. */
	memcpy((uint8_t *)&out + 12, &(uint32_t){FUSE_EXPIRE_ONLY}, sizeof(uint32_t));
	return tell(fd, FUSE_NOTIFY_INVAL_ENTRY, body, 2);
}
