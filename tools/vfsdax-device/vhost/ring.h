/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ring: the device's side of one split virtqueue (virtio 1.3, 2.7).
 *
 * It owns the indices and the checks: everything that is read from the ring is hostile, read once
 * into a copy, and checked there. It knows addresses only through the space, and neither threads
 * nor what a request means. Calls on one ring are serialised by the caller (queue.c), which
 * also holds the space's read lock around those marked [space].
 */
#ifndef VFSDAX_DEVICE_RING_H
#define VFSDAX_DEVICE_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "vfsdax-device/fs/request.h"
#include "space.h"
#include "wire/virtio.h"

/* One of the three parts of a ring, as host pointers to each of its pages: with an IOMMU pages that
 * follow each other for the driver need not do so here. */
struct ring_area {
	uint64_t addr;
	uint32_t len_bytes;
	unsigned n_pages;
	uint8_t **pages; /* pages[0] is the page that holds addr */
};

struct ring {
	struct space *space;
	unsigned index; /* for messages */
	uint16_t size;	/* a power of two; 0 while not set up */
	bool event_idx, indirect;

	struct ring_area desc, avail, used;
	uint64_t generation; /* of the space when the pages were looked up */
	bool located;

	uint16_t last_avail; /* the next one to take */
	uint16_t used_idx;   /* the next one to give back; free-running */
	uint16_t signalled;  /* used_idx at the last question whether to call */
	bool used_known, signalled_known;
	bool broken;	 /* the driver broke the protocol: nothing is taken any more */
	bool complained; /* about where the ring lies */

	struct vring_desc table[REQUEST_PIECES_MAX]; /* copy of an indirect table */
};

/* A chain taken off the ring: copied, checked, in the driver's addresses. */
struct chain {
	uint16_t head;
	unsigned n_readable, n_writable;
	uint64_t readable_bytes, writable_bytes;
	/* The readable ones from the front; the writable ones follow them. */
	struct guest_range ranges[REQUEST_PIECES_MAX];
};

void ring_init(struct ring *r, struct space *space, unsigned index);
void ring_fini(struct ring *r);

/*
 * Sizes and places the ring. `size` is a power of two up to 32768; alignments of 16, 2 and 4 for
 * the three parts (2.7). -EINVAL, -ENOMEM.
 */
int ring_setup(struct ring *r, uint16_t size, uint64_t desc, uint64_t avail, uint64_t used);

/* Begins, or goes on, at `last_avail`; used_idx is read from the ring at the first access. */
void ring_start(struct ring *r, uint16_t last_avail, bool event_idx, bool indirect);

/*
 * [space] Takes the next chain. 1 taken; 0 there is none; -EAGAIN as space_at(), nothing taken;
 * -EFAULT the ring itself lies in no memory; -EPROTO the ring is broken: logged, once, with the
 * value.
 */
int ring_pop(struct ring *r, struct chain *c, struct misses *misses);

/* Gives back the chain that ring_pop() took last, as if it had not been taken. */
void ring_unpop(struct ring *r);

/* [space] Is there anything to take? 1, 0, or as ring_pop(). */
int ring_pending(struct ring *r, struct misses *misses);

/*
 * [space] Asks the driver to kick from now on, or not to. 1: there is something to take already;
 * 0; or as ring_pop().
 */
int ring_listen(struct ring *r, bool on, struct misses *misses);

/* [space] Hands a chain back with the bytes written. 0, -EAGAIN (not handed back) or -EFAULT. */
int ring_push(struct ring *r, uint16_t head, uint32_t written_bytes, struct misses *misses);

/* [space] After ring_push(): does the driver want to be called? */
bool ring_wants_call(struct ring *r);

#endif
