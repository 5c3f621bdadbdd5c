/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "message.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

void message_close_fds(struct message *m)
{
	for (unsigned i = 0; i < m->n_fds; i++)
		if (m->fds[i] >= 0)
			close(m->fds[i]);
	m->n_fds = 0;
}

static int message_wait(int sock, int stop_fd, short events)
{
	struct pollfd p[2] = {{.fd = sock, .events = events}, {.fd = stop_fd, .events = POLLIN}};

	while (poll(p, 2, -1) < 0)
		if (errno != EINTR)
			return -errno;
	return p[1].revents ? -ECANCELED : 0;
}

/* Takes the descriptors out of one recvmsg(). -EPROTO: more than a message may have. */
static int collect_fds(struct msghdr *msg, struct message *m)
{
	int rc = msg->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (m->n_fds < VHOST_USER_FDS_MAX) {
				m->fds[m->n_fds++] = fd;
			} else {
				close(fd);
				rc = -EPROTO;
			}
		}
	}
	return rc;
}

/* Fills `into`; `done` is how much of it arrived, also when it fails. */
static int receive_bytes(int sock, int stop_fd, struct message *m, void *into, size_t len,
			 size_t *done)
{
	*done = 0;
	while (*done < len) {
		union {
			struct cmsghdr align;
			uint8_t space[CMSG_SPACE(sizeof(int) * (VHOST_USER_FDS_MAX + 1))];
		} control;
		struct iovec iov = {.iov_base = (uint8_t *)into + *done, .iov_len = len - *done};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = &control,
				     .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		int rc;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			rc = message_wait(sock, stop_fd, POLLIN);
			if (rc)
				return rc;
			continue;
		}
		if (n < 0)
			return -errno;
		rc = collect_fds(&msg, m);
		if (rc) {
			log_error("front end: a message has more than %u descriptors",
				  VHOST_USER_FDS_MAX);
			return rc;
		}
		if (n == 0)
			return -ENOTCONN;
		*done += (size_t)n;
	}
	return 0;
}

static int check_header(const struct vhost_user_header *h)
{
	if ((h->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION) {
		log_error(
			"front end: request %u has flags 0x%x, which is not vhost-user version %u",
			h->request, h->flags, VHOST_USER_VERSION);
		return -EPROTO;
	}
	if (h->size > VHOST_USER_PAYLOAD_MAX) {
		log_error("front end: request %u has a payload of %u bytes, at most %u make sense",
			  h->request, h->size, VHOST_USER_PAYLOAD_MAX);
		return -EPROTO;
	}
	return 0;
}

int message_receive(int sock, int stop_fd, struct message *m)
{
	size_t done;
	int rc;

	m->n_fds = 0;
	rc = receive_bytes(sock, stop_fd, m, &m->header, sizeof(m->header), &done);
	if (rc == -ENOTCONN && done == 0 && m->n_fds == 0)
		return rc;
	if (!rc)
		rc = check_header(&m->header);
	if (!rc)
		rc = receive_bytes(sock, stop_fd, m, m->payload.bytes, m->header.size, &done);
	if (rc == -ENOTCONN) {
		log_error("front end: the connection ended inside a message");
		rc = -EPROTO;
	}
	if (rc)
		message_close_fds(m);
	return rc;
}

ssize_t message_send_bytes(int sock, const void *bytes, size_t len, int fd)
{
	union {
		struct cmsghdr align;
		uint8_t space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (fd >= 0) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.align = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
						 .cmsg_type = SCM_RIGHTS,
						 .cmsg_len = CMSG_LEN(sizeof(int))};
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
	}
	do
		n = sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int message_send(int sock, int stop_fd, const struct message *m)
{
	size_t len = sizeof(m->header) + m->header.size, done = 0;

	static_assert(offsetof(struct message, payload) >= sizeof(struct vhost_user_header), "");
	while (done < len) {
		/* Header and payload have a hole between them: two writes at most. */
		const uint8_t *at = done < sizeof(m->header)
					    ? (const uint8_t *)&m->header + done
					    : m->payload.bytes + (done - sizeof(m->header));
		size_t end = done < sizeof(m->header) ? sizeof(m->header) : len;
		ssize_t n = message_send_bytes(sock, at, end - done, -1);
		int rc = 0;

		if (n == -EAGAIN)
			rc = message_wait(sock, stop_fd, POLLOUT);
		else if (n < 0)
			rc = (int)n;
		if (rc)
			return rc;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}
