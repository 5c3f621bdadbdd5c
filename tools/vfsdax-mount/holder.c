/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The holder knows one driver: who has the connection that was given it last. An end of that
 * connection is the driver's death, unless it has said that it leaves; it counts when the process
 * is dead as well, so that no thread of it is left and nothing else of it is open. Then one of
 * those who ask becomes the driver.
 *
 * It ends, which closes all that it keeps, when the driver says so; when the mount is gone; and
 * without a driver when the time is over, or at once if nobody can find it.
 */
#include "holder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/rundir.h"
#include "hold_message.h"

#define CLIENTS	    16
/* Who has not become the driver by then is closed. */
#define CLIENT_NS   (2 * NS_PER_S)
#define NOT_WAITING (-1)

struct kept {
	char name[HOLD_NAME_MAX + 1];
	int fd; /* -1: free */
};

struct client {
	int fd; /* -1: free */
	pid_t pid;
	uint64_t until_ns;
};

static struct holder {
	struct kept kept[HOLD_MAX];
	/* The driver; it is gone when both are -1. */
	int driver, pidfd;
	pid_t pid;
	struct client clients[CLIENTS];
	int waiting; /* the client that is to be the next driver, as soon as this one is gone */
	bool ending;
	/* PUBLISH */
	int listener; /* -1: nobody can find us */
	struct hold_message published;
	uint64_t until_ns; /* without a driver */
} holder;

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ------------------------------------------------------------------ what is kept */

static struct kept *find(const char *name)
{
	for (int i = 0; i < HOLD_MAX; i++)
		if (holder.kept[i].fd >= 0 && strcmp(holder.kept[i].name, name) == 0)
			return &holder.kept[i];
	return NULL;
}

static void put(const char *name, int fd)
{
	struct kept *k = find(name);

	for (int i = 0; !k && i < HOLD_MAX; i++)
		if (holder.kept[i].fd < 0)
			k = &holder.kept[i];
	if (!k) {
		close(fd);
		return;
	}
	close_fd(&k->fd);
	memcpy(k->name, name, sizeof(k->name));
	k->fd = fd;
}

/* ------------------------------------------------------------------ answers */

/* Who does not read its answers does not get them. */
static void answer(int fd, struct hold_message m, int status, int passed)
{
	m.status = status;
	hold_message_send(fd, &m, passed, MSG_DONTWAIT);
}

static void answer_get(int fd, const struct hold_message *m)
{
	struct kept *k = find(m->name);

	answer(fd, *m, k ? 0 : -ENOENT, k ? k->fd : -1);
}

static void answer_busy(int fd, struct hold_message m)
{
	m.pid = holder.pid;
	answer(fd, m, -EBUSY, -1);
}

/* ------------------------------------------------------------------ the driver */

static int publish(const struct hold_message *m, int fd)
{
	if (fd < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || listen(fd, CLIENTS) < 0) {
		close_fd(&fd);
		return -EINVAL;
	}
	close_fd(&holder.listener);
	holder.listener = fd;
	holder.published = *m;
	return 0;
}

static void obey(const struct hold_message *m, int fd)
{
	switch (m->what) {
	case HOLD_PUT:
		if (fd >= 0)
			put(m->name, fd);
		return;
	case HOLD_PUBLISH:
		answer(holder.driver, *m, publish(m, fd), -1);
		return;
	case HOLD_GET:
		answer_get(holder.driver, m);
		break;
	case HOLD_LEAVE: /* the process lives on, without us */
		close_fd(&holder.pidfd);
		break;
	case HOLD_END:
		holder.ending = true;
		break;
	}
	close_fd(&fd);
}

static bool driver_is_gone(void)
{
	return holder.driver < 0 && holder.pidfd < 0;
}

static void begin_to_wait(void)
{
	uint64_t seconds = holder.listener < 0 ? 0 : holder.published.seconds;

	if (driver_is_gone())
		holder.until_ns =
			seconds == UINT_MAX ? UINT64_MAX : clock_now_ns() + seconds * NS_PER_S;
}

/* Reads all that the driver has said, until its end. What it sends and we do not know is nothing.
 */
static void serve_driver(void)
{
	struct hold_message m;
	int fd, ret;

	while (holder.driver >= 0 && !holder.ending) {
		ret = hold_message_recv(holder.driver, &m, &fd, MSG_DONTWAIT);
		if (ret > 0) {
			obey(&m, fd);
		} else if (ret == -EAGAIN) {
			return;
		} else if (ret != -EPROTO && ret != -EPROTONOSUPPORT) {
			close_fd(&holder.driver);
			begin_to_wait();
		}
	}
}

static void note_death(void)
{
	close_fd(&holder.pidfd);
	begin_to_wait();
}

static bool is_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

static bool is_hung_up(int fd)
{
	struct pollfd p = {.fd = fd};

	return poll(&p, 1, 0) > 0 && p.revents & POLLHUP;
}

/* A driver that the last poll(2) saw alive may have died since. */
static void look_at_driver(void)
{
	serve_driver();
	if (holder.pidfd >= 0 && is_readable(holder.pidfd))
		note_death();
}

/* ------------------------------------------------------------------ clients */

static void client_close(int i)
{
	close_fd(&holder.clients[i].fd);
	if (holder.waiting == i)
		holder.waiting = NOT_WAITING;
}

static void become_driver(int i)
{
	struct client *c = &holder.clients[i];

	holder.driver = c->fd;
	holder.pid = c->pid;
	holder.pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	/* The number may be somebody else's by now only if that process has closed its end. */
	if (holder.pidfd >= 0 && is_hung_up(c->fd))
		close_fd(&holder.pidfd);
	c->fd = -1;
	holder.waiting = NOT_WAITING;
	answer(holder.driver, (struct hold_message){.what = HOLD_TAKE}, 0, -1);
}

/* True: it is being killed, or it is dying anyway. */
static bool end_driver(bool by_force)
{
	if (holder.driver < 0)
		return true;
	return by_force && holder.pidfd >= 0 &&
	       syscall(SYS_pidfd_send_signal, holder.pidfd, SIGKILL, NULL, 0) == 0;
}

static void take(int i, const struct hold_message *m)
{
	look_at_driver();
	if (holder.ending)
		return;
	if (holder.waiting == NOT_WAITING && end_driver(m->by_force))
		holder.waiting = i;
	else
		answer_busy(holder.clients[i].fd, *m);
	if (holder.waiting == i && driver_is_gone())
		become_driver(i);
}

static void serve_client(int i)
{
	int fd = holder.clients[i].fd;
	struct hold_message m;
	int ret = hold_message_recv(fd, &m, NULL, MSG_DONTWAIT);

	if (ret == -EAGAIN)
		return;
	if (ret > 0 && m.what == HOLD_GET) {
		answer_get(fd, &m);
	} else if (ret > 0 && m.what == HOLD_TAKE && holder.waiting != i) {
		take(i, &m);
	} else {
		if (ret)
			answer(fd, (struct hold_message){.what = m.what}, ret < 0 ? ret : -EPROTO,
			       -1);
		client_close(i);
	}
}

static void accept_client(void)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int i = 0, fd;

	while (holder.clients[i].fd >= 0)
		i++; /* there is a free one: see watch_clients() */
	fd = accept4(holder.listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ||
	    (peer.uid != geteuid() && peer.uid != 0)) {
		close(fd);
		return;
	}
	holder.clients[i] =
		(struct client){.fd = fd, .pid = peer.pid, .until_ns = clock_now_ns() + CLIENT_NS};
}

/* ------------------------------------------------------------------ the loop */

enum { DRIVER, DEATH, MOUNT, LISTENER, FIRST_CLIENT, WATCHED = FIRST_CLIENT + CLIENTS };

/* Fills in whom to watch. Until when; UINT64_MAX: for ever. */
static uint64_t watch(struct pollfd fds[WATCHED])
{
	bool gone = driver_is_gone();
	/* A live driver says when the mount ends; and who polls the connection is woken by each of
	 * its requests, whatever is polled for. */
	struct kept *fuse = gone ? find(holder.published.name) : NULL;
	uint64_t until = gone ? holder.until_ns : UINT64_MAX;
	bool full = true;

	for (int i = 0; i < CLIENTS; i++) {
		struct client *c = &holder.clients[i];

		fds[FIRST_CLIENT + i] = (struct pollfd){.fd = c->fd, .events = POLLIN};
		if (c->fd >= 0 && holder.waiting != i)
			until = MIN(until, c->until_ns);
		full &= c->fd >= 0;
	}
	fds[DRIVER] = (struct pollfd){.fd = holder.driver, .events = POLLIN};
	fds[DEATH] = (struct pollfd){.fd = holder.pidfd, .events = POLLIN};
	fds[MOUNT] = (struct pollfd){.fd = fuse ? fuse->fd : -1};
	fds[LISTENER] = (struct pollfd){.fd = full ? -1 : holder.listener, .events = POLLIN};
	return until;
}

static void wait_until(struct pollfd fds[WATCHED], uint64_t until_ns)
{
	uint64_t now = clock_now_ns();
	int timeout_ms = -1;

	if (until_ns != UINT64_MAX)
		timeout_ms =
			until_ns <= now ? 0 : (int)MIN((until_ns - now) / NS_PER_MS + 1, INT_MAX);
	if (poll(fds, WATCHED, timeout_ms) < 0)
		for (int i = 0; i < WATCHED; i++)
			fds[i].revents = 0;
}

static void serve_clients(const struct pollfd fds[WATCHED])
{
	uint64_t now = clock_now_ns();

	for (int i = 0; i < CLIENTS && !holder.ending; i++) {
		if (fds[FIRST_CLIENT + i].revents && holder.clients[i].fd >= 0)
			serve_client(i);
		else if (holder.waiting != i && now >= holder.clients[i].until_ns)
			client_close(i);
	}
	if (fds[LISTENER].revents)
		accept_client();
}

static void serve(void)
{
	struct pollfd fds[WATCHED];

	while (!holder.ending) {
		wait_until(fds, watch(fds));
		if (fds[MOUNT].revents & POLLERR)
			return;
		if (fds[DRIVER].revents)
			serve_driver();
		if (fds[DEATH].revents)
			note_death();
		serve_clients(fds);
		if (holder.waiting != NOT_WAITING && driver_is_gone())
			become_driver(holder.waiting);
		if (driver_is_gone() && clock_now_ns() >= holder.until_ns)
			return;
	}
}

/* ------------------------------------------------------------------ its beginning and its end */

void holder_run(int sock, int pidfd, pid_t pid)
{
	holder.driver = sock;
	holder.pidfd = pidfd;
	holder.pid = pid;
	holder.listener = -1;
	holder.waiting = NOT_WAITING;
	for (int i = 0; i < HOLD_MAX; i++)
		holder.kept[i].fd = -1;
	for (int i = 0; i < CLIENTS; i++)
		holder.clients[i].fd = -1;
	holder_settle(&holder.driver, &holder.pidfd);
	serve();
	if (holder.listener >= 0)
		rundir_unbind(holder.published.path, holder.published.ino);
	close_fd(&holder.listener);
	for (int i = 0; i < HOLD_MAX; i++)
		close_fd(&holder.kept[i].fd);
	/* Who waits for our end sees it by the driver's connection, which is the last to close. */
	_exit(0);
}
