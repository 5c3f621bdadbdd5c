/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuse/reply.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "wire/fuse.h"

static struct fuse_out_header header(uint64_t unique, int error, size_t len)
{
	return (struct fuse_out_header){
		.len = (uint32_t)(sizeof(struct fuse_out_header) + len),
		.error = error,
		.unique = unique,
	};
}

/* The write is taken whole or not at all (linux/fs/fuse/dev.c). */
static int written(ssize_t n)
{
	return n < 0 ? -errno : 0;
}

int fuse_reply_error(int fd, uint64_t unique, int error)
{
	struct fuse_out_header h = header(unique, error, 0);

	return written(write(fd, &h, sizeof(h)));
}

int fuse_reply_data(int fd, uint64_t unique, const void *payload, size_t len)
{
	struct fuse_out_header h = header(unique, 0, len);
	struct iovec iov[2] = {{&h, sizeof(h)}, {(void *)payload, len}};

	return written(writev(fd, iov, len ? 2 : 1));
}

int fuse_reply_in_place(int fd, uint64_t unique, uint8_t *payload, size_t len)
{
	struct fuse_out_header h = header(unique, 0, len);

	memcpy(payload - sizeof(h), &h, sizeof(h));
	return written(write(fd, payload - sizeof(h), sizeof(h) + len));
}
