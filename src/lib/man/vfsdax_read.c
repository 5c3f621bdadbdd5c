/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax_read - read from and write to a file of a share
 * functions: vfsdax_read vfsdax_write vfsdax_readv vfsdax_writev
 * see also: vfsdax_open(3), vfsdax_map(3), vfsdax_prep_read(3), pread(2), pwrite(2), preadv(2)
 * example: Adds a line at the end of a file, and prints all of it.
 */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <vfsdax/vfsdax.h>

static ssize_t add_and_print(struct vfsdax_file *file, const char *line)
{
	char buf[4096];
	uint64_t off = 0;
	ssize_t n;

	n = vfsdax_write(file, line, strlen(line), 0); /* O_APPEND: the offset does not count */
	if (n < 0)
		return n;
	while ((n = vfsdax_read(file, buf, sizeof(buf), off)) > 0) {
		fwrite(buf, 1, (size_t)n, stdout);
		off += (uint64_t)n;
	}
	return n;
}

int main(int argc, char **argv)
{
	struct vfsdax *share;
	struct vfsdax_file *file;
	ssize_t n;

	if (argc != 4 || vfsdax_attach(argv[1], NULL, &share))
		return 1;
	n = vfsdax_open(share, argv[2], O_RDWR | O_APPEND, 0, &file);
	if (n == 0) {
		n = add_and_print(file, argv[3]);
		vfsdax_close(file);
	}
	if (n < 0)
		fprintf(stderr, "%s: %s\n", argv[2], strerror((int)-n));
	vfsdax_detach(share);
	return n < 0;
}
