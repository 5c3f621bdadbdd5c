/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/vhost_user_message.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"

/* ------------------------------------------------------------------------- pure checks */

const char *vu_request_name(uint32_t request)
{
	static const char *const names[] = {
		[VHOST_USER_GET_FEATURES] = "GET_FEATURES",
		[VHOST_USER_SET_FEATURES] = "SET_FEATURES",
		[VHOST_USER_SET_OWNER] = "SET_OWNER",
		[VHOST_USER_SET_MEM_TABLE] = "SET_MEM_TABLE",
		[VHOST_USER_SET_VRING_NUM] = "SET_VRING_NUM",
		[VHOST_USER_SET_VRING_ADDR] = "SET_VRING_ADDR",
		[VHOST_USER_SET_VRING_BASE] = "SET_VRING_BASE",
		[VHOST_USER_GET_VRING_BASE] = "GET_VRING_BASE",
		[VHOST_USER_SET_VRING_KICK] = "SET_VRING_KICK",
		[VHOST_USER_SET_VRING_CALL] = "SET_VRING_CALL",
		[VHOST_USER_SET_VRING_ERR] = "SET_VRING_ERR",
		[VHOST_USER_GET_PROTOCOL_FEATURES] = "GET_PROTOCOL_FEATURES",
		[VHOST_USER_SET_PROTOCOL_FEATURES] = "SET_PROTOCOL_FEATURES",
		[VHOST_USER_GET_QUEUE_NUM] = "GET_QUEUE_NUM",
		[VHOST_USER_SET_VRING_ENABLE] = "SET_VRING_ENABLE",
		[VHOST_USER_SET_BACKEND_REQ_FD] = "SET_BACKEND_REQ_FD",
		[VHOST_USER_IOTLB_MSG] = "IOTLB_MSG",
		[VHOST_USER_GET_CONFIG] = "GET_CONFIG",
		[VHOST_USER_SET_STATUS] = "SET_STATUS",
		[VHOST_USER_GET_STATUS] = "GET_STATUS",
		[VHOST_USER_GET_SHMEM_CONFIG] = "GET_SHMEM_CONFIG",
	};

	if (request < ARRAY_SIZE(names) && names[request])
		return names[request];
	return "an unknown request";
}

bool vu_header_valid(const struct vhost_user_header *h, char why[VU_WHY_BYTES])
{
	if ((h->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION) {
		snprintf(why, VU_WHY_BYTES,
			 "a message header with version %u (request %#x, flags %#x) where "
			 "vhost-user has version 1",
			 h->flags & VHOST_USER_VERSION_MASK, h->request, h->flags);
		return false;
	}
	if (h->size > VHOST_USER_PAYLOAD_MAX) {
		snprintf(why, VU_WHY_BYTES,
			 "request %u with a payload of %u bytes (the limit is %u)", h->request,
			 h->size, VHOST_USER_PAYLOAD_MAX);
		return false;
	}
	return true;
}

bool vu_reply_valid(const struct vu_message *m, uint32_t request, uint32_t size_min,
		    uint32_t size_max, char why[VU_WHY_BYTES])
{
	const struct vhost_user_header *h = &m->header;

	if (h->request != request)
		snprintf(why, VU_WHY_BYTES, "request %u as the answer to %s (%u)", h->request,
			 vu_request_name(request), request);
	else if (!(h->flags & VHOST_USER_FLAG_REPLY))
		snprintf(why, VU_WHY_BYTES, "flags %#x, without the reply bit, as the answer to %s",
			 h->flags, vu_request_name(request));
	else if (h->size < size_min || h->size > size_max)
		snprintf(why, VU_WHY_BYTES, "%u bytes as the answer to %s (%u to %u are right)",
			 h->size, vu_request_name(request), size_min, size_max);
	else if (m->n_fds || m->fds_lost)
		snprintf(why, VU_WHY_BYTES,
			 "file descriptors with the answer to %s, which has none",
			 vu_request_name(request));
	else
		return true;
	return false;
}

/* ------------------------------------------------------------------------- the socket */

/* Waits for `events`, at the latest until the deadline. 0, -ETIMEDOUT, -errno. */
static int wait_for(int sock, short events, uint64_t deadline_ns)
{
	struct pollfd p = {.fd = sock, .events = events};
	uint64_t now;
	int n, ms;

	for (;;) {
		now = clock_now_ns();
		if (now >= deadline_ns)
			return -ETIMEDOUT;
		ms = (int)MIN((deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS, (uint64_t)INT_MAX);
		n = poll(&p, 1, ms);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

/* One errno for "gone", however the kernel puts it. */
static int gone_or(int err)
{
	return err == EPIPE || err == ECONNRESET || err == ENOTCONN ? -ENOTCONN : -err;
}

int vu_message_send(int sock, const struct vu_message *m, uint64_t deadline_ns)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(VHOST_USER_FDS_MAX * sizeof(int))];
	} control = {0};
	struct iovec iov[2] = {
		{(void *)&m->header, sizeof(m->header)},
		{(void *)&m->payload, m->header.size},
	};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	int err;

	if (m->n_fds) {
		struct cmsghdr *c;

		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(m->n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(m->n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), m->fds, m->n_fds * sizeof(int));
	}
	while (iov[0].iov_len + iov[1].iov_len) {
		ssize_t n = sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			if (errno != EAGAIN)
				return gone_or(errno);
			err = wait_for(sock, POLLOUT, deadline_ns);
			if (err)
				return err;
			continue;
		}
		/* The descriptors went with the first byte. */
		msg.msg_control = NULL;
		msg.msg_controllen = 0;
		for (int i = 0; i < 2; i++) {
			size_t part = MIN((size_t)n, iov[i].iov_len);

			iov[i].iov_base = (char *)iov[i].iov_base + part;
			iov[i].iov_len -= part;
			n -= (ssize_t)part;
		}
	}
	return 0;
}

/* Moves what a recvmsg brought into the message. False: more than a message may carry. */
static bool take_fds(struct vu_message *m, struct msghdr *msg)
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

static int recv_exactly(int sock, struct vu_message *m, void *buf, size_t len_bytes,
			uint64_t deadline_ns, char why[VU_WHY_BYTES])
{
	size_t got = 0;

	while (got < len_bytes) {
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(VHOST_USER_FDS_MAX * sizeof(int))];
		} control;
		struct iovec iov = {(char *)buf + got, len_bytes - got};
		struct msghdr msg = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control.bytes,
			.msg_controllen = sizeof(control.bytes),
		};
		ssize_t n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			int err = wait_for(sock, POLLIN, deadline_ns);

			if (err)
				return err;
			continue;
		}
		if (n < 0)
			return gone_or(errno);
		if (!take_fds(m, &msg)) {
			snprintf(why, VU_WHY_BYTES,
				 "more than %u file descriptors with one message",
				 VHOST_USER_FDS_MAX);
			return -EPROTO;
		}
		if (n == 0)
			return -ENOTCONN;
		got += (size_t)n;
	}
	return 0;
}

int vu_message_recv(int sock, struct vu_message *m, uint64_t deadline_ns, char why[VU_WHY_BYTES])
{
	int err;

	memset(m, 0, sizeof(*m));
	err = recv_exactly(sock, m, &m->header, sizeof(m->header), deadline_ns, why);
	if (!err && !vu_header_valid(&m->header, why))
		err = -EPROTO;
	if (!err)
		err = recv_exactly(sock, m, &m->payload, m->header.size, deadline_ns, why);
	if (err)
		vu_message_release(m);
	return err;
}

void vu_message_release(struct vu_message *m)
{
	while (m->n_fds)
		close(m->fds[--m->n_fds]);
}
