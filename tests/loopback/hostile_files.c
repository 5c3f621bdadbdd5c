/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hostile_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HELD_FD 5 /* of the process that has a file of the mount open */

static int must(int fd, const char *what)
{
	if (fd >= 0)
		return fd;
	perror(what);
	exit(1);
}

static int new_file(char fill, size_t len)
{
	int fd = must(memfd_create("hostile-other", MFD_CLOEXEC), "memfd");
	char bytes[4096];

	memset(bytes, fill, sizeof(bytes));
	for (size_t at = 0; at < len; at += sizeof(bytes))
		must((int)write(fd, bytes, sizeof(bytes)), "memfd");
	return fd;
}

static int open_again(int fd, int flags)
{
	char path[32];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = must(open(path, flags | O_CLOEXEC), path);
	close(fd);
	return again;
}

static int one_end(int pair[2])
{
	close(pair[1]);
	return pair[0];
}

static int new_pipe(void)
{
	int pair[2];

	must(pipe(pair), "pipe");
	return one_end(pair);
}

static int new_socket(void)
{
	int pair[2];

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
	return one_end(pair);
}

static int of_process(pid_t pid)
{
	int pidfd = must((int)syscall(SYS_pidfd_open, pid, 0), "pidfd_open");
	int fd = must((int)syscall(SYS_pidfd_getfd, pidfd, HELD_FD, 0), "pidfd_getfd");

	close(pidfd);
	return fd;
}

unsigned hostile_files(const char *fault, int good, pid_t holder, int fds[HOSTILE_FILES_MAX])
{
	static unsigned asked;
	const char *lie = fault + strlen("file-");

	asked++;
	if (strcmp(lie, "none") == 0)
		return 0;
	if (strcmp(lie, "directory") == 0)
		fds[0] = must(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "/");
	else if (strcmp(lie, "pipe") == 0)
		fds[0] = new_pipe();
	else if (strcmp(lie, "socket") == 0)
		fds[0] = new_socket();
	else if (strcmp(lie, "null") == 0)
		fds[0] = must(open("/dev/null", O_RDWR | O_CLOEXEC), "/dev/null");
	else if (strcmp(lie, "proc") == 0)
		fds[0] = must(open("/proc/version", O_RDONLY | O_CLOEXEC), "/proc/version");
	else if (strcmp(lie, "sys") == 0)
		fds[0] = must(open("/sys/kernel/uevent_seqnum", O_RDONLY | O_CLOEXEC), "/sys");
	else if (strcmp(lie, "mount") == 0)
		fds[0] = of_process(holder);
	else if (strcmp(lie, "path") == 0)
		fds[0] = open_again(new_file('y', 65536), O_PATH);
	else if (strcmp(lie, "write-only") == 0)
		fds[0] = open_again(new_file('y', 65536), O_WRONLY);
	else if (strcmp(lie, "read-only") == 0)
		fds[0] = open_again(new_file('y', 65536), O_RDONLY);
	else if (strcmp(lie, "short") == 0)
		fds[0] = new_file('x', 8192);
	else if (strcmp(lie, "foreign") == 0 || (strcmp(lie, "other") == 0 && asked > 1))
		fds[0] = new_file('y', 65536);
	else
		fds[0] = must(dup(good), "dup");
	if (strcmp(lie, "two") != 0)
		return 1;
	fds[1] = must(dup(good), "dup");
	return 2;
}
