/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A driver that behaves and a device that does what the input says, to all of the queue's memory.
 * Checked: no access outside of the memory (sanitizers), a token comes back at most once and only
 * after it was published, a length never exceeds the room, and the accounts add up.
 *
 * Input: byte 0 chooses size and features; then operations of one byte, some with operands.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "virtqueue/virtqueue.h"
#include "wire/virtio.h"

#define TOKENS 64
#define IOVA   (UINT64_C(1) << 32)

enum state { IDLE, ADDED, PUBLISHED };

struct token {
	enum state state;
	uint32_t room;
};

struct driver {
	struct virtqueue *vq;
	uint16_t size;
	struct token tokens[TOKENS];
	unsigned in_flight;
	bool broken;
};

static void drive_add(struct driver *d, uint8_t shape)
{
	struct vq_segment out[4], in[4];
	unsigned n_out = shape & 3, n_in = (shape >> 2) & 3;
	struct token *t = NULL;
	uint32_t room = 0;

	for (unsigned i = 0; i < TOKENS && !t; i++)
		if (d->tokens[i].state == IDLE)
			t = &d->tokens[i];
	if (!t)
		return;
	for (unsigned i = 0; i < 4; i++) {
		out[i] = (struct vq_segment){IOVA + i * 64, 1 + (shape >> 4)};
		in[i] = (struct vq_segment){IOVA + 4096 + i * 64, 1u + (shape >> 5)};
		room += i < n_in ? in[i].len_bytes : 0;
	}
	if (vq_add(d->vq, out, n_out, in, n_in, t) == 0) {
		assert(n_out + n_in > 0);
		*t = (struct token){ADDED, room};
		d->in_flight++;
	}
}

static void drive_publish(struct driver *d)
{
	vq_publish(d->vq);
	for (unsigned i = 0; i < TOKENS; i++)
		if (d->tokens[i].state == ADDED)
			d->tokens[i].state = PUBLISHED;
}

static void drive_reap(struct driver *d, unsigned max)
{
	struct vq_done done[8];
	char why[128] = "";
	int n = vq_reap(d->vq, done, max & 7, why);

	if (n < 0) {
		assert(why[0] && memchr(why, 0, sizeof(why)));
		d->broken = true;
		return;
	}
	assert(!d->broken && n <= 7);
	for (int i = 0; i < n; i++) {
		struct token *t = done[i].token;

		assert(t >= d->tokens && t < d->tokens + TOKENS);
		assert(t->state == PUBLISHED && done[i].written_bytes <= t->room);
		t->state = IDLE;
		d->in_flight--;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes in = {data, size};
	struct driver d = {0};
	struct vq_params p = {.iova = IOVA};
	uint64_t desc_iova, avail_iova, used_iova;
	struct vring_used *used;
	uint8_t first, op;
	size_t len;

	if (!bytes_take(&in, &first, 1))
		return 0;
	p.size = d.size = (uint16_t)(2u << (first & 3));
	p.indirect = first & 4;
	p.event_idx = first & 8;
	p.hardware = first & 16;
	len = vq_memory_bytes(p.size, p.indirect);
	/* exactly as long as it was said, so that the sanitizer guards its ends */
	if (posix_memalign((void **)&p.va, 16, len) != 0)
		return 0;
	memset(p.va, 0, len);
	if (vq_create(&p, &d.vq) != 0)
		abort();
	vq_areas(d.vq, &desc_iova, &avail_iova, &used_iova);
	used = (struct vring_used *)(p.va + (used_iova - IOVA));

	while (bytes_take(&in, &op, 1)) {
		struct vring_used_elem elem;
		uint16_t at;
		uint8_t a;

		switch (op & 7) {
		case 0:
			if (bytes_take(&in, &a, 1))
				drive_add(&d, a);
			break;
		case 1:
			drive_publish(&d);
			break;
		case 2:
			drive_reap(&d, op >> 3);
			break;
		case 3: /* the device finishes a chain, properly but for what the input says */
			elem = (struct vring_used_elem){(op >> 3) % d.size, 0};
			if (bytes_take(&in, &a, 1))
				elem.len = a >> 3;
			used->ring[used->idx % d.size] = elem;
			used->idx++;
			break;
		case 4: /* any element, any index */
			if (bytes_take(&in, &elem, sizeof(elem)))
				used->ring[(op >> 3) % d.size] = elem;
			break;
		case 5:
			bytes_take(&in, &used->idx, sizeof(used->idx));
			break;
		case 6: /* any byte of the queue's memory */
			if (bytes_take(&in, &at, 2) && bytes_take(&in, &a, 1))
				p.va[at % len] = a;
			break;
		case 7:
			if (op & 8)
				vq_enable_calls(d.vq);
			else
				vq_disable_calls(d.vq);
			vq_pending(d.vq);
			break;
		}
		assert(vq_in_flight(d.vq) == d.in_flight);
		assert(vq_free(d.vq) <= d.size);
	}

	/* the device is stopped: what it never finished comes back, each once */
	for (struct token *t; (t = vq_take_unfinished(d.vq)); d.in_flight--) {
		assert(t->state != IDLE);
		t->state = IDLE;
	}
	assert(d.in_flight == 0 && vq_in_flight(d.vq) == 0 && vq_free(d.vq) == d.size);
	vq_destroy(d.vq);
	free(p.va);
	return 0;
}
