/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax_map - pointers into the DAX window
 * functions: vfsdax_map vfsdax_map_addr vfsdax_map_len vfsdax_map_offset vfsdax_unmap
 * vfsdax_map_check vfsdax_map_on_stale vfsdax_prefetch vfsdax_populate
 * shows: VFSDAX_MAP_WRITE, VFSDAX_MAP_WHOLE, VFSDAX_MAP_NOWAIT
 * see also: vfsdax_open(3), vfsdax_read(3), vfsdax_direct_map(3), mmap(2)
 * example: Counts the lines of a file in place, without a copy. What the window does not have, such
 * as the last piece of a page, is read.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <vfsdax/vfsdax.h>

static size_t lines_of(const char *text, size_t len)
{
	size_t lines = 0;

	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	return lines;
}

static int count(struct vfsdax_file *file, size_t *lines, uint64_t *in_place)
{
	struct vfsdax_map *map;
	uint64_t off = 0;
	char buf[65536];
	ssize_t n;
	int err;

	for (;;) {
		err = vfsdax_map(file, off, 64 << 20, 0, &map);
		if (!err) {
			n = (ssize_t)vfsdax_map_len(map);
			*lines += lines_of(vfsdax_map_addr(map), (size_t)n);
			*in_place += (uint64_t)n;
			err = vfsdax_map_check(map); /* was it the file all the time? */
			vfsdax_unmap(map);
			if (err)
				return err;
		} else {
			n = vfsdax_read(file, buf, sizeof(buf), off);
			if (n <= 0)
				return (int)n;
			*lines += lines_of(buf, (size_t)n);
		}
		off += (uint64_t)n;
	}
}

int main(int argc, char **argv)
{
	struct vfsdax *share;
	struct vfsdax_file *file;
	size_t lines = 0;
	uint64_t in_place = 0;
	int err;

	if (argc != 3 || vfsdax_attach(argv[1], NULL, &share))
		return 1;
	err = vfsdax_open(share, argv[2], O_RDONLY, 0, &file);
	if (!err) {
		err = count(file, &lines, &in_place);
		vfsdax_close(file);
	}
	if (err)
		fprintf(stderr, "%s: %s\n", argv[2], strerror(-err));
	else
		printf("%zu lines, %s\n", lines, in_place ? "in place" : "copied");
	vfsdax_detach(share);
	return err ? 1 : 0;
}
