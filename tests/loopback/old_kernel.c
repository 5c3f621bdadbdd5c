/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For LD_PRELOAD: a kernel from before 6.9, which does not know FUSE_NOTIFY_RESEND. */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wire/fuse.h"

#define NOTIFY_RESEND 7

__attribute__((visibility("default"))) ssize_t write(int fd, const void *buf, size_t len)
{
	const struct fuse_out_header *h = buf;

	if (len == sizeof(*h) && h->len == len && !h->unique && h->error == NOTIFY_RESEND) {
		errno = EINVAL;
		return -1;
	}
	return syscall(SYS_write, fd, buf, len);
}
