/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* listen: the listening socket and the pid file. See listen.h. */
#include "listen.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

/* Where a service manager puts the first socket: sd_listen_fds(3). */
#define LISTEN_FDS_START 3

static int socket_address(const char *path, struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (!*path || strlen(path) >= sizeof(a->sun_path)) {
		log_error(
			"%s: the path of a socket has 1 to %zu bytes, this has %zu; give a shorter "
			"one",
			path, sizeof(a->sun_path) - 1, strlen(path));
		return -ENAMETOOLONG;
	}
	strcpy(a->sun_path, path);
	return 0;
}

/* 0 when somebody listens, ECONNREFUSED when nobody does. */
static int probe(const struct sockaddr_un *a)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err = fd < 0 || connect(fd, (const struct sockaddr *)a, sizeof(*a)) ? errno : 0;

	if (fd >= 0)
		close(fd);
	return err;
}

/* One that was killed may still be about to end: it is given a second. */
static int probe_patiently(const struct sockaddr_un *a)
{
	int err = probe(a);

	for (int i = 0; i < 20 && err != ECONNREFUSED; i++) {
		poll(NULL, 0, 50);
		err = probe(a);
	}
	return err;
}

/* Removes a socket on which no process listens. */
static int remove_stale(const struct sockaddr_un *a)
{
	struct stat st;
	int rc;

	if (lstat(a->sun_path, &st))
		return 0; /* bind() says what is wrong, if anything */
	if (!S_ISSOCK(st.st_mode)) {
		log_error("%s exists and is not a socket; remove it or give another path",
			  a->sun_path);
		return -EEXIST;
	}
	if (probe_patiently(a) != ECONNREFUSED) {
		log_error("%s is in use by another process; stop it or give another path",
			  a->sun_path);
		return -EADDRINUSE;
	}
	if (unlink(a->sun_path)) {
		rc = errno;
		log_error("%s: nobody listens there, but it cannot be removed: %s", a->sun_path,
			  strerror(rc));
		return -rc;
	}
	return 0;
}

/* The members of a group may connect as well. */
static int share_with_group(const char *path, const char *group)
{
	const struct group *g;
	int rc;

	if (!group)
		return 0;
	errno = 0;
	g = getgrnam(group);
	if (!g) {
		log_error("--socket-group %s: there is no such group", group);
		return -ENOENT;
	}
	rc = chown(path, (uid_t)-1, g->gr_gid) || chmod(path, 0660) ? -errno : 0;
	if (rc)
		log_error("--socket-group %s: %s: %s", group, path, strerror(-rc));
	return rc;
}

/* Only this user may connect: a front end may do what this process may. */
static int bind_private(int fd, const struct sockaddr_un *a)
{
	mode_t mask = umask(0177);
	int rc = bind(fd, (const struct sockaddr *)a, sizeof(*a)) ? -errno : 0;

	umask(mask);
	return rc;
}

static int listen_on_path(const char *path, const char *group)
{
	struct sockaddr_un a;
	int fd, rc = socket_address(path, &a);

	if (!rc)
		rc = remove_stale(&a);
	if (rc)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	rc = fd < 0 ? -errno : bind_private(fd, &a);
	if (!rc && listen(fd, 4)) {
		rc = -errno;
		unlink(path);
	}
	if (rc)
		log_error("cannot listen on %s: %s%s", path, strerror(-rc),
			  rc == -ENOENT || rc == -EACCES
				  ? "; its folder must exist, and be one to write into"
				  : "");
	if (!rc && (rc = share_with_group(path, group)) < 0)
		unlink(path);
	if (!rc)
		return fd;
	if (fd >= 0)
		close(fd);
	return rc;
}

static int listen_on_fd(int fd)
{
	struct sockaddr_un a = {0};
	socklen_t a_len = sizeof(a), v_len = sizeof(int);
	int listening = 0;

	if (getsockname(fd, (struct sockaddr *)&a, &a_len) || a.sun_family != AF_UNIX ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &v_len) || !listening) {
		log_error("--fd %d is not a listening Unix socket", fd);
		return -EINVAL;
	}
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	return fd;
}

/* ------------------------------------------------------------------ the pid file */

static bool pid_file_name(const char *socket_path, char out[PATH_MAX])
{
	return snprintf(out, PATH_MAX, "%s.pid", socket_path) < PATH_MAX;
}

/* As virtiofsd has it: beside the socket. Nothing here depends on it. */
static void write_pid_file(const char *socket_path)
{
	char path[PATH_MAX];
	int fd = pid_file_name(socket_path, path)
			 ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644)
			 : -1;

	if (fd < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
		log_warn("%s.pid cannot be written: %s", socket_path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* ------------------------------------------------------------------ both */

int listen_activated(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	int fd = -1;

	if (pid && fds && strtol(pid, NULL, 10) == (long)getpid() && !strcmp(fds, "1"))
		fd = LISTEN_FDS_START;
	/* They are not for anybody else. */
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	return fd;
}

int listen_begin(struct listen_options *o)
{
	struct stat st = {0};
	int fd;

	if (!o->path)
		return listen_on_fd(o->fd);
	fd = listen_on_path(o->path, o->group);
	if (fd < 0)
		return fd;
	if (lstat(o->path, &st) == 0) {
		o->made_dev = st.st_dev;
		o->made_ino = st.st_ino;
	}
	write_pid_file(o->path);
	return fd;
}

/* Ours was removed, and the next device listens there already. */
static bool is_anothers(const struct listen_options *o)
{
	struct stat st;

	return lstat(o->path, &st) == 0 && (st.st_dev != o->made_dev || st.st_ino != o->made_ino);
}

void listen_end(const struct listen_options *o)
{
	char path[PATH_MAX];

	if (!o->path || is_anothers(o))
		return;
	unlinkat(AT_FDCWD, o->path, 0);
	if (pid_file_name(o->path, path))
		unlinkat(AT_FDCWD, path, 0);
}
