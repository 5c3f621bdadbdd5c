/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * message: whole vhost-user messages of the front end, until the device is to stop. The frame is
 * wire/vhost_user_frame's.
 */
#ifndef VFSDAX_DEVICE_VHOST_MESSAGE_H
#define VFSDAX_DEVICE_VHOST_MESSAGE_H

#include "wire/vhost_user_frame.h"

/*
 * What begins is over within timeout_ms, or -ETIMEDOUT, and the connection is of no use any more:
 * meanwhile the caller does nothing else, and hears no other front end.
 */

/*
 * Reads one message; blocks until it is complete or stop_fd becomes readable. 0; -ECANCELED for
 * stop_fd; -ENOTCONN when the peer closed between two messages; -EPROTO after one line of log for
 * anything malformed. The descriptors are the caller's: frame_release(). Where some were lost,
 * fds_lost is set and there are none.
 */
int message_receive(int sock, int stop_fd, unsigned timeout_ms, struct vhost_user_message *m);

/* Sends header and payload (header.size bytes of it). -ECANCELED for stop_fd, -ENOTCONN, -errno. */
int message_send(int sock, int stop_fd, unsigned timeout_ms, const struct vhost_user_message *m);

#endif
