/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hold_message: what the driver and its holder send each other, one packet each (SOCK_SEQPACKET),
 * with at most one descriptor. A holder outlives the program that it was forked from: the first
 * eight bytes of a message never change, the rest is of one version.
 */
#ifndef VFSDAX_MOUNT_HOLD_MESSAGE_H
#define VFSDAX_MOUNT_HOLD_MESSAGE_H

#include <stdint.h>

#include "hold.h"

#define HOLD_MAGIC   0x646c6f48u
#define HOLD_VERSION 1u

enum hold_what {
	HOLD_PUT = 1, /* with a descriptor; the only ones without an answer are this, LEAVE, END */
	HOLD_PUBLISH = 3, /* with the bound socket */
	HOLD_LEAVE,
	HOLD_END,
	HOLD_GET, /* answered with a descriptor; this and what follows are anybody's to ask */
	HOLD_TAKE,
};

/* An answer has the question's `what` and `name`. */
struct hold_message {
	uint32_t magic;
	uint16_t version;
	uint16_t what;
	int32_t status; /* of an answer: 0 or -errno */
	int32_t pid;	/* of the answer -EBUSY: the driver's */
	char name[HOLD_NAME_MAX + 1];
	/* PUBLISH */
	uint64_t ino; /* of the socket at `path` */
	uint32_t seconds;
	char path[108];
	/* TAKE */
	uint32_t by_force;
};

/* `fd` is sent along if it is not -1. Never SIGPIPE. 0 or -errno. */
int hold_message_send(int sock, const struct hold_message *m, int fd, int flags);
/*
 * 1: a message, whose strings end; *fd is what came along, or -1. `fd` NULL: no descriptor is
 * accepted; the kernel drops it. 0: the end. -EPROTONOSUPPORT: of another version. -EPROTO: no
 * message of ours. -errno.
 */
int hold_message_recv(int sock, struct hold_message *m, int *fd, int flags);

#endif
