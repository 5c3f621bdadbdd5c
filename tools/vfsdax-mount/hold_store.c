/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The protocol of sd_pid_notify_with_fds(3) and sd_listen_fds(3): datagrams of a few words
 * (base/notify.h), and three variables.
 */
#include "hold_store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/notify.h"
#include "hold.h"

#define PATIENCE_S     10
#define FIRST_GIVEN_FD 3

struct entry {
	char name[HOLD_NAME_MAX + 1];
	int fd; /* our own copy; -1: free */
};

struct hold_store {
	int sock; /* to the manager */
	struct entry entries[HOLD_MAX];
};

/* ------------------------------------------------------------------ the manager's socket */

static int manager_connect(void)
{
	const char *max = getenv("FDSTORE");
	int sock = max && atoi(max) > 0 ? notify_open() : -1;

	return sock < 0 ? -ENOENT : sock;
}

static int notify_named(int sock, const char *what, const char *name, int fd)
{
	char text[64 + HOLD_NAME_MAX];

	snprintf(text, sizeof(text), "%s=1\nFDNAME=%s", what, name);
	return notify_send(sock, text, fd);
}

/* The manager has done all that it was told: it then closes what came with BARRIER=1. */
static int barrier(int sock)
{
	struct pollfd p = {.events = 0};
	int fds[2], err;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	err = notify_send(sock, "BARRIER=1", fds[1]);
	close(fds[1]);
	p.fd = fds[0];
	if (!err && poll(&p, 1, PATIENCE_S * 1000) <= 0)
		err = -EAGAIN;
	close(fds[0]);
	return err;
}

/* ------------------------------------------------------------------ what is kept */

static int check_name(const char *name)
{
	if (strlen(name) > HOLD_NAME_MAX)
		return -ENAMETOOLONG;
	for (const char *c = name; *c; c++)
		if (*c <= ' ' || *c > '~' || *c == ':')
			return -EINVAL;
	return *name ? 0 : -EINVAL;
}

static struct entry *find(struct hold_store *s, const char *name)
{
	for (int i = 0; i < HOLD_MAX; i++)
		if (s->entries[i].fd >= 0 && strcmp(s->entries[i].name, name) == 0)
			return &s->entries[i];
	return NULL;
}

/* `fd` is the table's from here on, unless there is no room. */
static int note(struct hold_store *s, const char *name, int fd)
{
	struct entry *e = find(s, name);

	for (int i = 0; !e && i < HOLD_MAX; i++)
		if (s->entries[i].fd < 0)
			e = &s->entries[i];
	if (!e)
		return -ENOSPC;
	if (e->fd >= 0)
		close(e->fd);
	memcpy(e->name, name, strlen(name) + 1);
	e->fd = fd;
	return 0;
}

int hold_store_put(struct hold_store *s, const char *name, int fd)
{
	int err = check_name(name), copy;

	if (err)
		return err;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return -errno;
	err = note(s, name, copy);
	if (err) {
		close(copy);
		return err;
	}
	/* The manager may keep several by one name. */
	err = notify_named(s->sock, "FDSTOREREMOVE", name, -1);
	return err ? err : notify_named(s->sock, "FDSTORE", name, fd);
}

static int forget(struct hold_store *s, struct entry *e)
{
	close(e->fd);
	e->fd = -1;
	return notify_named(s->sock, "FDSTOREREMOVE", e->name, -1);
}

int hold_store_get(struct hold_store *s, const char *name)
{
	struct entry *e = find(s, name);
	int fd = e ? fcntl(e->fd, F_DUPFD_CLOEXEC, 0) : -1;

	return fd >= 0 ? fd : e ? -errno : -ENOENT;
}

/* Of which mount the rest is: its name says so, and it is kept last. */
static void marker_name(dev_t dev, char name[HOLD_NAME_MAX + 1])
{
	snprintf(name, HOLD_NAME_MAX + 1, "mount-%u-%u", major(dev), minor(dev));
}

int hold_store_publish(struct hold_store *s, dev_t dev)
{
	char name[HOLD_NAME_MAX + 1];
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	marker_name(dev, name);
	err = hold_store_put(s, name, fd);
	close(fd);
	return err;
}

/* ------------------------------------------------------------------ what was kept */

static int given_count(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	int n = pid && count && atoi(pid) == getpid() ? atoi(count) : 0;

	return n < 0 || n > HOLD_MAX ? 0 : n;
}

/* The name of the i-th, counted from 0; empty: it has none that we could have given. */
static void given_name(int i, char name[HOLD_NAME_MAX + 1])
{
	const char *at = getenv("LISTEN_FDNAMES");
	size_t len;

	for (; at && i > 0; i--) {
		at = strchr(at, ':');
		at += at ? 1 : 0;
	}
	len = at ? strcspn(at, ":") : 0;
	if (len > HOLD_NAME_MAX)
		len = 0;
	memcpy(name, at ? at : "", len);
	name[len] = '\0';
}

/* Its descriptor; -1: it was not given. */
static int given_fd(const char *wanted)
{
	char name[HOLD_NAME_MAX + 1];

	for (int i = 0, n = given_count(); i < n; i++) {
		given_name(i, name);
		if (strcmp(name, wanted) == 0)
			return FIRST_GIVEN_FD + i;
	}
	return -1;
}

static bool is_given(dev_t dev)
{
	char name[HOLD_NAME_MAX + 1];

	marker_name(dev, name);
	return given_fd(name) >= 0;
}

int hold_store_peek(dev_t dev, const char *name)
{
	int fd = is_given(dev) ? given_fd(name) : -1;

	if (fd < 0)
		return -ENOENT;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

/* Puts what was given into the table; from here on nobody else takes it for given. */
static void take_given(struct hold_store *s)
{
	char name[HOLD_NAME_MAX + 1];

	for (int i = 0, n = given_count(); i < n; i++) {
		int fd = FIRST_GIVEN_FD + i;

		given_name(i, name);
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && (check_name(name) || note(s, name, fd)))
			close(fd);
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

static int open_store(struct hold_store **out)
{
	struct hold_store *s;
	int sock = manager_connect();

	if (sock < 0)
		return sock;
	s = malloc(sizeof(*s));
	if (!s) {
		close(sock);
		return -ENOMEM;
	}
	s->sock = sock;
	for (int i = 0; i < HOLD_MAX; i++)
		s->entries[i].fd = -1;
	take_given(s);
	*out = s;
	return 0;
}

static void forget_all(struct hold_store *s)
{
	for (int i = 0; i < HOLD_MAX; i++)
		if (s->entries[i].fd >= 0)
			forget(s, &s->entries[i]);
}

int hold_store_open(struct hold_store **out)
{
	int err = open_store(out);

	if (!err)
		forget_all(*out);
	return err;
}

int hold_store_take(dev_t dev, struct hold_store **out)
{
	return is_given(dev) ? open_store(out) : -ENOENT;
}

void hold_store_leave(struct hold_store *s)
{
	for (int i = 0; i < HOLD_MAX; i++)
		if (s->entries[i].fd >= 0)
			close(s->entries[i].fd);
	close(s->sock);
	free(s);
}

void hold_store_end(struct hold_store *s)
{
	forget_all(s);
	barrier(s->sock);
	hold_store_leave(s);
}
