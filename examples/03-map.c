/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cksum(1) for a share, without a copy of the file: the sum is of the bytes in the host's page
 * cache, through the DAX window.
 *
 *     cc 03-map.c -o cksum-share $(pkg-config --cflags --libs vfsdax)
 *     ./cksum-share SOURCE FILE          prints what cksum prints on the host
 *
 * The window has whole pages inside the file only. So a file is read in two ways: by maps, and
 * where no map is possible (the tail; all of it without a window) by vfsdax_read().
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <vfsdax/vfsdax.h>

#define PIECE_BYTES (1u << 20)

static uint64_t mapped, copied;

static void print_log(void *ctx, enum vfsdax_log_level level, const char *line)
{
	(void)ctx;
	if (level <= VFSDAX_LOG_WARN)
		fprintf(stderr, "%s\n", line);
}

/* The CRC of POSIX, highest bit first. */
static uint32_t crc_bytes(uint32_t crc, const unsigned char *bytes, size_t len)
{
	static uint32_t table[256];

	if (!table[1])
		for (uint32_t i = 0; i < 256; i++) {
			table[i] = i << 24;
			for (int bit = 0; bit < 8; bit++)
				table[i] = table[i] << 1 ^ (table[i] >> 31 ? 0x04c11db7 : 0);
		}
	while (len--)
		crc = crc << 8 ^ table[crc >> 24 ^ *bytes++];
	return crc;
}

/* By a copy: bytes, 0 at the end of the file. */
static ssize_t sum_copy(struct vfsdax_file *file, uint64_t off, uint32_t *crc)
{
	static unsigned char buf[PIECE_BYTES];
	ssize_t n = vfsdax_read(file, buf, sizeof(buf), off);

	if (n > 0) {
		*crc = crc_bytes(*crc, buf, (size_t)n);
		copied += (uint64_t)n;
	}
	return n;
}

/* By a pointer where possible: bytes, 0 at the end of the file, or -errno. */
static ssize_t sum_piece(struct vfsdax_file *file, uint64_t off, uint32_t *crc)
{
	struct vfsdax_map *map;
	ssize_t len;
	int err = vfsdax_map(file, off, 64 * PIECE_BYTES, 0, &map);

	/* Not in the window, or that is full of other maps: then by a copy. */
	if (err == -ENODATA || err == -ENODEV || err == -EOPNOTSUPP || err == -ENOSPC)
		return sum_copy(file, off, crc);
	if (err)
		return err;
	/* It may be shorter than requested; the next map starts behind it. */
	len = (ssize_t)vfsdax_map_len(map);
	*crc = crc_bytes(*crc, vfsdax_map_addr(map), (size_t)len);
	/* After a truncation or the loss of the device the sum is wrong. */
	err = vfsdax_map_check(map);
	vfsdax_unmap(map);
	mapped += (uint64_t)len;
	return err ? err : len;
}

static int sum_file(struct vfsdax_file *file, uint32_t *crc, uint64_t *len)
{
	ssize_t n;

	for (*crc = 0, *len = 0; (n = sum_piece(file, *len, crc)) > 0; *len += (uint64_t)n)
		;
	/* The length counts too, lowest byte first. */
	for (uint64_t rest = *len; rest; rest >>= 8)
		*crc = crc_bytes(*crc, &(unsigned char){rest & 0xff}, 1);
	*crc = ~*crc;
	return (int)n;
}

int main(int argc, char **argv)
{
	struct vfsdax_options options = VFSDAX_OPTIONS_INIT;
	struct vfsdax *share;
	struct vfsdax_file *file;
	uint64_t len = 0;
	uint32_t crc = 0;
	int err;

	if (argc != 3) {
		fprintf(stderr, "usage: %s SOURCE FILE\n", argv[0]);
		return 2;
	}
	options.log = print_log;
	err = vfsdax_attach(argv[1], &options, &share);
	if (err) {
		fprintf(stderr, "%s: %s: %s\n", argv[0], argv[1], strerror(-err));
		return 1;
	}
	err = vfsdax_open(share, argv[2], O_RDONLY, 0, &file);
	if (!err) {
		err = sum_file(file, &crc, &len);
		vfsdax_close(file);
	}
	if (err) {
		fprintf(stderr, "%s: %s: %s\n", argv[0], argv[2], strerror(-err));
	} else {
		printf("%" PRIu32 " %" PRIu64 " %s\n", crc, len, argv[2]);
		fprintf(stderr, "%" PRIu64 " bytes in place, %" PRIu64 " copied\n", mapped, copied);
	}
	vfsdax_detach(share);
	return err ? 1 : 0;
}
