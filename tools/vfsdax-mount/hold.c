/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hold.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rundir.h"
#include "hold_message.h"
#include "hold_store.h"
#include "holder.h"

/* For a holder that is stopped, and for a driver that takes its time to die. */
#define PATIENCE_S 10

struct hold {
	struct hold_store *store; /* else the rest */
	int sock;
	int pidfd;   /* of the holder; -1: the kernel has none */
	pid_t child; /* 0: another process has forked it */
};

/* ------------------------------------------------------------------ questions */

static int named(struct hold_message *m, enum hold_what what, const char *name)
{
	memset(m, 0, sizeof(*m));
	m->what = (uint16_t)what;
	if (strlen(name) > HOLD_NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(m->name, name, strlen(name) + 1);
	return 0;
}

/* Sends *m and waits for its answer, which *m then is; earlier answers that came too late for who
 * asked are passed over. The answer's status; *got: what came along. */
static int ask(int sock, struct hold_message *m, int passed, int *got)
{
	struct hold_message question = *m;
	int err = hold_message_send(sock, m, passed, 0);

	if (err)
		return err;
	for (;;) {
		int ret = hold_message_recv(sock, m, got, 0);

		if (ret <= 0)
			return ret ? ret : -EPIPE;
		if (m->what == question.what && strcmp(m->name, question.name) == 0)
			return m->status > 0 ? -EPROTO : m->status;
		if (got && *got >= 0)
			close(*got);
	}
}

static int ask_descriptor(int sock, const char *name)
{
	struct hold_message m;
	int err = named(&m, HOLD_GET, name), fd = -1;

	if (!err)
		err = ask(sock, &m, -1, &fd);
	if (!err && fd < 0)
		return -EPROTO;
	if (err && fd >= 0)
		close(fd);
	return err ? err : fd;
}

int hold_put(struct hold *h, const char *name, int fd)
{
	struct hold_message m;
	int err = named(&m, HOLD_PUT, name);

	if (h->store)
		return hold_store_put(h->store, name, fd);
	if (!err && fd < 0)
		err = -EBADF;
	return err ? err : hold_message_send(h->sock, &m, fd, 0);
}

int hold_get(struct hold *h, const char *name)
{
	return h->store ? hold_store_get(h->store, name) : ask_descriptor(h->sock, name);
}

/* ------------------------------------------------------------------ the first driver */

static void set_patience(int sock)
{
	struct timeval patience = {.tv_sec = PATIENCE_S};

	setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
}

static int pidfd_of(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static struct {
	char *words;
	size_t len;
} command_line;

void hold_rename(int argc, char **argv)
{
	const char *last = argc ? argv[argc - 1] : NULL;

	command_line.words = last ? argv[0] : NULL;
	command_line.len = last ? (size_t)(last + strlen(last) - argv[0]) : 0;
}

/* In the child, whose memory it is. */
static void take_name(void)
{
	if (!command_line.words)
		return;
	memset(command_line.words, 0, command_line.len);
	strncpy(command_line.words, HOLDER_NAME, command_line.len);
}

static int fork_holder(struct hold *h)
{
	int socks[2], self_fd, err;
	pid_t self = getpid();

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
		return -errno;
	self_fd = pidfd_of(self);
	h->child = fork();
	err = h->child < 0 ? -errno : 0;
	if (h->child == 0) {
		take_name();
		holder_run(socks[1], self_fd, self);
	}
	close(socks[1]);
	if (self_fd >= 0)
		close(self_fd);
	if (err) {
		close(socks[0]);
		return err;
	}
	h->sock = socks[0];
	h->pidfd = pidfd_of(h->child);
	set_patience(h->sock);
	return 0;
}

int hold_start(struct hold **out)
{
	struct hold *h = calloc(1, sizeof(*h));
	int err = h ? hold_store_open(&h->store) : -ENOMEM;

	if (err == -ENOENT)
		err = fork_holder(h);
	if (err) {
		free(h);
		return err;
	}
	*out = h;
	return 0;
}

static int socket_path(dev_t dev, char *buf, size_t len)
{
	char dir[80];
	int err = rundir_make(dir, sizeof(dir));

	return err ? err : rundir_holder_socket(dir, dev, buf, len);
}

int hold_publish(struct hold *h, dev_t dev, const char *fuse_name, unsigned seconds)
{
	struct hold_message m;
	char path[sizeof(m.path)];
	ino_t ino;
	int err = named(&m, HOLD_PUBLISH, fuse_name), fd;

	if (h->store)
		return hold_store_publish(h->store, dev);
	m.seconds = seconds;
	if (!err)
		err = socket_path(dev, m.path, sizeof(m.path));
	if (err)
		return err;
	memcpy(path, m.path, sizeof(path));
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = rundir_bind(fd, path, &ino);
	if (!err) {
		m.ino = ino;
		err = ask(h->sock, &m, fd, NULL);
		if (err)
			rundir_unbind(path, ino);
	}
	close(fd);
	return err;
}

/* ------------------------------------------------------------------ the next driver */

/* A connection to the holder of this device number. -ENOENT: there is none. */
static int find_holder(dev_t dev)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int err = socket_path(dev, addr.sun_path, sizeof(addr.sun_path)), sock;

	if (err)
		return err;
	sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -errno;
	set_patience(sock);
	if (connect(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		/* A socket that nobody listens on was left by a holder that was killed. */
		err = errno == ECONNREFUSED ? -ENOENT : -errno;
		close(sock);
		return err;
	}
	return sock;
}

/* A holder that ends while it is asked is none. */
static int none_if_ended(int err)
{
	return err == -EPIPE || err == -ECONNRESET ? -ENOENT : err;
}

static int take_from_holder(struct hold *h, dev_t dev, bool by_force, pid_t *pid)
{
	struct hold_message m = {.what = HOLD_TAKE, .by_force = by_force};
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int sock = find_holder(dev), err;

	if (sock < 0)
		return sock;
	err = none_if_ended(ask(sock, &m, -1, NULL));
	if (err) {
		*pid = m.pid;
		close(sock);
		return err;
	}
	h->sock = sock;
	/* Whose connection we accepted: it is who called listen(2). */
	h->pidfd = getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ? -1
									      : pidfd_of(peer.pid);
	return 0;
}

int hold_take(dev_t dev, bool by_force, pid_t *pid, struct hold **out)
{
	struct hold *h = calloc(1, sizeof(*h));
	int err = h ? hold_store_take(dev, &h->store) : -ENOMEM;

	if (err == -ENOENT)
		err = take_from_holder(h, dev, by_force, pid);
	if (err) {
		free(h);
		return err;
	}
	*out = h;
	return 0;
}

int hold_peek(dev_t dev, const char *name)
{
	int fd = hold_store_peek(dev, name), sock;

	if (fd != -ENOENT)
		return fd;
	sock = find_holder(dev);
	if (sock < 0)
		return sock;
	fd = none_if_ended(ask_descriptor(sock, name));
	close(sock);
	return fd;
}

/* ------------------------------------------------------------------ the end */

static bool wait_for_exit(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return poll(&p, 1, PATIENCE_S * 1000) > 0;
}

static void end_holder(struct hold *h)
{
	struct hold_message m = {.what = HOLD_END};
	int ret;

	hold_message_send(h->sock, &m, -1, 0);
	do
		ret = hold_message_recv(h->sock, &m, NULL, 0);
	while (ret > 0 || ret == -EPROTO || ret == -EPROTONOSUPPORT);
	/* One that is stopped does not hear us. */
	if (h->pidfd >= 0 && (ret == -EAGAIN || !wait_for_exit(h->pidfd))) {
		syscall(SYS_pidfd_send_signal, h->pidfd, SIGKILL, NULL, 0);
		wait_for_exit(h->pidfd);
	}
	if (h->child)
		waitpid(h->child, NULL, WNOHANG);
}

static void disconnect(struct hold *h)
{
	if (h->pidfd >= 0)
		close(h->pidfd);
	close(h->sock);
}

void hold_end(struct hold *h)
{
	if (!h)
		return;
	if (h->store) {
		hold_store_end(h->store);
	} else {
		end_holder(h);
		disconnect(h);
	}
	free(h);
}

void hold_leave(struct hold *h)
{
	struct hold_message m = {.what = HOLD_LEAVE};

	if (!h)
		return;
	if (h->store) {
		hold_store_leave(h->store);
	} else {
		hold_message_send(h->sock, &m, -1, 0);
		disconnect(h);
	}
	free(h);
}
