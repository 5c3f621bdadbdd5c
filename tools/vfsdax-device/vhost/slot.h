/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * slot: one request in flight and all the memory that it needs, reused without malloc().
 *
 * Requests come in two kinds. A *small* one (metadata; everything that may block for long) is
 * copied: its pieces are buffers of the slot, and what was written is copied out, through a fresh
 * translation, when it completes. So it holds nothing of the guest while it runs. A *direct* one
 * (data) points into guest memory and pins it until it completes.
 *
 * This part knows no rings and no locks but the space's.
 */
#ifndef VFSDAX_DEVICE_SLOT_H
#define VFSDAX_DEVICE_SLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "vfsdax-device/fs/request.h"
#include "ring.h"
#include "space.h"

/* What is small. The readable side of SETLKW or of a long name fits, and so does a page of reply.
 */
#define SMALL_READABLE_BYTES 1024u
#define SMALL_WRITABLE_BYTES 4096u

struct queue;

struct queue_slot {
	struct request req; /* first: request_complete() gets back from it */
	struct queue *queue;
	struct list link;
	uint16_t head;
	uint32_t written;
	bool direct;
	struct pin pin; /* of a direct one */

	/* The chain, and room for its pieces; grow, never shrink. */
	struct guest_range *ranges; /* the readable ones, then the writable ones */
	unsigned n_readable, n_writable, ranges_max;
	struct iovec *pieces;
	unsigned pieces_max;

	/* Of a small one, aligned for the headers that lie in them. */
	struct iovec small[2];
	_Alignas(16) uint8_t in[SMALL_READABLE_BYTES];
	_Alignas(16) uint8_t out[SMALL_WRITABLE_BYTES];
};

/* NULL: no memory. */
struct queue_slot *slot_new(struct queue *q);
void slot_free(struct queue_slot *slot);

/* Takes the chain over. 0 or -ENOMEM. */
int slot_fill(struct queue_slot *slot, const struct chain *c, bool hiprio);

/* [space] Makes the request's pieces; a direct one is pinned afterwards. 0, -ENOMEM, or as
 * space_at(). */
int slot_map(struct queue_slot *slot, struct space *s, struct misses *misses);

/* Of a request that cannot be mapped: a small one of only the beginning, as far as it can be read
 * and written now. False: not even that. */
bool slot_map_header(struct queue_slot *slot, struct space *s);

/* [space] Bytes to what is writable, behind its first `skip`, at once. Errors as space_at(), of
 * small ones only: who has pinned memory must not wait for the front end. */
int slot_store(struct queue_slot *slot, struct space *s, uint64_t skip, const void *bytes,
	       size_t len, struct misses *misses);
/* [space] What was written, to the driver's buffers. Errors as space_at(). */
int slot_copy_out(struct queue_slot *slot, struct space *s, struct misses *misses);

#endif
