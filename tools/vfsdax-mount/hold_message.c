/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hold_message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Room for one descriptor; alignment may make it two. */
union control {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(sizeof(int))];
};

int hold_message_send(int sock, const struct hold_message *m, int fd, int flags)
{
	struct hold_message copy = *m;
	struct iovec iov = {.iov_base = &copy, .iov_len = sizeof(copy)};
	union control control = {.bytes = {0}};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	copy.magic = HOLD_MAGIC;
	copy.version = HOLD_VERSION;
	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	}
	while (sendmsg(sock, &msg, flags | MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* The first descriptor is kept in *fd. True: there was no other. */
static bool take_descriptor(struct msghdr *msg, int *fd)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	int fds[2];
	size_t n;

	if (!c)
		return true;
	if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return false;
	n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	if (n > 2)
		n = 2;
	memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	if (n == 2)
		close(fds[1]);
	if (n)
		*fd = fds[0];
	return n == 1 && !CMSG_NXTHDR(msg, c);
}

static int check(const struct hold_message *m, size_t len)
{
	if (len < 8 || m->magic != HOLD_MAGIC)
		return -EPROTO;
	if (m->version != HOLD_VERSION)
		return -EPROTONOSUPPORT;
	if (len != sizeof(*m) || m->name[sizeof(m->name) - 1] || m->path[sizeof(m->path) - 1])
		return -EPROTO;
	return 1;
}

int hold_message_recv(int sock, struct hold_message *m, int *fd, int flags)
{
	struct iovec iov = {.iov_base = m, .iov_len = sizeof(*m)};
	union control control = {.bytes = {0}};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	bool one = true;
	ssize_t n;
	int ret;

	memset(m, 0, sizeof(*m));
	if (fd) {
		*fd = -1;
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
	}
	while ((n = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC)) < 0)
		if (errno != EINTR)
			return -errno;
	if (fd)
		one = take_descriptor(&msg, fd) && !(msg.msg_flags & MSG_CTRUNC);
	ret = n ? check(m, (size_t)n) : 0;
	if (ret > 0 && (!one || msg.msg_flags & MSG_TRUNC))
		ret = -EPROTO;
	if (ret <= 0 && fd && *fd >= 0) {
		close(*fd);
		*fd = -1;
	}
	return ret;
}
