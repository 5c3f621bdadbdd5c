/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax_open - open and close files and directories of a share
 * functions: vfsdax_open vfsdax_openat vfsdax_close
 * see also: vfsdax_attach(3), vfsdax_read(3), vfsdax_readdir(3), open(2)
 * example: Makes a file in a directory of the share, that must not have been there.
 */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <vfsdax/vfsdax.h>

int main(int argc, char **argv)
{
	struct vfsdax *share;
	struct vfsdax_file *dir, *file;
	int err;

	if (argc != 4) {
		fprintf(stderr, "usage: %s SOURCE DIRECTORY NAME\n", argv[0]);
		return 2;
	}
	err = vfsdax_attach(argv[1], NULL, &share);
	if (err) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(-err));
		return 1;
	}
	err = vfsdax_open(share, argv[2], O_RDONLY | O_DIRECTORY, 0, &dir);
	if (!err) {
		err = vfsdax_openat(dir, argv[3], O_WRONLY | O_CREAT | O_EXCL, 0644, &file);
		if (!err)
			err = vfsdax_close(file);
		vfsdax_close(dir);
	}
	if (err)
		fprintf(stderr, "%s/%s: %s\n", argv[2], argv[3], strerror(-err));
	vfsdax_detach(share);
	return err ? 1 : 0;
}
