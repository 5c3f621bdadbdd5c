/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax-device: serves a directory as a virtio-fs device over a vhost-user socket.
 *
 * This file owns the command line, the listening socket, the signals and the process's limits, and
 * puts the two halves together: vhost.c talks to the front end, fs_*.c to the directory.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "vfsdax-device/vhost/memory.h"
#include "vfsdax-device/fs/request.h"
#include "vfsdax-device/vhost/vhost.h"

struct options {
	struct fs_options fs;
	struct vhost_options vhost;
	const char *socket_path;
	int fd; /* -1: none */
};

/* ------------------------------------------------------------------ the command line */

enum {
	OPT_SHARED_DIR = 256, OPT_SOCKET_PATH, OPT_FD, OPT_CACHE_SIZE, OPT_DAX, OPT_DAX_THRESHOLD,
	OPT_CACHE, OPT_READONLY, OPT_TAG, OPT_NUM_REQUEST_QUEUES, OPT_QUEUE_SIZE, OPT_POSIX_ACL,
	OPT_NO_XATTR, OPT_LOG_LEVEL, OPT_NO_EVENT_IDX, OPT_NO_INDIRECT, OPT_HELP, OPT_VERSION,
};

static const struct option long_options[] = {
	{"shared-dir", required_argument, NULL, OPT_SHARED_DIR},
	{"socket-path", required_argument, NULL, OPT_SOCKET_PATH},
	{"fd", required_argument, NULL, OPT_FD},
	{"cache-size", required_argument, NULL, OPT_CACHE_SIZE},
	{"dax", required_argument, NULL, OPT_DAX},
	{"dax-threshold", required_argument, NULL, OPT_DAX_THRESHOLD},
	{"cache", required_argument, NULL, OPT_CACHE},
	{"readonly", no_argument, NULL, OPT_READONLY},
	{"tag", required_argument, NULL, OPT_TAG},
	{"num-request-queues", required_argument, NULL, OPT_NUM_REQUEST_QUEUES},
	{"queue-size", required_argument, NULL, OPT_QUEUE_SIZE},
	{"posix-acl", no_argument, NULL, OPT_POSIX_ACL},
	{"no-xattr", no_argument, NULL, OPT_NO_XATTR},
	{"log-level", required_argument, NULL, OPT_LOG_LEVEL},
	{"no-event-idx", no_argument, NULL, OPT_NO_EVENT_IDX}, /* hidden: for tests of drivers */
	{"no-indirect", no_argument, NULL, OPT_NO_INDIRECT},   /* hidden: for tests of drivers */
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static const char usage[] =
	"usage: vfsdax-device --shared-dir DIR --socket-path SOCK [OPTIONS]\n"
	"\n"
	"Serves DIR as a virtio-fs device with a DAX window, to one vhost-user front end at\n"
	"a time: a virtual machine (QEMU 11.1 or newer), or vfsdax-mount unix:SOCK.\n"
	"\n"
	"  --shared-dir DIR         the directory to share\n"
	"  --socket-path SOCK       the Unix socket to listen on\n"
	"  --fd N                   listen on this open socket instead\n"
	"  --tag NAME               what the guest knows the share by, up to 36 bytes [vfsdax]\n"
	"  --readonly               refuse every change\n"
	"\n"
	"  --cache-size SIZE        size of the DAX window, K, M, G or T; 0 for none [4G]\n"
	"  --dax none|always|inode|filesize\n"
	"                           which files the window is for [always]\n"
	"  --dax-threshold SIZE     with filesize: for files larger than this [32K]\n"
	"  --cache never|auto|always\n"
	"                           how long the guest may keep names and attributes [auto]\n"
	"  --no-xattr               no extended attributes\n"
	"  --posix-acl              POSIX access control lists\n"
	"\n"
	"  --num-request-queues N   request queues, a thread each [CPUs, at most 4]\n"
	"  --queue-size N           most entries of a queue, a power of two [1024]\n"
	"  --log-level LEVEL        error, warn, info or debug [info]\n"
	"  --help, --version\n"
	"\n"
	"Options can be written --option VALUE or --option=VALUE. See vfsdax-device(8).\n";

/* Decimal, with an optional K, M, G or T. False: none, or more than 64 bits. */
static bool parse_size(const char *text, uint64_t *out)
{
	static const char suffixes[] = "KMGT";
	unsigned shift = 0;
	const char *suffix;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*out = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (*end) {
		suffix = strchr(suffixes, *end & ~0x20);
		if (!suffix || !*suffix || end[1])
			return false;
		shift = 10 * (unsigned)(suffix - suffixes + 1);
	}
	if (*out > UINT64_MAX >> shift)
		return false;
	*out <<= shift;
	return true;
}

static bool parse_count(const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
	return parse_size(text, out) && *out >= least && *out <= most;
}

/* The index of `text` among `names` (NULL at the end), or -1. */
static int parse_name(const char *text, const char *const *names)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(text, names[i]) == 0)
			return i;
	return -1;
}

static int refuse(const char *option, const char *value, const char *way_out)
{
	log_error("--%s %s: %s", option, value, way_out);
	return -EINVAL;
}

static int set_tag(struct options *o, const char *value)
{
	size_t len = strlen(value);

	if (!len || len > sizeof(o->vhost.tag))
		return refuse("tag", value, "a tag has 1 to 36 bytes");
	memset(o->vhost.tag, 0, sizeof(o->vhost.tag));
	memcpy(o->vhost.tag, value, len);
	return 0;
}

static int set_cache_size(struct options *o, const char *value)
{
	uint64_t size;

	if (!parse_size(value, &size) || size % 4096 || size > (uint64_t)INT64_MAX)
		return refuse("cache-size", value,
			      "give a multiple of 4096 bytes such as 512M or 4G, or 0 for no window");
	o->vhost.cache_size_bytes = size;
	return 0;
}

static int set_number(struct options *o, int option, const char *value)
{
	uint64_t n;

	switch (option) {
	case OPT_FD:
		if (!parse_count(value, 0, INT_MAX, &n))
			return refuse("fd", value, "give the number of an open, listening socket");
		o->fd = (int)n;
		return 0;
	case OPT_DAX_THRESHOLD:
		if (!parse_size(value, &n))
			return refuse("dax-threshold", value, "give a size such as 32K");
		o->fs.dax_threshold_bytes = n;
		return 0;
	case OPT_NUM_REQUEST_QUEUES:
		if (!parse_count(value, 1, VHOST_REQUEST_QUEUES_MAX, &n))
			return refuse("num-request-queues", value, "give a number from 1 to 64");
		o->vhost.num_request_queues = (unsigned)n;
		return 0;
	default:
		if (!parse_count(value, 2, VRING_QUEUE_SIZE_MAX, &n) || !is_pow2(n))
			return refuse("queue-size", value, "give a power of two from 2 to 32768");
		o->vhost.queue_size_max = (uint32_t)n;
		return 0;
	}
}

static int set_name(struct options *o, int option, const char *value)
{
	static const char *const dax_names[] = {"none", "always", "inode", "filesize", NULL};
	static const char *const cache_names[] = {"never", "auto", "always", NULL};
	int i;

	switch (option) {
	case OPT_DAX:
		i = parse_name(value, dax_names);
		if (i < 0)
			return refuse("dax", value, "give none, always, inode or filesize");
		o->fs.dax = (enum dax_mode)i;
		return 0;
	case OPT_CACHE:
		i = parse_name(value, cache_names);
		if (i < 0)
			return refuse("cache", value, "give never, auto or always");
		o->fs.cache = (enum cache_mode)i;
		return 0;
	default:
		i = log_level_parse(value);
		if (i < 0)
			return refuse("log-level", value, "give error, warn, info or debug");
		log_set_level((enum log_level)i);
		return 0;
	}
}

static int set_option(struct options *o, int option, const char *value)
{
	switch (option) {
	case OPT_SHARED_DIR:
		o->fs.shared_dir = value;
		return 0;
	case OPT_SOCKET_PATH:
		o->socket_path = value;
		return 0;
	case OPT_TAG:
		return set_tag(o, value);
	case OPT_CACHE_SIZE:
		return set_cache_size(o, value);
	case OPT_READONLY:
		o->fs.readonly = true;
		return 0;
	case OPT_POSIX_ACL:
		o->fs.posix_acl = true;
		return 0;
	case OPT_NO_XATTR:
		o->fs.xattr = false;
		return 0;
	case OPT_NO_EVENT_IDX:
		o->vhost.no_event_idx = true;
		return 0;
	case OPT_NO_INDIRECT:
		o->vhost.no_indirect = true;
		return 0;
	case OPT_DAX:
	case OPT_CACHE:
	case OPT_LOG_LEVEL:
		return set_name(o, option, value);
	default:
		return set_number(o, option, value);
	}
}

static int complain(const char *argument, int why)
{
	if (why == ':')
		log_error("%s needs a value; see vfsdax-device --help", argument);
	else
		log_error("unknown option %s; see vfsdax-device --help", argument);
	return -EINVAL;
}

static int check_options(const struct options *o)
{
	if (!o->fs.shared_dir) {
		log_error("--shared-dir is missing: which directory is to be shared?");
		return -EINVAL;
	}
	if (!o->socket_path == (o->fd < 0)) {
		log_error("give one of --socket-path and --fd: where is the front end to connect?");
		return -EINVAL;
	}
	if (o->fs.posix_acl && !o->fs.xattr) {
		log_error("--posix-acl and --no-xattr exclude each other: access control lists are "
			  "extended attributes");
		return -EINVAL;
	}
	return 0;
}

/* 0; 1 when --help or --version was answered; -EINVAL after one line of log. */
static int parse_options(int argc, char **argv, struct options *o)
{
	int option, rc = 0;

	opterr = 0;
	while (!rc && (option = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
		if (option == '?' || option == ':')
			return complain(argv[optind - 1], option);
		if (option == OPT_HELP || option == OPT_VERSION) {
			fputs(option == OPT_HELP ? usage : "vfsdax-device " VFSDAX_VERSION "\n",
			      stdout);
			return 1;
		}
		rc = set_option(o, option, optarg);
	}
	if (!rc && optind < argc) {
		log_error("unexpected argument %s; see vfsdax-device --help", argv[optind]);
		return -EINVAL;
	}
	return rc ? rc : check_options(o);
}

static unsigned default_queues(void)
{
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus))
		return 1;
	return (unsigned)MIN(MAX(CPU_COUNT(&cpus), 1), 4);
}

/* ------------------------------------------------------------------ the socket */

static int socket_address(const char *path, struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (!*path || strlen(path) >= sizeof(a->sun_path)) {
		log_error("%s: the path of a socket has 1 to %zu bytes, this has %zu; give a shorter "
			  "one",
			  path, sizeof(a->sun_path) - 1, strlen(path));
		return -ENAMETOOLONG;
	}
	strcpy(a->sun_path, path);
	return 0;
}

/* Takes a socket that nobody listens on out of the way. */
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
static void raise_file_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r))
		return;
	r.rlim_cur = r.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &r))
		log_warn("the open-file limit cannot be raised: %s", strerror(errno));
}

/* Serves one front end after the other. 0 when told to stop; -EBUSY as vhost_serve(). */
static int serve(struct vhost *v, int listen_fd, int stop_fd)
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

static int run(const struct options *o, int stop_fd)
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
	rc = serve(v, listen_fd, stop_fd);
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
	struct options o = {
		.fs = {.dax = DAX_ALWAYS,
		       .dax_threshold_bytes = 32 * KIB,
		       .cache = CACHE_AUTO,
		       .xattr = true},
		.vhost = {.tag = "vfsdax",
			  .num_request_queues = default_queues(),
			  .queue_size_max = 1024,
			  .cache_size_bytes = 4 * GIB},
		.fd = -1,
	};
	int rc, stop_fd;

	log_set_name("vfsdax-device");
	rc = parse_options(argc, argv, &o);
	if (rc)
		return rc < 0 ? 2 : 0;
	stop_fd = catch_signals();
	if (stop_fd < 0) {
		log_error("signals: %s", strerror(-stop_fd));
		return 1;
	}
	raise_file_limit();
	rc = run(&o, stop_fd);
	close(stop_fd);
	return rc ? 1 : 0;
}
