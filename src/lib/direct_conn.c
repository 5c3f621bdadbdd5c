/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/direct_conn: the connection of a client of direct mmap: where a mount's socket is, and what
 * is said there (wire/direct.h). What the mount says is checked as if it were somebody else's, and
 * waited for within bounds.
 *
 * Like direct.c it needs nothing of the rest of the library, no share and no device.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "direct.h"

/* How long the mount may take for an answer that needs nothing from its device. */
#define ANSWER_MS 10000

int direct_refuse(struct vfsdax_conn *c, int err, const char *reason)
{
	snprintf(c->reason, sizeof(c->reason), "%s", reason);
	return err;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ------------------------------------------------------------------ where the mount is */

/* Is this line of /proc/self/mountinfo that mount, and whose is it? */
static bool line_is(char *line, unsigned maj, unsigned min, uid_t *owner)
{
	char *dash = strstr(line, " - "), *type, *options, *user;
	unsigned a, b;

	if (!dash || sscanf(line, "%*u %*u %u:%u", &a, &b) != 2 || a != maj || b != min)
		return false;
	type = dash + 3;
	if (strncmp(type, "fuse.vfsdax ", 12) != 0)
		return false;
	options = strrchr(type, ' ');
	user = options ? strstr(options, "user_id=") : NULL;
	*owner = user ? (uid_t)strtoul(user + 8, NULL, 10) : 0;
	return user;
}

static int find_owner(unsigned maj, unsigned min, uid_t *owner)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t cap = 0;
	bool found = false;

	if (!f)
		return -errno;
	while (!found && getline(&line, &cap, f) > 0)
		found = line_is(line, maj, min, owner);
	free(line);
	fclose(f);
	return found ? 0 : -ENOTSUP;
}

static int connect_in(const struct vfsdax_conn *c, const char *dir)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = ANSWER_MS / 1000};
	int n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/" DIRECT_SOCKET_NAME, dir,
			 c->major, c->minor);
	int fd, err;

	if (n < 0 || (size_t)n >= sizeof(addr.sun_path))
		return -ENOENT;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* connect(2) waits as long as a send does. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* The directories where base/rundir.c puts sockets, as far as somebody else can know them. */
static int connect_to(const struct vfsdax_conn *c, uid_t owner)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	char dirs[3][96] = {"", "", ""};
	int fd = -ENOENT;

	if (owner == 0) {
		snprintf(dirs[0], sizeof(dirs[0]), "/run/vfsdax");
	} else {
		if (xdg && xdg[0] == '/' && owner == geteuid() && strlen(xdg) < 80)
			snprintf(dirs[0], sizeof(dirs[0]), "%.80s/vfsdax", xdg);
		snprintf(dirs[1], sizeof(dirs[1]), "/run/user/%u/vfsdax", (unsigned)owner);
		snprintf(dirs[2], sizeof(dirs[2]), "/tmp/vfsdax-%u", (unsigned)owner);
	}
	for (int i = 0; i < 3; i++) {
		int got = dirs[i][0] ? connect_in(c, dirs[i]) : -ENOENT;

		if (got >= 0)
			return got;
		/* What says more than that there is nothing. */
		if (got != -ENOENT)
			fd = got;
	}
	return fd == -ENOENT ? -ENOTSUP : fd == -EAGAIN ? -ETIMEDOUT : fd;
}

/* In a directory that belongs to everybody anybody may have made it. */
static int check_server(int sock, uid_t owner)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
		return -errno;
	return who.uid == owner || who.uid == 0 ? 0 : -ENOTSUP;
}

/* ------------------------------------------------------------------ talking */

int direct_lost(struct vfsdax_conn *c, int err, const char *why)
{
	c->broken = true;
	return direct_refuse(c, err, why);
}

int direct_ask(struct vfsdax_conn *c, const struct direct_request *r)
{
	ssize_t n;

	do
		n = send(c->sock, r, sizeof(*r), MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof(*r))
		return 0;
	return direct_lost(c, n < 0 && errno == EAGAIN ? -ETIMEDOUT : -ECONNRESET,
			   "the mount has ended the connection");
}

void direct_close_all(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

/* Takes out what descriptors came, at most two; more are closed. How many. */
static unsigned take_fds(struct msghdr *m, int fds[2])
{
	unsigned n = 0;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		size_t count;

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(fd));
			if (n < 2)
				fds[n++] = fd;
			else
				close(fd);
		}
	}
	return n;
}

int direct_hear(struct vfsdax_conn *c, struct direct_answer *a, int fds[2], unsigned *n_fds)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control;
	struct iovec iov = {a, sizeof(*a)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.room,
			   .msg_controllen = sizeof(control)};
	uint64_t end = now_ms() + ANSWER_MS, now;
	bool reset = false;
	ssize_t n = -1;

	*n_fds = 0;
	while ((now = now_ms()) < end) {
		struct pollfd p = {.fd = c->sock, .events = POLLIN};
		int ready = poll(&p, 1, (int)(end - now));

		if (ready == 0 || (ready < 0 && errno == EINTR))
			continue;
		n = recvmsg(c->sock, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		/* A mount that closes with something unread says so first, and its words then. */
		if (n < 0 && errno == ECONNRESET && !reset) {
			reset = true;
			continue;
		}
		if (n >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	if (n < 0 && now >= end)
		return direct_lost(c, -ETIMEDOUT, "the mount does not answer");
	if (n <= 0)
		return direct_lost(c, -ECONNRESET, "the mount has ended the connection");
	*n_fds = take_fds(&m, fds);
	if (n != (ssize_t)sizeof(*a) || m.msg_flags & MSG_TRUNC || a->magic != DIRECT_MAGIC ||
	    a->version != DIRECT_VERSION || a->err > 0 || a->err < -4095) {
		direct_close_all(fds, *n_fds);
		*n_fds = 0;
		return direct_lost(c, -EPROTO, "the mount speaks another protocol");
	}
	a->reason[sizeof(a->reason) - 1] = '\0';
	return 0;
}

int direct_hear_plain(struct vfsdax_conn *c, enum direct_op op, struct direct_answer *a)
{
	unsigned n_fds;
	int fds[2], err = direct_hear(c, a, fds, &n_fds);

	if (err)
		return err;
	direct_close_all(fds, n_fds);
	if (a->err)
		return direct_refuse(c, a->err, a->reason);
	if (a->op != op || n_fds)
		return direct_lost(c, -EPROTO, "the mount answers something else");
	return 0;
}

struct direct_request direct_request(enum direct_op op)
{
	return (struct direct_request){
		.magic = DIRECT_MAGIC, .version = DIRECT_VERSION, .op = (uint16_t)op};
}

static int greet(struct vfsdax_conn *c)
{
	struct direct_request r = direct_request(DIRECT_HELLO);
	struct direct_answer a = {0};
	int err = direct_ask(c, &r);

	/* Somebody who is turned away may find the connection closed, and the reason in it. */
	if (err && err != -ECONNRESET)
		return err;
	err = direct_hear_plain(c, DIRECT_HELLO, &a);
	if (err)
		return err;
	c->broken = false;
	if (!a.alignment || a.alignment & (a.alignment - 1) || a.alignment > 1u << 30)
		return direct_lost(c, -EPROTO, "the mount's alignment is no power of two");
	c->alignment = a.alignment;
	return 0;
}

/* ------------------------------------------------------------------ connect, disconnect */

VFSDAX_API int vfsdax_connect(const char *path, struct vfsdax_conn **conn)
{
	struct vfsdax_conn *c;
	struct statx stx;
	uid_t owner = 0;
	int err;

	if (!path || !conn)
		return -EINVAL;
	/* The device number is known without asking the mount. */
	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &stx) < 0)
		return -errno;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->sock = -1;
	c->pid = getpid();
	c->major = stx.stx_dev_major;
	c->minor = stx.stx_dev_minor;
	err = find_owner(c->major, c->minor, &owner);
	if (!err) {
		c->sock = connect_to(c, owner);
		err = c->sock < 0 ? c->sock : check_server(c->sock, owner);
	}
	if (!err)
		err = greet(c);
	if (err) {
		if (c->sock >= 0)
			close(c->sock);
		free(c);
		return err;
	}
	*conn = c;
	return 0;
}

VFSDAX_API void vfsdax_disconnect(struct vfsdax_conn *conn)
{
	struct direct_piece *piece;

	if (!conn)
		return;
	close(conn->sock);
	while ((piece = conn->pieces)) {
		conn->pieces = piece->next;
		/* `life` stays open, like the memory: until this process ends. */
		free(piece);
	}
	free(conn);
}

VFSDAX_API const char *vfsdax_conn_reason(struct vfsdax_conn *conn)
{
	return conn->reason;
}
