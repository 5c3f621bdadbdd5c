/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rings: what the front end says about rings, and when they run. See internal.h. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"

/* How long queue_stop() waits before stop_fd is polled. */
#define STUCK_LOOK_MS 500u

static bool has_feature(const struct vhost *v, unsigned bit)
{
	return v->features & F(bit);
}

/* ------------------------------------------------------------------ starting and stopping */

static bool any_running(struct vhost *v)
{
	for (unsigned i = 0; i < v->n_queues; i++)
		if (queue_running(&v->queues[i]))
			return true;
	return false;
}

static bool ring_should_run(const struct vhost *v, unsigned i)
{
	const struct ring_config *r = &v->rings[i];

	/* Without protocol features a ring is born enabled. */
	return r->size && r->placed && r->kicked && (r->enabled || !(v->features & F_PROTOCOL));
}

void window_open(struct vhost *v)
{
	const uint64_t channel = PF(BACKEND_REQ) | PF(BACKEND_SEND_FD) | PF(REPLY_ACK);
	bool able = (v->protocol_features & channel) == channel && v->channel.fd >= 0;

	v->shut_at = 0;
	if (v->window_open)
		return;
	/* A window without a channel to ask for mappings on is none. */
	if (able && v->protocol_features & PF(SHMEM))
		shmem_negotiated(&v->shmem, v->options.cache_size_bytes,
				 v->protocol_features & PF(VFSDAX_RDONLY));
	shmem_negotiated_files(&v->shmem, able && v->protocol_features & PF(VFSDAX_FILES));
	shmem_open(&v->shmem);
	v->window_open = true;
}

void window_shut(struct vhost *v)
{
	if (!v->window_open)
		return;
	shmem_shut(&v->shmem);
	space_nudge(&v->space); /* a wait for a translation ends */
	v->window_open = false;
}

/* What the guest and the device told each other since the device started. */
static void rings_count(struct vhost *v)
{
	uint64_t asked = atomic_exchange(&v->space.asked, 0);
	struct queue_counts sum = {0};

	for (unsigned i = 0; i < v->n_queues; i++)
		queue_count(&v->queues[i], &sum);
	if (sum.requests)
		log_info("stopped after %" PRIu64 " requests, %" PRIu64 " kicks, %" PRIu64
			 " calls, %" PRIu64 " IOTLB misses, %" PRIu64 " IOTLB invalidations",
			 sum.requests, sum.kicks, sum.calls, asked, v->space.invalidated);
	v->space.invalidated = 0;
}

static int ring_start_one(struct vhost *v, unsigned i)
{
	struct queue *q = &v->queues[i];
	struct ring_config *r = &v->rings[i];
	int rc = ring_setup(&q->ring, r->size, r->desc, r->avail, r->used);

	if (rc) {
		log_error("queue %u cannot be set up: %u entries at 0x%" PRIx64 ", 0x%" PRIx64
			  ", 0x%" PRIx64 ": %s",
			  i, r->size, r->desc, r->avail, r->used, strerror(-rc));
		return rc;
	}
	window_open(v);
	ring_start(&q->ring, r->base, has_feature(v, VIRTIO_F_EVENT_IDX),
		   has_feature(v, VIRTIO_F_INDIRECT_DESC));
	q->offers = i == VIRTIO_FS_QUEUE_NOTIFY && has_feature(v, VIRTIO_FS_F_NOTIFICATION);
	v->session_used = true;
	return queue_start(q);
}

/* Waits for what runs on the ring, in steps, so that SIGTERM is not kept waiting as well. */
static int ring_stop_one(struct vhost *v, unsigned i, unsigned timeout_ms)
{
	uint64_t deadline = clock_now_ns() + timeout_ms * NS_PER_MS;
	struct pollfd stop = {.fd = v->stop_fd, .events = POLLIN};
	struct queue *q = &v->queues[i];
	int rc;

	if (!queue_running(q))
		return 0;
	window_shut(v);
	do
		rc = queue_stop(q, MIN(timeout_ms, STUCK_LOOK_MS));
	while (rc && clock_now_ns() < deadline && poll(&stop, 1, 0) == 0);
	if (rc) {
		log_error("queue %u: a request is stuck in the file system of the shared directory",
			  i);
		return rc;
	}
	v->rings[i].base = q->ring.last_avail;
	if (any_running(v)) {
		v->shut_at = clock_now_ns();
		return 0;
	}
	v->shut_at = 0;
	/* Nothing is invalidated while the device is stopped. */
	space_flush(&v->space);
	rings_count(v);
	return 0;
}

int rings_stop(struct vhost *v, unsigned timeout_ms)
{
	int result = 0;

	for (unsigned i = 0; i < v->n_queues; i++) {
		int rc = ring_stop_one(v, i, result ? 0 : timeout_ms);

		result = rc ? rc : result;
	}
	return result;
}

static int ring_follow(struct vhost *v, unsigned i)
{
	if (ring_should_run(v, i))
		return queue_running(&v->queues[i]) ? 0 : ring_start_one(v, i);
	return ring_stop_one(v, i, STOP_TIMEOUT_MS);
}

void session_reset(struct vhost *v)
{
	if (!v->session_used)
		return;
	fs_reset(v->fs);
	shmem_forget(&v->shmem);
	for (unsigned i = 0; i < v->n_queues; i++) {
		unsigned left = queue_forget(&v->queues[i]);

		if (left)
			log_error("queue %u: %u requests were never completed", i, left);
	}
	v->session_used = false;
}

/*
 * A ring that begins elsewhere than where it stopped belongs to a device that was reset, and so
 * does everything: inodes, locks, mappings. One that goes on where it stopped belongs to a virtual
 * machine that was paused, and then all of that is still needed. So a stop alone resets nothing.
 */
static int session_reset_by_base(struct vhost *v)
{
	int rc;

	if (!v->session_used)
		return 0;
	rc = rings_stop(v, STOP_TIMEOUT_MS);
	if (rc)
		return rc;
	session_reset(v);
	for (unsigned i = 0; i < v->n_queues && !rc; i++)
		rc = ring_follow(v, i);
	return rc;
}

/* ------------------------------------------------------------------ the messages */

/* The ring that a message names, or NULL after a line of log. */
static struct ring_config *ring_of(struct vhost *v, const char *what, uint32_t index)
{
	if (index >= v->n_queues) {
		log_error("front end: %s for queue %u, there are %u", what, index, v->n_queues);
		return NULL;
	}
	v->queues_seen = MAX(v->queues_seen, index + 1);
	return &v->rings[index];
}

/* Like ring_of(), for what a running ring may not have done to it. */
static struct ring_config *idle_ring_of(struct vhost *v, const char *what, uint32_t index)
{
	struct ring_config *r = ring_of(v, what, index);

	if (!r || !queue_running(&v->queues[index]))
		return r;
	log_error("front end: %s for queue %u, which is running; stop it first", what, index);
	return NULL;
}

int on_set_vring_num(struct vhost *v, struct vhost_user_message *m)
{
	const struct vhost_user_vring_state *s = &m->payload.state;
	struct ring_config *r = idle_ring_of(v, "SET_VRING_NUM", s->index);

	if (!r)
		return -EINVAL;
	if (!is_pow2(s->num) || s->num > v->options.queue_size_max) {
		log_error(
			"front end: queue %u with %u entries; a power of two up to %u is possible",
			s->index, s->num, v->options.queue_size_max);
		return -EINVAL;
	}
	r->size = (uint16_t)s->num;
	return 0;
}

int on_set_vring_base(struct vhost *v, struct vhost_user_message *m)
{
	const struct vhost_user_vring_state *s = &m->payload.state;
	struct ring_config *r = idle_ring_of(v, "SET_VRING_BASE", s->index);
	bool moved;

	if (!r)
		return -EINVAL;
	if (s->num > UINT16_MAX) {
		log_error("front end: queue %u at index %u, at most 65535 is possible", s->index,
			  s->num);
		return -EINVAL;
	}
	moved = r->base != s->num;
	r->base = (uint16_t)s->num;
	return moved ? session_reset_by_base(v) : 0;
}

int on_set_vring_addr(struct vhost *v, struct vhost_user_message *m)
{
	const struct vhost_user_vring_addr *a = &m->payload.addr;
	struct ring_config *r = ring_of(v, "SET_VRING_ADDR", a->index);

	if (!r)
		return -EINVAL;
	/* QEMU repeats it while a ring runs when it begins to track written pages. */
	if (r->placed && r->desc == a->desc_user_addr && r->avail == a->avail_user_addr &&
	    r->used == a->used_user_addr)
		return 0;
	if (!idle_ring_of(v, "SET_VRING_ADDR", a->index))
		return -EINVAL;
	if (a->desc_user_addr % 16 || a->avail_user_addr % 2 || a->used_user_addr % 4) {
		log_error("front end: queue %u at 0x%" PRIx64 ", 0x%" PRIx64 ", 0x%" PRIx64
			  ", which must be multiples of 16, 2 and 4",
			  a->index, a->desc_user_addr, a->avail_user_addr, a->used_user_addr);
		return -EINVAL;
	}
	r->desc = a->desc_user_addr;
	r->avail = a->avail_user_addr;
	r->used = a->used_user_addr;
	r->placed = true;
	return ring_follow(v, a->index);
}

int on_get_vring_base(struct vhost *v, struct vhost_user_message *m)
{
	uint32_t index = m->payload.state.index;
	struct ring_config *r = ring_of(v, "GET_VRING_BASE", index);
	int rc;

	if (!r)
		return -EINVAL;
	rc = ring_stop_one(v, index, STOP_TIMEOUT_MS);
	if (rc)
		return rc;
	r->kicked = false;
	queue_set_kick(&v->queues[index], -1);
	m->payload.state.num = r->base;
	m->header.size = sizeof(m->payload.state);
	return 0;
}

int on_set_vring_enable(struct vhost *v, struct vhost_user_message *m)
{
	const struct vhost_user_vring_state *s = &m->payload.state;
	struct ring_config *r = ring_of(v, "SET_VRING_ENABLE", s->index);

	if (!r)
		return -EINVAL;
	r->enabled = s->num != 0;
	return ring_follow(v, s->index);
}

/*
 * An eventfd, as far as can be seen (what is anonymous has no type), and made not to block for as
 * long as the front end leaves it so (event.h): a queue must neither wait for a counter that is
 * full nor write into a file.
 */
static bool is_event(int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && !fstat(fd, &st) && !(st.st_mode & S_IFMT) &&
	       (flags & O_ACCMODE) == O_RDWR && !fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

/* The queue in a vring descriptor message, or -EINVAL; checks NOFD against the descriptors that
 * came. */
static int queue_of_fd(struct vhost *v, const char *what, const struct vhost_user_message *m)
{
	uint32_t index = m->payload.u64 & VHOST_USER_VRING_INDEX_MASK;
	bool no_fd = m->payload.u64 & VHOST_USER_VRING_NOFD;

	if (!ring_of(v, what, index))
		return -EINVAL;
	if (no_fd == (m->n_fds != 0)) {
		log_error("front end: %s for queue %u says %s and brings %u descriptors", what,
			  index, no_fd ? "none" : "one", m->n_fds);
		return -EINVAL;
	}
	if (m->n_fds && !is_event(m->fds[0])) {
		log_error("front end: %s for queue %u brings a descriptor that is no eventfd", what,
			  index);
		return -EINVAL;
	}
	return (int)index;
}

int on_set_vring_kick(struct vhost *v, struct vhost_user_message *m)
{
	int index = queue_of_fd(v, "SET_VRING_KICK", m), rc;

	if (index < 0)
		return index;
	if (!m->n_fds) {
		log_error("front end: queue %d without a kick descriptor; rings are not polled",
			  index);
		return -ENOTSUP;
	}
	rc = ring_stop_one(v, (unsigned)index, STOP_TIMEOUT_MS);
	if (rc)
		return rc;
	queue_set_kick(&v->queues[index], message_take_fd(m));
	v->rings[index].kicked = true;
	return ring_follow(v, (unsigned)index);
}

int on_set_vring_call(struct vhost *v, struct vhost_user_message *m)
{
	int index = queue_of_fd(v, "SET_VRING_CALL", m);

	if (index < 0)
		return index;
	queue_set_call(&v->queues[index], message_take_fd(m));
	return 0;
}

int on_set_vring_err(struct vhost *v, struct vhost_user_message *m)
{
	int index = queue_of_fd(v, "SET_VRING_ERR", m);

	if (index < 0)
		return index;
	queue_set_err(&v->queues[index], message_take_fd(m));
	return 0;
}
