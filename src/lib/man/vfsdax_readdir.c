/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax_readdir - read the entries of a directory
 * functions: vfsdax_readdir vfsdax_seekdir
 * shows: struct vfsdax_dirent
 * see also: vfsdax_open(3), vfsdax_stat(3), readdir(3)
 * example: Lists a directory.
 */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <vfsdax/vfsdax.h>

int main(int argc, char **argv)
{
	struct vfsdax *share;
	struct vfsdax_file *dir;
	struct vfsdax_dirent entry;
	int n;

	if (argc != 3 || vfsdax_attach(argv[1], NULL, &share))
		return 1;
	n = vfsdax_open(share, argv[2], O_RDONLY | O_DIRECTORY, 0, &dir);
	if (n == 0) {
		while ((n = vfsdax_readdir(dir, &entry)) > 0)
			printf("%s%s\n", entry.name, entry.type == DT_DIR ? "/" : "");
		vfsdax_close(dir);
	}
	if (n < 0)
		fprintf(stderr, "%s: %s\n", argv[2], strerror(-n));
	vfsdax_detach(share);
	return n < 0;
}
