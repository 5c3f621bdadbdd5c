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
#include "virtqueue/virtqueue.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/barrier.h"
#include "base/bytes.h"
#include "wire/virtio.h"

#define CACHE_LINE  64u
#define SLOT_NONE   UINT16_MAX
#define TABLE_BYTES VRING_DESC_BYTES(VQ_SEGMENTS_MAX)
#define WHY_BYTES   128

/* What we remember of a descriptor; the first one of a chain speaks for the chain. */
struct slot {
	void *token;		 /* not NULL: head of a chain that is in flight */
	uint64_t batch;		 /* of the head: the batch in which the chain is published */
	uint32_t writable_bytes; /* of the head: room for the answer */
	uint16_t n_desc;	 /* of the head: ring descriptors that the chain occupies */
	uint16_t next;		 /* in the chain, or in the free list */
};

struct virtqueue {
	uint16_t size;
	uint16_t mask;
	bool indirect;
	bool event_idx;
	bool hardware;
	bool calls_wanted; /* what we told the device last */
	bool broken;
	char why[WHY_BYTES];

	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	struct vring_desc *tables; /* NULL without INDIRECT_DESC */
	uint16_t *used_event;	   /* behind avail.ring; we write it */
	uint16_t *avail_event;	   /* behind used.ring; the device writes it */
	uint64_t iova;
	uint64_t avail_off, used_off, tables_off;

	uint16_t avail_next; /* index of the next chain that is added */
	uint16_t avail_idx;  /* what the device was told: avail->idx */
	uint16_t used_next;  /* index of the next used element to reap */
	uint64_t batch;	     /* number of the batch that vq_publish closes */

	uint16_t free_head;
	uint16_t n_free;
	uint16_t n_added;     /* chains that wait for vq_publish */
	uint16_t n_published; /* chains that the device holds */
	uint16_t unfinished_cursor;
	struct slot slots[];
};

/*
 * Accesses to memory that the device uses at the same time. Each is one load or store, so a value
 * is copied once, and a data race is none for the compiler and the sanitizers. The barriers are
 * those of the operations: acquire and release for the indices, and sequentially consistent
 * store-then-load pairs where both sides write one thing and read the other (on every machine that
 * we run on, that pair is a full barrier, also against a device that uses explicit fences).
 *
 * That is enough where the device is another CPU. With ORDER_PLATFORM (6.1) it is hardware, and a
 * barrier for the whole system stands in each of these places as well: order_*() below.
 */
#define ring_load(p)	      __atomic_load_n((p), __ATOMIC_RELAXED)
#define ring_load_acquire(p)  __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define ring_load_full(p)     __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define ring_store(p, v)      __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define ring_store_full(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)

static inline void order_stores(const struct virtqueue *vq)
{
	if (vq->hardware)
		barrier_stores();
}

static inline void order_loads(const struct virtqueue *vq)
{
	if (vq->hardware)
		barrier_loads();
}

static inline void order_store_load(const struct virtqueue *vq)
{
	if (vq->hardware)
		barrier_full();
}

/* ------------------------------------------------------------------------- set-up */

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

/* ------------------------------------------------------------------------- accounts */

unsigned vq_in_flight(const struct virtqueue *vq)
{
	return (unsigned)vq->n_published + vq->n_added;
}

unsigned vq_free(const struct virtqueue *vq)
{
	return vq->n_free;
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
