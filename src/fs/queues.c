/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fs/queues: which queues a session has, and the layout of its DMA arena. What is done with them
 * is in channel.c, hiprio.c and notify.c. */
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/log.h"
#include "fs/internal.h"

#define QUEUE_SIZE_WANTED 512
#define QUEUE_SIZE_IDLE	  16
/* A chain has up to four pieces (fs/channel.c); without indirect tables each takes an entry. */
#define CHAIN_MAX	  4

uint8_t *fs_arena_take(struct fs_arena *arena, size_t len, size_t align, uint64_t *iova)
{
	size_t at = round_up(arena->used, align);
	uint8_t *va = arena->mem.va + at;

	*iova = arena->mem.iova + at;
	arena->used = at + len;
	return va;
}

static uint16_t pow2_at_most(unsigned limit)
{
	uint16_t size = 2;

	while (size < VRING_QUEUE_SIZE_MAX && 2u * size <= limit)
		size *= 2;
	return size;
}

/* Lays a ring of `size` entries into the arena and sets it up in the device. */
static int queue_open(struct fs_session *s, uint16_t index, uint16_t size, struct virtqueue **out)
{
	bool indirect = s->features & VIRTIO_F_BIT(VIRTIO_F_INDIRECT_DESC);
	struct vq_params params = {
		.size = size,
		.indirect = indirect,
		.event_idx = s->features & VIRTIO_F_BIT(VIRTIO_F_EVENT_IDX),
		.hardware = s->features & VIRTIO_F_BIT(VIRTIO_F_ORDER_PLATFORM),
	};
	struct queue_addr addr = {.size = size};
	struct virtqueue *vq;
	int err;

	params.va = fs_arena_take(&s->arena, vq_memory_bytes(size, indirect), 4096, &params.iova);
	err = vq_create(&params, &vq);
	if (err)
		return err;
	vq_areas(vq, &addr.desc_iova, &addr.avail_iova, &addr.used_iova);
	err = s->t->ops->queue_setup(s->t, index, &addr);
	if (err) {
		vq_destroy(vq);
		return err;
	}
	*out = vq;
	return 0;
}

int fs_queues_plan(struct fs_session *s, struct fs_queue_plan *plan)
{
	struct transport *t = s->t;
	bool indirect = s->features & VIRTIO_F_BIT(VIRTIO_F_INDIRECT_DESC);
	unsigned n_request, want = s->params.queues ? s->params.queues : s->params.workers;
	int n = t->ops->queue_count(t);
	int err;

	if (n < 0)
		return n;
	if (n < 2 || n > FS_QUEUES_MAX) {
		log_error("%s: the device has %d queues; a virtio-fs device has 2 to %d: "
			  "this is not a virtio-fs device",
			  t->source, n, FS_QUEUES_MAX);
		return -ENODEV;
	}
	plan->n_queues = (unsigned)n;
	err = fs_config_read(s, plan->n_queues, &n_request);
	if (err)
		return err;
	/* A device that does not know what will be negotiated counts it among them. */
	if (fs_notifies(s))
		n_request = MIN(n_request, plan->n_queues - 2);
	plan->n_channels = MIN(MAX(want, 1u), n_request);
	if (s->params.queues > n_request)
		log_warn("%s: queues=%u, but the device has %u request queues: using %u", t->source,
			 s->params.queues, n_request, n_request);
	plan->arena_bytes = fs_hiprio_bytes() + fs_notify_bytes(s) +
			    plan->n_channels * fs_channel_bytes(&s->params);
	for (unsigned i = 0; i < plan->n_queues; i++) {
		int max = t->ops->queue_size_max(t, (uint16_t)i);
		bool used = i <= plan->n_channels + fs_notifies(s);
		int least = used && !indirect ? CHAIN_MAX : 2;

		if (max < least) {
			log_error("%s: queue %u of the device has %d entries; %d is the least",
				  t->source, i, max, least);
			return max < 0 ? max : -ENODEV;
		}
		plan->size[i] = pow2_at_most(
			MIN((unsigned)max, used ? QUEUE_SIZE_WANTED : QUEUE_SIZE_IDLE));
		plan->arena_bytes += round_up(vq_memory_bytes(plan->size[i], indirect), 4096);
	}
	plan->arena_bytes += 64 * 1024; /* alignment between the pieces */
	return 0;
}

int fs_queues_open(struct fs_session *s, const struct fs_queue_plan *plan)
{
	struct virtqueue *vq;
	int err;

	s->channels = calloc(plan->n_channels, sizeof(*s->channels));
	s->idle = calloc(plan->n_queues, sizeof(struct virtqueue *));
	if (!s->channels || !s->idle)
		return -ENOMEM;
	for (unsigned i = 0; i < plan->n_queues; i++) {
		err = queue_open(s, (uint16_t)i, plan->size[i], &vq);
		if (err)
			return err;
		if (i == VIRTIO_FS_QUEUE_HIPRIO) {
			err = fs_hiprio_open(s, vq);
		} else if (i == VIRTIO_FS_QUEUE_NOTIFY && fs_notifies(s)) {
			err = fs_notify_open(s, vq);
		} else if (s->n_channels < plan->n_channels) {
			err = fs_channel_open(s, &s->channels[s->n_channels], (uint16_t)i, vq);
			s->n_channels += err == 0;
		} else {
			s->idle[s->n_idle++] = vq;
		}
		if (err) {
			vq_destroy(vq);
			return err;
		}
	}
	return 0;
}

void fs_queues_close(struct fs_session *s, int err)
{
	for (unsigned i = 0; i < s->n_channels; i++)
		fs_channel_close(&s->channels[i], err);
	for (unsigned i = 0; i < s->n_idle; i++)
		vq_destroy(s->idle[i]);
	fs_hiprio_close(s);
	fs_notify_close(s);
	free(s->channels);
	free(s->idle);
}
