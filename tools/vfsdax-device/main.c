/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax-device: serves a directory as a virtio-fs device over a vhost-user socket.
 *
 * This file owns the listening socket, the signals and the process's limits, and puts the two
 * halves together: vhost/ talks to the front end, fs/ to the directory.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "options.h"
#include "vfsdax-device/fs/request.h"
#include "vfsdax-device/vhost/memory.h"
#include "vfsdax-device/vhost/vhost.h"

/* ------------------------------------------------------------------ the socket */

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

/* Removes a socket on which no process listens. */
static int remove_stale(const struct sockaddr_un *a)
{
	struct stat st;
	int fd, rc;

	if (lstat(a->sun_path, &st))
		return 0; /* bind() says what is wrong, if anything */
	if (!S_ISSOCK(st.st_mode)) {
		log_error("%s exists and is not a socket; remove it or give another path",
			  a->sun_path);
		return -EEXIST;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = fd < 0 || connect(fd, (const struct sockaddr *)a, sizeof(*a)) ? errno : 0;
	if (fd >= 0)
		close(fd);
	if (rc != ECONNREFUSED) {
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

/* Only this user may connect: a front end may do what this process may. */
static int bind_private(int fd, const struct sockaddr_un *a)
{
	mode_t mask = umask(0177);
	int rc = bind(fd, (const struct sockaddr *)a, sizeof(*a)) ? -errno : 0;

	umask(mask);
	return rc;
}

static int listen_on_path(const char *path)
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
	if (!rc)
		return fd;
	log_error("cannot listen on %s: %s", path, strerror(-rc));
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
	return fd;
}

/* ------------------------------------------------------------------ the process */

/*
 * One descriptor that becomes, and stays, readable when the process is to end. Blocked here, before
 * the first thread, the signals are blocked in all of them.
 */
static int catch_signals(void)
{
	sigset_t stop;
	int fd;

	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	memory_guard_install();
	if (sigprocmask(SIG_BLOCK, &stop, NULL))
		return -errno;
	fd = signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

/* Each inode that a guest knows may need a descriptor. */
static void raise_fd_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r))
		return;
	r.rlim_cur = r.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &r))
		log_warn("the open-file limit cannot be raised: %s", strerror(errno));
}

/* Serves one front end after the other. 0 on SIGTERM and SIGINT; -EBUSY as vhost_serve(). */
static int serve_front_ends(struct vhost *v, int listen_fd, int stop_fd)
{
	struct pollfd p[2] = {{.fd = listen_fd, .events = POLLIN},
			      {.fd = stop_fd, .events = POLLIN}};
	int rc = 0;

	while (!rc) {
		int sock;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return -errno;
		if (p[1].revents)
			return 0;
		sock = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (sock < 0) {
			log_warn("a front end cannot be accepted: %s", strerror(errno));
			poll(&p[1], 1, 100); /* out of descriptors, perhaps: not at full speed */
			continue;
		}
		log_info("a front end connected");
		rc = vhost_serve(v, sock, listen_fd, stop_fd);
		close(sock);
		if (!rc)
			log_info("the front end left; waiting for the next one");
	}
	return rc == -ECANCELED ? 0 : rc;
}

static int run_device(const struct device_options *o, int stop_fd)
{
	struct vhost *v = NULL;
	struct fs *fs = NULL;
	int listen_fd, rc;

	rc = vhost_create(&o->vhost, &v);
	if (rc)
		return rc;
	rc = fs_create(&o->fs, vhost_shmem(v), &fs);
	if (rc)
		goto out_vhost;
	vhost_attach(v, fs);
	rc = listen_fd = o->socket_path ? listen_on_path(o->socket_path) : listen_on_fd(o->fd);
	if (rc < 0)
		goto out_fs;
	if (o->socket_path)
		log_info("listening on %s", o->socket_path);
	else
		log_info("listening on descriptor %d", o->fd);
	rc = serve_front_ends(v, listen_fd, stop_fd);
	if (o->socket_path)
		unlink(o->socket_path);
	close(listen_fd);
	if (rc == -EBUSY) {
		/* A thread hangs in the kernel and holds what would be released here. */
		log_warn("stopping with a request that hangs in %s", o->fs.shared_dir);
		return 0;
	}
out_fs:
	fs_destroy(fs);
out_vhost:
	vhost_destroy(v);
	return rc;
}

int main(int argc, char **argv)
{
	struct device_options o;
	int rc, stop_fd;

	log_set_name("vfsdax-device");
	rc = device_options_read(&o, argc, argv);
	if (rc)
		return rc < 0 ? 2 : 0;
	stop_fd = catch_signals();
	if (stop_fd < 0) {
		log_error("signals: %s", strerror(-stop_fd));
		return 1;
	}
	raise_fd_limit();
	rc = run_device(&o, stop_fd);
	close(stop_fd);
	return rc ? 1 : 0;
}
