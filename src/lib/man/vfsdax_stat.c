/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax_stat - what a file of a share is, and where a link leads
 * functions: vfsdax_stat vfsdax_lstat vfsdax_fstat vfsdax_statvfs vfsdax_readlink
 * see also: vfsdax_open(3), vfsdax_chmod(3), vfsdax_prep_fstat(3), stat(2), statvfs(3), readlink(2)
 * example: Prints the size of a file, and where a symbolic link leads.
 *
 * Paths are as those of vfsdax_open().
 */

#include <stdio.h>
#include <vfsdax/vfsdax.h>

int main(int argc, char **argv)
{
	struct vfsdax *share;
	struct stat st;
	char target[4096];
	ssize_t n;

	if (argc != 3 || vfsdax_attach(argv[1], NULL, &share))
		return 1;
	if (vfsdax_lstat(share, argv[2], &st) == 0 && S_ISLNK(st.st_mode)) {
		n = vfsdax_readlink(share, argv[2], target, sizeof(target));
		printf("%s -> %.*s\n", argv[2], n > 0 ? (int)n : 0, target);
	}
	if (vfsdax_stat(share, argv[2], &st) == 0)
		printf("%lld bytes\n", (long long)st.st_size);
	vfsdax_detach(share);
	return 0;
}
