/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * message: whole vhost-user messages in and out of a socket, descriptors included. It checks
 * the frame (version, length, number of descriptors) and knows nothing of what a message means.
 */
#ifndef VFSDAX_DEVICE_VHOST_MESSAGE_H
#define VFSDAX_DEVICE_VHOST_MESSAGE_H

#include <stdint.h>
#include <sys/types.h>

#include "wire/vhost_user.h"

struct message {
	struct vhost_user_header header;
	union {
		uint64_t u64;
		struct vhost_user_vring_state state;
		struct vhost_user_vring_addr addr;
		struct vhost_user_mem_table table;
		struct vhost_user_config config;
		struct vhost_user_iotlb iotlb;
		struct vhost_user_shmem_config shmem;
		uint8_t bytes[VHOST_USER_PAYLOAD_MAX];
	} payload;
	int fds[VHOST_USER_FDS_MAX];
	unsigned n_fds;
};

/*
 * Reads one message; blocks until it is complete or stop_fd becomes readable. 0; -ECANCELED for
 * stop_fd; -ENOTCONN when the peer closed between two messages; -EPROTO after one line of log for
 * anything malformed. The descriptors are the caller's: message_close_fds().
 */
int message_receive(int sock, int stop_fd, struct message *m);

/* Sends header and payload (header.size bytes of it). Errors as message_receive(), or -errno. */
int message_send(int sock, int stop_fd, const struct message *m);

/* Closes those that were not taken; taking one is setting it to -1. */
void message_close_fds(struct message *m);

/* One sendmsg() that never blocks and never signals: bytes sent, -EAGAIN or -errno. fd -1: none. */
ssize_t message_send_bytes(int sock, const void *bytes, size_t len, int fd);

#endif
