/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost_user_message: one message of the vhost-user protocol to or from a stream socket. It owns
 * framing, descriptors that travel along, and time limits; it refuses to know what a request means.
 */
#ifndef VFSDAX_TRANSPORT_VHOST_USER_MESSAGE_H
#define VFSDAX_TRANSPORT_VHOST_USER_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/vhost_user.h"

/* Room for a sentence about a message that was refused. */
#define VU_WHY_BYTES 160

struct vu_message {
	struct vhost_user_header header;
	/* To send: the caller's. Received: the message's, until vu_message_release(). */
	unsigned n_fds;
	int fds[VHOST_USER_FDS_MAX];
	/* Received: descriptors were lost because this process may not open any more. */
	bool fds_lost;
	union {
		uint64_t u64;
		struct vhost_user_vring_state state;
		struct vhost_user_vring_addr addr;
		struct vhost_user_mem_table mem_table;
		struct vhost_user_config config;
		struct vhost_user_iotlb iotlb;
		struct vhost_user_shmem_config shmem_config;
		struct vhost_user_mmap mmap;
		uint8_t bytes[VHOST_USER_PAYLOAD_MAX];
	} payload;
};

/*
 * Sends the message with header.size bytes of payload, at the latest until deadline_ns
 * (clock_now_ns()). 0, -ENOTCONN: the other side is gone, -ETIMEDOUT: it does not read, -errno.
 */
int vu_message_send(int sock, const struct vu_message *m, uint64_t deadline_ns);

/*
 * Receives one whole message. 0; -ENOTCONN: the other side closed, -ETIMEDOUT, -errno; -EPROTO:
 * it is not a vhost-user message, and `why` says what is wrong with it. On failure nothing is left
 * to release, and the stream is out of step: it cannot be used any more.
 * Payload bytes behind header.size are zero.
 */
int vu_message_recv(int sock, struct vu_message *m, uint64_t deadline_ns, char why[VU_WHY_BYTES]);

/* Closes the descriptors that came along and were not taken. Harmless twice. */
void vu_message_release(struct vu_message *m);

/* Pure checks. False: `why` is filled in. */
bool vu_header_valid(const struct vhost_user_header *h, char why[VU_WHY_BYTES]);
/* Is this the answer to `request`, with size_min to size_max bytes and no descriptor? */
bool vu_reply_valid(const struct vu_message *m, uint32_t request, uint32_t size_min,
		    uint32_t size_max, char why[VU_WHY_BYTES]);

/* "GET_FEATURES", or "an unknown request". Never NULL. */
const char *vu_request_name(uint32_t request);

#endif
