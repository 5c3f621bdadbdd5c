/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax_errstr - the last failure in words
 * functions: vfsdax_errstr
 * see also: vfsdax_conn_reason(3), strerror(3)
 * example: Says why a file cannot be opened.
 */

#include <fcntl.h>
#include <stdio.h>
#include <vfsdax/vfsdax.h>

int main(int argc, char **argv)
{
	struct vfsdax *share;
	struct vfsdax_file *file;

	if (argc != 3)
		return 2;
	if (vfsdax_attach(argv[1], NULL, &share)) {
		puts(vfsdax_errstr());
		return 1;
	}
	if (vfsdax_open(share, argv[2], O_RDONLY, 0, &file) == 0)
		vfsdax_close(file);
	else
		puts(vfsdax_errstr());
	vfsdax_detach(share);
	return 0;
}
