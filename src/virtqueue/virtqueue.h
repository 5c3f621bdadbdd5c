/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtqueue: the driver's half of a split virtqueue (virtio 1.3, 2.7). It owns the ring indices
 * and the descriptor free list; it refuses to know what the buffers mean, who kicks, and how a
 * device is found. Nothing that it reads from shared memory is believed: ids, lengths and the
 * used index are copied once and checked, and descriptors are never read back from the ring.
 *
 * One user at a time: the caller serialises all calls on one queue.
 */
#ifndef VFSDAX_VIRTQUEUE_VIRTQUEUE_H
#define VFSDAX_VIRTQUEUE_VIRTQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct virtqueue;

/* One piece of a buffer, in device addresses. */
struct vq_segment {
	uint64_t iova;
	uint32_t len_bytes;
};

/* A chain has at most this many pieces, readable and writable together. */
#define VQ_SEGMENTS_MAX 8

struct vq_params {
	uint16_t size;	/* entries, a power of two, 2 to 32768 */
	bool indirect;	/* INDIRECT_DESC was negotiated */
	bool event_idx; /* EVENT_IDX was negotiated */
	uint8_t *va;	/* vq_memory_bytes() of zeroed DMA memory, 16-byte aligned; the caller's */
	uint64_t iova;	/* its device address */
	bool hardware;	/* ORDER_PLATFORM was negotiated: the device is no other CPU */
};

/* Bytes of DMA memory that a queue of this size needs (rings and indirect tables). */
size_t vq_memory_bytes(uint16_t size, bool indirect);

/* -EINVAL for a bad size, -ENOMEM. The memory must outlive the queue. */
int vq_create(const struct vq_params *params, struct virtqueue **out);
void vq_destroy(struct virtqueue *vq);

/* Device addresses of the three areas, for transport's queue_setup. */
void vq_areas(const struct virtqueue *vq, uint64_t *desc_iova, uint64_t *avail_iova,
	      uint64_t *used_iova);

/*
 * Adds a chain: `readable` pieces that the device reads, then `writable` ones that it writes.
 * `token` (not NULL) comes back from vq_reap. The device sees nothing before vq_publish.
 * 0; -ENOSPC when the ring is full (try again after a reap); -EINVAL for 0 or too many pieces,
 * an empty one, or writable ones of more than 4 GiB - 1 together (the used length has 32 bits).
 */
int vq_add(struct virtqueue *vq, const struct vq_segment *readable, unsigned n_readable,
	   const struct vq_segment *writable, unsigned n_writable, void *token);

/* Makes all chains added so far visible, as one batch. True: the device wants to be kicked. */
bool vq_publish(struct virtqueue *vq);

struct vq_done {
	void *token;
	uint32_t written_bytes; /* at most the sum of the chain's writable pieces */
};

/*
 * Takes up to `max` finished chains off the used ring. The count, or -EPROTO when the device broke
 * the ring (an id that is not in flight, more written than there was room, a used index that ran
 * ahead); `why`, if not NULL, then receives a sentence with the value. After -EPROTO the queue
 * stays broken. Chains reaped before the bad one are delivered first.
 */
int vq_reap(struct virtqueue *vq, struct vq_done *done, unsigned max, char why[128]);

/* Used elements (or the news that the queue is broken) wait to be reaped? One load; for the polling
 * loop. */
bool vq_pending(const struct virtqueue *vq);

/*
 * Asks for a call at the next used buffer. True: there already is one, so reap instead of
 * sleeping (the race between the last look and the request is closed). vq_disable_calls is a hint.
 */
bool vq_enable_calls(struct virtqueue *vq);
void vq_disable_calls(struct virtqueue *vq);

/* Chains that the device holds, or that wait for vq_publish. */
unsigned vq_in_flight(const struct virtqueue *vq);
/* Free places: with INDIRECT_DESC chains, without it descriptors. */
unsigned vq_free(const struct virtqueue *vq);

/*
 * After the device was stopped: hands back the token of every chain that never finished, one a
 * call; NULL when there is none left. The queue is good for nothing but vq_destroy then.
 */
void *vq_take_unfinished(struct virtqueue *vq);

#endif
