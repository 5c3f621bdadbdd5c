/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "message.h"

#include <errno.h>
#include <poll.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"

struct stoppable_io {
	struct frame_io io;
	int stop_fd;
	uint64_t deadline;
};

static int wait_unless_stopped(const struct frame_io *io, short events, size_t done)
{
	const struct stoppable_io *s = container_of(io, const struct stoppable_io, io);
	struct pollfd p[2] = {{.fd = io->sock, .events = events},
			      {.fd = s->stop_fd, .events = POLLIN}};
	uint64_t now;
	int n;

	(void)done;
	do {
		now = clock_now_ns();
		n = now < s->deadline ? poll(p, 2, (int)((s->deadline - now) / NS_PER_MS) + 1) : 0;
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (!n)
		return -ETIMEDOUT;
	return p[1].revents ? -ECANCELED : 0;
}

static struct stoppable_io stoppable(int sock, int stop_fd, unsigned timeout_ms)
{
	return (struct stoppable_io){
		{sock, wait_unless_stopped}, stop_fd, clock_now_ns() + timeout_ms * NS_PER_MS};
}

int message_receive(int sock, int stop_fd, unsigned timeout_ms, struct vhost_user_message *m)
{
	const struct stoppable_io s = stoppable(sock, stop_fd, timeout_ms);
	char why[FRAME_WHY_BYTES];
	int rc = frame_recv(&s.io, m, why);

	if (rc == -EPROTO) {
		log_error("front end: %s", why);
	} else if (rc == -EPIPE) {
		log_error("front end: the connection ended inside a message");
		rc = -EPROTO;
	} else if (rc == -ETIMEDOUT) {
		log_error("front end: half a message, and no more within %u s", timeout_ms / 1000);
	} else if (!rc && m->fds_lost) {
		log_error(
			"front end: no descriptor is left for those of request %u (RLIMIT_NOFILE)",
			m->header.request);
		frame_release(m); /* message_dispatch() refuses it */
	}
	return rc;
}

int message_send(int sock, int stop_fd, unsigned timeout_ms, const struct vhost_user_message *m)
{
	const struct stoppable_io s = stoppable(sock, stop_fd, timeout_ms);

	return frame_send(&s.io, m);
}
