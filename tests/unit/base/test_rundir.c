/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sockets of mounts whose device numbers follow each other. */
#include "base/rundir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static void a_mount_that_ends_leaves_its_successors_socket(void **state)
{
	char dir[] = "/tmp/rundir.XXXXXX", path[64], far[200];
	int old = socket(AF_UNIX, SOCK_STREAM, 0), new = socket(AF_UNIX, SOCK_STREAM, 0);
	ino_t of_old, of_new;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/0:51.sock", dir);
	assert_int_equal(rundir_bind(old, path, &of_old), 0);
	assert_int_equal(rundir_bind(new, path, &of_new), 0);
	rundir_unbind(path, of_old);
	assert_int_equal(access(path, F_OK), 0);
	rundir_unbind(path, of_new);
	assert_int_equal(access(path, F_OK), -1);
	rundir_unbind(path, of_new);
	memset(far, 'x', sizeof(far));
	far[sizeof(far) - 1] = '\0';
	assert_int_equal(rundir_bind(old, far, &of_old), -ENAMETOOLONG);
	close(old);
	close(new);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mount_that_ends_leaves_its_successors_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
