/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax_truncate - change the size of an open file, get space for it, write it to the disk
 * functions: vfsdax_truncate vfsdax_fallocate vfsdax_fsync
 * see also: vfsdax_write(3), vfsdax_map(3), ftruncate(2), fallocate(2), fsync(2)
 * example: Makes a file of a size whose space is there, and on the disk.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vfsdax/vfsdax.h>

int main(int argc, char **argv)
{
	struct vfsdax *share;
	struct vfsdax_file *file;
	int err;

	if (argc != 4 || vfsdax_attach(argv[1], NULL, &share))
		return 1;
	err = vfsdax_open(share, argv[2], O_WRONLY | O_CREAT, 0644, &file);
	if (!err) {
		err = vfsdax_truncate(file, 0);
		if (!err)
			err = vfsdax_fallocate(file, 0, 0, strtoull(argv[3], NULL, 0));
		if (!err)
			err = vfsdax_fsync(file, 0);
		vfsdax_close(file);
	}
	if (err)
		fprintf(stderr, "%s: %s\n", argv[2], strerror(-err));
	vfsdax_detach(share);
	return err ? 1 : 0;
}
