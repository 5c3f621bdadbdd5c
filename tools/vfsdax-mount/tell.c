/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tell.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "fuse/tell.h"
#include "fuse/worker.h"
#include "hold.h"
#include "teller.h"

#define END_MS 3000u

struct tell {
	int sock, fuse_fd;
	pid_t child;
};

int tell_start(struct tell **out)
{
	struct tell *t = calloc(1, sizeof(*t));
	int socks[2], err;

	if (!t)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0) {
		err = -errno;
		free(t);
		return err;
	}
	t->child = fork();
	err = t->child < 0 ? -errno : 0;
	if (t->child == 0) {
		hold_take_name(TELLER_COMM);
		teller_run(socks[1]);
	}
	close(socks[1]);
	t->sock = socks[0];
	t->fuse_fd = -1;
	if (err) {
		close(t->sock);
		free(t);
		return err;
	}
	*out = t;
	return 0;
}

void tell_begin(struct tell *t, const struct fusemnt *mount)
{
	struct teller_message m = {.what = TELLER_BEGIN};
	const char *path = fusemnt_path(mount);
	int fuse_fd = fusemnt_fd(mount);
	struct iovec iov[2] = {{&m, sizeof(m)}, {(void *)path, strlen(path)}};
	dev_t dev = 0;
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = {0}};
	struct msghdr msg = {.msg_iov = iov,
			     .msg_iovlen = strlen(path) < TELLER_PATH_MAX ? 2 : 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};

	/* Another device; it is the same connection. */
	if (t->fuse_fd >= 0)
		return;
	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN(sizeof(fuse_fd));
	memcpy(CMSG_DATA(&control.head), &fuse_fd, sizeof(fuse_fd));
	t->fuse_fd = fuse_fd;
	fusemnt_device(mount, &dev);
	m.dev = dev;
	if (sendmsg(t->sock, &msg, MSG_NOSIGNAL) < 0)
		log_warn("the kernel is not told what the host changes: %s", strerror(errno));
}

/* Waits while the other process has enough to do: then the device waits, too. */
static void send_to(struct tell *t, int stop_fd, const struct teller_message *m)
{
	struct pollfd p[2] = {{.fd = t->sock, .events = POLLOUT},
			      {.fd = stop_fd, .events = POLLIN}};

	/* The rule of fuse/tell.h, for who waits for those that may wait. */
	assert(!fuse_worker_here());
	while (send(t->sock, m, sizeof(*m), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno != EAGAIN && errno != EINTR) {
			/* It was killed. This needs nobody: names are old, all of them, and what is
			 * mounted below them is gone. */
			fuse_tell_everything(t->fuse_fd);
			return;
		}
		if (poll(p, 2, -1) > 0 && p[1].revents)
			return;
	}
}

static void heard_inode(void *ctx, int stop_fd, uint64_t nodeid, bool data)
{
	struct teller_message m = {.what = data ? TELLER_MODIFIED : TELLER_ATTRIB,
				   .nodeid = nodeid};
	struct tell *t = ctx;

	fuse_tell_attr(t->fuse_fd, nodeid);
	send_to(t, stop_fd, &m);
}

/* Who watches has seen it, or it cannot be told from that. */
static void heard_passed(void *ctx, uint64_t nodeid)
{
	struct tell *t = ctx;

	fuse_tell_attr(t->fuse_fd, nodeid);
}

static void heard_doubt(void *ctx, int stop_fd, uint64_t nodeid)
{
	struct teller_message m = {.what = TELLER_DATA, .nodeid = nodeid};
	struct tell *t = ctx;

	fuse_tell_attr(t->fuse_fd, nodeid);
	send_to(t, stop_fd, &m);
}

static void heard_change(void *ctx, int stop_fd, const struct agreement_change *c, const char *name,
			 const char *to_name)
{
	struct teller_message m = {.what = c->what,
				   .mode = c->mode,
				   .nodeid = c->dir,
				   .child = c->child,
				   .to_dir = c->to_dir};
	struct tell *t = ctx;

	snprintf(m.name, sizeof(m.name), "%s", name);
	if (to_name)
		snprintf(m.to_name, sizeof(m.to_name), "%s", to_name);
	if (c->child)
		fuse_tell_attr(t->fuse_fd, c->child);
	send_to(t, stop_fd, &m);
	if (c->what == CHANGE_TOUCHED)
		return;
	heard_doubt(t, stop_fd, c->dir);
	if (c->to_dir && c->to_dir != c->dir)
		heard_doubt(t, stop_fd, c->to_dir);
}

static void heard_doubt_name(void *ctx, int stop_fd, uint64_t dir, const char *name)
{
	struct teller_message m = {.what = TELLER_NAME, .nodeid = dir};

	snprintf(m.name, sizeof(m.name), "%s", name);
	send_to(ctx, stop_fd, &m);
}

struct bridge_heard tell_heard(struct tell *t)
{
	if (!t)
		return (struct bridge_heard){0};
	return (struct bridge_heard){
		.inode = heard_inode,
		.passed = heard_passed,
		.doubt = heard_doubt,
		.change = heard_change,
		.doubt_name = heard_doubt_name,
		.ctx = t,
	};
}

void tell_end(struct tell *t)
{
	uint64_t end = clock_now_ns() + END_MS * NS_PER_MS;

	if (!t)
		return;
	close(t->sock);
	while (waitpid(t->child, NULL, WNOHANG) == 0 && clock_now_ns() < end)
		poll(NULL, 0, 2);
	free(t);
}
