/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ring.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "wire/vhost_user.h"

#define PAGE 4096u

void ring_init(struct ring *r, struct space *space, unsigned index)
{
	memset(r, 0, sizeof(*r));
	r->space = space;
	r->index = index;
}

static void area_fini(struct ring_area *a)
{
	free(a->pages);
	*a = (struct ring_area){0};
}

void ring_fini(struct ring *r)
{
	area_fini(&r->desc);
	area_fini(&r->avail);
	area_fini(&r->used);
}

static int area_setup(struct ring_area *a, uint64_t addr, size_t len, unsigned align)
{
	uint64_t end;
	unsigned n_pages = (unsigned)((addr % PAGE + len + PAGE - 1) / PAGE);
	uint8_t **pages;

	if (addr % align || !u64_add(addr, len, &end))
		return -EINVAL;
	pages = calloc(n_pages, sizeof(*pages));
	if (!pages)
		return -ENOMEM;
	free(a->pages);
	*a = (struct ring_area){
		.addr = addr, .len_bytes = (uint32_t)len, .n_pages = n_pages, .pages = pages};
	return 0;
}

int ring_setup(struct ring *r, uint16_t size, uint64_t desc, uint64_t avail, uint64_t used)
{
	int rc;

	r->located = false;
	r->size = 0;
	if (!is_pow2(size) || size > VRING_QUEUE_SIZE_MAX)
		return -EINVAL;
	rc = area_setup(&r->desc, desc, VRING_DESC_BYTES(size), 16);
	if (!rc)
		rc = area_setup(&r->avail, avail, VRING_AVAIL_BYTES(size), 2);
	if (!rc)
		rc = area_setup(&r->used, used, VRING_USED_BYTES(size), 4);
	if (!rc)
		r->size = size;
	return rc;
}

void ring_start(struct ring *r, uint16_t last_avail, bool event_idx, bool indirect)
{
	r->last_avail = last_avail;
	r->event_idx = event_idx;
	r->indirect = indirect;
	r->located = r->used_known = r->signalled_known = false;
	r->broken = r->complained = false;
}

/* ------------------------------------------------------------------ access */

/* Aligned objects of up to 4 bytes, and descriptors, do not cross a page. */
static void *area_at(const struct ring_area *a, uint32_t off)
{
	uint64_t at = a->addr % PAGE + off;

	return a->pages[at / PAGE] + at % PAGE;
}

static uint16_t load16(const struct ring_area *a, uint32_t off)
{
	return __atomic_load_n((uint16_t *)area_at(a, off), __ATOMIC_RELAXED);
}

#define AVAIL_IDX      2u
#define AVAIL_RING(i)  (4u + 2u * (uint32_t)(i))
#define AVAIL_EVENT(r) (4u + 2u * (uint32_t)(r)->size) /* used_event */
#define USED_FLAGS     0u
#define USED_IDX       2u
#define USED_RING(i)   (4u + 8u * (uint32_t)(i))
#define USED_EVENT(r)  (4u + 8u * (uint32_t)(r)->size) /* avail_event */

static int area_locate(struct ring *r, struct ring_area *a, uint8_t perm, struct misses *misses)
{
	uint64_t page = round_down(a->addr, PAGE);
	int result = 0;

	for (unsigned i = 0; i < a->n_pages; i++, page += PAGE) {
		/* The first byte that is ours: the page may begin before the region does. */
		uint64_t addr = MAX(page, a->addr), run, want;
		uint8_t *host;
		int rc = space_at(r->space, ADDRESS_RING, addr, perm, &host, &run, misses);

		if (rc == -EAGAIN) {
			result = rc;
			continue;
		}
		want = MIN(page + PAGE - addr, a->addr + a->len_bytes - addr);
		/* Atomics need natural alignment, so the host's address must have it too. */
		if (rc || run < want || ((uintptr_t)host ^ addr) % 16) {
			if (!r->complained)
				log_error("queue %u: ring address 0x%" PRIx64
					  " is in no memory of the guest",
					  r->index, addr);
			r->complained = true;
			return -EFAULT;
		}
		/* A driver's page is a host's page, whatever the offset within it. */
		a->pages[i] = host - (addr - page);
	}
	return result;
}

/* Makes the page pointers good for as long as the caller holds the read lock. */
static int locate(struct ring *r, struct misses *misses)
{
	uint64_t now = atomic_load_explicit(&r->space->generation, memory_order_relaxed);
	const uint8_t rw = VHOST_IOTLB_PERM_READ | VHOST_IOTLB_PERM_WRITE;
	int desc, avail, used;

	if (r->located && r->generation == now)
		return 0;
	if (!r->size)
		return -EFAULT;
	r->located = false;
	desc = area_locate(r, &r->desc, VHOST_IOTLB_PERM_READ, misses);
	avail = area_locate(r, &r->avail, VHOST_IOTLB_PERM_READ, misses);
	used = area_locate(r, &r->used, rw, misses);
	if (desc == -EFAULT || avail == -EFAULT || used == -EFAULT)
		return -EFAULT;
	if (desc || avail || used)
		return -EAGAIN;
	r->located = true;
	r->generation = now;
	if (!r->used_known) {
		r->used_idx = load16(&r->used, USED_IDX);
		r->used_known = true;
	}
	return 0;
}

/* ------------------------------------------------------------------ taking */

__attribute__((format(printf, 2, 3))) static int ring_broken(struct ring *r, const char *format,
							     ...)
{
	char what[160];
	va_list ap;

	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	if (!r->broken)
		log_error("queue %u stopped, the driver must reset the device: %s", r->index, what);
	r->broken = true;
	return -EPROTO;
}

int ring_pending(struct ring *r, struct misses *misses)
{
	uint16_t idx, ready;
	int rc;

	if (r->broken)
		return -EPROTO;
	rc = locate(r, misses);
	if (rc)
		return rc;
	/* Acquire: the entry and the descriptors that the driver wrote before it published this
	 * index are read after it (2.7.13.3). */
	idx = __atomic_load_n((uint16_t *)area_at(&r->avail, AVAIL_IDX), __ATOMIC_ACQUIRE);
	ready = (uint16_t)(idx - r->last_avail);
	if (ready > r->size)
		return ring_broken(r, "available index %u is %u ahead, the ring has %u entries",
				   idx, ready, r->size);
	return ready > 0;
}

static int add_range(struct ring *r, struct chain *c, const struct vring_desc *d)
{
	unsigned n = c->n_readable + c->n_writable;
	bool write = d->flags & VRING_DESC_F_WRITE;

	if (!write && c->n_writable)
		return ring_broken(r, "chain %u has a readable descriptor after a writable one",
				   c->head);
	if (!d->len)
		return 0;
	if (n == REQUEST_PIECES_MAX)
		return ring_broken(r, "chain %u has more than %u descriptors", c->head,
				   REQUEST_PIECES_MAX);
	c->ranges[n] = (struct guest_range){.addr = d->addr, .len = d->len};
	if (write) {
		c->n_writable++;
		c->writable_bytes += d->len;
	} else {
		c->n_readable++;
		c->readable_bytes += d->len;
	}
	return 0;
}

/* Walks the copy of an indirect table (2.7.5.3). */
static int walk_table(struct ring *r, struct chain *c, unsigned n)
{
	unsigned at = 0;

	for (unsigned seen = 0; seen < n; seen++) {
		const struct vring_desc *d = &r->table[at];
		int rc;

		if (d->flags & VRING_DESC_F_INDIRECT)
			return ring_broken(r, "chain %u has an indirect table inside one", c->head);
		rc = add_range(r, c, d);
		if (rc || !(d->flags & VRING_DESC_F_NEXT))
			return rc;
		if (d->next >= n)
			return ring_broken(r,
					   "chain %u: next %u, the indirect table has %u entries",
					   c->head, d->next, n);
		at = d->next;
	}
	return ring_broken(r, "chain %u loops in its indirect table of %u entries", c->head, n);
}

static int follow_indirect(struct ring *r, struct chain *c, const struct vring_desc *d,
			   struct misses *misses)
{
	unsigned n = d->len / sizeof(*d);
	int rc;

	if (!r->indirect)
		return ring_broken(r, "chain %u is indirect, which was not negotiated", c->head);
	if (d->flags & (VRING_DESC_F_NEXT | VRING_DESC_F_WRITE))
		return ring_broken(r, "chain %u: an indirect descriptor has flags 0x%x", c->head,
				   d->flags);
	if (!n || d->len % sizeof(*d))
		return ring_broken(r, "chain %u: an indirect table has %u bytes", c->head, d->len);
	if (n > REQUEST_PIECES_MAX)
		return ring_broken(
			r, "chain %u: an indirect table has %u entries, at most %u are taken",
			c->head, n, REQUEST_PIECES_MAX);
	rc = space_read(r->space, d->addr, r->table, d->len, misses);
	if (rc == -EFAULT)
		return ring_broken(r,
				   "chain %u: its indirect table at 0x%" PRIx64 " is in no memory",
				   c->head, d->addr);
	return rc ? rc : walk_table(r, c, n);
}

static int walk_chain(struct ring *r, struct chain *c, struct misses *misses)
{
	uint16_t at = c->head;

	for (unsigned seen = 0; seen < r->size; seen++) {
		struct vring_desc d;
		int rc;

		memcpy(&d, area_at(&r->desc, at * (uint32_t)sizeof(d)), sizeof(d));
		/* Only the copy counts from here on: keep the compiler from reading it again. */
		__asm__ volatile("" : : : "memory");
		if (d.flags & VRING_DESC_F_INDIRECT)
			return follow_indirect(r, c, &d, misses);
		rc = add_range(r, c, &d);
		if (rc || !(d.flags & VRING_DESC_F_NEXT))
			return rc;
		if (d.next >= r->size)
			return ring_broken(r, "chain %u: next %u, the ring has %u entries", c->head,
					   d.next, r->size);
		at = d.next;
	}
	return ring_broken(r, "chain %u loops", c->head);
}

int ring_pop(struct ring *r, struct chain *c, struct misses *misses)
{
	int rc = ring_pending(r, misses);

	if (rc <= 0)
		return rc;
	c->head = load16(&r->avail, AVAIL_RING(r->last_avail & (r->size - 1)));
	c->n_readable = c->n_writable = 0;
	c->readable_bytes = c->writable_bytes = 0;
	if (c->head >= r->size)
		return ring_broken(r, "head %u, the ring has %u entries", c->head, r->size);
	rc = walk_chain(r, c, misses);
	if (rc)
		return rc;
	r->last_avail++;
	return 1;
}

void ring_unpop(struct ring *r)
{
	r->last_avail--;
}

int ring_listen(struct ring *r, bool on, struct misses *misses)
{
	int rc = locate(r, misses);

	if (rc)
		return rc;
	/*
	 * Sequentially consistent on both accesses, store before load: the driver publishes its
	 * index and then reads what we store here; we store it and then read the index. One of
	 * the two sees the other's write, so no kick is lost (2.7.10, 2.7.13.4).
	 */
	if (r->event_idx) {
		/* "Off" needs no write: an index that is passed already asks for nothing. */
		if (!on)
			return 0;
		__atomic_store_n((uint16_t *)area_at(&r->used, USED_EVENT(r)), r->last_avail,
				 __ATOMIC_SEQ_CST);
	} else {
		__atomic_store_n((uint16_t *)area_at(&r->used, USED_FLAGS),
				 on ? 0 : VRING_USED_F_NO_NOTIFY, __ATOMIC_SEQ_CST);
		if (!on)
			return 0;
	}
	if (__atomic_load_n((uint16_t *)area_at(&r->avail, AVAIL_IDX), __ATOMIC_SEQ_CST) ==
	    r->last_avail)
		return 0;
	return 1;
}

/* ------------------------------------------------------------------ giving back */

int ring_push(struct ring *r, uint16_t head, uint32_t written_bytes, struct misses *misses)
{
	int rc = locate(r, misses);
	uint32_t at;

	if (rc)
		return rc;
	at = USED_RING(r->used_idx & (r->size - 1));
	/* Two stores: the entry is aligned to 4 only and may cross a page. */
	__atomic_store_n((uint32_t *)area_at(&r->used, at), head, __ATOMIC_RELAXED);
	__atomic_store_n((uint32_t *)area_at(&r->used, at + 4), written_bytes, __ATOMIC_RELAXED);
	r->used_idx++;
	/*
	 * Orders the entry above, and the request's data, before the index that makes them the
	 * driver's (2.7.13.1); and, being sequentially consistent, this store before the load of
	 * used_event or of the flags in ring_wants_call().
	 */
	__atomic_store_n((uint16_t *)area_at(&r->used, USED_IDX), r->used_idx, __ATOMIC_SEQ_CST);
	return 0;
}

bool ring_wants_call(struct ring *r)
{
	uint16_t old = r->signalled, event;
	bool known = r->signalled_known;

	if (!r->event_idx)
		return !(__atomic_load_n((uint16_t *)area_at(&r->avail, 0), __ATOMIC_SEQ_CST) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	/* Pairs with the driver, which stores used_event and then reads the used index. */
	event = __atomic_load_n((uint16_t *)area_at(&r->avail, AVAIL_EVENT(r)), __ATOMIC_SEQ_CST);
	r->signalled = r->used_idx;
	r->signalled_known = true;
	return !known || vring_need_event(event, r->used_idx, old);
}
