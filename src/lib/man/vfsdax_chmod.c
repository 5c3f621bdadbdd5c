/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax_chmod - change the mode, the owner and the times of a file
 * functions: vfsdax_chmod vfsdax_chown vfsdax_utimens
 * see also: vfsdax_stat(3), chmod(2), chown(2), utimensat(2)
 * example: Makes a file one that nobody can write to, as old as the epoch.
 *
 * Paths are as those of vfsdax_open(). A symbolic link is followed; an id of -1 and a time of
 * UTIME_OMIT stay as they are.
 */

#include <stdio.h>
#include <string.h>
#include <vfsdax/vfsdax.h>

int main(int argc, char **argv)
{
	const struct timespec times[2] = {{0, UTIME_OMIT}, {0, 0}};
	struct vfsdax *share;
	int err;

	if (argc != 3 || vfsdax_attach(argv[1], NULL, &share))
		return 1;
	err = vfsdax_chmod(share, argv[2], 0444);
	if (!err)
		err = vfsdax_utimens(share, argv[2], times);
	if (err)
		fprintf(stderr, "%s: %s\n", argv[2], strerror(-err));
	vfsdax_detach(share);
	return err ? 1 : 0;
}
