/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* requests: the front end's requests, but for those about rings. See internal.h. */
#include "internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"

/* How long an invalidation waits for the requests that use what is taken back. */
#define INVALIDATE_TIMEOUT_MS 5000u

static uint64_t features_offered(const struct vhost *v)
{
	uint64_t f = F_PROTOCOL | F(VIRTIO_F_VERSION_1) | F(VIRTIO_F_ACCESS_PLATFORM);

	if (!v->options.no_event_idx)
		f |= F(VIRTIO_F_EVENT_IDX);
	if (!v->options.no_indirect)
		f |= F(VIRTIO_F_INDIRECT_DESC);
	if (v->options.notifications && fs_watches(v->fs))
		f |= F(VIRTIO_FS_F_NOTIFICATION);
	return f;
}

/* Without CONFIGURE_MEM_SLOTS: with it QEMU 11.1 gives up at the 513th mapping of the window. */
static uint64_t protocol_features_offered(const struct vhost *v)
{
	uint64_t f = PF(MQ) | PF(REPLY_ACK) | PF(CONFIG) | PF(BACKEND_REQ) | PF(BACKEND_SEND_FD) |
		     PF(VFSDAX_FILES);

	return v->options.cache_size_bytes ? f | PF(SHMEM) | PF(VFSDAX_RDONLY) : f;
}

static int answer_u64(struct vhost_user_message *m, uint64_t value)
{
	m->payload.u64 = value;
	m->header.size = sizeof(value);
	return 0;
}

static int on_nothing(struct vhost *v, struct vhost_user_message *m)
{
	(void)v;
	(void)m;
	return 0;
}

static int on_get_features(struct vhost *v, struct vhost_user_message *m)
{
	return answer_u64(m, features_offered(v));
}

static int on_set_features(struct vhost *v, struct vhost_user_message *m)
{
	uint64_t unknown = m->payload.u64 & ~features_offered(v);

	if (unknown) {
		log_error("front end: features 0x%" PRIx64 " were never offered", unknown);
		return -EINVAL;
	}
	v->features = m->payload.u64;
	space_set_iommu(&v->space, v->features & F(VIRTIO_F_ACCESS_PLATFORM));
	return 0;
}

static int on_get_protocol_features(struct vhost *v, struct vhost_user_message *m)
{
	return answer_u64(m, protocol_features_offered(v));
}

static int on_set_protocol_features(struct vhost *v, struct vhost_user_message *m)
{
	uint64_t unknown = m->payload.u64 & ~protocol_features_offered(v);

	if (unknown) {
		log_error("front end: protocol features 0x%" PRIx64 " were never offered", unknown);
		return -EINVAL;
	}
	v->protocol_features = m->payload.u64;
	atomic_store(&v->channel.replies, v->protocol_features & PF(REPLY_ACK));
	return 0;
}

static int on_get_queue_num(struct vhost *v, struct vhost_user_message *m)
{
	return answer_u64(m, v->n_queues);
}

static int on_reset(struct vhost *v, struct vhost_user_message *m)
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

static int on_set_mem_table(struct vhost *v, struct vhost_user_message *m)
{
	size_t want = offsetof(struct vhost_user_mem_table, regions) +
		      m->payload.mem_table.num_regions * sizeof(struct vhost_user_mem_region);
	struct memory *memory;
	int rc;

	/* Some front ends send the room for all regions, whatever their number. */
	if (m->payload.mem_table.num_regions > VHOST_USER_MEM_REGIONS_MAX ||
	    m->header.size < want) {
		log_error("front end: memory table of %u regions in %u bytes",
			  m->payload.mem_table.num_regions, m->header.size);
		return -EINVAL;
	}
	rc = memory_create(&m->payload.mem_table, m->fds, m->n_fds, v->space.memory, &memory);
	if (!rc)
		space_set_memory(&v->space, memory);
	return rc;
}

static int on_set_backend_req_fd(struct vhost *v, struct vhost_user_message *m)
{
	channel_set(&v->channel, message_take_fd(m));
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

static int on_iotlb(struct vhost *v, struct vhost_user_message *m)
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
 * when the driver asks: the driver must not count on queues that are not there.
 */
static uint32_t request_queues_told(const struct vhost *v)
{
	if (v->queues_seen < 2)
		return v->options.num_request_queues;
	return MIN(v->options.num_request_queues, v->queues_seen - 1);
}

static int on_get_config(struct vhost *v, struct vhost_user_message *m)
{
	struct virtio_fs_config_wire fs_config = {.num_request_queues = request_queues_told(v)};
	const size_t head = offsetof(struct vhost_user_config, region);
	const uint32_t notify_bytes = v->options.notifications ? FS_NOTIFY_BYTES : 0;
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
	memcpy(all + VIRTIO_FS_CONFIG_NOTIFY_BUF_SIZE, &notify_bytes, sizeof(notify_bytes));
	memcpy(c->region, all + c->offset, c->size);
	return 0;
}

static int on_set_config(struct vhost *v, struct vhost_user_message *m)
{
	(void)v;
	(void)m;
	log_error("front end: SET_CONFIG, but the configuration of virtio-fs is read-only");
	return -EPERM;
}

static int on_get_shmem_config(struct vhost *v, struct vhost_user_message *m)
{
	struct vhost_user_shmem_config *c = &m->payload.shmem_config;

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
	message_handler handle;
	const char *name;
} kinds[] = {
#define M(id, min, max, fmin, fmax, ans, fn)                        \
	{                                                           \
		VHOST_USER_##id, min, max, fmin, fmax, ans, fn, #id \
	}
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

static int check_shape(const struct message_kind *k, const struct vhost_user_message *m)
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

static int reply(struct vhost *v, struct vhost_user_message *m)
{
	frame_release(m); /* what was not taken is not for the answer */
	m->header.flags = VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY;
	return message_send(v->sock, v->stop_fd, MESSAGE_TIMEOUT_MS, m);
}

/*
 * A refusal is a non-zero acknowledgement where one was asked for. Where the front end
 * would never learn of it the connection ends, since both sides would believe different things.
 */
int message_dispatch(struct vhost *v, struct vhost_user_message *m)
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
	rc = m->fds_lost ? -EMFILE : check_shape(k, m);
	if (!rc)
		rc = k->handle(v, m);
	if (k->answers)
		return rc ? rc : reply(v, m);
	if (!acknowledge)
		return rc;
	answer_u64(m, (uint64_t)-rc);
	return reply(v, m);
}
