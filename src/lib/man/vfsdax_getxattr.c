/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax_getxattr - extended attributes of a file of a share
 * functions: vfsdax_getxattr vfsdax_setxattr vfsdax_listxattr vfsdax_removexattr
 * see also: vfsdax_open(3), getxattr(2), setxattr(2), listxattr(2), removexattr(2), xattr(7)
 * example: Prints the names and the lengths of a file's attributes.
 *
 * Paths are as those of vfsdax_open().
 */

#include <stdio.h>
#include <string.h>
#include <vfsdax/vfsdax.h>

int main(int argc, char **argv)
{
	struct vfsdax *share;
	static char list[65536];
	ssize_t n;

	if (argc != 3 || vfsdax_attach(argv[1], NULL, &share))
		return 1;
	n = vfsdax_listxattr(share, argv[2], list, sizeof(list));
	if (n < 0)
		fprintf(stderr, "%s: %s\n", argv[2], strerror((int)-n));
	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(list + at) + 1)
		printf("%s %zd\n", list + at, vfsdax_getxattr(share, argv[2], list + at, NULL, 0));
	vfsdax_detach(share);
	return n < 0;
}
