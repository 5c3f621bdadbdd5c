/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax-device: serves a directory as a virtio-fs device over a vhost-user socket.
 *
 * This file owns the signals and the process's limits, and puts the parts together: listen makes
 * the socket, sandbox/ gives up what is not needed, vhost/ talks to the front end, fs/ to the
 * directory.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "options.h"
#include "to_syslog.h"
#include "vfsdax-device/fs/request.h"
#include "vfsdax-device/vhost/memory.h"
#include "vfsdax-device/vhost/vhost.h"

/* ------------------------------------------------------------------ the process */

static bool ignored(int sig)
{
	struct sigaction a;

	return !sigaction(sig, NULL, &a) && a.sa_handler == SIG_IGN;
}

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
	if (!ignored(SIGHUP)) /* nohup(1) */
		sigaddset(&stop, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	memory_guard_install();
	if (sigprocmask(SIG_BLOCK, &stop, NULL))
		return -errno;
	fd = signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static uint64_t hard_fd_limit(void)
{
	struct rlimit r = {0};

	getrlimit(RLIMIT_NOFILE, &r);
	return r.rlim_max;
}

/* Of the device itself and one front end with a few queues. */
#define FILES_MIN 64u

/* Each inode that a guest knows may need a descriptor. */
static int set_fd_limit(uint64_t wanted)
{
	struct rlimit r;
	int err;

	if (wanted && wanted < FILES_MIN) {
		log_error("--rlimit-nofile %" PRIu64 ": serving needs %u at least", wanted,
			  FILES_MIN);
		return -EINVAL;
	}
	if (!wanted || getrlimit(RLIMIT_NOFILE, &r))
		return 0;
	if (wanted == UINT64_MAX)
		r.rlim_cur = r.rlim_max;
	else
		r = (struct rlimit){wanted, wanted};
	if (!setrlimit(RLIMIT_NOFILE, &r))
		return 0;
	err = errno;
	if (wanted == UINT64_MAX) {
		log_warn("the open-file limit cannot be raised: %s", strerror(err));
		return 0;
	}
	log_error("--rlimit-nofile %" PRIu64 ": %s; only CAP_SYS_RESOURCE may raise the hard "
		  "limit, which is %" PRIu64,
		  wanted, strerror(err), hard_fd_limit());
	return -err;
}

/* Serves one front end after the other. 0 on a signal; -EBUSY as vhost_serve(). */
static int serve_front_ends(struct vhost *v, int listen_fd, int stop_fd, struct sandbox *s)
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
		sandbox_tell(s, SANDBOX_SERVES);
		rc = vhost_serve(v, sock, listen_fd, stop_fd);
		close(sock);
		if (rc)
			break;
		log_info("the front end left; waiting for the next one");
		sandbox_tell(s, SANDBOX_WAITS);
	}
	return rc == -ECANCELED ? 0 : rc;
}

/* Opens nothing below it: says early, and as the one who was asked, what is wrong with it. */
static int check_shared_dir(const char *dir)
{
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC), err = errno;

	/* Entering it is the least: root's rights come from a capability, which access(2) counts.
	 */
	if (fd >= 0 && !faccessat(AT_FDCWD, dir, X_OK, AT_EACCESS)) {
		close(fd);
		return 0;
	}
	if (fd >= 0) {
		err = errno;
		close(fd);
		log_error("cannot share %s: %s; uid %u must be able to enter it", dir,
			  strerror(err), (unsigned)geteuid());
		return -err;
	}
	log_error("cannot share %s: %s; --shared-dir wants a directory", dir, strerror(err));
	return -err;
}

/* Where descriptors 0 to 2 are closed, others would take their numbers. */
static void fill_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* A descriptor that came along by mistake would be a way out of the sandbox. */
static void close_inherited(int listen_fd)
{
	if (listen_fd > STDERR_FILENO + 1)
		close_range(STDERR_FILENO + 1, (unsigned)listen_fd - 1, 0);
	close_range((unsigned)MAX(listen_fd, STDERR_FILENO) + 1, ~0u, 0);
}

/* -EBUSY: a thread hangs in the kernel and holds what would be released here. */
static int serve(const struct device_options *o, struct vhost *v, int listen_fd, int stop_fd,
		 struct sandbox *s)
{
	int rc = sandbox_filter(&o->sandbox);

	if (rc)
		return rc;
	if (o->listen.path)
		log_info("listening on %s", o->listen.path);
	else
		log_info("listening on descriptor %d", o->listen.fd);
	sandbox_tell(s, SANDBOX_LISTENS);
	rc = serve_front_ends(v, listen_fd, stop_fd, s);
	sandbox_tell(s, SANDBOX_STOPS);
	return rc;
}

static int run_device(const struct device_options *o, int listen_fd, int stop_fd, struct sandbox *s)
{
	struct vhost *v = NULL;
	struct fs *fs = NULL;
	int rc = sandbox_drop(&o->sandbox);

	if (!rc)
		rc = vhost_create(&o->vhost, &v);
	if (rc)
		return rc;
	rc = fs_create(&o->fs, vhost_shmem(v), &fs);
	if (rc)
		goto out_vhost;
	vhost_attach(v, fs);
	rc = serve(o, v, listen_fd, stop_fd, s);
	if (rc == -EBUSY) {
		log_warn("stopping with a request that hangs in %s", o->fs.shared_dir);
		return 0;
	}
	fs_destroy(fs);
out_vhost:
	vhost_destroy(v);
	return rc;
}

/* Exit status. The socket is made before the sandbox is entered, in which its folder is not there.
 */
static int listen_and_run(struct device_options *o, int stop_fd)
{
	struct sandbox s = {0};
	int rc, listen_fd = listen_begin(&o->listen);

	if (listen_fd < 0)
		return 1;
	rc = sandbox_enter(&o->sandbox, o->fs.shared_dir, stop_fd, listen_fd, &s);
	if (rc == 0) {
		o->fs.proc_fd = s.proc_fd;
		o->fs.root = s.rooted ? "/" : NULL;
		rc = run_device(o, listen_fd, stop_fd, &s);
		s.status = rc ? 1 : 0;
		close(listen_fd);
	} else if (rc < 0) {
		s.status = 1;
	}
	if (!s.rooted)
		listen_end(&o->listen);
	return s.status;
}

int main(int argc, char **argv)
{
	struct device_options o;
	int rc, stop_fd;

	fill_standard_descriptors();
	log_set_name("vfsdax-device");
	rc = device_options_read(&o, argc, argv);
	if (rc)
		return rc < 0 ? 2 : 0;
	close_inherited(o.listen.fd);
	stop_fd = catch_signals();
	if (stop_fd < 0) {
		log_error("signals: %s", strerror(-stop_fd));
		return 1;
	}
	if ((o.syslog && syslog_begin()) || set_fd_limit(o.rlimit_nofile) ||
	    check_shared_dir(o.fs.shared_dir))
		return 1;
	rc = listen_and_run(&o, stop_fd);
	close(stop_fd);
	return rc;
}
