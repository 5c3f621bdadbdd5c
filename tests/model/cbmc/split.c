/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * split: the driver's half of the ring (src/virtqueue/split.c) against a device that is bound by nothing.
 *
 * Each load from ring memory returns an arbitrary value: so the device writes any index, id, length and event at any
 * moment, also between two loads of one function. The proof is by induction, so it holds for any number of calls: a new
 * queue is consistent(), and each function, called on any consistent queue, leaves it so. With SIZE descriptors:
 *
 *   - no access is outside the ring's memory or the queue's own;
 *   - a token comes back only if it was published, once, and with at most the bytes that its chain has room for;
 *   - descriptors are neither lost nor given out twice, whatever the device said;
 *   - a queue that is broken stays broken, and still hands each token back once.
 *
 * INDIRECT: 0 or 1. SIZE: 4; 2 for check_reap, which is the dearest.
 */
#include "any.h"

#define __atomic_load_n(p, order)                                                                  \
	({                                                                                         \
		__typeof__(*(p)) any_value;                                                        \
		CLAIM(__CPROVER_r_ok((p), sizeof(*(p))));                                          \
		any_value;                                                                         \
	})
#define __atomic_store_n(p, v, order)                                                              \
	({                                                                                         \
		CLAIM(__CPROVER_w_ok((p), sizeof(*(p))));                                          \
		(void)(v);                                                                         \
	})

/* Memory of an untyped size is dear to reason about: the queue is a variable, and in the copy of
 * virtqueue/internal.h that cbmc.sh makes, its array of slots has SIZE elements instead of none. */
#ifndef SIZE
#define SIZE 4
#endif
#include <stdlib.h>
extern struct virtqueue the_queue;
#define calloc(n, size) ((void *)&the_queue)
#define free(p)		((void)(p))
#include "virtqueue/create.c"
#include "virtqueue/split.c"
struct virtqueue the_queue;

#define REAPED 1 /* with one call of vq_reap(), at the most */
#define TOKEN(head) ((void *)(uintptr_t)(0x100 + (head)))

static _Alignas(64) uint8_t memory[4096];

/*
 * Every descriptor is either in the free list or in exactly one chain; a chain that is in flight has its token at its
 * head, no other descriptor has one; and the counts agree.
 */
static bool lists_consistent(const struct virtqueue *vq)
{
	bool seen[SIZE] = {false};
	unsigned n_added = 0, n_published = 0, n_seen = 0;
	uint16_t at = vq->free_head;

	if (vq->n_free > SIZE)
		return false;
	for (unsigned i = 0; i < SIZE; i++) {
		if (i >= vq->n_free)
			break;
		if (at >= SIZE || seen[at] || vq->slots[at].token)
			return false;
		seen[at] = true;
		n_seen++;
		at = vq->slots[at].next;
	}
	if (at != SLOT_NONE)
		return false;
	for (unsigned head = 0; head < SIZE; head++) {
		const struct slot *slot = &vq->slots[head];

		if (!slot->token)
			continue;
		if (slot->token != TOKEN(head) || slot->batch > vq->batch || slot->n_desc < 1 || slot->n_desc > SIZE)
			return false;
		if (INDIRECT && slot->n_desc != 1)
			return false;
		if (slot->batch == vq->batch)
			n_added++;
		else
			n_published++;
		at = (uint16_t)head;
		for (unsigned i = 0; i < SIZE; i++) {
			if (i >= slot->n_desc)
				break;
			if (at >= SIZE || seen[at] || (i && vq->slots[at].token))
				return false;
			seen[at] = true;
			n_seen++;
			at = vq->slots[at].next;
		}
	}
	return n_seen == SIZE && vq->n_added == n_added && vq->n_published == n_published;
}

static bool consistent(const struct virtqueue *vq)
{
	return lists_consistent(vq) && (uint16_t)(vq->avail_next - vq->avail_idx) == vq->n_added &&
	       (uint16_t)(vq->avail_idx - vq->used_next) == vq->n_published;
}

static struct virtqueue *new_queue(void)
{
	size_t len_bytes = vq_memory_bytes(SIZE, INDIRECT);
	struct vq_params params = {
		.size = SIZE, .indirect = INDIRECT, .event_idx = nondet_bool(), .iova = 0x1000,
		/* Of exactly the size that it says it needs. */
		.va = memory + sizeof(memory) - len_bytes,
	};
	struct virtqueue *vq;

	CLAIM(len_bytes % 16 == 0 && len_bytes <= sizeof(memory));
	ASSUME(vq_create(&params, &vq) == 0);
	return vq;
}

static struct virtqueue *any_queue(void)
{
	struct virtqueue *vq = new_queue();

	vq->calls_wanted = nondet_bool();
	vq->broken = nondet_bool();
	vq->avail_next = nondet_u16();
	vq->avail_idx = nondet_u16();
	vq->used_next = nondet_u16();
	vq->batch = nondet_u64();
	vq->free_head = nondet_u16();
	vq->n_free = nondet_u16();
	vq->n_added = nondet_u16();
	vq->n_published = nondet_u16();
	for (unsigned i = 0; i < SIZE; i++) {
		vq->slots[i].token = nondet_bool() ? TOKEN(i) : NULL;
		vq->slots[i].batch = nondet_u64();
		vq->slots[i].writable_bytes = nondet_u32();
		vq->slots[i].n_desc = nondet_u16();
		vq->slots[i].next = nondet_u16();
	}
	ASSUME(vq->batch < UINT64_MAX);
	ASSUME(consistent(vq));
	return vq;
}

void check_new(void)
{
	struct virtqueue *vq = new_queue();

	CLAIM(consistent(vq) && vq_free(vq) == SIZE && vq_in_flight(vq) == 0);
	vq_destroy(vq);
}

void check_add(void)
{
	struct vq_segment readable[VQ_SEGMENTS_MAX], writable[VQ_SEGMENTS_MAX];
	struct virtqueue *vq = any_queue();
	unsigned n_readable = nondet_unsigned(), n_writable = nondet_unsigned();
	unsigned n_free = vq_free(vq), n_in_flight = vq_in_flight(vq);
	uint16_t head = vq->free_head;
	int err = vq_add(vq, readable, n_readable, writable, n_writable, TOKEN(head));

	CLAIM(consistent(vq));
	CLAIM(vq_in_flight(vq) == n_in_flight + (err == 0));
	CLAIM(err == 0 || err == -EINVAL || err == -ENOSPC);
	CLAIM(vq_free(vq) == n_free - (err ? 0 : INDIRECT ? 1 : n_readable + n_writable));
	if (err == -ENOSPC)
		CLAIM((INDIRECT ? 1 : n_readable + n_writable) > n_free);
}

void check_publish(void)
{
	struct virtqueue *vq = any_queue();
	unsigned n_in_flight = vq_in_flight(vq);

	vq_publish(vq);
	CLAIM(consistent(vq) && vq->n_added == 0 && vq_in_flight(vq) == n_in_flight);
}

void check_reap(void)
{
	struct virtqueue *vq = any_queue();
	unsigned n_published = vq->n_published, max = any_below(REAPED + 1);
	bool was_broken = vq->broken, published[SIZE];
	struct vq_done done[REAPED];
	uint32_t room[SIZE];
	int n;

	for (unsigned i = 0; i < SIZE; i++) {
		published[i] = vq->slots[i].token && vq->slots[i].batch != vq->batch;
		room[i] = vq->slots[i].writable_bytes;
	}
	n = vq_reap(vq, done, max, NULL);
	CLAIM(consistent(vq));
	CLAIM(n == -EPROTO ? vq->broken : n >= 0 && (unsigned)n <= max);
	CLAIM(!was_broken || n == -EPROTO);
	CLAIM(vq->n_published == n_published - (n > 0 ? (unsigned)n : 0));
	for (int i = 0; i < REAPED; i++) {
		uintptr_t head;

		if (i >= n)
			break;
		head = (uintptr_t)done[i].token - (uintptr_t)TOKEN(0);
		CLAIM(head < SIZE && published[head]);
		published[head] = false;
		CLAIM(done[i].written_bytes <= room[head]);
		CLAIM(!vq->slots[head].token);
	}
}

void check_calls(void)
{
	struct virtqueue *vq = any_queue();

	vq_enable_calls(vq);
	vq_disable_calls(vq);
	vq_pending(vq);
	CLAIM(consistent(vq));
}

/* After the device was stopped; also where it has broken the queue. One call of a series: what is before the cursor was
 * handed back. */
void check_unfinished(void)
{
	struct virtqueue *vq = any_queue();
	unsigned n_in_flight = vq_in_flight(vq), cursor = any_below(SIZE + 1);
	uintptr_t head;
	void *token;

	vq->unfinished_cursor = (uint16_t)cursor;
	for (unsigned i = 0; i < SIZE; i++)
		ASSUME(i >= cursor || !vq->slots[i].token);
	token = vq_take_unfinished(vq);
	CLAIM(lists_consistent(vq));
	if (!token) {
		CLAIM(n_in_flight == 0 && vq_free(vq) == SIZE);
		return;
	}
	head = (uintptr_t)token - (uintptr_t)TOKEN(0);
	CLAIM(head >= cursor && head < SIZE && !vq->slots[head].token);
	CLAIM(vq->unfinished_cursor > cursor && vq_in_flight(vq) == n_in_flight - 1);
	for (unsigned i = 0; i < SIZE; i++)
		CLAIM(i >= vq->unfinished_cursor || !vq->slots[i].token);
}

/* A chain may have any number of pieces; those that are accepted are countable and few enough. */
void check_segments(void)
{
	struct vq_segment readable[VQ_SEGMENTS_MAX], writable[VQ_SEGMENTS_MAX];
	unsigned n_readable = nondet_unsigned(), n_writable = nondet_unsigned();
	uint32_t room;
	uint64_t sum = 0;

	if (!segments_valid(readable, n_readable, writable, n_writable, &room))
		return;
	CLAIM(n_readable <= VQ_SEGMENTS_MAX && n_writable <= VQ_SEGMENTS_MAX);
	CLAIM(n_readable + n_writable >= 1 && n_readable + n_writable <= VQ_SEGMENTS_MAX);
	for (unsigned i = 0; i < n_writable; i++)
		sum += writable[i].len_bytes;
	CLAIM(sum == room);
}
