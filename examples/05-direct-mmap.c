/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wc -l for a file of a mount, through pointers into the window of the vfsdax-mount that serves it:
 * this process has no device, and only the open is a FUSE request.
 *
 *     cc 05-direct-mmap.c -o lines $(pkg-config --cflags --libs vfsdax)
 *     ./lines FILE                       FILE is below the mount point of a vfsdax-mount
 *
 * A map is memory as from mmap(2): it may be kept, passed to any function, and unmapped in pieces.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vfsdax/vfsdax.h>

#define PIECE_BYTES ((size_t)16 << 20)

static uint64_t lines, mapped_bytes, read_bytes;

static void count_lines(const char *text, size_t len)
{
	const char *end = text + len;

	while ((text = memchr(text, '\n', (size_t)(end - text)))) {
		lines++;
		text++;
	}
}

/* Bytes, 0 at the end of the file, or -errno. */
static ssize_t count_read(int fd, uint64_t off)
{
	static char buf[1 << 16];
	ssize_t n = pread(fd, buf, sizeof(buf), (off_t)off);

	if (n < 0)
		return -errno;
	count_lines(buf, (size_t)n);
	read_bytes += (uint64_t)n;
	return n;
}

/*
 * `off` is a multiple of the mapping alignment as long as each map starts where the last one ended.
 * The file's last piece, which is no whole page, is not in the window (-ENODATA) and is read.
 */
static ssize_t count_piece(struct vfsdax_conn *conn, int fd, uint64_t off)
{
	size_t len;
	void *addr;
	int err;

	if (read_bytes)
		return count_read(fd, off);
	err = vfsdax_direct_map(conn, fd, off, PIECE_BYTES, 0, &addr, &len);
	/* No window, not for this file, or it is full: read(2) always works. */
	if (err == -ENODATA || err == -ENODEV || err == -EOPNOTSUPP || err == -ENOSPC)
		return count_read(fd, off);
	if (err)
		return err;
	count_lines(addr, len);
	mapped_bytes += len;
	/* Unpins the range of the window. */
	err = vfsdax_direct_unmap(conn, addr);
	return err ? err : (ssize_t)len;
}

int main(int argc, char **argv)
{
	struct vfsdax_conn *conn;
	uint64_t off = 0;
	ssize_t n;
	int fd, err;

	if (argc != 2) {
		fprintf(stderr, "usage: %s FILE\n", argv[0]);
		return 2;
	}
	/* The open descriptor is the authorisation that we may read the file. */
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		fprintf(stderr, "%s: %s: %s\n", argv[0], argv[1], strerror(errno));
		return 1;
	}
	err = vfsdax_connect(argv[1], &conn);
	if (err) {
		fprintf(stderr, "%s: %s: %s\n", argv[0], argv[1],
			err == -ENOTSUP ? "not a file of a vfsdax-mount that hands out its window"
					: strerror(-err));
		close(fd);
		return 1;
	}
	while ((n = count_piece(conn, fd, off)) > 0)
		off += (uint64_t)n;
	if (n < 0) {
		const char *reason = vfsdax_conn_reason(conn);

		fprintf(stderr, "%s: %s: %s%s%s\n", argv[0], argv[1], strerror((int)-n),
			*reason ? ": " : "", reason);
	} else {
		printf("%" PRIu64 " %s\n", lines, argv[1]);
		fprintf(stderr, "%" PRIu64 " bytes in place, %" PRIu64 " read\n", mapped_bytes,
			read_bytes);
	}
	vfsdax_disconnect(conn);
	close(fd);
	return n < 0 ? 1 : 0;
}
