/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost_user_frame: one message of the vhost-user protocol to or from a stream socket, for both
 * sides. It owns the frame (version, length) and the descriptors that travel along; it refuses to
 * know what a request means, and how long one waits.
 */
#ifndef VFSDAX_WIRE_VHOST_USER_FRAME_H
#define VFSDAX_WIRE_VHOST_USER_FRAME_H

#include <stdbool.h>
#include <stddef.h>

#include "wire/vhost_user.h"

/* Room for a sentence about a message that was refused. */
#define FRAME_WHY_BYTES 160

struct vhost_user_message {
	struct vhost_user_header header;
	/* To send: the caller's. Received: the message's, until frame_release(); who takes one puts
	 * -1 there. */
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

/* The socket, and how one waits for it. Begins a struct of the caller's. */
struct frame_io {
	int sock;
	/* Until it is ready for `events` (POLLIN, POLLOUT): 0, or a negative errno that ends the
	 * transfer, of which `done` bytes were moved. */
	int (*wait)(const struct frame_io *io, short events, size_t done);
};

/* Sends header.size bytes of payload. 0; -ENOTCONN: the other side is gone; what wait() said; or
 * -errno. No signal. */
int frame_send(const struct frame_io *io, const struct vhost_user_message *m);

/*
 * Receives one whole message. 0; -ENOTCONN: the other side closed before it, -EPIPE: inside of it;
 * what wait() said; -errno; -EPROTO: it is not a vhost-user message, and `why` says what is wrong
 * with it. On failure nothing is left to release, and the stream is out of step: it cannot be used
 * any more. Payload bytes behind header.size are zero.
 */
int frame_recv(const struct frame_io *io, struct vhost_user_message *m, char why[FRAME_WHY_BYTES]);

/* Closes the descriptors that came along and were not taken. Harmless twice. */
void frame_release(struct vhost_user_message *m);

/* Pure check. False: `why` is filled in. */
bool frame_header_valid(const struct vhost_user_header *h, char why[FRAME_WHY_BYTES]);

#endif
