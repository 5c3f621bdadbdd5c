/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "slot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

/* Enough for the headers of a FUSE request and of its answer. */
#define HEADER_BYTES_MAX 40u

struct queue_slot *slot_new(struct queue *q)
{
	struct queue_slot *slot = calloc(1, sizeof(*slot));

	if (slot) {
		slot->queue = q;
		list_init(&slot->link);
	}
	return slot;
}

void slot_free(struct queue_slot *slot)
{
	free(slot->ranges);
	free(slot->pieces);
	free(slot);
}

/* Grows an array to at least n elements. */
static int reserve_array(void *array, unsigned *max, unsigned n, size_t element_bytes)
{
	void **at = array, *grown;

	if (n <= *max)
		return 0;
	grown = reallocarray(*at, n, element_bytes);
	if (!grown)
		return -ENOMEM;
	*at = grown;
	*max = n;
	return 0;
}

static int reserve_pieces(struct queue_slot *slot, unsigned n)
{
	return reserve_array(&slot->pieces, &slot->pieces_max, MIN(n, REQUEST_PIECES_MAX),
			     sizeof(*slot->pieces));
}

int slot_fill(struct queue_slot *slot, const struct chain *c, bool hiprio)
{
	unsigned n = c->n_readable + c->n_writable;
	int rc = reserve_array(&slot->ranges, &slot->ranges_max, n, sizeof(*slot->ranges));

	if (rc)
		return rc;
	/* A chain of empty descriptors has no ranges, and a fresh slot no array. */
	if (n)
		memcpy(slot->ranges, c->ranges, n * sizeof(c->ranges[0]));
	slot->n_readable = c->n_readable;
	slot->n_writable = c->n_writable;
	slot->head = c->head;
	slot->written = 0;
	slot->direct = c->readable_bytes > SMALL_READABLE_BYTES ||
		       c->writable_bytes > SMALL_WRITABLE_BYTES;
	slot->req = (struct request){.readable_bytes = c->readable_bytes,
				     .writable_bytes = c->writable_bytes,
				     .hiprio = hiprio,
				     .pinned = slot->direct};
	return slot->direct ? reserve_pieces(slot, n) : 0;
}

/* ------------------------------------------------------------------ small: copies */

static int copy_in(struct queue_slot *slot, struct space *s, struct misses *misses)
{
	struct request *req = &slot->req;
	size_t at = 0;
	int result = 0;

	for (unsigned i = 0; i < slot->n_readable; i++) {
		const struct guest_range *x = &slot->ranges[i];
		int rc = space_read(s, x->addr, slot->in + at, x->len, misses);

		if (rc && rc != -EAGAIN)
			return rc;
		result = rc ? rc : result;
		at += x->len;
	}
	slot->small[0] = (struct iovec){.iov_base = slot->in, .iov_len = req->readable_bytes};
	slot->small[1] = (struct iovec){.iov_base = slot->out, .iov_len = req->writable_bytes};
	req->readable = &slot->small[0];
	req->n_readable = req->readable_bytes > 0;
	req->writable = &slot->small[1];
	req->n_writable = req->writable_bytes > 0;
	return result;
}

static int copy_to_ranges(struct queue_slot *slot, struct space *s, uint64_t skip,
			  const uint8_t *bytes, size_t len, struct misses *misses)
{
	size_t at = 0;
	int result = 0;

	for (unsigned i = 0; i < slot->n_writable && at < len; i++) {
		const struct guest_range *x = &slot->ranges[slot->n_readable + i];
		uint64_t from = MIN(skip, x->len);
		size_t part = MIN(x->len - from, len - at);
		int rc = part ? space_write(s, x->addr + from, bytes + at, part, misses) : 0;

		if (rc && rc != -EAGAIN)
			return rc;
		result = rc ? rc : result;
		skip -= from;
		at += part;
	}
	return result;
}

int slot_copy_out(struct queue_slot *slot, struct space *s, struct misses *misses)
{
	return slot->direct ? 0 : copy_to_ranges(slot, s, 0, slot->out, slot->written, misses);
}

static void copy_to_pieces(const struct request *req, uint64_t skip, const uint8_t *bytes,
			   size_t len)
{
	for (unsigned i = 0; i < req->n_writable && len; i++) {
		uint64_t from = MIN(skip, req->writable[i].iov_len);
		size_t part = MIN(req->writable[i].iov_len - from, len);

		memcpy((uint8_t *)req->writable[i].iov_base + from, bytes, part);
		skip -= from;
		bytes += part;
		len -= part;
	}
}

int slot_store(struct queue_slot *slot, struct space *s, uint64_t skip, const void *bytes,
	       size_t len, struct misses *misses)
{
	if (!slot->direct)
		return copy_to_ranges(slot, s, skip, bytes, len, misses);
	copy_to_pieces(&slot->req, skip, bytes, len);
	return 0;
}

/* How many of the ranges' bytes from the first on, at most `max`; the rest is cut off. */
static uint64_t cut_ranges(struct guest_range *ranges, unsigned *n, uint64_t max)
{
	uint64_t bytes = 0;
	unsigned i = 0;

	for (; i < *n && bytes < max; i++) {
		ranges[i].len = (uint32_t)MIN(ranges[i].len, max - bytes);
		bytes += ranges[i].len;
	}
	*n = i;
	return bytes;
}

bool slot_map_header(struct queue_slot *slot, struct space *s)
{
	struct misses misses = {.n = 0};
	struct guest_range *w = slot->ranges + slot->n_readable;
	uint64_t writable = cut_ranges(w, &slot->n_writable, HEADER_BYTES_MAX);
	unsigned n_readable = slot->n_readable;
	int rc;

	slot->req.readable_bytes = cut_ranges(slot->ranges, &slot->n_readable, HEADER_BYTES_MAX);
	slot->req.writable_bytes = writable;
	slot->req.pinned = false;
	/* The writable ranges follow the readable ones. */
	memmove(slot->ranges + slot->n_readable, slot->ranges + n_readable,
		slot->n_writable * sizeof(*w));
	space_read_lock(s);
	rc = copy_in(slot, s, &misses);
	space_read_unlock(s);
	return !rc;
}

/* ------------------------------------------------------------------ direct: pointers */

static int map_and_pin(struct queue_slot *slot, struct space *s, struct misses *misses)
{
	struct guest_range *w = slot->ranges + slot->n_readable;
	struct request *req = &slot->req;
	int in, out;

	in = space_map(s, slot->ranges, slot->n_readable, VHOST_IOTLB_PERM_READ, slot->pieces,
		       slot->pieces_max, misses);
	if (in < 0 && in != -EAGAIN)
		return in;
	out = space_map(s, w, slot->n_writable, VHOST_IOTLB_PERM_WRITE, slot->pieces + MAX(in, 0),
			slot->pieces_max - (unsigned)MAX(in, 0), misses);
	if (in < 0 || out < 0)
		return out < 0 ? out : in;
	req->readable = slot->pieces;
	req->n_readable = (unsigned)in;
	req->writable = slot->pieces + in;
	req->n_writable = (unsigned)out;
	slot->pin = (struct pin){.ranges = {slot->ranges, w},
				 .n = {slot->n_readable, slot->n_writable}};
	space_pin(s, &slot->pin);
	return 0;
}

int slot_map(struct queue_slot *slot, struct space *s, struct misses *misses)
{
	int rc;

	if (!slot->direct)
		return copy_in(slot, s, misses);
	while ((rc = map_and_pin(slot, s, misses)) == -E2BIG &&
	       slot->pieces_max < REQUEST_PIECES_MAX) {
		rc = reserve_pieces(slot, slot->pieces_max * 2 + 16);
		if (rc)
			return rc;
	}
	return rc;
}
