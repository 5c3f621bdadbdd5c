/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* create: a queue's layout in its memory, and its sizes and counts. */
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "virtqueue/internal.h"

#define CACHE_LINE 64u

static uint64_t avail_offset(uint16_t size)
{
	return round_up(VRING_DESC_BYTES(size), CACHE_LINE);
}

static uint64_t used_offset(uint16_t size)
{
	return round_up(avail_offset(size) + VRING_AVAIL_BYTES(size), CACHE_LINE);
}

static uint64_t tables_offset(uint16_t size)
{
	return round_up(used_offset(size) + VRING_USED_BYTES(size), CACHE_LINE);
}

size_t vq_memory_bytes(uint16_t size, bool indirect)
{
	return tables_offset(size) + (indirect ? (size_t)size * TABLE_BYTES : 0);
}

int vq_create(const struct vq_params *params, struct virtqueue **out)
{
	uint16_t size = params->size;
	struct virtqueue *vq;

	if (size < 2 || size > VRING_QUEUE_SIZE_MAX || !is_pow2(size))
		return -EINVAL;
	if (!params->va || (uintptr_t)params->va % 16 || params->iova % 16)
		return -EINVAL;
	vq = calloc(1, sizeof(*vq) + size * sizeof(vq->slots[0]));
	if (!vq)
		return -ENOMEM;

	vq->size = size;
	vq->mask = (uint16_t)(size - 1);
	vq->indirect = params->indirect;
	vq->event_idx = params->event_idx;
	vq->hardware = params->hardware;
	vq->iova = params->iova;
	vq->avail_off = avail_offset(size);
	vq->used_off = used_offset(size);
	vq->tables_off = tables_offset(size);
	vq->desc = (struct vring_desc *)params->va;
	vq->avail = (struct vring_avail *)(params->va + vq->avail_off);
	vq->used = (struct vring_used *)(params->va + vq->used_off);
	vq->tables = params->indirect ? (struct vring_desc *)(params->va + vq->tables_off) : NULL;
	vq->used_event = &vq->avail->ring[size];
	vq->avail_event = (uint16_t *)&vq->used->ring[size];
	vq->n_free = size;
	for (uint16_t i = 0; i < size; i++)
		vq->slots[i].next = i + 1 < size ? (uint16_t)(i + 1) : SLOT_NONE;
	/* Zeroed rings ask for a call at the first used buffer, with and without EVENT_IDX. */
	vq->calls_wanted = true;
	*out = vq;
	return 0;
}

void vq_destroy(struct virtqueue *vq)
{
	free(vq);
}

void vq_areas(const struct virtqueue *vq, uint64_t *desc_iova, uint64_t *avail_iova,
	      uint64_t *used_iova)
{
	*desc_iova = vq->iova;
	*avail_iova = vq->iova + vq->avail_off;
	*used_iova = vq->iova + vq->used_off;
}

unsigned vq_in_flight(const struct virtqueue *vq)
{
	return (unsigned)vq->n_published + vq->n_added;
}

unsigned vq_free(const struct virtqueue *vq)
{
	return vq->n_free;
}
