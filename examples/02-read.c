/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cat(1) for a share: a file to standard output.
 *
 *     cc 02-read.c -o read $(pkg-config --cflags --libs vfsdax)
 *     ./read SOURCE FILE >copy
 *
 * vfsdax_read() is pread(2): where the DAX window has the data it is a copy out of the host's page
 * cache, without a system call and without a request to the device; else it is a request. The
 * library chooses; the counters show what it chose (01-probe.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <vfsdax/vfsdax.h>

#define PIECE_BYTES (1u << 20)

static void print_log(void *ctx, enum vfsdax_log_level level, const char *line)
{
	(void)ctx;
	if (level <= VFSDAX_LOG_WARN)
		fprintf(stderr, "%s\n", line);
}

/* 0 or -errno. */
static int write_all(int fd, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static int copy_out(struct vfsdax_file *file, char *buf)
{
	uint64_t off = 0;

	for (;;) {
		ssize_t n = vfsdax_read(file, buf, PIECE_BYTES, off);
		int err = n < 0 ? (int)n : write_all(STDOUT_FILENO, buf, (size_t)n);

		/* As with pread(2), fewer bytes than asked for are no error, and 0 is the end. */
		if (err || n == 0)
			return err;
		off += (uint64_t)n;
	}
}

int main(int argc, char **argv)
{
	struct vfsdax_options options = VFSDAX_OPTIONS_INIT;
	struct vfsdax *share;
	struct vfsdax_file *file;
	char *buf = malloc(PIECE_BYTES);
	int err;

	if (argc != 3 || !buf) {
		fprintf(stderr, "usage: %s SOURCE FILE\n", argv[0]);
		return 2;
	}
	options.log = print_log;
	options.flags = VFSDAX_ATTACH_READONLY;
	err = vfsdax_attach(argv[1], &options, &share);
	if (err) {
		fprintf(stderr, "%s: %s: %s\n", argv[0], argv[1], strerror(-err));
		return 1;
	}
	/* A path is one of the share, with or without a "/" in front. */
	err = vfsdax_open(share, argv[2], O_RDONLY, 0, &file);
	if (!err) {
		int closed;

		err = copy_out(file, buf);
		closed = vfsdax_close(file);
		if (!err)
			err = closed;
	}
	if (err)
		fprintf(stderr, "%s: %s: %s\n", argv[0], argv[2], strerror(-err));
	/* Last of all: a share with open files is not detached (-EBUSY). */
	vfsdax_detach(share);
	free(buf);
	return err ? 1 : 0;
}
