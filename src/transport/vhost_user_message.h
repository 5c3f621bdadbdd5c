/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost_user_message: one message to or from the back end, with a time limit. The frame is
 * wire/vhost_user_frame's.
 */
#ifndef VFSDAX_TRANSPORT_VHOST_USER_MESSAGE_H
#define VFSDAX_TRANSPORT_VHOST_USER_MESSAGE_H

#include "wire/vhost_user_frame.h"

/*
 * As frame_send() and frame_recv(), at the latest until deadline_ns (clock_now_ns()): -ETIMEDOUT.
 * -ENOTCONN wherever the other side closed.
 */
int vu_message_send(int sock, const struct vhost_user_message *m, uint64_t deadline_ns);
int vu_message_recv(int sock, struct vhost_user_message *m, uint64_t deadline_ns,
		    char why[FRAME_WHY_BYTES]);

/* Is this the answer to `request`, with size_min to size_max bytes and no descriptor? False: `why`
 * is filled in. */
bool vu_reply_valid(const struct vhost_user_message *m, uint32_t request, uint32_t size_min,
		    uint32_t size_max, char why[FRAME_WHY_BYTES]);

/* "GET_FEATURES", or "an unknown request". Never NULL. */
const char *vu_request_name(uint32_t request);

#endif
