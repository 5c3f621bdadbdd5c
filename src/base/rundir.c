/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/rundir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

static int fits(int n, size_t len)
{
	return n >= 0 && (size_t)n < len ? 0 : -ENAMETOOLONG;
}

static int below_tmp(uid_t uid, char *buf, size_t len)
{
	return fits(snprintf(buf, len, "/tmp/vfsdax-%u", (unsigned)uid), len);
}

int rundir_path(uid_t uid, char *buf, size_t len)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");

	if (uid == 0)
		return fits(snprintf(buf, len, "/run/vfsdax"), len);
	if (xdg && xdg[0] == '/' && uid == geteuid())
		return fits(snprintf(buf, len, "%s/vfsdax", xdg), len);
	return below_tmp(uid, buf, len);
}

static int make(const char *path)
{
	struct stat st;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	if (lstat(path, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH))
		return -EPERM;
	return 0;
}

int rundir_make(char *buf, size_t len)
{
	int err = rundir_path(geteuid(), buf, len);

	return err ? err : make(buf);
}

int rundir_make_public(char *buf, size_t len)
{
	uid_t uid = geteuid();
	int err = uid == 0 ? rundir_path(uid, buf, len) : below_tmp(uid, buf, len);

	if (!err)
		err = make(buf);
	/* To be passed through, not to be listed. Whoever serves a socket there asks who it is. */
	if (!err && chmod(buf, 0711) < 0)
		err = -errno;
	return err;
}

int rundir_socket(const char *dir, dev_t dev, char *buf, size_t len)
{
	return fits(snprintf(buf, len, "%s/%u:%u.sock", dir, major(dev), minor(dev)), len);
}

int rundir_direct_socket(const char *dir, dev_t dev, char *buf, size_t len)
{
	return fits(snprintf(buf, len, "%s/%u:%u.direct", dir, major(dev), minor(dev)), len);
}

int rundir_holder_socket(const char *dir, dev_t dev, char *buf, size_t len)
{
	return fits(snprintf(buf, len, "%s/%u:%u.holder", dir, major(dev), minor(dev)), len);
}

int rundir_bind(int fd, const char *path, ino_t *ino)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct stat st;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	unlink(path);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || lstat(path, &st) < 0)
		return -errno;
	*ino = st.st_ino;
	return 0;
}

void rundir_unbind(const char *path, ino_t ino)
{
	struct stat st;

	if (lstat(path, &st) == 0 && st.st_ino == ino)
		unlink(path);
}
