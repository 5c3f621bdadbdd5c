/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax_direct_map - pointers into the window of a mount
 * functions: vfsdax_connect vfsdax_disconnect vfsdax_conn_reason vfsdax_direct_map
 * vfsdax_direct_unmap
 * shows: struct vfsdax_conn, VFSDAX_DIRECT_DONTFORK
 * see also: vfsdax_map(3), vfsdax-mount(8), mmap(2)
 * example: Prints the beginning of a file below a mount of vfsdax-mount out of the mount's window.
 */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <vfsdax/vfsdax.h>

int main(int argc, char **argv)
{
	struct vfsdax_conn *conn;
	size_t len;
	void *addr;
	int fd, err;

	if (argc != 2 || (fd = open(argv[1], O_RDONLY)) < 0)
		return 1;
	err = vfsdax_connect(argv[1], &conn);
	if (err) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(-err));
		close(fd);
		return 1;
	}
	err = vfsdax_direct_map(conn, fd, 0, 1 << 20, 0, &addr, &len);
	if (err) {
		fprintf(stderr, "%s: %s\n", argv[1], vfsdax_conn_reason(conn));
	} else {
		fwrite(addr, 1, len < 80 ? len : 80, stdout);
		vfsdax_direct_unmap(conn, addr);
	}
	vfsdax_disconnect(conn);
	close(fd);
	return err ? 1 : 0;
}
