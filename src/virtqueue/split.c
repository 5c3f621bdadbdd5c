/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The split ring, driver's half (virtio 1.3, 2.7).
 *
 *   DMA memory of one queue, all offsets from params.va / params.iova:
 *
 *     0           desc_end      avail_off        used_off          tables_off
 *     +-----------+-------------+----------------+-----------------+-------------------------+
 *     | desc[n]   |  (padding)  | avail          | used            | table 0 | ... | table n-1|
 *     +-----------+-------------+----------------+-----------------+-------------------------+
 *       we write                  we write          device writes    we write (INDIRECT_DESC)
 *
 * What the device writes shares no cache line with what we write. Table i belongs to descriptor i
 * for good, so an indirect chain costs one descriptor and no allocation.
 *
 * The device may write anywhere in this memory at any time. So everything that we need to know
 * later (who is in flight, how its descriptors are linked, how much it may write) is kept in
 * `slots`, ordinary memory, and the ring is only written by us, but for `used` and its event field.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "virtqueue/internal.h"

/* ------------------------------------------------------------------------- to the device */

static void desc_write(struct vring_desc *d, const struct vq_segment *seg, uint16_t flags,
		       uint16_t next)
{
	ring_store(&d->addr, seg->iova);
	ring_store(&d->len, seg->len_bytes);
	ring_store(&d->flags, flags);
	ring_store(&d->next, next);
}

/* The pieces must be there, not empty, and the writable ones countable in the used length. */
static bool segments_valid(const struct vq_segment *readable, unsigned n_readable,
			   const struct vq_segment *writable, unsigned n_writable,
			   uint32_t *writable_bytes)
{
	uint64_t sum = 0;

	if (n_readable > VQ_SEGMENTS_MAX || n_writable > VQ_SEGMENTS_MAX ||
	    n_readable + n_writable > VQ_SEGMENTS_MAX || n_readable + n_writable == 0)
		return false;
	for (unsigned i = 0; i < n_readable; i++)
		if (!readable[i].len_bytes)
			return false;
	for (unsigned i = 0; i < n_writable; i++) {
		if (!writable[i].len_bytes)
			return false;
		sum += writable[i].len_bytes;
	}
	*writable_bytes = (uint32_t)sum;
	return sum <= UINT32_MAX;
}

static const struct vq_segment *piece(const struct vq_segment *readable, unsigned n_readable,
				      const struct vq_segment *writable, unsigned i)
{
	return i < n_readable ? &readable[i] : &writable[i - n_readable];
}

/* 2.7.5.3: the chain goes into the head's own table, one ring descriptor points at that. */
static void write_indirect(struct virtqueue *vq, uint16_t head, const struct vq_segment *readable,
			   unsigned n_readable, const struct vq_segment *writable, unsigned n)
{
	struct vring_desc *table = vq->tables + (size_t)head * VQ_SEGMENTS_MAX;
	struct vq_segment whole = {
		.iova = vq->iova + vq->tables_off + (uint64_t)head * TABLE_BYTES,
		.len_bytes = (uint32_t)VRING_DESC_BYTES(n),
	};

	for (unsigned i = 0; i < n; i++) {
		bool last = i + 1 == n;
		unsigned flags =
			(last ? 0 : VRING_DESC_F_NEXT) | (i < n_readable ? 0 : VRING_DESC_F_WRITE);

		desc_write(&table[i], piece(readable, n_readable, writable, i), (uint16_t)flags,
			   last ? 0 : (uint16_t)(i + 1));
	}
	desc_write(&vq->desc[head], &whole, VRING_DESC_F_INDIRECT, 0);
}

/* 2.7.5: one ring descriptor a piece, linked as the free list links them. */
static void write_direct(struct virtqueue *vq, uint16_t head, const struct vq_segment *readable,
			 unsigned n_readable, const struct vq_segment *writable, unsigned n)
{
	uint16_t at = head;

	for (unsigned i = 0; i < n; i++) {
		bool last = i + 1 == n;
		unsigned flags =
			(last ? 0 : VRING_DESC_F_NEXT) | (i < n_readable ? 0 : VRING_DESC_F_WRITE);
		uint16_t next = last ? 0 : vq->slots[at].next;

		desc_write(&vq->desc[at], piece(readable, n_readable, writable, i), (uint16_t)flags,
			   next);
		at = next;
	}
}

/* Takes n descriptors off the free list; they stay linked in their order. */
static uint16_t slots_take(struct virtqueue *vq, unsigned n)
{
	uint16_t head = vq->free_head;
	uint16_t last = head;

	for (unsigned i = 1; i < n; i++)
		last = vq->slots[last].next;
	vq->free_head = vq->slots[last].next;
	vq->n_free = (uint16_t)(vq->n_free - n);
	return head;
}

static void slots_give_back(struct virtqueue *vq, uint16_t head)
{
	unsigned n = vq->slots[head].n_desc;
	uint16_t last = head;

	for (unsigned i = 1; i < n; i++)
		last = vq->slots[last].next;
	vq->slots[last].next = vq->free_head;
	vq->free_head = head;
	vq->n_free = (uint16_t)(vq->n_free + n);
	vq->slots[head].token = NULL;
}

int vq_add(struct virtqueue *vq, const struct vq_segment *readable, unsigned n_readable,
	   const struct vq_segment *writable, unsigned n_writable, void *token)
{
	uint32_t writable_bytes;
	unsigned n, n_desc;
	uint16_t head;

	assert(token);
	if (!segments_valid(readable, n_readable, writable, n_writable, &writable_bytes))
		return -EINVAL;
	/* A single piece needs no table: one descriptor either way, and the device reads less. */
	n = n_readable + n_writable;
	n_desc = vq->indirect ? 1 : n;
	if (n_desc > vq->n_free)
		return -ENOSPC;

	head = slots_take(vq, n_desc);
	vq->slots[head].token = token;
	vq->slots[head].batch = vq->batch;
	vq->slots[head].writable_bytes = writable_bytes;
	vq->slots[head].n_desc = (uint16_t)n_desc;
	if (n > n_desc)
		write_indirect(vq, head, readable, n_readable, writable, n);
	else
		write_direct(vq, head, readable, n_readable, writable, n);

	/* The place is free: at most size - 1 chains are in flight, so the device has taken what
	 * stood here one round ago. It looks here only after vq_publish. */
	ring_store(&vq->avail->ring[vq->avail_next & vq->mask], head);
	vq->avail_next++;
	vq->n_added++;
	return 0;
}

bool vq_publish(struct virtqueue *vq)
{
	uint16_t old = vq->avail_idx;

	if (!vq->n_added)
		return false;
	vq->n_published = (uint16_t)(vq->n_published + vq->n_added);
	vq->n_added = 0;
	vq->batch++;
	vq->avail_idx = vq->avail_next;

	/*
	 * 2.7.13.3, 2.7.13.4. Orders, as a release, the descriptors and avail->ring before
	 * avail->idx; and, as a full barrier, the store of avail->idx before the load of
	 * avail_event (or used->flags): the device stores its event, then loads avail->idx, so at
	 * least one side sees the other and no kick is lost.
	 */
	order_stores(vq);
	ring_store_full(&vq->avail->idx, vq->avail_idx);
	order_store_load(vq);
	if (vq->event_idx)
		return vring_need_event(ring_load_full(vq->avail_event), vq->avail_idx, old);
	return !(ring_load_full(&vq->used->flags) & VRING_USED_F_NO_NOTIFY);
}

/* ------------------------------------------------------------------------- from the device */

__attribute__((format(printf, 2, 3))) static void vq_break(struct virtqueue *vq, const char *format,
							   ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(vq->why, sizeof(vq->why), format, ap);
	va_end(ap);
	vq->broken = true;
}

/* Checks one used element (a private copy) and takes its chain off. False: the queue is broken. */
static bool reap_one(struct virtqueue *vq, const struct vring_used_elem *elem, struct vq_done *done)
{
	struct slot *slot;

	if (elem->id >= vq->size) {
		vq_break(vq, "used element %u names descriptor %u of a queue with %u",
			 vq->used_next, elem->id, vq->size);
		return false;
	}
	slot = &vq->slots[elem->id];
	if (!slot->token || slot->batch == vq->batch) {
		vq_break(vq, "used element %u names descriptor %u, which is not in flight",
			 vq->used_next, elem->id);
		return false;
	}
	if (elem->len > slot->writable_bytes) {
		vq_break(vq, "used element %u claims %u bytes written where there was room for %u",
			 vq->used_next, elem->len, slot->writable_bytes);
		return false;
	}
	done->token = slot->token;
	done->written_bytes = elem->len;
	slots_give_back(vq, (uint16_t)elem->id);
	vq->n_published--;
	vq->used_next++;
	return true;
}

int vq_reap(struct virtqueue *vq, struct vq_done *done, unsigned max, char why[128])
{
	unsigned n = 0;
	uint16_t idx, waiting;

	if (!vq->broken) {
		/* Orders the load of used->idx before the loads of the elements (2.7.14). */
		idx = ring_load_acquire(&vq->used->idx);
		order_loads(vq);
		waiting = (uint16_t)(idx - vq->used_next);
		if (waiting > vq->n_published)
			vq_break(vq,
				 "used index %u is %u ahead of ours, but %u chains are in flight",
				 idx, waiting, vq->n_published);
		while (!vq->broken && n < waiting && n < max) {
			const struct vring_used_elem *e = &vq->used->ring[vq->used_next & vq->mask];
			struct vring_used_elem copy = {ring_load(&e->id), ring_load(&e->len)};

			if (reap_one(vq, &copy, &done[n]))
				n++;
		}
	}
	if (!vq->broken || n)
		return (int)n;
	if (why)
		snprintf(why, WHY_BYTES, "%s", vq->why);
	return -EPROTO;
}

bool vq_pending(const struct virtqueue *vq)
{
	/* A broken queue has something to tell, too. vq_reap orders what it reads itself. */
	return vq->broken || ring_load(&vq->used->idx) != vq->used_next;
}

bool vq_enable_calls(struct virtqueue *vq)
{
	vq->calls_wanted = true;
	/*
	 * 2.7.7, 2.7.10. Full barrier: orders the store of used_event (or of the flags) before the
	 * load of used->idx. The device stores used->idx, then loads the event: either it sees that
	 * we want a call, or we see its element here.
	 */
	if (vq->event_idx)
		ring_store_full(vq->used_event, vq->used_next);
	else
		ring_store_full(&vq->avail->flags, 0);
	order_store_load(vq);
	return vq->broken || ring_load_full(&vq->used->idx) != vq->used_next;
}

void vq_disable_calls(struct virtqueue *vq)
{
	if (!vq->calls_wanted)
		return;
	vq->calls_wanted = false;
	/* An event index that was just passed is passed again only after 65535 more elements. */
	if (vq->event_idx)
		ring_store(vq->used_event, (uint16_t)(vq->used_next - 1));
	else
		ring_store(&vq->avail->flags, (uint16_t)VRING_AVAIL_F_NO_INTERRUPT);
}

void *vq_take_unfinished(struct virtqueue *vq)
{
	while (vq->unfinished_cursor < vq->size) {
		uint16_t head = vq->unfinished_cursor++;
		struct slot *slot = &vq->slots[head];
		void *token = slot->token;

		if (!token)
			continue;
		if (slot->batch == vq->batch)
			vq->n_added--;
		else
			vq->n_published--;
		slots_give_back(vq, head);
		return token;
	}
	return NULL;
}
