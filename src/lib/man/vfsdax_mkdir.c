/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax_mkdir - make, remove and rename what is in a share
 * functions: vfsdax_mkdir vfsdax_rmdir vfsdax_unlink vfsdax_symlink vfsdax_link vfsdax_rename
 * see also: vfsdax_open(3), vfsdax_chmod(3), mkdir(2), rename(2), unlink(2)
 * example: Puts a new file in an old one's place, in one step: who opens it gets the one or the
 * other, and never a half.
 *
 * Paths are as those of vfsdax_open().
 */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <vfsdax/vfsdax.h>

static int replace(struct vfsdax *share, const char *path, const char *text)
{
	struct vfsdax_file *file;
	char new_path[4096];
	ssize_t n;
	int err;

	snprintf(new_path, sizeof(new_path), "%s.new", path);
	err = vfsdax_open(share, new_path, O_WRONLY | O_CREAT | O_EXCL, 0644, &file);
	if (err)
		return err;
	n = vfsdax_write(file, text, strlen(text), 0);
	err = n < 0 ? (int)n : vfsdax_fsync(file, 1);
	vfsdax_close(file);
	if (!err)
		err = vfsdax_rename(share, new_path, path, 0);
	if (err)
		vfsdax_unlink(share, new_path);
	return err;
}

int main(int argc, char **argv)
{
	struct vfsdax *share;
	int err;

	if (argc != 4 || vfsdax_attach(argv[1], NULL, &share))
		return 1;
	err = replace(share, argv[2], argv[3]);
	if (err)
		fprintf(stderr, "%s: %s\n", argv[2], strerror(-err));
	vfsdax_detach(share);
	return err ? 1 : 0;
}
