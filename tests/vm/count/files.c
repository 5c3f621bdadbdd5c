/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* files: the operations by system calls. See ops.h. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ops.h"

static int data_fd;

void ops_open(const char *where, int flags)
{
	if (chdir(where))
		die("%s: %s", where, strerror(errno));
	data_fd = open_or_die("data", flags);
}

void ops_close(void)
{
	close(data_fd);
}

static void read_4k(unsigned i)
{
	must(pread(data_fd, buffer, 4 * KIB, piece(i, 4 * KIB)), 4 * KIB, "pread");
}

static void read_1m(unsigned i)
{
	must(pread(data_fd, buffer, KIB * KIB, piece(i, KIB * KIB)), KIB * KIB, "pread");
}

static void write_4k(unsigned i)
{
	must(pwrite(data_fd, buffer, 4 * KIB, piece(i, 4 * KIB)), 4 * KIB, "pwrite");
}

static void write_fsync(unsigned i)
{
	write_4k(i);
	must(fsync(data_fd), 0, "fsync");
}

/* What the file system itself says, not what the kernel remembers. */
static void getattr(unsigned i)
{
	struct statx stx;

	(void)i;
	must(statx(data_fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &stx), 0,
	     "statx");
}

/* For the second time: what a directory has, and of each file its size, as find -size does. */
static void list(unsigned i)
{
	DIR *dir = opendir("names");
	struct dirent *e;
	struct stat st;

	(void)i;
	if (!dir)
		die("names: %s", strerror(errno));
	while ((e = readdir(dir)))
		must(fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW), 0, "fstatat");
	closedir(dir);
}

static void lookup(unsigned i)
{
	struct stat st;

	must(stat(name("", i) + 1, &st), 0, "stat");
}

static void create(unsigned i)
{
	int fd = open(name("new", i) + 1, O_CREAT | O_EXCL | O_WRONLY, 0644);

	must(fd >= 0, 1, "create");
	close(fd);
}

static void unlink_new(unsigned i)
{
	must(unlink(name("new", i) + 1), 0, "unlink");
}

const struct op ops[] = {{"read-4k", read_4k, O_RDONLY | O_DIRECT, true},
			 {"read-4k-cached", read_4k, O_RDONLY, true},
			 {"read-1m", read_1m, O_RDONLY | O_DIRECT, true},
			 {"write-4k", write_4k, O_RDWR | O_DIRECT, true},
			 {"write+fsync", write_fsync, O_RDWR, true},
			 {"getattr", getattr, O_RDONLY, true},
			 {"list", list, O_RDONLY, true},
			 {"lookup", lookup, O_RDONLY, false},
			 {"create", create, O_RDONLY, false},
			 {"unlink", unlink_new, O_RDONLY, false},
			 {NULL, NULL, 0, false}};
