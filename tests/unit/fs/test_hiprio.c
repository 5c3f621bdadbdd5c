/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* FORGET and INTERRUPT: no answers, no waiting, no losses. */
#include "rig.h"
#include "wire/virtio.h"

static void a_forget_is_one_readable_piece_without_an_answer(void **state)
{
	struct rig rig;
	struct fake_request *r;
	uint64_t nlookup;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){0});
	fs_forget(rig.s, 7, 3);
	assert_false(fs_hiprio_progress(rig.s));
	r = device_gets(&rig, 0, FUSE_FORGET);
	assert_int_equal(r->n_readable, 1);
	assert_int_equal(r->n_writable, 0);
	assert_int_equal(header_of(r).nodeid, 7);
	memcpy(&nlookup, r->readable + 40, 8);
	assert_int_equal(nlookup, 3);
	fake_device_push(rig.dev, r, NULL, 0);
	rig_close(&rig);
}

static void an_interrupt_names_the_request(void **state)
{
	struct rig rig;
	struct fake_request *r;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){0});
	fs_interrupt(rig.s, 0x1234);
	fs_hiprio_progress(rig.s);
	r = device_gets(&rig, 0, FUSE_INTERRUPT);
	memcpy(&unique, r->readable + 40, 8);
	assert_int_equal(unique, 0x1234);
	assert_int_equal(r->writable_bytes, 16);
	device_answers(&rig, r, -EAGAIN, NULL, 0);
	fs_hiprio_progress(rig.s);
	assert_int_equal(transport_failed(rig.t), 0);
	rig_close(&rig);
}

/* A slow device: it takes them one by one. Every one arrives, in order, and memory does not grow
 * with what has gone through. */
static void thousands_of_forgets_to_a_slow_device_arrive_in_order(void **state)
{
	struct rig rig;
	struct fs_stats stats;
	uint64_t expected = 1;
	bool waiting;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){0});
	for (uint64_t id = 1; id <= 3000; id++)
		fs_forget(rig.s, id, 1);
	assert_true(fs_hiprio_progress(rig.s));
	do {
		struct fake_request *r = device_gets(&rig, 0, FUSE_FORGET);

		assert_int_equal(header_of(r).nodeid, expected);
		expected++;
		fake_device_push(rig.dev, r, NULL, 0);
		/* while they wait, more come */
		if (expected % 3 == 0 && expected < 3000)
			fs_forget(rig.s, 3000 + expected / 3, 1);
		waiting = fs_hiprio_progress(rig.s);
	} while (expected <= 3999);
	assert_false(waiting);
	fs_get_stats(rig.s, &stats);
	assert_int_equal(stats.forgets, 3999);
	assert_null(fake_device_pop(rig.dev, 0));
	rig_close(&rig);
}

static void forgets_that_nobody_takes_do_not_block_the_end(void **state)
{
	struct rig rig;
	uint64_t begin = clock_now_ns();

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){0});
	for (uint64_t id = 1; id <= 500; id++)
		fs_forget(rig.s, id, 1);
	assert_true(fs_hiprio_progress(rig.s));
	rig_close(&rig);
	assert_true(clock_now_ns() - begin < NS_PER_S);
}

static void a_broken_hiprio_ring_gives_the_device_up(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){0});
	for (uint64_t id = 1; id <= 500; id++)
		fs_forget(rig.s, id, 1);
	fake_device_advance_used(rig.dev, 0, 1000);
	assert_false(fs_hiprio_progress(rig.s));
	assert_int_equal(transport_failed(rig.t), -EPROTO);
	assert_logged("hiprio");
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_forget_is_one_readable_piece_without_an_answer),
		cmocka_unit_test(an_interrupt_names_the_request),
		cmocka_unit_test(thousands_of_forgets_to_a_slow_device_arrive_in_order),
		cmocka_unit_test(forgets_that_nobody_takes_do_not_block_the_end),
		cmocka_unit_test(a_broken_hiprio_ring_gives_the_device_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
