/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "message.h"

#include <errno.h>
#include <poll.h>

#include "base/list.h"
#include "base/log.h"

struct stoppable_io {
	struct frame_io io;
	int stop_fd;
};

static int wait_unless_stopped(const struct frame_io *io, short events, size_t done)
{
	const struct stoppable_io *s = container_of(io, const struct stoppable_io, io);
	struct pollfd p[2] = {{.fd = io->sock, .events = events},
			      {.fd = s->stop_fd, .events = POLLIN}};

	(void)done;
	while (poll(p, 2, -1) < 0)
		if (errno != EINTR)
			return -errno;
	return p[1].revents ? -ECANCELED : 0;
}

int message_receive(int sock, int stop_fd, struct vhost_user_message *m)
{
	const struct stoppable_io s = {{sock, wait_unless_stopped}, stop_fd};
	char why[FRAME_WHY_BYTES];
	int rc = frame_recv(&s.io, m, why);

	if (rc == -EPROTO) {
		log_error("front end: %s", why);
	} else if (rc == -EPIPE) {
		log_error("front end: the connection ended inside a message");
		rc = -EPROTO;
	} else if (!rc && m->fds_lost) {
		log_error(
			"front end: no descriptor is left for those of request %u (RLIMIT_NOFILE)",
			m->header.request);
		frame_release(m); /* message_dispatch() refuses it */
	}
	return rc;
}

int message_send(int sock, int stop_fd, const struct vhost_user_message *m)
{
	const struct stoppable_io s = {{sock, wait_unless_stopped}, stop_fd};

	return frame_send(&s.io, m);
}
