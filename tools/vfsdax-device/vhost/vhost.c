/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vhost.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "shmem.h"
#include "channel.h"
#include "message.h"
#include "queue.h"
#include "space.h"

/* A request may take its time (a slow disk); one that takes longer is called stuck. */
#define STOP_TIMEOUT_MS	      20000u
#define STUCK_LOOK_MS	      500u
#define STUCK_AT_EXIT_MS      8000u
#define INVALIDATE_TIMEOUT_MS 5000u
/* Some rings were stopped and others run on: the device as a whole was not stopped after all. */
#define REOPEN_AFTER_MS 1000u
/* How long a second front end may wait for the first one's end. */
#define NEWCOMER_MS 3000u

/* What the front end said about a ring. */
struct ring_config {
	uint16_t size;
	uint16_t base; /* where it begins, or where it stopped */
	bool placed;   /* SET_VRING_ADDR came */
	bool kicked;   /* SET_VRING_KICK came: "started" in the specification's words */
	bool enabled;
	uint64_t desc, avail, used;
};

struct vhost {
	struct vhost_options options;
	unsigned n_queues;
	struct queue *queues;
	struct ring_config *rings;
	struct channel channel;
	struct space space;
	struct shmem shmem;
	struct fs *fs;

	/* Of the connection. */
	int sock, listen_fd, stop_fd;
	uint64_t features, protocol_features;
	unsigned queues_seen; /* the front end has at least so many */
	bool window_open;
	bool session_used;    /* a ring ran since the last fs_reset() */
	uint64_t newcomer_since; /* when another front end was seen in the listen queue; 0: none */
	uint64_t shut_at;     /* when the window was shut with rings still running */
};

#define F(n)		(UINT64_C(1) << (n))
#define F_PROTOCOL	F(VHOST_USER_F_PROTOCOL_FEATURES)
#define PF(name)	F(VHOST_USER_PROTOCOL_F_##name)

static uint64_t features_offered(const struct vhost *v)
{
	uint64_t f = F_PROTOCOL | F(VIRTIO_F_VERSION_1) | F(VIRTIO_F_ACCESS_PLATFORM);

	if (!v->options.no_event_idx)
		f |= F(VIRTIO_F_EVENT_IDX);
	if (!v->options.no_indirect)
		f |= F(VIRTIO_F_INDIRECT_DESC);
	return f;
}

/* Without CONFIGURE_MEM_SLOTS: with it QEMU 11.1 gives up at the 513th mapping of the window. */
static uint64_t protocol_features_offered(const struct vhost *v)
{
	uint64_t f = PF(MQ) | PF(REPLY_ACK) | PF(CONFIG) | PF(BACKEND_REQ) | PF(BACKEND_SEND_FD);

	return v->options.cache_size_bytes ? f | PF(SHMEM) : f;
}

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

static void window_open(struct vhost *v)
{
	const uint64_t need = PF(SHMEM) | PF(BACKEND_REQ) | PF(BACKEND_SEND_FD) | PF(REPLY_ACK);

	v->shut_at = 0;
	if (v->window_open)
		return;
	/* A window without a channel to ask for mappings on is none. */
	if ((v->protocol_features & need) == need && v->channel.fd >= 0)
		shmem_negotiated(&v->shmem, v->options.cache_size_bytes);
	shmem_open(&v->shmem);
	v->window_open = true;
}

static void window_shut(struct vhost *v)
{
	if (!v->window_open)
		return;
	shmem_shut(&v->shmem);
	space_nudge(&v->space); /* whoever waits for a translation sees the interruption */
	v->window_open = false;
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
		log_error("queue %u: a request is stuck in the file system of the shared directory", i);
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
	return 0;
}

static int rings_stop(struct vhost *v, unsigned timeout_ms)
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

/* Forgets the guest's session. All rings stand still. */
static void session_reset(struct vhost *v)
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

/*
 * A handler gets a message whose length and number of descriptors the table below has checked. It
 * takes descriptors by setting them to -1. 0; or -errno: refused, after a line of log.
 * One with an answer leaves the payload and its size in *m.
 */
typedef int (*handler)(struct vhost *v, struct message *m);

static int take_fd(struct message *m)
{
	int fd = m->n_fds ? m->fds[0] : -1;

	if (m->n_fds)
		m->fds[0] = -1;
	return fd;
}

static int answer_u64(struct message *m, uint64_t value)
{
	m->payload.u64 = value;
	m->header.size = sizeof(value);
	return 0;
}

static int on_nothing(struct vhost *v, struct message *m)
{
	(void)v;
	(void)m;
	return 0;
}

static int on_get_features(struct vhost *v, struct message *m)
{
	return answer_u64(m, features_offered(v));
}

static int on_set_features(struct vhost *v, struct message *m)
{
	uint64_t unknown = m->payload.u64 & ~features_offered(v);

	if (unknown) {
		log_error("front end: features 0x%" PRIx64 " were never offered", unknown);
		return -EINVAL;
	}
	v->features = m->payload.u64;
	space_set_iommu(&v->space, has_feature(v, VIRTIO_F_ACCESS_PLATFORM));
	return 0;
}

static int on_get_protocol_features(struct vhost *v, struct message *m)
{
	return answer_u64(m, protocol_features_offered(v));
}

static int on_set_protocol_features(struct vhost *v, struct message *m)
{
	uint64_t unknown = m->payload.u64 & ~protocol_features_offered(v);

	if (unknown) {
		log_error("front end: protocol features 0x%" PRIx64 " were never offered", unknown);
		return -EINVAL;
	}
	v->protocol_features = m->payload.u64;
	return 0;
}

static int on_get_queue_num(struct vhost *v, struct message *m)
{
	return answer_u64(m, v->n_queues);
}

static int on_reset(struct vhost *v, struct message *m)
{
	int rc = rings_stop(v, STOP_TIMEOUT_MS);

	(void)m;
	if (rc)
		return rc;
	for (unsigned i = 0; i < v->n_queues; i++)
		v->rings[i] = (struct ring_config){0};
	session_reset(v);
	return 0;
}

static int on_set_mem_table(struct vhost *v, struct message *m)
{
	size_t want = offsetof(struct vhost_user_mem_table, regions) +
		      m->payload.table.num_regions * sizeof(struct vhost_user_mem_region);
	struct memory *memory;
	int rc;

	/* Some front ends send the room for all regions, whatever their number. */
	if (m->payload.table.num_regions > VHOST_USER_MEM_REGIONS_MAX || m->header.size < want) {
		log_error("front end: memory table of %u regions in %u bytes",
			  m->payload.table.num_regions, m->header.size);
		return -EINVAL;
	}
	rc = memory_create(&m->payload.table, m->fds, m->n_fds, v->space.memory, &memory);
	if (!rc)
		space_set_memory(&v->space, memory);
	return rc;
}

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

static int on_set_vring_num(struct vhost *v, struct message *m)
{
	const struct vhost_user_vring_state *s = &m->payload.state;
	struct ring_config *r = idle_ring_of(v, "SET_VRING_NUM", s->index);

	if (!r)
		return -EINVAL;
	if (!is_pow2(s->num) || s->num > v->options.queue_size_max) {
		log_error("front end: queue %u with %u entries; a power of two up to %u is possible",
			  s->index, s->num, v->options.queue_size_max);
		return -EINVAL;
	}
	r->size = (uint16_t)s->num;
	return 0;
}

static int on_set_vring_base(struct vhost *v, struct message *m)
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

static int on_set_vring_addr(struct vhost *v, struct message *m)
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

static int on_get_vring_base(struct vhost *v, struct message *m)
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

static int on_set_vring_enable(struct vhost *v, struct message *m)
{
	const struct vhost_user_vring_state *s = &m->payload.state;
	struct ring_config *r = ring_of(v, "SET_VRING_ENABLE", s->index);

	if (!r)
		return -EINVAL;
	r->enabled = s->num != 0;
	return ring_follow(v, s->index);
}

/* The queue in a vring descriptor message, or -EINVAL; checks that NOFD tells the truth. */
static int queue_of_fd(struct vhost *v, const char *what, const struct message *m)
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
	return (int)index;
}

static int on_set_vring_kick(struct vhost *v, struct message *m)
{
	int index = queue_of_fd(v, "SET_VRING_KICK", m), rc;

	if (index < 0)
		return index;
	if (!m->n_fds) {
		log_error("front end: queue %d without a kick descriptor; rings are not polled", index);
		return -ENOTSUP;
	}
	rc = ring_stop_one(v, (unsigned)index, STOP_TIMEOUT_MS);
	if (rc)
		return rc;
	queue_set_kick(&v->queues[index], take_fd(m));
	v->rings[index].kicked = true;
	return ring_follow(v, (unsigned)index);
}

static int on_set_vring_call(struct vhost *v, struct message *m)
{
	int index = queue_of_fd(v, "SET_VRING_CALL", m);

	if (index < 0)
		return index;
	queue_set_call(&v->queues[index], take_fd(m));
	return 0;
}

static int on_set_vring_err(struct vhost *v, struct message *m)
{
	int index = queue_of_fd(v, "SET_VRING_ERR", m);

	if (index < 0)
		return index;
	queue_set_err(&v->queues[index], take_fd(m));
	return 0;
}

static int on_set_backend_req_fd(struct vhost *v, struct message *m)
{
	channel_set(&v->channel, take_fd(m));
	return 0;
}

/* Size 0 has only one meaning: everything, where addr_mask + 1 did not fit into 64 bits. */
static int iotlb_invalidate(struct vhost *v, const struct vhost_user_iotlb *t)
{
	uint64_t last;
	int rc;

	if (!t->size || !u64_add(t->iova, t->size - 1, &last))
		last = UINT64_MAX;
	rc = space_invalidate(&v->space, t->size ? t->iova : 0, last, INVALIDATE_TIMEOUT_MS);
	if (rc)
		log_error("IOTLB: 0x%" PRIx64 " to 0x%" PRIx64
			  " was taken back while a request uses it",
			  t->iova, last);
	return rc;
}

static int on_iotlb(struct vhost *v, struct message *m)
{
	const struct vhost_user_iotlb *t = &m->payload.iotlb;
	int rc;

	switch (t->type) {
	case VHOST_IOTLB_UPDATE_MSG:
		rc = space_update(&v->space, t->iova, t->size, t->user_addr, t->perm);
		if (rc)
			log_error("IOTLB: an update of 0x%" PRIx64 " bytes at 0x%" PRIx64
				  " with permission %u is refused",
				  t->size, t->iova, t->perm);
		return rc;
	case VHOST_IOTLB_INVALIDATE_MSG:
		return iotlb_invalidate(v, t);
	case VHOST_IOTLB_FAIL_MSG:
		space_refuse(&v->space, t->iova);
		return 0;
	default:
		log_error("IOTLB: a message of type %u", t->type);
		return -EINVAL;
	}
}

/*
 * A front end with fewer queues than we could serve (QEMU's num_vqs) has named those that it has
 * when the driver asks: the driver shall not be told of queues that are not there.
 */
static uint32_t request_queues_told(const struct vhost *v)
{
	if (v->queues_seen < 2)
		return v->options.num_request_queues;
	return MIN(v->options.num_request_queues, v->queues_seen - 1);
}

static int on_get_config(struct vhost *v, struct message *m)
{
	struct virtio_fs_config_wire fs_config = {.num_request_queues = request_queues_told(v)};
	const size_t head = offsetof(struct vhost_user_config, region);
	struct vhost_user_config *c = &m->payload.config;
	uint8_t all[sizeof(c->region)] = {0};

	if (c->size > sizeof(all) || m->header.size != head + c->size ||
	    !extent_within(c->offset, c->size, sizeof(all))) {
		log_error("front end: GET_CONFIG of %u bytes at %u in a message of %u", c->size,
			  c->offset, m->header.size);
		m->header.size = 0; /* the protocol's way to say no */
		return 0;
	}
	memcpy(fs_config.tag, v->options.tag, sizeof(fs_config.tag));
	memcpy(all, &fs_config, sizeof(fs_config));
	memcpy(c->region, all + c->offset, c->size);
	return 0;
}

static int on_set_config(struct vhost *v, struct message *m)
{
	(void)v;
	(void)m;
	log_error("front end: SET_CONFIG, but the configuration of virtio-fs is read-only");
	return -EPERM;
}

static int on_get_shmem_config(struct vhost *v, struct message *m)
{
	struct vhost_user_shmem_config *c = &m->payload.shmem;

	*c = (struct vhost_user_shmem_config){.num_regions = v->options.cache_size_bytes != 0};
	c->sizes[VIRTIO_FS_SHMID_DAX] = v->options.cache_size_bytes;
	m->header.size = sizeof(*c);
	return 0;
}

enum { STATE_BYTES = sizeof(struct vhost_user_vring_state), CONFIG_HEAD_BYTES = 12 };
static_assert(offsetof(struct vhost_user_config, region) == CONFIG_HEAD_BYTES, "");

static const struct message_kind {
	uint32_t request;
	uint16_t size_min, size_max; /* of the payload */
	uint8_t fds_min, fds_max;
	bool answers; /* with a payload of its own, so never with an acknowledgement */
	handler handle;
	const char *name;
} kinds[] = {
#define M(id, min, max, fmin, fmax, ans, fn) {VHOST_USER_##id, min, max, fmin, fmax, ans, fn, #id}
	M(GET_FEATURES, 0, 0, 0, 0, true, on_get_features),
	M(SET_FEATURES, 8, 8, 0, 0, false, on_set_features),
	M(SET_OWNER, 0, 0, 0, 0, false, on_nothing),
	M(RESET_OWNER, 0, 0, 0, 0, false, on_reset),
	M(SET_MEM_TABLE, 8, sizeof(struct vhost_user_mem_table), 0, 8, false, on_set_mem_table),
	M(SET_VRING_NUM, STATE_BYTES, STATE_BYTES, 0, 0, false, on_set_vring_num),
	M(SET_VRING_ADDR, 40, 40, 0, 0, false, on_set_vring_addr),
	M(SET_VRING_BASE, STATE_BYTES, STATE_BYTES, 0, 0, false, on_set_vring_base),
	M(GET_VRING_BASE, STATE_BYTES, STATE_BYTES, 0, 0, true, on_get_vring_base),
	M(SET_VRING_KICK, 8, 8, 0, 1, false, on_set_vring_kick),
	M(SET_VRING_CALL, 8, 8, 0, 1, false, on_set_vring_call),
	M(SET_VRING_ERR, 8, 8, 0, 1, false, on_set_vring_err),
	M(GET_PROTOCOL_FEATURES, 0, 0, 0, 0, true, on_get_protocol_features),
	M(SET_PROTOCOL_FEATURES, 8, 8, 0, 0, false, on_set_protocol_features),
	M(GET_QUEUE_NUM, 0, 0, 0, 0, true, on_get_queue_num),
	M(SET_VRING_ENABLE, STATE_BYTES, STATE_BYTES, 0, 0, false, on_set_vring_enable),
	M(SET_BACKEND_REQ_FD, 0, 8, 1, 1, false, on_set_backend_req_fd),
	M(IOTLB_MSG, 32, 32, 0, 0, false, on_iotlb),
	M(GET_CONFIG, CONFIG_HEAD_BYTES, CONFIG_HEAD_BYTES + 256, 0, 0, true, on_get_config),
	M(SET_CONFIG, CONFIG_HEAD_BYTES, CONFIG_HEAD_BYTES + 256, 0, 0, false, on_set_config),
	M(RESET_DEVICE, 0, 0, 0, 0, false, on_reset),
	M(GET_SHMEM_CONFIG, 0, 0, 0, 0, true, on_get_shmem_config),
#undef M
};

static const struct message_kind *kind_of(uint32_t request)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].request == request)
			return &kinds[i];
	return NULL;
}

static int check_shape(const struct message_kind *k, const struct message *m)
{
	if (m->header.size < k->size_min || m->header.size > k->size_max) {
		log_error("front end: %s with a payload of %u bytes", k->name, m->header.size);
		return -EPROTO;
	}
	if (m->n_fds < k->fds_min || m->n_fds > k->fds_max) {
		log_error("front end: %s with %u descriptors", k->name, m->n_fds);
		return -EPROTO;
	}
	return 0;
}

static int reply(struct vhost *v, struct message *m)
{
	m->header.flags = VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY;
	return message_send(v->sock, v->stop_fd, m);
}

/*
 * A refusal goes back as a non-zero acknowledgement where one was asked for. Where the front end
 * would never learn of it the connection ends, since both sides would believe different things.
 */
static int dispatch(struct vhost *v, struct message *m)
{
	const struct message_kind *k = kind_of(m->header.request);
	bool acknowledge = (m->header.flags & VHOST_USER_FLAG_NEED_REPLY) &&
			   (v->protocol_features & PF(REPLY_ACK));
	int rc;

	if (!k) {
		log_warn("front end: request %u is unknown here", m->header.request);
		return acknowledge ? answer_u64(m, ENOTSUP), reply(v, m) : 0;
	}
	/* A short message leaves nothing of the one before in its payload. */
	memset(m->payload.bytes + m->header.size, 0, sizeof(m->payload) - m->header.size);
	rc = check_shape(k, m);
	if (!rc)
		rc = k->handle(v, m);
	if (k->answers)
		return rc ? rc : reply(v, m);
	if (!acknowledge)
		return rc;
	answer_u64(m, (uint64_t)-rc);
	return reply(v, m);
}

/* ------------------------------------------------------------------ a connection */

/*
 * A front end that comes while there is one stays in the listen queue for a while: an unmount
 * returns before the old one has said good-bye, so the new one may just be early. Then it is
 * turned away.
 */
static void turn_away(struct vhost *v)
{
	struct pollfd p = {.fd = v->listen_fd, .events = POLLIN};
	int fd;

	v->newcomer_since = 0;
	if (poll(&p, 1, 0) != 1)
		return; /* it gave up by itself */
	fd = accept4(v->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return;
	log_warn("another front end connected and was turned away: there is one already");
	close(fd);
}

/* The device runs on with some of its rings: the window and the translations do as well. */
static void reopen_if_due(struct vhost *v)
{
	if (v->shut_at && clock_now_ns() - v->shut_at > REOPEN_AFTER_MS * NS_PER_MS)
		window_open(v);
}

/* 0 when the front end has something to say, otherwise as message_receive(). */
static int wait_for_message(struct vhost *v)
{
	struct pollfd p[3] = {{.fd = v->sock, .events = POLLIN},
			      {.fd = v->stop_fd, .events = POLLIN},
			      {.fd = v->listen_fd, .events = POLLIN}};

	for (;;) {
		uint64_t since = v->newcomer_since;
		int timeout = v->shut_at ? (int)REOPEN_AFTER_MS : since ? 100 : -1;
		int n;

		p[2].fd = since ? -1 : v->listen_fd;
		n = poll(p, 3, timeout);
		if (n < 0 && errno != EINTR)
			return -errno;
		reopen_if_due(v);
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

static int serve_one(struct vhost *v, struct message *m)
{
	int rc = wait_for_message(v);

	if (!rc)
		rc = message_receive(v->sock, v->stop_fd, m);
	if (rc)
		return rc;
	log_debug("front end: request %u, flags 0x%x, %u bytes, %u descriptors", m->header.request,
		  m->header.flags, m->header.size, m->n_fds);
	rc = dispatch(v, m);
	message_close_fds(m);
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
	shmem_negotiated(&v->shmem, 0);
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
	struct message *m = malloc(sizeof(*m));
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
	unsigned n = options->num_request_queues + VIRTIO_FS_QUEUE_REQUEST, ready = 0;
	int rc = -ENOMEM;

	if (!v)
		goto fail;
	v->options = *options;
	v->n_queues = n;
	v->queues = calloc(n, sizeof(*v->queues));
	v->rings = calloc(n, sizeof(*v->rings));
	if (!v->queues || !v->rings)
		goto fail_arrays;
	rc = channel_init(&v->channel);
	if (rc)
		goto fail_arrays;
	channel_interrupt(&v->channel); /* until the device starts */
	space_init(&v->space, &v->channel, IOTLB_LIMIT);
	shmem_init(&v->shmem, &v->channel);
	for (; ready < n; ready++) {
		rc = queue_init(&v->queues[ready], ready, &v->space, NULL);
		if (rc)
			goto fail_queues;
	}
	*out = v;
	return 0;

fail_queues:
	while (ready)
		queue_fini(&v->queues[--ready]);
	shmem_fini(&v->shmem);
	space_fini(&v->space);
	channel_fini(&v->channel);
fail_arrays:
	free(v->queues);
	free(v->rings);
	free(v);
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
