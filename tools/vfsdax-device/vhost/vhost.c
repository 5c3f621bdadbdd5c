/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vhost.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "internal.h"
#include "vfsdax-device/wake.h"

#define STUCK_AT_EXIT_MS 8000u
/* Some rings were stopped and others run on: the device as a whole was not stopped after all. */
#define REOPEN_AFTER_MS	 1000u
/* How long a second front end may wait for the first one's end. */
#define NEWCOMER_MS	 3000u

/*
 * A front end that comes while there is one stays in the listen queue for a while: an unmount
 * returns before the old one has said good-bye, so the new one may just be early. Then it is
 * turned away.
 */
static void turn_away(struct vhost *v)
{
	static const struct vhost_user_header busy = VHOST_USER_BUSY;
	struct pollfd p = {.fd = v->listen_fd, .events = POLLIN};
	int fd;

	v->newcomer_since = 0;
	if (poll(&p, 1, 0) != 1)
		return; /* it gave up by itself */
	fd = accept4(v->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return;
	log_warn("another front end connected and was turned away: there is one already");
	if (send(fd, &busy, sizeof(busy), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("it did not learn why: %s", strerror(errno));
	close(fd);
}

/* The device runs on with some of its rings: the window and the translations do as well. */
static void reopen_if_due(struct vhost *v)
{
	if (v->shut_at && clock_now_ns() - v->shut_at > REOPEN_AFTER_MS * NS_PER_MS)
		window_open(v);
}

/* Between messages: the file-system half lets go of what nobody uses. */
static void tidy_if_due(struct vhost *v)
{
	uint64_t now = clock_now_ns();

	if (now < v->tidy_at)
		return;
	v->tidy_at = now + FS_TIDY_MS * NS_PER_MS;
	fs_tidy(v->fs);
}

/* 0 when the front end has something to say, otherwise as message_receive(). */
static int wait_for_message(struct vhost *v)
{
	struct pollfd p[3] = {{.fd = v->sock, .events = POLLIN},
			      {.fd = v->stop_fd, .events = POLLIN},
			      {.fd = v->listen_fd, .events = POLLIN}};

	for (;;) {
		uint64_t since = v->newcomer_since;
		int timeout = v->shut_at ? (int)REOPEN_AFTER_MS : since ? 100 : FS_TIDY_MS;
		int n;

		p[2].fd = since ? -1 : v->listen_fd;
		n = poll(p, 3, timeout);
		if (n < 0 && errno != EINTR)
			return -errno;
		reopen_if_due(v);
		tidy_if_due(v);
		if (since && clock_now_ns() - since > NEWCOMER_MS * NS_PER_MS)
			turn_away(v);
		if (n <= 0)
			continue;
		if (p[1].revents)
			return -ECANCELED;
		/* First the old front end: its end may be waiting there, before the new one. */
		if (p[0].revents)
			return 0;
		if (p[2].revents)
			v->newcomer_since = clock_now_ns();
	}
}

static int serve_one(struct vhost *v, struct vhost_user_message *m)
{
	int rc = wait_for_message(v);

	if (!rc)
		rc = message_receive(v->sock, v->stop_fd, MESSAGE_TIMEOUT_MS, m);
	if (rc)
		return rc;
	log_debug("front end: request %u, flags 0x%x, %u bytes, %u descriptors", m->header.request,
		  m->header.flags, m->header.size, m->n_fds);
	rc = message_dispatch(v, m);
	frame_release(m);
	return rc;
}

/* Stops everything and forgets the front end. -EBUSY: see vhost_serve(). */
static int disconnect(struct vhost *v)
{
	struct pollfd stop = {.fd = v->stop_fd, .events = POLLIN};
	uint64_t deadline = 0;

	window_shut(v);
	while (rings_stop(v, STOP_TIMEOUT_MS)) {
		if (poll(&stop, 1, 0) == 0)
			continue;
		if (!deadline)
			deadline = clock_now_ns() + STUCK_AT_EXIT_MS * NS_PER_MS;
		if (clock_now_ns() > deadline)
			return -EBUSY;
	}
	session_reset(v);
	channel_set(&v->channel, -1);
	shmem_negotiated(&v->shmem, 0, false);
	for (unsigned i = 0; i < v->n_queues; i++) {
		queue_set_kick(&v->queues[i], -1);
		queue_set_call(&v->queues[i], -1);
		queue_set_err(&v->queues[i], -1);
		v->rings[i] = (struct ring_config){0};
	}
	space_set_iommu(&v->space, false);
	space_set_memory(&v->space, NULL);
	v->features = v->protocol_features = 0;
	v->queues_seen = 0;
	v->shut_at = 0;
	return 0;
}

int vhost_serve(struct vhost *v, int sock, int listen_fd, int stop_fd)
{
	struct vhost_user_message *m = malloc(sizeof(*m));
	int rc = m ? 0 : -ENOMEM, stuck;

	v->sock = sock;
	v->listen_fd = listen_fd;
	v->newcomer_since = 0;
	v->stop_fd = stop_fd;
	while (!rc)
		rc = serve_one(v, m);
	free(m);
	if (rc != -ECANCELED && rc != -ENOTCONN && rc != -ECONNRESET)
		log_error("the connection to the front end is given up: %s", strerror(-rc));
	stuck = disconnect(v);
	if (stuck)
		return stuck;
	return rc == -ECANCELED ? rc : 0;
}

/* ------------------------------------------------------------------ life */

int vhost_create(const struct vhost_options *options, struct vhost **out)
{
	struct vhost *v = calloc(1, sizeof(*v));
	unsigned n = options->num_request_queues + VIRTIO_FS_QUEUE_REQUEST +
		     (options->notifications ? 1 : 0);
	int rc = v ? wake_install() : -ENOMEM;

	rc = rc ? rc : channel_init(&v->channel);

	if (rc) {
		free(v);
		goto fail;
	}
	channel_interrupt(&v->channel); /* until the device starts */
	space_init(&v->space, &v->channel, IOTLB_LIMIT);
	shmem_init(&v->shmem, &v->channel);
	v->options = *options;
	v->queues = calloc(n, sizeof(*v->queues));
	v->rings = calloc(n, sizeof(*v->rings));
	if (!v->queues || !v->rings)
		rc = -ENOMEM;
	for (; !rc && v->n_queues < n; v->n_queues += !rc)
		rc = queue_init(&v->queues[v->n_queues], v->n_queues, &v->space, NULL);
	if (!rc) {
		*out = v;
		return 0;
	}
	vhost_destroy(v);
fail:
	log_error("the device cannot be set up: %s", strerror(-rc));
	return rc;
}

void vhost_destroy(struct vhost *v)
{
	if (!v)
		return;
	for (unsigned i = 0; i < v->n_queues; i++)
		queue_fini(&v->queues[i]);
	shmem_fini(&v->shmem);
	space_fini(&v->space);
	channel_fini(&v->channel);
	free(v->queues);
	free(v->rings);
	free(v);
}

struct shmem *vhost_shmem(struct vhost *v)
{
	return &v->shmem;
}

void vhost_attach(struct vhost *v, struct fs *fs)
{
	v->fs = fs;
	for (unsigned i = 0; i < v->n_queues; i++)
		v->queues[i].fs = fs;
}
