/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The device's side of a split ring, against a driver that is careless or hostile. */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "vfsdax-device/vhost/ring.h"
#include "stage.h"

#define SIZE	 8
#define RING_AT	 0x0000u
#define TABLE_AT 0x10000u
#define DATA_AT	 0x20000u

static struct stage stage;
static struct driver_ring driver;
static struct ring ring;
static struct chain chain;
static struct misses misses;

static uint64_t guest_addr(uint32_t off)
{
	return GUEST_ADDR + off;
}

static void begin(uint16_t size, uint16_t at, bool event_idx, bool indirect)
{
	driver_ring_open(&driver, &stage.guest, RING_AT, size);
	driver.avail_idx = at;
	driver.avail->idx = driver.used->idx = at;
	assert_int_equal(ring_setup(&ring, size, USER_ADDR + driver_ring_desc(&driver),
				    USER_ADDR + driver_ring_avail(&driver),
				    USER_ADDR + driver_ring_used(&driver)),
			 0);
	ring_start(&ring, at, event_idx, indirect);
}

static int fresh(void **state)
{
	(void)state;
	stage_quiet();
	stage_open(&stage, false);
	ring_init(&ring, &stage.space, 1);
	begin(SIZE, 0, true, true);
	return 0;
}

static int done(void **state)
{
	(void)state;
	ring_fini(&ring);
	stage_close(&stage);
	return 0;
}

static void put_desc(unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	driver.desc[i] =
		(struct vring_desc){.addr = addr, .len = len, .flags = flags, .next = next};
}

static struct vring_desc *table(void)
{
	return (struct vring_desc *)(stage.guest.va + TABLE_AT);
}

static int pop(void)
{
	int rc;

	space_read_lock(&stage.space);
	rc = ring_pop(&ring, &chain, &misses);
	space_read_unlock(&stage.space);
	return rc;
}

static void is_broken(const char *why)
{
	unsigned logged = stage_log_count();

	assert_int_equal(pop(), -EPROTO);
	if (!strstr(stage_last_log(), why))
		fail_msg("\"%s\" does not say \"%s\"", stage_last_log(), why);
	assert_int_equal(stage_log_count(), logged + 1);
	assert_int_equal(pop(), -EPROTO); /* and stays so, silently */
	assert_int_equal(stage_log_count(), logged + 1);
}

static void a_chain_comes_out_as_it_went_in(void **state)
{
	(void)state;
	assert_int_equal(pop(), 0);
	put_desc(3, guest_addr(DATA_AT), 40, VRING_DESC_F_NEXT, 5);
	put_desc(5, guest_addr(DATA_AT + 64), 0, VRING_DESC_F_NEXT, 1); /* empty: skipped */
	put_desc(1, guest_addr(DATA_AT + 128), 16, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0);
	put_desc(0, guest_addr(DATA_AT + 256), 4096, VRING_DESC_F_WRITE, 7);
	driver_ring_offer(&driver, 3);
	assert_int_equal(pop(), 1);
	assert_int_equal(chain.head, 3);
	assert_int_equal(chain.n_readable, 1);
	assert_int_equal(chain.readable_bytes, 40);
	assert_int_equal(chain.n_writable, 2);
	assert_int_equal(chain.writable_bytes, 4112);
	assert_int_equal(chain.ranges[0].addr, guest_addr(DATA_AT));
	assert_int_equal(chain.ranges[2].addr, guest_addr(DATA_AT + 256));
	assert_int_equal(pop(), 0);
}

static void indices_wrap_around_at_65536(void **state)
{
	(void)state;
	begin(SIZE, 65530, false, false);
	for (unsigned i = 0; i < 40; i++) {
		put_desc(i % SIZE, guest_addr(DATA_AT), i + 1, 0, 0);
		driver_ring_offer(&driver, i % SIZE);
		assert_int_equal(pop(), 1);
		assert_int_equal(chain.head, i % SIZE);
		assert_int_equal(ring_push(&ring, chain.head, i, &misses), 0);
		assert_int_equal(driver_ring_used_idx(&driver), (uint16_t)(65530 + i + 1));
		assert_int_equal(driver_ring_used_at(&driver, (uint16_t)(65530 + i)).id, i % SIZE);
		assert_int_equal(driver_ring_used_at(&driver, (uint16_t)(65530 + i)).len, i);
	}
	assert_int_equal(pop(), 0);
}

static void a_full_ring_is_taken_whole_and_one_more_is_a_lie(void **state)
{
	(void)state;
	for (uint16_t i = 0; i < SIZE; i++) {
		put_desc(i, guest_addr(DATA_AT), 1, 0, 0);
		driver_ring_offer(&driver, i);
	}
	for (uint16_t i = 0; i < SIZE; i++)
		assert_int_equal(pop(), 1);
	assert_int_equal(pop(), 0);
	driver.avail->idx = (uint16_t)(driver.avail_idx + SIZE + 1);
	is_broken("available index 17 is 9 ahead");
}

static void unpop_gives_the_same_chain_again(void **state)
{
	(void)state;
	put_desc(2, guest_addr(DATA_AT), 5, 0, 0);
	driver_ring_offer(&driver, 2);
	assert_int_equal(pop(), 1);
	ring_unpop(&ring);
	assert_int_equal(pop(), 1);
	assert_int_equal(chain.head, 2);
}

static void an_indirect_table_is_a_chain_of_its_own(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 200; i++)
		table()[i] = (struct vring_desc){
			.addr = guest_addr(DATA_AT + 64 * i),
			.len = 64,
			.flags = (uint16_t)((i < 199 ? VRING_DESC_F_NEXT : 0) |
					    (i >= 100 ? VRING_DESC_F_WRITE : 0)),
			.next = (uint16_t)(i + 1)};
	/* after an ordinary descriptor, which 2.7.5.3.1 allows */
	put_desc(0, guest_addr(DATA_AT), 8, VRING_DESC_F_NEXT, 1);
	put_desc(1, guest_addr(TABLE_AT), 200 * 16, VRING_DESC_F_INDIRECT, 0);
	driver_ring_offer(&driver, 0);
	assert_int_equal(pop(), 1);
	assert_int_equal(chain.n_readable, 101);
	assert_int_equal(chain.n_writable, 100);
	assert_int_equal(chain.writable_bytes, 6400);
}

static void head_out_of_range(void **state)
{
	(void)state;
	driver_ring_offer(&driver, SIZE);
	is_broken("head 8");
}

static void next_out_of_range(void **state)
{
	(void)state;
	put_desc(0, guest_addr(DATA_AT), 1, VRING_DESC_F_NEXT, SIZE);
	driver_ring_offer(&driver, 0);
	is_broken("next 8");
}

static void a_loop(void **state)
{
	(void)state;
	put_desc(0, guest_addr(DATA_AT), 1, VRING_DESC_F_NEXT, 1);
	put_desc(1, guest_addr(DATA_AT), 1, VRING_DESC_F_NEXT, 0);
	driver_ring_offer(&driver, 0);
	is_broken("chain 0 loops");
}

static void a_loop_of_nothing(void **state)
{
	(void)state;
	put_desc(0, guest_addr(DATA_AT), 0, VRING_DESC_F_NEXT, 0);
	driver_ring_offer(&driver, 0);
	is_broken("chain 0 loops");
}

static void readable_after_writable(void **state)
{
	(void)state;
	put_desc(0, guest_addr(DATA_AT), 1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
	put_desc(1, guest_addr(DATA_AT), 1, 0, 0);
	driver_ring_offer(&driver, 0);
	is_broken("readable descriptor after a writable");
}

static void offer_table(uint64_t addr, uint32_t len, uint16_t flags)
{
	put_desc(0, addr, len, (uint16_t)(VRING_DESC_F_INDIRECT | flags), 1);
	driver_ring_offer(&driver, 0);
}

static void indirect_that_was_not_negotiated(void **state)
{
	(void)state;
	begin(SIZE, 0, true, false);
	offer_table(guest_addr(TABLE_AT), 16, 0);
	is_broken("not negotiated");
}

static void indirect_with_next(void **state)
{
	(void)state;
	offer_table(guest_addr(TABLE_AT), 16, VRING_DESC_F_NEXT);
	is_broken("flags 0x5");
}

static void indirect_table_of_no_bytes(void **state)
{
	(void)state;
	offer_table(guest_addr(TABLE_AT), 0, 0);
	is_broken("0 bytes");
}

static void indirect_table_of_odd_bytes(void **state)
{
	(void)state;
	offer_table(guest_addr(TABLE_AT), 17, 0);
	is_broken("17 bytes");
}

static void indirect_table_that_is_too_long(void **state)
{
	(void)state;
	offer_table(guest_addr(TABLE_AT), (REQUEST_PIECES_MAX + 1) * 16, 0);
	is_broken("1027 entries");
}

static void indirect_table_in_no_memory(void **state)
{
	(void)state;
	offer_table(guest_addr(GUEST_BYTES - 16), 32, 0);
	is_broken("in no memory");
}

static void indirect_table_at_the_end_of_64_bits(void **state)
{
	(void)state;
	offer_table(UINT64_MAX - 15, 32, 0);
	is_broken("in no memory");
}

static void indirect_inside_indirect(void **state)
{
	(void)state;
	table()[0] = (struct vring_desc){
		.addr = guest_addr(TABLE_AT), .len = 16, .flags = VRING_DESC_F_INDIRECT};
	offer_table(guest_addr(TABLE_AT), 16, 0);
	is_broken("inside one");
}

static void indirect_next_out_of_range(void **state)
{
	(void)state;
	table()[0] = (struct vring_desc){.len = 1, .flags = VRING_DESC_F_NEXT, .next = 2};
	offer_table(guest_addr(TABLE_AT), 32, 0);
	is_broken("next 2");
}

static void indirect_loop(void **state)
{
	(void)state;
	table()[0] = (struct vring_desc){.len = 1, .flags = VRING_DESC_F_NEXT, .next = 1};
	table()[1] = (struct vring_desc){.len = 1, .flags = VRING_DESC_F_NEXT, .next = 0};
	offer_table(guest_addr(TABLE_AT), 32, 0);
	is_broken("loops in its indirect table");
}

static void a_ring_in_no_memory_is_said_once(void **state)
{
	(void)state;
	ring_setup(&ring, SIZE, USER_ADDR + GUEST_BYTES - 16, USER_ADDR, USER_ADDR);
	ring_start(&ring, 0, true, true);
	stage_quiet();
	assert_int_equal(pop(), -EFAULT);
	assert_int_equal(pop(), -EFAULT);
	assert_int_equal(stage_log_count(), 1);
}

static void misplaced_rings_are_refused(void **state)
{
	(void)state;
	assert_int_equal(ring_setup(&ring, SIZE, 8, 0, 0), -EINVAL);
	assert_int_equal(ring_setup(&ring, SIZE, 0, 1, 0), -EINVAL);
	assert_int_equal(ring_setup(&ring, SIZE, 0, 0, 2), -EINVAL);
	assert_int_equal(ring_setup(&ring, 3, 0, 0, 0), -EINVAL);
	assert_int_equal(ring_setup(&ring, 0, 0, 0, 0), -EINVAL);
	assert_int_equal(ring_setup(&ring, SIZE, UINT64_MAX - 15, 0, 0), -EINVAL);
	assert_int_equal(pop(), -EFAULT);
}

static bool push_wants_call(void)
{
	assert_int_equal(ring_push(&ring, 0, 0, &misses), 0);
	return ring_wants_call(&ring);
}

static void event_idx_calls_when_the_event_is_crossed(void **state)
{
	(void)state;
	__atomic_store_n(driver_ring_used_event(&driver), 0, __ATOMIC_SEQ_CST);
	assert_true(push_wants_call()); /* 0 -> 1 crosses 0 */
	assert_false(push_wants_call());
	assert_false(push_wants_call());
	__atomic_store_n(driver_ring_used_event(&driver), 3, __ATOMIC_SEQ_CST);
	assert_true(push_wants_call()); /* 3 -> 4 */
	__atomic_store_n(driver_ring_used_event(&driver), 5, __ATOMIC_SEQ_CST);
	assert_false(push_wants_call()); /* 4 -> 5 */
	assert_true(push_wants_call());	 /* 5 -> 6 */
}

static void without_event_idx_the_flag_counts(void **state)
{
	(void)state;
	begin(SIZE, 0, false, true);
	assert_true(push_wants_call());
	driver.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	assert_false(push_wants_call());
}

static void listening_says_what_came_meanwhile(void **state)
{
	(void)state;
	assert_int_equal(ring_listen(&ring, true, &misses), 0);
	assert_int_equal(driver_ring_avail_event(&driver), 0);
	put_desc(0, guest_addr(DATA_AT), 1, 0, 0);
	driver_ring_offer(&driver, 0);
	assert_int_equal(ring_listen(&ring, true, &misses), 1);
	assert_int_equal(pop(), 1);
	assert_int_equal(ring_listen(&ring, true, &misses), 0);
	assert_int_equal(driver_ring_avail_event(&driver), 1);
	begin(SIZE, 0, false, true);
	assert_int_equal(ring_listen(&ring, false, &misses), 0);
	assert_int_equal(driver.used->flags, VRING_USED_F_NO_NOTIFY);
	assert_int_equal(ring_listen(&ring, true, &misses), 0);
	assert_int_equal(driver.used->flags, 0);
}

/* IOVAs whose pages lie in reverse order in the guest, so that nothing is contiguous by luck. */
static void a_ring_behind_an_iommu_may_be_scattered(void **state)
{
	enum { PAGES = 16, BASE = 0x800000, BIG = 256 };
	/* so that one entry of the used ring crosses a page */
	struct driver_ring d = {.size = BIG, .at = BASE + 0xbf0};
	uint8_t *va = stage.guest.va;

	(void)state;
#define PLACE(iova) (va + (PAGES - 1 - ((iova)-BASE) / 4096) * 4096 + (iova) % 4096)
	memset(va, 0, PAGES * 4096);
	space_set_iommu(&stage.space, true);
	ring_setup(&ring, BIG, driver_ring_desc(&d), driver_ring_avail(&d), driver_ring_used(&d));
	ring_start(&ring, 0, true, true);
	misses.n = 0;
	assert_int_equal(pop(), -EAGAIN);
	assert_int_equal(misses.n, 4); /* three pages, one of them for reading and for writing */
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(space_update(&stage.space, BASE + i * 4096ul, 4096,
					      USER_ADDR + (PAGES - 1 - i) * 4096ul, 3),
				 0);
	for (unsigned i = 0; i < 600; i++) {
		uint32_t slot = i % BIG, used = driver_ring_used(&d) + 4 + 8 * slot;
		struct vring_desc desc = {.addr = BASE, .len = i + 1};
		uint16_t next = (uint16_t)(i + 1), head = (uint16_t)slot;
		uint32_t id, len;

		memcpy(PLACE(driver_ring_desc(&d) + 16 * slot), &desc, sizeof(desc));
		memcpy(PLACE(driver_ring_avail(&d) + 4 + 2 * slot), &head, 2);
		memcpy(PLACE(driver_ring_avail(&d) + 2), &next, 2);
		assert_int_equal(pop(), 1);
		assert_int_equal(chain.readable_bytes, i + 1);
		assert_int_equal(ring_push(&ring, chain.head, i, &misses), 0);
		memcpy(&id, PLACE(used), 4);
		memcpy(&len, PLACE(used + 4), 4);
		assert_int_equal(id, slot);
		assert_int_equal(len, i);
	}
	/* Taken back: asked for again, and nothing is lost. */
	space_invalidate(&stage.space, 0, UINT64_MAX, 10);
	assert_int_equal(pop(), -EAGAIN);
	assert_int_equal(ring_push(&ring, 0, 0, &misses), -EAGAIN);
#undef PLACE
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fresh, done)
	const struct CMUnitTest tests[] = {
		T(a_chain_comes_out_as_it_went_in),
		T(indices_wrap_around_at_65536),
		T(a_full_ring_is_taken_whole_and_one_more_is_a_lie),
		T(unpop_gives_the_same_chain_again),
		T(an_indirect_table_is_a_chain_of_its_own),
		T(head_out_of_range),
		T(next_out_of_range),
		T(a_loop),
		T(a_loop_of_nothing),
		T(readable_after_writable),
		T(indirect_that_was_not_negotiated),
		T(indirect_with_next),
		T(indirect_table_of_no_bytes),
		T(indirect_table_of_odd_bytes),
		T(indirect_table_that_is_too_long),
		T(indirect_table_in_no_memory),
		T(indirect_table_at_the_end_of_64_bits),
		T(indirect_inside_indirect),
		T(indirect_next_out_of_range),
		T(indirect_loop),
		T(a_ring_in_no_memory_is_said_once),
		T(misplaced_rings_are_refused),
		T(event_idx_calls_when_the_event_is_crossed),
		T(without_event_idx_the_flag_counts),
		T(listening_says_what_came_meanwhile),
		T(a_ring_behind_an_iommu_may_be_scattered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
