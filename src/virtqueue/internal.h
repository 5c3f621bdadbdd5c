/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtqueue/internal: the queue as its two files share it: create.c and split.c. */
#ifndef VFSDAX_VIRTQUEUE_INTERNAL_H
#define VFSDAX_VIRTQUEUE_INTERNAL_H

#include "base/barrier.h"
#include "virtqueue/virtqueue.h"
#include "wire/virtio.h"

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
	bool calls_wanted; /* what the device was asked for last */
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
	uint16_t avail_idx;  /* published to the device: avail->idx */
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

#endif
