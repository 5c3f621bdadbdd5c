/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* FORGET and INTERRUPT: no answers, no waiting, no losses. */
#include "rig.h"
#include "fs/internal.h"
#include "wire/agreement.h"
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

/* A look is a second in life; here they follow one another. */
static void look(struct rig *rig)
{
	atomic_store(&rig->s->look_ns, 0);
	fs_session_look(rig->s);
}

static void rig_open_watched(struct rig *rig)
{
	rig_open(rig, NULL, (struct fs_params){0});
	rig->t->ends_unseen = true;
	rig->s->limits.agreed = AGREE_HIPRIO_AT_ONCE;
}

static void a_device_that_returns_nothing_is_given_up(void **state)
{
	struct rig rig;
	struct fs_req *req;

	(void)state;
	rig_open_watched(&rig);
	for (unsigned i = 0; i < 10; i++)
		look(&rig);
	assert_null(fake_device_pop(rig.dev, 0)); /* nothing is in flight: nothing is asked */
	req = submitted(&rig, FUSE_GETATTR, 0);
	for (unsigned i = 0; i < 3; i++) {
		look(&rig);
		assert_int_equal(transport_failed(rig.t), 0);
	}
	look(&rig);
	assert_int_equal(transport_failed(rig.t), -EIO);
	assert_int_equal(rig.t->after, TRANSPORT_LOST);
	reap_until(&rig, 1);
	assert_int_equal(fate_of(req)->err, -EIO);
	fs_req_put(req, NULL);
	rig_close(&rig);
}

/* Its request queues may be held up for as long as they like. */
static void a_device_that_returns_hiprio_messages_is_there(void **state)
{
	struct rig rig;
	struct fs_req *req;

	(void)state;
	rig_open_watched(&rig);
	req = submitted(&rig, FUSE_READ, 0);
	for (unsigned i = 0; i < 20; i++) {
		struct fake_request *r;

		look(&rig);
		r = fake_device_pop(rig.dev, 0);
		if (r)
			fake_device_push(rig.dev, r, NULL, 0);
	}
	assert_int_equal(transport_failed(rig.t), 0);
	assert_int_equal(fate_of(req)->done, 0);
	device_answers(&rig, device_gets(&rig, 1, FUSE_READ), 0, NULL, 0);
	reap_until(&rig, 1);
	fs_req_put(req, NULL);
	rig_close(&rig);
}

static void a_device_that_did_not_agree_may_be_silent(void **state)
{
	struct rig rig;
	struct fs_req *req;

	(void)state;
	for (unsigned unseen = 0; unseen < 2; unseen++) {
		rig_open(&rig, NULL, (struct fs_params){0});
		rig.t->ends_unseen = unseen;
		rig.s->limits.agreed = unseen ? 0 : AGREE_HIPRIO_AT_ONCE;
		req = submitted(&rig, FUSE_READ, 0);
		for (unsigned i = 0; i < 10; i++)
			look(&rig);
		assert_int_equal(transport_failed(rig.t), 0);
		device_answers(&rig, device_gets(&rig, 1, FUSE_READ), 0, NULL, 0);
		reap_until(&rig, 1);
		fs_req_put(req, NULL);
		rig_close(&rig);
	}
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
		cmocka_unit_test(a_device_that_returns_nothing_is_given_up),
		cmocka_unit_test(a_device_that_returns_hiprio_messages_is_there),
		cmocka_unit_test(a_device_that_did_not_agree_may_be_silent),
		cmocka_unit_test(forgets_that_nobody_takes_do_not_block_the_end),
		cmocka_unit_test(a_broken_hiprio_ring_gives_the_device_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
