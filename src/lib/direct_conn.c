/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/direct_conn: the connection of a client of direct mmap: where a mount's socket is, and the
 * messages on it (wire/direct.h). Answers are checked as hostile input, and the wait for one is
 * bounded.
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

#include "base/clock.h"
#include "direct.h"

/* Time for an answer, which needs nothing from the mount's device. */
#define ANSWER_MS      10000u
/* A mount that answers again has its socket soon. */
#define AGAIN_MS       3000u
#define AGAIN_PAUSE_NS 10000000

int direct_fail(struct vfsdax_conn *c, int err, const char *reason)
{
	snprintf(c->reason, sizeof(c->reason), "%s", reason);
	return err;
}

/* ------------------------------------------------------------------ where the mount is */

/* This line of /proc/self/mountinfo is that mount; then its owner. */
static bool mount_line_is(char *line, unsigned maj, unsigned min, uid_t *owner)
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
		found = mount_line_is(line, maj, min, owner);
	free(line);
	fclose(f);
	return found ? 0 : -ENOTSUP;
}

bool direct_mount_is_ours(unsigned maj, unsigned min)
{
	uid_t owner;

	return find_owner(maj, min, &owner) == 0;
}

static int connect_in_dir(const struct vfsdax_conn *c, const char *dir)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval timeout = {.tv_sec = ANSWER_MS / 1000};
	int n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/" DIRECT_SOCKET_NAME, dir,
			 c->major, c->minor);
	int fd, err;

	if (n < 0 || (size_t)n >= sizeof(addr.sun_path))
		return -ENOENT;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* The limit of connect(2) too. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* Tries the directories that base/rundir.c has for sockets of this owner. */
static int connect_to_owner(const struct vfsdax_conn *c, uid_t owner)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	char dirs[3][96] = {"", "", ""};
	int fd, err = -ENOTSUP;

	if (owner == 0)
		snprintf(dirs[0], sizeof(dirs[0]), "/run/vfsdax");
	else if (xdg && xdg[0] == '/' && owner == geteuid() && strlen(xdg) < 80)
		snprintf(dirs[0], sizeof(dirs[0]), "%.80s/vfsdax", xdg);
	if (owner) {
		snprintf(dirs[1], sizeof(dirs[1]), "/run/user/%u/vfsdax", (unsigned)owner);
		snprintf(dirs[2], sizeof(dirs[2]), "/tmp/vfsdax-%u", (unsigned)owner);
	}
	for (int i = 0; i < 3; i++) {
		fd = dirs[i][0] ? connect_in_dir(c, dirs[i]) : -ENOENT;
		if (fd >= 0)
			return fd;
		/* (another error is the better reason) */
		if (fd != -ENOENT)
			err = fd;
	}
	return err == -EAGAIN ? -ETIMEDOUT : err;
}

/* In /tmp any user may have made the socket. */
static int check_server(int sock, uid_t owner)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -errno;
	return peer.uid == owner || peer.uid == 0 ? 0 : -ENOTSUP;
}

/* ------------------------------------------------------------------ messages */

int direct_break(struct vfsdax_conn *c, int err, const char *reason)
{
	c->broken = true;
	return direct_fail(c, err, reason);
}

int direct_send(struct vfsdax_conn *c, enum direct_op op, struct direct_request *r)
{
	ssize_t n;

	r->magic = DIRECT_MAGIC;
	r->version = DIRECT_VERSION;
	r->op = (uint16_t)op;
	do
		n = send(c->sock, r, sizeof(*r), MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof(*r))
		return 0;
	return direct_break(c, n < 0 && errno == EAGAIN ? -ETIMEDOUT : -ECONNRESET,
			    "the mount has ended the connection");
}

void direct_close_fds(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

/* Takes the first descriptors and closes the rest. How many it took. */
static unsigned take_answer_fds(struct msghdr *m, int fds[DIRECT_FDS_MAX])
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
			if (n < DIRECT_FDS_MAX)
				fds[n++] = fd;
			else
				close(fd);
		}
	}
	return n;
}

/* recvmsg(2) within ANSWER_MS: bytes, 0 at the end of the connection, or -errno. */
static ssize_t recv_in_time(int sock, struct msghdr *m)
{
	uint64_t now, end = clock_now_ns() + ANSWER_MS * NS_PER_MS;
	bool reset = false;

	while ((now = clock_now_ns()) < end) {
		struct pollfd p = {.fd = sock, .events = POLLIN};
		int ready = poll(&p, 1, (int)((end - now) / NS_PER_MS) + 1);
		ssize_t n;

		if (ready == 0 || (ready < 0 && errno == EINTR))
			continue;
		n = recvmsg(sock, m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		if (n >= 0)
			return n;
		/* A peer that closes with something unread: its last answer comes after the reset.
		 */
		if (errno == ECONNRESET && !reset)
			reset = true;
		else if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return -ETIMEDOUT;
}

static int recv_answer(struct vfsdax_conn *c, struct direct_answer *a, int fds[DIRECT_FDS_MAX],
		       unsigned *n_fds)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(DIRECT_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {a, sizeof(*a)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.room,
			   .msg_controllen = sizeof(control)};
	ssize_t n = recv_in_time(c->sock, &m);

	*n_fds = 0;
	if (n == -ETIMEDOUT)
		return direct_break(c, -ETIMEDOUT, "the mount does not answer");
	if (n <= 0)
		return direct_break(c, -ECONNRESET, "the mount has ended the connection");
	*n_fds = take_answer_fds(&m, fds);
	if (n != (ssize_t)sizeof(*a) || m.msg_flags & MSG_TRUNC || a->magic != DIRECT_MAGIC ||
	    a->version != DIRECT_VERSION || a->err > 0 || a->err < -4095)
		return direct_break(c, -EPROTO, "the mount speaks another protocol");
	a->reason[sizeof(a->reason) - 1] = '\0';
	if (a->err)
		return direct_fail(c, a->err, a->reason);
	return 0;
}

int direct_recv(struct vfsdax_conn *c, enum direct_op op, struct direct_answer *a,
		int fds[DIRECT_FDS_MAX], unsigned *n_fds)
{
	int err = recv_answer(c, a, fds, n_fds);

	if (!err && a->op != op)
		err = direct_break(c, -EPROTO, "the mount answers something else");
	if (err)
		direct_close_fds(fds, *n_fds);
	return err;
}

int direct_recv_plain(struct vfsdax_conn *c, enum direct_op op, struct direct_answer *a)
{
	unsigned n_fds;
	int fds[DIRECT_FDS_MAX], err = direct_recv(c, op, a, fds, &n_fds);

	if (err || !n_fds)
		return err;
	direct_close_fds(fds, n_fds);
	return direct_break(c, -EPROTO, "the mount answers something else");
}

static int say_hello(struct vfsdax_conn *c)
{
	struct direct_request r = {0};
	struct direct_answer a = {0};
	int err = direct_send(c, DIRECT_HELLO, &r);

	/* A mount that refuses the connection may have closed it, behind an answer with the reason.
	 */
	if (err && err != -ECONNRESET)
		return err;
	err = direct_recv_plain(c, DIRECT_HELLO, &a);
	if (err)
		return err;
	c->broken = false;
	if (!a.alignment || a.alignment & (a.alignment - 1) || a.alignment > 1u << 30)
		return direct_break(c, -EPROTO, "the mount's alignment is no power of two");
	c->alignment = a.alignment;
	return 0;
}

/* ------------------------------------------------------------------ connect, disconnect */

/* To the mount with c's device number. */
static int open_conn(struct vfsdax_conn *c)
{
	uid_t owner = 0;
	int err = find_owner(c->major, c->minor, &owner);

	if (!err) {
		c->sock = connect_to_owner(c, owner);
		err = c->sock < 0 ? c->sock : check_server(c->sock, owner);
	}
	if (!err)
		err = say_hello(c);
	if (err && c->sock >= 0) {
		close(c->sock);
		c->sock = -1;
	}
	return err;
}

VFSDAX_API int vfsdax_connect(const char *path, struct vfsdax_conn **conn)
{
	struct vfsdax_conn *c;
	struct statx stx;
	int err;

	if (!path || !conn)
		return -EINVAL;
	/* The kernel knows the device number without a request to the mount. */
	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &stx) < 0)
		return -errno;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->sock = -1;
	c->pid = getpid();
	c->major = stx.stx_dev_major;
	c->minor = stx.stx_dev_minor;
	err = open_conn(c);
	if (err) {
		free(c);
		return err;
	}
	*conn = c;
	return 0;
}

bool direct_is_over(struct vfsdax_conn *c)
{
	struct pollfd p = {.fd = c->sock, .events = POLLRDHUP};

	return c->broken || (poll(&p, 1, 0) == 1 && p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

int direct_connect_again(struct vfsdax_conn *c, int fd)
{
	const struct timespec pause = {.tv_nsec = AGAIN_PAUSE_NS};
	struct vfsdax_conn again = {.sock = -1};
	uint64_t end = 0;
	struct statx stx;
	int err;

	/* The file's answers come first, and wait for a device that is away; then the socket. */
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_SIZE, &stx) < 0)
		return direct_break(c, -ECONNRESET, "the mount has ended");
	again.major = stx.stx_dev_major;
	again.minor = stx.stx_dev_minor;
	while ((err = open_conn(&again)) == -ENOENT || err == -ECONNREFUSED || err == -ECONNRESET) {
		uint64_t now = clock_now_ns();

		end = end ? end : now + AGAIN_MS * NS_PER_MS;
		if (now >= end)
			break;
		nanosleep(&pause, NULL);
	}
	if (err) {
		c->broken = true;
		return -ECONNRESET;
	}
	close(c->sock);
	c->sock = again.sock;
	c->major = again.major;
	c->minor = again.minor;
	c->alignment = again.alignment;
	c->broken = false;
	/* What the mount had pinned is no longer. */
	for (struct direct_piece *piece = c->pieces; piece; piece = piece->next)
		piece->id = 0;
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
