/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The split ring stepped by hand: the test plays the device on the bare memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "virtqueue/virtqueue.h"
#include "wire/virtio.h"

#define IOVA (UINT64_C(1) << 32)

/* A queue and the device's view of its memory. */
struct ring {
	struct virtqueue *vq;
	uint8_t *va;
	uint16_t size;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t avail_next;
	char why[128];
};

static struct ring ring_open(uint16_t size, bool indirect, bool event_idx)
{
	size_t len = round_up(vq_memory_bytes(size, indirect), 64);
	struct ring r = {.size = size, .va = aligned_alloc(64, len)};
	uint64_t desc, avail, used;

	memset(r.va, 0, len);
	assert_int_equal(vq_create(&(struct vq_params){.size = size,
						       .indirect = indirect,
						       .event_idx = event_idx,
						       .va = r.va,
						       .iova = IOVA},
				   &r.vq),
			 0);
	vq_areas(r.vq, &desc, &avail, &used);
	assert_int_equal(desc % 16 + avail % 2 + used % 4, 0);
	assert_true(used + VRING_USED_BYTES(size) <= IOVA + len);
	assert_true(desc + VRING_DESC_BYTES(size) <= avail);
	assert_true(avail + VRING_AVAIL_BYTES(size) <= used);
	r.desc = (struct vring_desc *)(r.va + (desc - IOVA));
	r.avail = (struct vring_avail *)(r.va + (avail - IOVA));
	r.used = (struct vring_used *)(r.va + (used - IOVA));
	return r;
}

static void ring_close(struct ring *r)
{
	vq_destroy(r->vq);
	free(r->va);
}

static uint16_t *used_event(struct ring *r)
{
	return &r->avail->ring[r->size];
}

static uint16_t *avail_event(struct ring *r)
{
	return (uint16_t *)&r->used->ring[r->size];
}

/* The device takes the next head, which must be there. */
static uint16_t device_take(struct ring *r)
{
	assert_int_not_equal(r->avail->idx, r->avail_next);
	return r->avail->ring[r->avail_next++ % r->size];
}

static void device_put(struct ring *r, uint32_t id, uint32_t len)
{
	r->used->ring[r->used->idx % r->size] = (struct vring_used_elem){id, len};
	r->used->idx++;
}

/* A request of one readable and one writable piece of 64 bytes each. */
static int add_pair(struct ring *r, void *token)
{
	struct vq_segment out = {IOVA + 0x10000, 64}, in = {IOVA + 0x20000, 64};

	return vq_add(r->vq, &out, 1, &in, 1, token);
}

static void *token_of(uintptr_t n)
{
	return (void *)(n + 1);
}

/* Reaps exactly one chain and tells its token. */
static void *reap_token(struct ring *r, uint32_t *written)
{
	struct vq_done done;

	assert_int_equal(vq_reap(r->vq, &done, 1, r->why), 1);
	if (written)
		*written = done.written_bytes;
	return done.token;
}

static void assert_broken(struct ring *r, const char *words)
{
	struct vq_done done[4];

	memset(r->why, 0, sizeof(r->why));
	assert_int_equal(vq_reap(r->vq, done, 4, r->why), -EPROTO);
	if (!strstr(r->why, words))
		fail_msg("\"%s\" does not say \"%s\"", r->why, words);
	assert_true(vq_pending(r->vq));
	/* and stays so */
	assert_int_equal(vq_reap(r->vq, done, 4, NULL), -EPROTO);
}

/* ------------------------------------------------------------------------- shapes */

static void create_refuses_a_size_that_is_no_power_of_two(void **state)
{
	static const uint16_t sizes[] = {0, 1, 3, 100, 32769, 65535};
	uint8_t *va = aligned_alloc(64, 4096);
	struct virtqueue *vq;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct vq_params p = {.size = sizes[i], .va = va, .iova = IOVA};

		assert_int_equal(vq_create(&p, &vq), -EINVAL);
	}
	free(va);
}

static void the_largest_queue_fills_and_empties(void **state)
{
	struct ring r = ring_open(32768, true, true);

	(void)state;
	for (unsigned i = 0; i < 32768; i++)
		assert_int_equal(add_pair(&r, token_of(i)), 0);
	assert_int_equal(add_pair(&r, token_of(0)), -ENOSPC);
	vq_publish(r.vq);
	assert_int_equal(vq_in_flight(r.vq), 32768);
	for (unsigned i = 0; i < 32768; i++)
		device_put(&r, device_take(&r), 0);
	for (unsigned i = 0; i < 32768; i++)
		assert_ptr_equal(reap_token(&r, NULL), token_of(i));
	assert_int_equal(vq_free(r.vq), 32768);
	ring_close(&r);
}

static void a_direct_chain_links_its_pieces_in_order(void **state)
{
	struct ring r = ring_open(8, false, false);
	struct vq_segment out[] = {{0x1000, 40}, {0x2000, 8}}, in[] = {{0x3000, 16}, {0x4000, 100}};
	uint16_t at;

	(void)state;
	assert_int_equal(vq_add(r.vq, out, 2, in, 2, &r), 0);
	assert_int_equal(r.avail->idx, 0);
	vq_publish(r.vq);
	at = device_take(&r);
	for (unsigned i = 0; i < 4; i++) {
		const struct vq_segment *want = i < 2 ? &out[i] : &in[i - 2];
		struct vring_desc d = r.desc[at];

		assert_int_equal(d.addr, want->iova);
		assert_int_equal(d.len, want->len_bytes);
		assert_int_equal(d.flags, (i < 3 ? VRING_DESC_F_NEXT : 0u) |
						  (i < 2 ? 0u : VRING_DESC_F_WRITE));
		at = d.next;
	}
	assert_int_equal(vq_free(r.vq), 4);
	ring_close(&r);
}

static void an_indirect_chain_costs_one_descriptor(void **state)
{
	struct ring r = ring_open(8, true, false);
	struct vq_segment out[] = {{0x1000, 40}, {0x2000, 8}}, in[] = {{0x3000, 16}};
	struct vring_desc *table, head;

	(void)state;
	assert_int_equal(vq_add(r.vq, out, 2, in, 1, &r), 0);
	vq_publish(r.vq);
	head = r.desc[device_take(&r)];
	assert_int_equal(head.flags, VRING_DESC_F_INDIRECT);
	assert_int_equal(head.len, 3 * sizeof(struct vring_desc));
	assert_true(extent_within(head.addr - IOVA, head.len, vq_memory_bytes(8, true)));
	table = (struct vring_desc *)(r.va + (head.addr - IOVA));
	assert_int_equal(table[0].flags, VRING_DESC_F_NEXT);
	assert_int_equal(table[0].next, 1);
	assert_int_equal(table[1].addr, 0x2000);
	assert_int_equal(table[1].next, 2);
	assert_int_equal(table[2].flags, VRING_DESC_F_WRITE);
	assert_int_equal(table[2].len, 16);
	assert_int_equal(vq_free(r.vq), 7);
	ring_close(&r);
}

static void a_single_piece_needs_no_table(void **state)
{
	struct ring r = ring_open(8, true, false);
	struct vq_segment out = {0x1000, 48};
	uint32_t written;
	uint16_t id;

	(void)state;
	assert_int_equal(vq_add(r.vq, &out, 1, NULL, 0, &r), 0);
	vq_publish(r.vq);
	id = device_take(&r);
	assert_int_equal(r.desc[id].addr, 0x1000);
	assert_int_equal(r.desc[id].flags, 0);
	device_put(&r, id, 0);
	assert_ptr_equal(reap_token(&r, &written), &r);
	assert_int_equal(written, 0);
	ring_close(&r);
}

static void add_refuses_malformed_chains_and_takes_nothing(void **state)
{
	struct ring r = ring_open(16, false, false);
	struct vq_segment ok[9], empty = {0x1000, 0}, huge[2] = {{0, UINT32_MAX}, {0, 1}};

	(void)state;
	for (unsigned i = 0; i < 9; i++)
		ok[i] = (struct vq_segment){0x1000, 1};
	assert_int_equal(vq_add(r.vq, NULL, 0, NULL, 0, &r), -EINVAL);
	assert_int_equal(vq_add(r.vq, ok, 9, NULL, 0, &r), -EINVAL);
	assert_int_equal(vq_add(r.vq, ok, 5, ok, 4, &r), -EINVAL);
	assert_int_equal(vq_add(r.vq, ok, UINT32_MAX, ok, 2, &r), -EINVAL);
	assert_int_equal(vq_add(r.vq, &empty, 1, ok, 1, &r), -EINVAL);
	assert_int_equal(vq_add(r.vq, ok, 1, &empty, 1, &r), -EINVAL);
	assert_int_equal(vq_add(r.vq, ok, 1, huge, 2, &r), -EINVAL);
	assert_int_equal(vq_free(r.vq), 16);
	assert_int_equal(vq_in_flight(r.vq), 0);
	assert_int_equal(vq_add(r.vq, ok, 4, ok, 4, &r), 0);
	ring_close(&r);
}

/* ------------------------------------------------------------------------- going round */

static void indices_wrap_for(bool indirect, bool event_idx)
{
	struct ring r = ring_open(4, indirect, event_idx);
	unsigned batch = indirect ? 3 : 2; /* fills neither the ring nor divides it */
	uint32_t written;

	/* Past 65535 twice, so that both the driver's and the device's indices wrap. */
	for (unsigned round = 0; round < 140000 / batch; round++) {
		uint16_t ids[4];

		*avail_event(&r) = r.avail_next;
		for (unsigned i = 0; i < batch; i++)
			assert_int_equal(add_pair(&r, token_of(round * 4 + i)), 0);
		assert_true(vq_publish(r.vq));
		assert_false(vq_publish(r.vq));
		for (unsigned i = 0; i < batch; i++)
			ids[i] = device_take(&r);
		assert_int_equal(r.avail_next, r.avail->idx);
		assert_false(vq_pending(r.vq));
		for (unsigned i = batch; i-- > 0;) /* out of order */
			device_put(&r, ids[i], i);
		assert_true(vq_pending(r.vq));
		for (unsigned i = batch; i-- > 0;) {
			assert_ptr_equal(reap_token(&r, &written), token_of(round * 4 + i));
			assert_int_equal(written, i);
		}
		assert_int_equal(vq_reap(r.vq, NULL, 0, NULL), 0);
		assert_int_equal(vq_in_flight(r.vq), 0);
		assert_int_equal(vq_free(r.vq), 4);
	}
	ring_close(&r);
}

static void indices_wrap_at_65536(void **state)
{
	(void)state;
	indices_wrap_for(false, false);
	indices_wrap_for(false, true);
	indices_wrap_for(true, false);
	indices_wrap_for(true, true);
}

static void a_full_ring_refuses_until_something_is_reaped(void **state)
{
	struct ring r = ring_open(8, false, true);

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(add_pair(&r, token_of(i)), 0);
	assert_int_equal(vq_free(r.vq), 0);
	assert_int_equal(add_pair(&r, token_of(9)), -ENOSPC);
	vq_publish(r.vq);
	device_put(&r, device_take(&r), 0);
	assert_int_equal(add_pair(&r, token_of(9)), -ENOSPC);
	assert_ptr_equal(reap_token(&r, NULL), token_of(0));
	assert_int_equal(add_pair(&r, token_of(4)), 0);
	assert_int_equal(add_pair(&r, token_of(9)), -ENOSPC);
	ring_close(&r);
}

static void a_chain_may_stay_while_65536_others_pass(void **state)
{
	struct ring r = ring_open(4, true, true);
	uint16_t slow;

	(void)state;
	assert_int_equal(add_pair(&r, token_of(7)), 0);
	vq_publish(r.vq);
	slow = device_take(&r);
	for (unsigned i = 0; i < 65536 + 3; i++) {
		assert_int_equal(add_pair(&r, token_of(1)), 0);
		vq_publish(r.vq);
		device_put(&r, device_take(&r), 0);
		assert_ptr_equal(reap_token(&r, NULL), token_of(1));
	}
	assert_int_equal(add_pair(&r, token_of(2)), 0); /* added, not published */
	device_put(&r, slow, 64);
	assert_ptr_equal(reap_token(&r, NULL), token_of(7));
	ring_close(&r);
}

static void a_device_that_scribbles_over_descriptors_changes_nothing(void **state)
{
	struct ring r = ring_open(8, false, false);
	uint16_t ids[4];

	(void)state;
	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(add_pair(&r, token_of(i)), 0);
		vq_publish(r.vq);
		for (unsigned i = 0; i < 4; i++)
			ids[i] = device_take(&r);
		memset(r.desc, 0xff, VRING_DESC_BYTES(8));
		memset(r.avail->ring, 0xff, 8 * 2);
		for (unsigned i = 0; i < 4; i++)
			device_put(&r, ids[3 - i], 0);
		for (unsigned i = 0; i < 4; i++)
			assert_ptr_equal(reap_token(&r, NULL), token_of(3 - i));
		assert_int_equal(vq_free(r.vq), 8);
	}
	ring_close(&r);
}

/* ------------------------------------------------------------------------- hostile devices */

static void an_id_outside_of_the_queue_breaks_it(void **state)
{
	struct ring r = ring_open(8, true, true);

	(void)state;
	add_pair(&r, token_of(1));
	vq_publish(r.vq);
	device_put(&r, 65536 + device_take(&r), 0); /* low 16 bits would fit */
	assert_broken(&r, "names descriptor 65536 of a queue with 8");
	ring_close(&r);
}

static void an_id_that_is_not_in_flight_breaks_the_queue(void **state)
{
	struct ring r = ring_open(8, true, true);

	(void)state;
	add_pair(&r, token_of(1));
	vq_publish(r.vq);
	device_put(&r, (device_take(&r) + 1u) % 8, 0);
	assert_broken(&r, "not in flight");
	ring_close(&r);
}

static void the_middle_of_a_direct_chain_is_no_head(void **state)
{
	struct ring r = ring_open(8, false, true);
	uint16_t head;

	(void)state;
	add_pair(&r, token_of(1));
	vq_publish(r.vq);
	head = device_take(&r);
	device_put(&r, r.desc[head].next, 0);
	assert_broken(&r, "not in flight");
	ring_close(&r);
}

static void a_chain_that_was_not_published_cannot_be_done(void **state)
{
	struct ring r = ring_open(8, true, true);

	(void)state;
	add_pair(&r, token_of(1));
	vq_publish(r.vq);
	add_pair(&r, token_of(2));
	/* the second head stands in the ring already, behind the index */
	device_put(&r, r.avail->ring[1], 0);
	assert_broken(&r, "not in flight");
	ring_close(&r);
}

static void an_id_that_comes_twice_breaks_the_queue_after_the_first(void **state)
{
	struct ring r = ring_open(8, true, true);
	struct vq_done done[8];
	uint16_t id;

	(void)state;
	add_pair(&r, token_of(1));
	add_pair(&r, token_of(2));
	vq_publish(r.vq);
	id = device_take(&r);
	device_put(&r, id, 3);
	device_put(&r, id, 3);
	assert_int_equal(vq_reap(r.vq, done, 8, r.why), 1);
	assert_ptr_equal(done[0].token, token_of(1));
	assert_broken(&r, "not in flight");
	assert_int_equal(vq_in_flight(r.vq), 1);
	assert_ptr_equal(vq_take_unfinished(r.vq), token_of(2));
	ring_close(&r);
}

static void a_length_beyond_the_writable_pieces_breaks_the_queue(void **state)
{
	struct ring r = ring_open(8, true, false);
	uint32_t written;

	(void)state;
	add_pair(&r, token_of(1));
	add_pair(&r, token_of(2));
	vq_publish(r.vq);
	device_put(&r, device_take(&r), 64); /* all of it is fine */
	assert_ptr_equal(reap_token(&r, &written), token_of(1));
	assert_int_equal(written, 64);
	device_put(&r, device_take(&r), 65);
	assert_broken(&r, "claims 65 bytes written where there was room for 64");
	ring_close(&r);
}

static void a_used_index_that_runs_ahead_breaks_the_queue(void **state)
{
	static const uint16_t jumps[] = {3, 8, 9, 0x8000, 0xffff};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(jumps); i++) {
		struct ring r = ring_open(8, true, true);

		add_pair(&r, token_of(1));
		add_pair(&r, token_of(2));
		vq_publish(r.vq);
		r.used->idx = jumps[i];
		assert_broken(&r, "but 2 chains are in flight");
		ring_close(&r);
	}
}

static void an_unpublished_chain_does_not_excuse_the_used_index(void **state)
{
	struct ring r = ring_open(8, true, true);

	(void)state;
	add_pair(&r, token_of(1));
	r.used->idx = 1;
	assert_broken(&r, "but 0 chains are in flight");
	ring_close(&r);
}

/* ------------------------------------------------------------------------- kicks and calls */

static void one_kick_decision_a_batch(void **state)
{
	struct ring r = ring_open(16, true, true);

	(void)state;
	/* event 0: the device waits for the first chain */
	assert_false(vq_publish(r.vq));
	add_pair(&r, token_of(1));
	add_pair(&r, token_of(2));
	add_pair(&r, token_of(3));
	assert_int_equal(r.avail->idx, 0);
	assert_true(vq_publish(r.vq));
	assert_int_equal(r.avail->idx, 3);
	/* it is busy and did not move its event: no more kicks */
	add_pair(&r, token_of(4));
	assert_false(vq_publish(r.vq));
	/* event at the last of the next batch, and just behind it */
	*avail_event(&r) = 5;
	add_pair(&r, token_of(5));
	add_pair(&r, token_of(6));
	assert_true(vq_publish(r.vq));
	*avail_event(&r) = 7;
	add_pair(&r, token_of(7));
	assert_false(vq_publish(r.vq));
	/* the first of a batch */
	add_pair(&r, token_of(8));
	add_pair(&r, token_of(9));
	assert_true(vq_publish(r.vq));
	ring_close(&r);
}

static void need_event_is_right_at_its_edges(void **state)
{
	(void)state;
	assert_true(vring_need_event(0xffff, 0, 0xffff));
	assert_true(vring_need_event(0xfffe, 1, 0xfffe));
	assert_true(vring_need_event(0, 1, 0xffff));
	assert_false(vring_need_event(1, 1, 0xffff));
	assert_false(vring_need_event(0xfffe, 1, 0xffff));
	assert_false(vring_need_event(5, 5, 5)); /* nothing moved */
	assert_false(vring_need_event(4, 5, 5));
}

static void without_event_index_a_flag_stops_kicks(void **state)
{
	struct ring r = ring_open(8, true, false);

	(void)state;
	add_pair(&r, token_of(1));
	assert_true(vq_publish(r.vq));
	r.used->flags = VRING_USED_F_NO_NOTIFY;
	add_pair(&r, token_of(2));
	assert_false(vq_publish(r.vq));
	r.used->flags = 0xfffe; /* other bits are reserved */
	add_pair(&r, token_of(3));
	assert_true(vq_publish(r.vq));
	ring_close(&r);
}

/* Would the device call when it moves used->idx by one from here? */
static bool device_would_call(struct ring *r, bool event_idx)
{
	uint16_t idx = r->used->idx;

	if (event_idx)
		return vring_need_event(*used_event(r), (uint16_t)(idx + 1), idx);
	return !(r->avail->flags & VRING_AVAIL_F_NO_INTERRUPT);
}

static void calls_come_when_enabled_for(bool event_idx)
{
	struct ring r = ring_open(8, true, event_idx);

	assert_true(device_would_call(&r, event_idx)); /* as created */
	vq_disable_calls(r.vq);
	assert_false(device_would_call(&r, event_idx));
	for (unsigned i = 0; i < 70000; i++) {
		add_pair(&r, token_of(1));
		vq_publish(r.vq);
		assert_false(vq_enable_calls(r.vq));
		assert_true(device_would_call(&r, event_idx));
		if (i % 3 == 0) {
			vq_disable_calls(r.vq);
			assert_false(device_would_call(&r, event_idx));
		}
		device_put(&r, device_take(&r), 0);
		/* the race: it came between the last look and the request for a call */
		assert_true(vq_enable_calls(r.vq));
		reap_token(&r, NULL);
		assert_false(vq_enable_calls(r.vq));
	}
	ring_close(&r);
}

static void enable_calls_says_when_there_is_one_already(void **state)
{
	(void)state;
	calls_come_when_enabled_for(true);
	calls_come_when_enabled_for(false);
}

static void disabled_calls_stay_off_over_a_long_poll(void **state)
{
	struct ring r = ring_open(8, true, true);

	(void)state;
	vq_disable_calls(r.vq);
	for (unsigned i = 0; i < 60000; i++) {
		add_pair(&r, token_of(1));
		vq_publish(r.vq);
		assert_false(device_would_call(&r, true));
		device_put(&r, device_take(&r), 0);
		reap_token(&r, NULL);
		vq_disable_calls(r.vq);
	}
	ring_close(&r);
}

/* ------------------------------------------------------------------------- the end */

static void take_unfinished_returns_every_token_once(void **state)
{
	struct ring r = ring_open(16, false, true);
	bool seen[5] = {false};
	void *token;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		add_pair(&r, token_of(i));
	vq_publish(r.vq);
	device_put(&r, device_take(&r), 0);
	reap_token(&r, NULL);	   /* 0 is done */
	add_pair(&r, token_of(4)); /* never published */
	assert_int_equal(vq_in_flight(r.vq), 4);
	while ((token = vq_take_unfinished(r.vq))) {
		uintptr_t n = (uintptr_t)token - 1;

		assert_in_range(n, 1, 4);
		assert_false(seen[n]);
		seen[n] = true;
	}
	assert_true(seen[1] && seen[2] && seen[3] && seen[4]);
	assert_int_equal(vq_in_flight(r.vq), 0);
	assert_int_equal(vq_free(r.vq), 16);
	assert_null(vq_take_unfinished(r.vq));
	ring_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_refuses_a_size_that_is_no_power_of_two),
		cmocka_unit_test(the_largest_queue_fills_and_empties),
		cmocka_unit_test(a_direct_chain_links_its_pieces_in_order),
		cmocka_unit_test(an_indirect_chain_costs_one_descriptor),
		cmocka_unit_test(a_single_piece_needs_no_table),
		cmocka_unit_test(add_refuses_malformed_chains_and_takes_nothing),
		cmocka_unit_test(indices_wrap_at_65536),
		cmocka_unit_test(a_full_ring_refuses_until_something_is_reaped),
		cmocka_unit_test(a_chain_may_stay_while_65536_others_pass),
		cmocka_unit_test(a_device_that_scribbles_over_descriptors_changes_nothing),
		cmocka_unit_test(an_id_outside_of_the_queue_breaks_it),
		cmocka_unit_test(an_id_that_is_not_in_flight_breaks_the_queue),
		cmocka_unit_test(the_middle_of_a_direct_chain_is_no_head),
		cmocka_unit_test(a_chain_that_was_not_published_cannot_be_done),
		cmocka_unit_test(an_id_that_comes_twice_breaks_the_queue_after_the_first),
		cmocka_unit_test(a_length_beyond_the_writable_pieces_breaks_the_queue),
		cmocka_unit_test(a_used_index_that_runs_ahead_breaks_the_queue),
		cmocka_unit_test(an_unpublished_chain_does_not_excuse_the_used_index),
		cmocka_unit_test(one_kick_decision_a_batch),
		cmocka_unit_test(need_event_is_right_at_its_edges),
		cmocka_unit_test(without_event_index_a_flag_stops_kicks),
		cmocka_unit_test(enable_calls_says_when_there_is_one_already),
		cmocka_unit_test(disabled_calls_stay_off_over_a_long_poll),
		cmocka_unit_test(take_unfinished_returns_every_token_once),
	};

	return cmocka_run_group_tests_name("virtqueue-split", tests, NULL, NULL);
}
