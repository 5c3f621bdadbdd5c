/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "channel.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "wire/vhost_user_frame.h"

int channel_init(struct channel *c)
{
	memset(c, 0, sizeof(*c));
	c->fd = -1;
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->wake_fd < 0)
		return -errno;
	pthread_mutex_init(&c->send_lock, NULL);
	pthread_mutex_init(&c->call_lock, NULL);
	return 0;
}

void channel_fini(struct channel *c)
{
	channel_set(c, -1);
	close(c->wake_fd);
	pthread_mutex_destroy(&c->send_lock);
	pthread_mutex_destroy(&c->call_lock);
}

void channel_interrupt(struct channel *c)
{
	uint64_t one = 1;

	if (!atomic_exchange(&c->interrupted, true) && write(c->wake_fd, &one, sizeof(one)) < 0)
		log_error("back-end channel: eventfd: %s", strerror(errno));
}

void channel_resume(struct channel *c)
{
	uint64_t count;

	if (atomic_exchange(&c->interrupted, false) && read(c->wake_fd, &count, sizeof(count)) < 0)
		log_error("back-end channel: eventfd: %s", strerror(errno));
}

void channel_set(struct channel *c, int fd)
{
	bool was_interrupted = atomic_load(&c->interrupted);

	channel_interrupt(c); /* the holder of call_lock gives it up soon */
	pthread_mutex_lock(&c->call_lock);
	pthread_mutex_lock(&c->send_lock);
	if (c->fd >= 0)
		close(c->fd);
	c->fd = fd;
	c->stale = 0;
	pthread_mutex_unlock(&c->send_lock);
	pthread_mutex_unlock(&c->call_lock);
	if (!was_interrupted)
		channel_resume(c);
}

/* Waits until the channel is ready for `events`. 0, -ECANCELED, -ETIMEDOUT or -errno. */
static int wait_ready(struct channel *c, short events, uint64_t deadline)
{
	struct pollfd p[2] = {{.fd = c->fd, .events = events},
			      {.fd = c->wake_fd, .events = POLLIN}};
	uint64_t now = clock_now_ns();
	int rc;

	do {
		int left_ms = now < deadline ? (int)((deadline - now) / NS_PER_MS) + 1 : 0;

		rc = poll(p, 2, left_ms);
		now = clock_now_ns();
	} while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return -errno;
	if (atomic_load(&c->interrupted))
		return -ECANCELED;
	return rc ? 0 : -ETIMEDOUT;
}

struct channel_io {
	struct frame_io io;
	struct channel *c;
	uint64_t deadline;
};

/* Half a message cannot be taken back: once begun it is finished or the channel is over. */
static int wait_channel(const struct frame_io *io, short events, size_t done)
{
	const struct channel_io *i = container_of(io, const struct channel_io, io);
	int rc = wait_ready(i->c, events, i->deadline);

	if (rc && done)
		shutdown(io->sock, SHUT_RDWR);
	return rc;
}

static int channel_send_locked(struct channel *c, uint32_t request, uint32_t flags,
			       const void *payload, uint32_t size, int fd, uint64_t deadline)
{
	const struct channel_io i = {{c->fd, wait_channel}, c, deadline};
	struct vhost_user_message m;

	if (c->fd < 0)
		return -ENOTCONN;
	if (atomic_load(&c->interrupted))
		return -ECANCELED;
	m.header = (struct vhost_user_header){
		.request = request, .flags = VHOST_USER_VERSION | flags, .size = size};
	m.n_fds = fd >= 0;
	m.fds[0] = fd;
	memcpy(&m.payload, payload, size);
	return frame_send(&i.io, &m);
}

static int send_message(struct channel *c, uint32_t request, uint32_t flags, const void *payload,
			uint32_t size, int fd, uint64_t deadline)
{
	int rc;

	pthread_mutex_lock(&c->send_lock);
	rc = channel_send_locked(c, request, flags, payload, size, fd, deadline);
	pthread_mutex_unlock(&c->send_lock);
	return rc;
}

/* Reads one answer. Only the holder of call_lock reads, so the descriptor cannot change. */
static int channel_receive_answer(struct channel *c, uint64_t deadline, uint32_t *request,
				  uint64_t *answer)
{
	const struct channel_io i = {{c->fd, wait_channel}, c, deadline};
	struct vhost_user_message in;
	char why[FRAME_WHY_BYTES];
	int rc = frame_recv(&i.io, &in, why);

	if (rc)
		return rc == -EPIPE ? -ENOTCONN : rc;
	frame_release(&in);
	if (in.header.size != sizeof(in.payload.u64) || !(in.header.flags & VHOST_USER_FLAG_REPLY))
		return -EPROTO;
	*request = in.header.request;
	*answer = in.payload.u64;
	return 0;
}

static int receive_fresh(struct channel *c, uint32_t request, uint64_t deadline, uint64_t *answer)
{
	uint32_t answered = 0;
	int rc;

	for (;;) {
		rc = channel_receive_answer(c, deadline, &answered, answer);
		if (rc)
			return rc;
		if (!c->stale)
			return answered == request ? 0 : -EPROTO;
		c->stale--; /* answers come in the order of the questions */
	}
}

int channel_send(struct channel *c, uint32_t request, const void *payload, uint32_t size,
		 unsigned timeout_ms)
{
	return send_message(c, request, 0, payload, size, -1,
			    clock_now_ns() + timeout_ms * NS_PER_MS);
}

int channel_call(struct channel *c, uint32_t request, const void *payload, uint32_t size, int fd,
		 unsigned timeout_ms, uint64_t *answer)
{
	uint64_t deadline = clock_now_ns() + timeout_ms * NS_PER_MS;
	int rc;

	if (!atomic_load(&c->replies))
		return -EOPNOTSUPP;
	pthread_mutex_lock(&c->call_lock);
	rc = send_message(c, request, VHOST_USER_FLAG_NEED_REPLY, payload, size, fd, deadline);
	if (!rc) {
		rc = receive_fresh(c, request, deadline, answer);
		if (rc == -ECANCELED || rc == -ETIMEDOUT)
			c->stale++;
		if (rc == -EPROTO) {
			log_error("back-end channel: the front end's answer to request %u is "
				  "malformed; "
				  "the channel is given up",
				  request);
			shutdown(c->fd, SHUT_RDWR);
		}
	}
	pthread_mutex_unlock(&c->call_lock);
	return rc;
}
