/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "wire/vhost_user_frame.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Room for the descriptors of one message. */
union frame_control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(VHOST_USER_FDS_MAX * sizeof(int))];
};

bool frame_header_valid(const struct vhost_user_header *h, char why[FRAME_WHY_BYTES])
{
	if ((h->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION) {
		snprintf(why, FRAME_WHY_BYTES,
			 "a message header with version %u (request %#x, flags %#x) where "
			 "vhost-user has version 1",
			 h->flags & VHOST_USER_VERSION_MASK, h->request, h->flags);
		return false;
	}
	if (h->size > VHOST_USER_PAYLOAD_MAX) {
		snprintf(why, FRAME_WHY_BYTES,
			 "request %u with a payload of %u bytes (the limit is %u)", h->request,
			 h->size, VHOST_USER_PAYLOAD_MAX);
		return false;
	}
	return true;
}

/* One errno for "gone", however the kernel puts it. */
static int gone_or(int err)
{
	return err == EPIPE || err == ECONNRESET || err == ENOTCONN ? -ENOTCONN : -err;
}

static void put_fds(struct msghdr *msg, union frame_control *control, const int *fds, unsigned n)
{
	struct cmsghdr *c;

	memset(control, 0, sizeof(*control));
	msg->msg_control = control->bytes;
	msg->msg_controllen = CMSG_SPACE(n * sizeof(int));
	c = CMSG_FIRSTHDR(msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
}

static void skip_bytes(struct iovec iov[2], size_t n)
{
	for (int i = 0; i < 2; i++) {
		size_t part = n < iov[i].iov_len ? n : iov[i].iov_len;

		iov[i].iov_base = (char *)iov[i].iov_base + part;
		iov[i].iov_len -= part;
		n -= part;
	}
}

int frame_send(const struct frame_io *io, const struct vhost_user_message *m)
{
	struct iovec iov[2] = {
		{(void *)&m->header, sizeof(m->header)},
		{(void *)&m->payload, m->header.size},
	};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	size_t done = 0, len = sizeof(m->header) + m->header.size;
	union frame_control control;
	int err;

	if (m->n_fds)
		put_fds(&msg, &control, m->fds, m->n_fds);
	while (done < len) {
		ssize_t n = sendmsg(io->sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return gone_or(errno);
		if (n < 0) {
			err = io->wait(io, POLLOUT, done);
			if (err)
				return err;
			continue;
		}
		/* The descriptors went with the first byte. */
		msg.msg_control = NULL;
		msg.msg_controllen = 0;
		skip_bytes(iov, (size_t)n);
		done += (size_t)n;
	}
	return 0;
}

/* Moves what a recvmsg brought into the message. False: more than a message may carry. */
static bool frame_take_fds(struct vhost_user_message *m, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (m->n_fds == VHOST_USER_FDS_MAX) {
				close(fd);
				msg->msg_flags |= MSG_CTRUNC;
			} else {
				m->fds[m->n_fds++] = fd;
			}
		}
	}
	/* Cut off though there was room for more: the kernel could not install them. */
	if ((msg->msg_flags & MSG_CTRUNC) && m->n_fds < VHOST_USER_FDS_MAX) {
		m->fds_lost = true;
		return true;
	}
	return !(msg->msg_flags & MSG_CTRUNC);
}

/* Fills [from, to) of the message, counted as on the wire, into `buf`. */
static int recv_part(const struct frame_io *io, struct vhost_user_message *m, void *buf,
		     size_t from, size_t to, char why[FRAME_WHY_BYTES])
{
	for (size_t done = from; done < to;) {
		union frame_control control;
		struct iovec iov = {(char *)buf + (done - from), to - done};
		struct msghdr msg = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control.bytes,
			.msg_controllen = sizeof(control.bytes),
		};
		ssize_t n = recvmsg(io->sock, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			int err = io->wait(io, POLLIN, done);

			if (err)
				return err;
			continue;
		}
		if (n < 0)
			return gone_or(errno);
		if (!frame_take_fds(m, &msg)) {
			snprintf(why, FRAME_WHY_BYTES,
				 "more than %u file descriptors with one message",
				 VHOST_USER_FDS_MAX);
			return -EPROTO;
		}
		if (n == 0)
			return done || m->n_fds ? -EPIPE : -ENOTCONN;
		done += (size_t)n;
	}
	return 0;
}

int frame_recv(const struct frame_io *io, struct vhost_user_message *m, char why[FRAME_WHY_BYTES])
{
	size_t head = sizeof(m->header);
	int err;

	memset(m, 0, sizeof(*m));
	err = recv_part(io, m, &m->header, 0, head, why);
	if (!err && !frame_header_valid(&m->header, why))
		err = -EPROTO;
	if (!err)
		err = recv_part(io, m, &m->payload, head, head + m->header.size, why);
	if (err)
		frame_release(m);
	return err;
}

void frame_release(struct vhost_user_message *m)
{
	while (m->n_fds)
		if (m->fds[--m->n_fds] >= 0)
			close(m->fds[m->n_fds]);
}
