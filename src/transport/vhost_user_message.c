/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/vhost_user_message.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/list.h"

/* ------------------------------------------------------------------------- checks */

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

bool vu_reply_valid(const struct vhost_user_message *m, uint32_t request, uint32_t size_min,
		    uint32_t size_max, char why[FRAME_WHY_BYTES])
{
	const struct vhost_user_header *h = &m->header;

	if (h->request != request)
		snprintf(why, FRAME_WHY_BYTES, "request %u as the answer to %s (%u)", h->request,
			 vu_request_name(request), request);
	else if (!(h->flags & VHOST_USER_FLAG_REPLY))
		snprintf(why, FRAME_WHY_BYTES,
			 "flags %#x, without the reply bit, as the answer to %s", h->flags,
			 vu_request_name(request));
	else if (h->size < size_min || h->size > size_max)
		snprintf(why, FRAME_WHY_BYTES, "%u bytes as the answer to %s (%u to %u are right)",
			 h->size, vu_request_name(request), size_min, size_max);
	else if (m->n_fds || m->fds_lost)
		snprintf(why, FRAME_WHY_BYTES,
			 "file descriptors with the answer to %s, which has none",
			 vu_request_name(request));
	else
		return true;
	return false;
}

/* ------------------------------------------------------------------------- the socket */

struct timed_io {
	struct frame_io io;
	uint64_t deadline_ns;
};

static int wait_until_deadline(const struct frame_io *io, short events, size_t done)
{
	const struct timed_io *t = container_of(io, const struct timed_io, io);
	struct pollfd p = {.fd = io->sock, .events = events};
	uint64_t now;
	int n, ms;

	(void)done;
	for (;;) {
		now = clock_now_ns();
		if (now >= t->deadline_ns)
			return -ETIMEDOUT;
		ms = (int)MIN((t->deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS,
			      (uint64_t)INT_MAX);
		n = poll(&p, 1, ms);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

int vu_message_send(int sock, const struct vhost_user_message *m, uint64_t deadline_ns)
{
	const struct timed_io t = {{sock, wait_until_deadline}, deadline_ns};

	return frame_send(&t.io, m);
}

int vu_message_recv(int sock, struct vhost_user_message *m, uint64_t deadline_ns,
		    char why[FRAME_WHY_BYTES])
{
	const struct timed_io t = {{sock, wait_until_deadline}, deadline_ns};
	int err = frame_recv(&t.io, m, why);

	return err == -EPIPE ? -ENOTCONN : err;
}
