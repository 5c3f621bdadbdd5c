/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One request queue: batches, a full ring, answers that lie, answers that come late or never. */
#include "rig.h"

/* ------------------------------------------------------------------ the good case */

static void a_batch_is_one_kick_and_keeps_its_order(void **state)
{
	struct rig rig;
	struct fs_stats stats;
	uint64_t deadline;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){0});
	for (uint32_t i = 0; i < 20; i++)
		fs_req_submit(request(&rig, 100 + i, 0));
	assert_null(fake_device_pop(rig.dev, 1));
	assert_int_equal(fake_device_kicks(rig.dev, 1), 0);
	fs_channel_flush(rig.ch);
	assert_int_equal(fake_device_kicks(rig.dev, 1), 1);
	fs_channel_flush(rig.ch);
	assert_int_equal(fake_device_kicks(rig.dev, 1), 1);
	assert_int_equal(fs_channel_busy(rig.ch, &deadline), 20);
	assert_int_not_equal(deadline, UINT64_MAX);
	for (uint32_t i = 0; i < 20; i++)
		device_answers(&rig, device_gets(&rig, 1, 100 + i), 0, NULL, 0);
	assert_int_equal(fs_channel_reap(rig.ch, NULL), 20);
	assert_int_equal(fs_channel_busy(rig.ch, &deadline), 0);
	assert_int_equal(deadline, UINT64_MAX);
	fs_get_stats(rig.s, &stats);
	assert_int_equal(stats.submitted, 20);
	assert_int_equal(stats.answered, 20);
	assert_int_equal(stats.kicks, 1);
	rig_close(&rig);
}

static void an_answer_is_delivered_with_its_checked_header(void **state)
{
	struct rig rig;
	struct fs_req *req;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){0});
	req = submitted(&rig, FUSE_STATFS, 100);
	device_answers(&rig, device_gets(&rig, 1, FUSE_STATFS), 0, "hello", 5);
	reap_until(&rig, 1);
	assert_int_equal(fate_of(req)->err, 0);
	assert_int_equal(req->answer.len, 21);
	assert_memory_equal(req->out + 16, "hello", 5);
	fs_req_put(req, NULL);
	req = submitted(&rig, FUSE_STATFS, 100);
	device_answers(&rig, device_gets(&rig, 1, FUSE_STATFS), -511, NULL, 0);
	reap_until(&rig, 1);
	assert_int_equal(fate_of(req)->err, 0);
	assert_int_equal(req->answer.error, -511);
	fs_req_put(req, NULL);
	rig_close(&rig);
}

static void long_messages_continue_in_a_payload_buffer(void **state)
{
	static uint8_t data[9000];
	struct rig rig;
	struct fs_req *req;
	struct fake_request *r;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){0});
	req = request(&rig, FUSE_WRITE, 0);
	req->payload = fs_payload_get(rig.ch, 0);
	assert_non_null(req->payload);
	((struct fuse_in_header *)req->in)->len = FS_IN_BYTES + 1000;
	req->in_len = FS_IN_BYTES;
	req->in_payload_len = 1000;
	memset(req->payload->va, 'w', 1000);
	fs_req_submit(req);
	fs_channel_flush(rig.ch);
	r = device_gets(&rig, 1, FUSE_WRITE);
	assert_int_equal(r->readable[FS_IN_BYTES + 999], 'w');
	device_answers(&rig, r, 0, NULL, 0);
	reap_until(&rig, 1);

	req = request(&rig, FUSE_READ, 0);
	fate_of(req)->keep = true;
	req->payload = fs_payload_get(rig.ch, 0);
	req->out_payload_off = 4096;
	req->out_payload_len = sizeof(data);
	fs_req_submit(req);
	fs_channel_flush(rig.ch);
	memset(data, 'r', sizeof(data));
	device_answers(&rig, device_gets(&rig, 1, FUSE_READ), 0, data, sizeof(data));
	reap_until(&rig, 1);
	assert_memory_equal(req->payload->va + 4096, data, sizeof(data));
	fs_req_put(req, NULL);
	rig_close(&rig);
}

static void slots_and_payload_buffers_run_out_and_come_back(void **state)
{
	struct rig rig;
	struct fs_req *req[4];
	struct fs_payload *payload[2];

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){.slots = 4, .payloads = 2});
	assert_null(fs_req_get(rig.ch, 4));
	for (unsigned i = 0; i < 4; i++)
		assert_non_null(req[i] = fs_req_get(rig.ch, 3 - i));
	assert_null(fs_req_get(rig.ch, 0));
	for (unsigned i = 0; i < 2; i++)
		assert_non_null(payload[i] = fs_payload_get(rig.ch, 0));
	assert_null(fs_payload_get(rig.ch, 0));
	assert_int_equal(fs_payloads_free(rig.ch), 0);
	req[0]->payload = payload[0];
	fs_req_put(req[0], NULL);
	req[1]->payload = payload[1];
	fs_req_put(req[1], NULL);
	assert_non_null(req[1] = fs_req_get(rig.ch, 0));
	assert_null(fs_payload_get(rig.ch, 2));
	assert_non_null(payload[0] = fs_payload_get(rig.ch, 1));
	assert_non_null(payload[1] = fs_payload_get(rig.ch, 0));
	assert_null(fs_req_get(rig.ch, 1));
	assert_ptr_equal(fs_req_get(rig.ch, 0), req[0]);
	for (unsigned i = 0; i < 4; i++)
		fs_req_put(req[i], NULL);
	rig_close(&rig);
}

static void what_does_not_fit_the_ring_waits_and_follows_in_order(void **state)
{
	const struct fake_params device = {.queue_size_max = 4};
	struct rig rig;
	uint64_t deadline;

	(void)state;
	rig_open(&rig, &device, (struct fs_params){0});
	for (uint32_t i = 0; i < 15; i++)
		fs_req_submit(request(&rig, 100 + i, 0));
	fs_channel_flush(rig.ch);
	assert_int_equal(fs_channel_busy(rig.ch, &deadline), 15);
	for (uint32_t i = 0; i < 15; i++) {
		device_answers(&rig, device_gets(&rig, 1, 100 + i), 0, NULL, 0);
		if (i % 3 == 2)
			reap_until(&rig, 3);
	}
	assert_int_equal(fs_channel_busy(rig.ch, &deadline), 0);
	rig_close(&rig);
}

/* Without INDIRECT_DESC a chain takes a descriptor for each of its up to four pieces. */
static void a_ring_without_indirect_tables_carries_long_chains(void **state)
{
	const struct fake_params device = {
		.features = VIRTIO_F_BIT(VIRTIO_F_VERSION_1),
		.queue_size_max = 4,
	};
	struct rig rig;

	(void)state;
	rig_open(&rig, &device, (struct fs_params){0});
	for (unsigned i = 0; i < 3; i++) {
		struct fs_req *req = request(&rig, FUSE_IOCTL, 0);

		req->payload = fs_payload_get(rig.ch, 0);
		assert_non_null(req->payload);
		((struct fuse_in_header *)req->in)->len = 40 + 100;
		req->in_payload_len = 100;
		req->out_payload_off = 4096;
		req->out_payload_len = 5000;
		fs_req_submit(req);
		fs_channel_flush(rig.ch);
		device_answers(&rig, device_gets(&rig, 1, FUSE_IOCTL), 0, NULL, 0);
		reap_until(&rig, 1);
	}
	rig_close(&rig);
}

/* ------------------------------------------------------------------ calls */

static void calls_come_only_when_they_are_wanted(void **state)
{
	struct rig rig;
	struct fs_req *req;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){0});
	req = submitted(&rig, 1, 0);
	device_answers(&rig, device_gets(&rig, 1, 1), 0, NULL, 0);
	assert_int_equal(fake_device_calls(rig.dev, 1), 0);
	/* the answer is there already: do not sleep */
	assert_true(fs_channel_enable_calls(rig.ch));
	fs_channel_disable_calls(rig.ch);
	reap_until(&rig, 1);
	fs_req_put(req, NULL);

	req = submitted(&rig, 2, 0);
	assert_false(fs_channel_enable_calls(rig.ch));
	device_answers(&rig, device_gets(&rig, 1, 2), 0, NULL, 0);
	assert_int_equal(fake_device_calls(rig.dev, 1), 1);
	assert_true(fs_channel_call_fd(rig.ch) >= 0);
	reap_until(&rig, 1);
	fs_req_put(req, NULL);
	/* its end is news, once: who waits for requests only may sleep again */
	fake_device_die(rig.dev, -ENODEV);
	assert_true(fs_channel_enable_calls(rig.ch));
	fs_channel_reap(rig.ch, NULL);
	assert_false(fs_channel_enable_calls(rig.ch));
	rig_close(&rig);
}

/* ------------------------------------------------------------------ answers that lie */

/* Another request is under way when the bad answer comes: it must end as well. */
static void assert_answer_kills(struct fuse_out_header answer, size_t len, bool fix_unique,
				const char *value)
{
	struct rig rig;
	struct fs_req *bad, *other;
	struct fake_request *r;

	rig_open(&rig, NULL, (struct fs_params){0});
	bad = submitted(&rig, 1, 64);
	other = submitted(&rig, 2, 64);
	r = device_gets(&rig, 1, 1);
	if (fix_unique)
		answer.unique = header_of(r).unique;
	fake_device_push(rig.dev, r, &answer, len);
	reap_until(&rig, 2);
	assert_int_equal(transport_failed(rig.t), -EPROTO);
	assert_logged(value);
	assert_int_equal(capture_errors(), 1);
	assert_int_equal(fate_of(bad)->done, 1);
	assert_int_equal(fate_of(bad)->err, -EPROTO);
	assert_int_equal(fate_of(other)->done, 1);
	assert_int_equal(fate_of(other)->err, -EPROTO);
	fs_req_put(bad, NULL);
	fs_req_put(other, NULL);
	rig_close(&rig);
}

static void an_answer_to_somebody_else_gives_the_device_up(void **state)
{
	(void)state;
	assert_answer_kills((struct fuse_out_header){.len = 16, .unique = 0xabcdef}, 16, false,
			    "0xabcdef");
}

static void an_answer_without_a_whole_header_gives_the_device_up(void **state)
{
	(void)state;
	assert_answer_kills((struct fuse_out_header){.len = 16}, 15, true, "15 bytes");
	assert_answer_kills((struct fuse_out_header){.len = 16}, 0, true, "0 bytes");
}

static void an_answer_longer_than_what_was_written_gives_the_device_up(void **state)
{
	(void)state;
	assert_answer_kills((struct fuse_out_header){.len = 17}, 16, true, "says that it has 17");
	assert_answer_kills((struct fuse_out_header){.len = UINT32_MAX}, 16, true, "4294967295");
}

static void an_answer_shorter_than_a_header_gives_the_device_up(void **state)
{
	(void)state;
	assert_answer_kills((struct fuse_out_header){.len = 15}, 16, true, "says that it has 15");
}

static void an_error_out_of_range_gives_the_device_up(void **state)
{
	(void)state;
	assert_answer_kills((struct fuse_out_header){.len = 16, .error = 1}, 16, true, "error 1 ");
	assert_answer_kills((struct fuse_out_header){.len = 16, .error = -512}, 16, true,
			    "error -512");
	assert_answer_kills((struct fuse_out_header){.len = 16, .error = INT32_MIN}, 16, true,
			    "error -2147483648");
}

static void an_error_with_a_payload_gives_the_device_up(void **state)
{
	uint8_t answer[24] = {0};

	(void)state;
	memcpy(answer, &(struct fuse_out_header){.len = 24, .error = -5}, 16);
	struct rig rig;
	struct fs_req *req;
	struct fake_request *r;

	rig_open(&rig, NULL, (struct fs_params){0});
	req = submitted(&rig, 1, 64);
	r = device_gets(&rig, 1, 1);
	memcpy(answer + 8, &(uint64_t){header_of(r).unique}, 8);
	fake_device_push(rig.dev, r, answer, sizeof(answer));
	reap_until(&rig, 1);
	assert_int_equal(transport_failed(rig.t), -EPROTO);
	assert_logged("error -5 in an answer of 24 bytes");
	fs_req_put(req, NULL);
	rig_close(&rig);
}

static void a_used_ring_that_lies_gives_the_device_up(void **state)
{
	struct rig rig;
	struct fs_req *req;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){0});
	req = submitted(&rig, 1, 0);
	fake_device_push_raw(rig.dev, 1, 77, 16);
	reap_until(&rig, 1);
	assert_int_equal(fate_of(req)->err, -EPROTO);
	assert_logged("77");
	fs_req_put(req, NULL);
	rig_close(&rig);
}

/* What the device writes after it was given up finds nobody: the slots have new owners by then. */
static void answers_after_the_device_was_given_up_are_not_looked_at(void **state)
{
	struct rig rig;
	struct fs_req *first, *second, *reused;
	struct fake_request *r1, *r2;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){0});
	first = submitted(&rig, 1, 0);
	second = submitted(&rig, 2, 0);
	r1 = device_gets(&rig, 1, 1);
	r2 = device_gets(&rig, 1, 2);
	fake_device_push(rig.dev, r1, "0123456789abcdef", 16);
	reap_until(&rig, 2);
	assert_int_equal(fate_of(first)->done, 1);
	assert_int_equal(fate_of(second)->done, 1);
	fs_req_put(first, NULL);
	fs_req_put(second, NULL);
	/* too late: its slot is free, and then somebody else's */
	device_answers(&rig, r2, 0, NULL, 0);
	reused = fs_req_get(rig.ch, 0);
	assert_int_equal(fs_channel_reap(rig.ch, NULL), 0);
	assert_int_equal(reused->state, FS_REQ_OWNED);
	fs_req_put(reused, NULL);
	rig_close(&rig);
}

/* ------------------------------------------------------------------ time */

static void a_request_that_times_out_keeps_its_slot_until_the_device_returns_it(void **state)
{
	struct rig rig;
	struct fs_req *req;
	struct fake_request *r;
	struct fs_stats stats;
	uint64_t deadline;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){.slots = 1, .timeout_ms = 20});
	req = submitted(&rig, 1, 0);
	fate_of(req)->keep = false;
	r = device_gets(&rig, 1, 1);
	reap_until(&rig, 1);
	assert_int_equal(fate_of(req)->done, 1);
	assert_int_equal(fate_of(req)->err, -ETIMEDOUT);
	assert_int_equal(transport_failed(rig.t), 0);
	assert_int_equal(fs_channel_busy(rig.ch, &deadline), 0);
	/* the device may still write into it */
	assert_null(fs_req_get(rig.ch, 0));
	device_answers(&rig, r, 0, NULL, 0);
	fs_channel_reap(rig.ch, NULL);
	assert_int_equal(fate_of(req)->late, 1);
	assert_int_equal(fate_of(req)->done, 1);
	assert_ptr_equal(fs_req_get(rig.ch, 0), req);
	fs_req_put(req, NULL);
	fs_get_stats(rig.s, &stats);
	assert_int_equal(stats.timeouts, 1);
	rig_close(&rig);
}

/* Its user learns of the late answer after it has put the slot, never while it is at it. */
static void a_late_answer_waits_for_the_put(void **state)
{
	struct rig rig;
	struct fs_req *req;
	struct fake_request *r;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){.slots = 1, .timeout_ms = 20});
	req = submitted(&rig, 1, 0);
	r = device_gets(&rig, 1, 1);
	reap_until(&rig, 1);
	assert_int_equal(req->state, FS_REQ_ABANDONED);
	device_answers(&rig, r, 0, NULL, 0);
	fs_channel_reap(rig.ch, NULL);
	assert_int_equal(fate_of(req)->late, 0);
	assert_null(fs_req_get(rig.ch, 0));
	fs_req_put(req, NULL);
	assert_int_equal(fate_of(req)->late, 1);
	assert_ptr_equal(fs_req_get(rig.ch, 0), req);
	fs_req_put(req, NULL);
	rig_close(&rig);
}

static void a_cancelled_request_is_abandoned(void **state)
{
	struct rig rig;
	struct fs_req *req;
	struct fake_request *r;
	uint64_t unique;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){.slots = 1});
	req = request(&rig, 1, 0);
	req->untimed = true;
	fs_req_submit(req);
	fs_channel_flush(rig.ch);
	r = device_gets(&rig, 1, 1);
	unique = header_of(r).unique;
	assert_false(fs_cancel(rig.s, unique + 2, NULL, -EINTR));
	assert_true(fs_cancel(rig.s, unique, NULL, -EINTR));
	assert_false(fs_cancel(rig.s, unique, NULL, -EINTR));
	assert_int_equal(fate_of(req)->done, 1);
	assert_int_equal(fate_of(req)->err, -EINTR);
	assert_null(fs_req_get(rig.ch, 0));
	device_answers(&rig, r, 0, NULL, 0);
	fs_channel_reap(rig.ch, NULL);
	assert_int_equal(fate_of(req)->late, 1);
	assert_ptr_equal(fs_req_get(rig.ch, 0), req);
	rig_close(&rig);
}

struct payload_wait {
	struct fs_payload_waiter waiter;
	struct fs_payload *payload;
	unsigned called;
};

static void on_payload(struct fs_payload_waiter *waiter, void *ctx, struct fs_payload *payload)
{
	struct payload_wait *wait = container_of(waiter, struct payload_wait, waiter);

	(void)ctx;
	wait->payload = payload;
	wait->called++;
}

static void payload_buffers_are_waited_for_in_turn(void **state)
{
	struct payload_wait wait[3] = {
		{.waiter.got = on_payload}, {.waiter.got = on_payload}, {.waiter.got = on_payload}};
	struct rig rig;
	struct fs_req *req;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){.payloads = 1});
	req = fs_req_get(rig.ch, 0);
	req->payload = fs_payload_get_or_wait(rig.ch, &wait[0].waiter);
	assert_non_null(req->payload);
	for (unsigned i = 0; i < 3; i++)
		assert_null(fs_payload_get_or_wait(rig.ch, &wait[i].waiter));
	fs_req_put(req, NULL);
	assert_int_equal(wait[0].called, 1);
	assert_non_null(wait[0].payload);
	assert_int_equal(wait[1].called, 0);
	req = fs_req_get(rig.ch, 0);
	req->payload = wait[0].payload;
	fs_req_put(req, NULL);
	assert_ptr_equal(wait[1].payload, wait[0].payload);
	/* and end with the device */
	fake_device_die(rig.dev, -ENOTCONN);
	fs_channel_reap(rig.ch, NULL);
	assert_int_equal(wait[2].called, 1);
	assert_null(wait[2].payload);
	rig_close(&rig);
}

static void wait_for_failure(struct rig *rig)
{
	uint64_t end = clock_now_ns() + WAIT_MS * NS_PER_MS, deadline_ns;

	while (!transport_failed(rig->t) && clock_now_ns() < end) {
		fs_channel_reap(rig->ch, NULL);
		fs_channel_busy(rig->ch, &deadline_ns);
		/* A worker would sleep until then. */
		assert_true(transport_failed(rig->t) || deadline_ns != UINT64_MAX);
	}
	assert_int_equal(transport_failed(rig->t), -ETIMEDOUT);
	fs_channel_reap(rig->ch, NULL);
}

/* Or a worker would never read again. */
static void a_device_that_keeps_every_slot_is_given_up(void **state)
{
	struct rig rig;
	struct fs_req *req;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){.slots = 1, .timeout_ms = 20});
	req = submitted(&rig, 1, 0);
	fate_of(req)->keep = false;
	fake_request_free(device_gets(&rig, 1, 1));
	reap_until(&rig, 1);
	assert_false(transport_failed(rig.t)); /* nothing waits for it */
	assert_null(fs_req_get(rig.ch, 0));
	wait_for_failure(&rig);
	assert_non_null(strstr(captured.text, "of queue 1 that were given up"));
	assert_ptr_equal(fs_req_get(rig.ch, 0), req);
	rig_close(&rig);
}

static void a_device_that_keeps_every_payload_buffer_is_given_up(void **state)
{
	struct payload_wait wait = {.waiter.got = on_payload};
	struct rig rig;
	struct fs_req *req;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){.payloads = 1, .timeout_ms = 20});
	req = request(&rig, FUSE_READ, 0);
	req->payload = fs_payload_get(rig.ch, 0);
	req->out_payload_len = 4096;
	assert_int_equal(fs_req_submit(req), 0);
	fs_channel_flush(rig.ch);
	fake_request_free(device_gets(&rig, 1, FUSE_READ));
	reap_until(&rig, 1);
	assert_null(fs_payload_get_or_wait(rig.ch, &wait.waiter));
	wait_for_failure(&rig);
	assert_int_equal(wait.called, 1);
	assert_null(wait.payload);
	rig_close(&rig);
}

/* Slow is not dead: each answer, however late, starts the time anew. */
static void a_late_answer_that_frees_a_slot_is_progress(void **state)
{
	struct rig rig;
	struct fs_req *req;
	struct fake_request *r;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){.slots = 1, .timeout_ms = 20});
	for (unsigned round = 0; round < 3; round++) {
		req = submitted(&rig, 1, 0);
		fate_of(req)->keep = false;
		r = device_gets(&rig, 1, 1);
		reap_until(&rig, 1);
		assert_null(fs_req_get(rig.ch, 0));
		device_answers(&rig, r, 0, NULL, 0);
		fs_channel_reap(rig.ch, NULL);
		assert_int_equal(fate_of(req)->late, 1);
		assert_false(transport_failed(rig.t));
	}
	rig_close(&rig);
}

static void a_bad_late_answer_gives_the_device_up(void **state)
{
	struct rig rig;
	struct fs_req *req;
	struct fake_request *r;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){.timeout_ms = 20});
	req = submitted(&rig, 1, 0);
	fate_of(req)->keep = false;
	r = device_gets(&rig, 1, 1);
	reap_until(&rig, 1);
	fake_device_push(rig.dev, r, "0123456789abcdef", 16);
	fs_channel_reap(rig.ch, NULL);
	assert_int_equal(fate_of(req)->late, 0);
	assert_int_equal(fate_of(req)->done, 1);
	assert_int_equal(transport_failed(rig.t), -EPROTO);
	rig_close(&rig);
}

/* Or nobody could be told that the device is dead. */
static void slots_that_timed_out_come_back_when_the_device_dies(void **state)
{
	struct rig rig;
	struct fs_req *req;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){.slots = 1, .timeout_ms = 20});
	req = submitted(&rig, 1, 0);
	fate_of(req)->keep = false;
	reap_until(&rig, 1);
	assert_null(fs_req_get(rig.ch, 0));
	fake_device_die(rig.dev, -ENODEV);
	fs_channel_reap(rig.ch, NULL);
	assert_ptr_equal(fs_req_get(rig.ch, 0), req);
	fs_req_put(req, NULL);
	rig_close(&rig);
}

static void a_mapping_request_that_times_out_kills_the_device(void **state)
{
	struct rig rig;
	struct fs_req *mapping, *other;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){.timeout_ms = 20});
	mapping = request(&rig, FUSE_REMOVEMAPPING, 0);
	fate_of(mapping)->keep = true;
	mapping->fatal_on_timeout = true;
	fs_req_submit(mapping);
	other = submitted(&rig, 2, 0);
	reap_until(&rig, 2);
	assert_int_equal(transport_failed(rig.t), -ETIMEDOUT);
	assert_logged("opcode 49");
	assert_logged("20 ms");
	assert_int_equal(fate_of(mapping)->done, 1);
	assert_int_equal(fate_of(mapping)->err, -ETIMEDOUT);
	assert_int_equal(fate_of(other)->done, 1);
	fs_req_put(mapping, NULL);
	fs_req_put(other, NULL);
	rig_close(&rig);
}

static _Atomic uint64_t awaited_since;

static uint64_t awaited(const struct fs_req *req)
{
	assert_int_equal(req->state, FS_REQ_IN_FLIGHT);
	return awaited_since;
}

static void a_mapping_request_has_time_until_somebody_waits_for_it(void **state)
{
	struct fs_req *mapping, *other;
	struct rig rig;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){.timeout_ms = 20});
	mapping = request(&rig, FUSE_REMOVEMAPPING, 0);
	fate_of(mapping)->keep = true;
	mapping->fatal_on_timeout = true;
	mapping->awaited_ns = awaited;
	awaited_since = 0;
	fs_req_submit(mapping);
	/* Each of these times out after it was sent, so the mapping has had its time over and over.
	 */
	for (unsigned i = 0; i < 3; i++) {
		other = submitted(&rig, 2 + i, 0);
		reap_until(&rig, 1);
		assert_int_equal(fate_of(other)->err, -ETIMEDOUT);
		fs_req_put(other, NULL);
	}
	assert_int_equal(transport_failed(rig.t), 0);
	assert_int_equal(fate_of(mapping)->done, 0);
	awaited_since = clock_now_ns();
	reap_until(&rig, 1);
	assert_true(clock_now_ns() - awaited_since >= 20 * NS_PER_MS);
	assert_int_equal(transport_failed(rig.t), -ETIMEDOUT);
	assert_int_equal(fate_of(mapping)->err, -ETIMEDOUT);
	fs_req_put(mapping, NULL);
	rig_close(&rig);
}

static void an_untimed_request_never_expires(void **state)
{
	struct rig rig;
	struct fs_req *lock, *later;
	struct fake_request *r;
	uint64_t deadline;

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){.timeout_ms = 10});
	lock = request(&rig, FUSE_SETLKW, 0);
	fate_of(lock)->keep = true;
	lock->untimed = true;
	fs_req_submit(lock);
	fs_channel_flush(rig.ch);
	assert_int_equal(fs_channel_busy(rig.ch, &deadline), 1);
	assert_int_equal(deadline, UINT64_MAX);
	r = device_gets(&rig, 1, FUSE_SETLKW);
	/* one that came later times out, so more than enough time has passed */
	later = submitted(&rig, 2, 0);
	reap_until(&rig, 1);
	assert_int_equal(fate_of(later)->err, -ETIMEDOUT);
	assert_int_equal(fate_of(lock)->done, 0);
	device_answers(&rig, r, 0, NULL, 0);
	reap_until(&rig, 1);
	assert_int_equal(fate_of(lock)->err, 0);
	fs_req_put(lock, NULL);
	fs_req_put(later, NULL);
	rig_close(&rig);
}

/* An untimed request that finds the ring full has no deadline there either, and hides none. */
static void an_untimed_request_that_waits_for_the_ring_never_expires(void **state)
{
	const struct fake_params device = {.queue_size_max = 2};
	struct rig rig;
	struct fs_req *req[4];
	uint64_t deadline;

	(void)state;
	rig_open(&rig, &device, (struct fs_params){.timeout_ms = 10});
	for (unsigned i = 0; i < 3; i++) {
		req[i] = request(&rig, FUSE_SETLKW, 0);
		fate_of(req[i])->keep = true;
		req[i]->untimed = true;
		fs_req_submit(req[i]);
	}
	req[3] = submitted(&rig, 2, 0);
	assert_int_equal(fs_channel_busy(rig.ch, &deadline), 4);
	assert_int_not_equal(deadline, UINT64_MAX);
	reap_until(&rig, 1);
	assert_int_equal(fate_of(req[3])->err, -ETIMEDOUT);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fate_of(req[i])->done, 0);
	for (unsigned i = 0; i < 3; i++) {
		device_answers(&rig, device_gets(&rig, 1, FUSE_SETLKW), 0, NULL, 0);
		reap_until(&rig, 1);
		assert_int_equal(fate_of(req[i])->err, 0);
	}
	for (unsigned i = 0; i < 4; i++)
		fs_req_put(req[i], NULL);
	rig_close(&rig);
}

/* ------------------------------------------------------------------ death */

static void when_the_device_dies_everything_ends_once(void **state)
{
	const struct fake_params device = {.queue_size_max = 4};
	struct rig rig;
	struct fs_req *req[8], *after;
	uint64_t deadline;

	(void)state;
	rig_open(&rig, &device, (struct fs_params){0});
	for (unsigned i = 0; i < 8; i++) {
		req[i] = request(&rig, i, 0);
		fate_of(req[i])->keep = true;
		req[i]->untimed = i % 3 == 1;
		fs_req_submit(req[i]);
	}
	fs_channel_flush(rig.ch);
	fake_device_die(rig.dev, -ENOTCONN);
	assert_int_equal(fs_channel_reap(rig.ch, NULL), 8);
	assert_int_equal(fs_channel_reap(rig.ch, NULL), 0);
	assert_int_equal(fs_channel_busy(rig.ch, &deadline), 0);
	after = request(&rig, 99, 0);
	fate_of(after)->keep = true;
	assert_int_equal(fs_req_submit(after), -ENOTCONN);
	assert_int_equal(after->state, FS_REQ_OWNED);
	assert_int_equal(fate_of(after)->done, 0);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(fate_of(req[i])->done, 1);
		assert_int_equal(fate_of(req[i])->err, -ENOTCONN);
		fs_req_put(req[i], NULL);
	}
	fs_req_put(after, NULL);
	rig_close(&rig);
}

static void close_finishes_what_is_unfinished(void **state)
{
	struct rig rig;
	struct fs_req *req[3];

	(void)state;
	rig_open(&rig, NULL, (struct fs_params){.timeout_ms = 60000});
	for (unsigned i = 0; i < 3; i++) {
		req[i] = submitted(&rig, i, 0);
		fate_of(req[i])->keep = false;
	}
	struct fate *fate = fate_of(req[0]);
	struct fate seen = *fate;

	assert_int_equal(seen.done, 0);
	rig_close(&rig); /* frees the slots, so done() has to have put them */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_batch_is_one_kick_and_keeps_its_order),
		cmocka_unit_test(an_answer_is_delivered_with_its_checked_header),
		cmocka_unit_test(long_messages_continue_in_a_payload_buffer),
		cmocka_unit_test(slots_and_payload_buffers_run_out_and_come_back),
		cmocka_unit_test(what_does_not_fit_the_ring_waits_and_follows_in_order),
		cmocka_unit_test(a_ring_without_indirect_tables_carries_long_chains),
		cmocka_unit_test(calls_come_only_when_they_are_wanted),
		cmocka_unit_test(an_answer_to_somebody_else_gives_the_device_up),
		cmocka_unit_test(an_answer_without_a_whole_header_gives_the_device_up),
		cmocka_unit_test(an_answer_longer_than_what_was_written_gives_the_device_up),
		cmocka_unit_test(an_answer_shorter_than_a_header_gives_the_device_up),
		cmocka_unit_test(an_error_out_of_range_gives_the_device_up),
		cmocka_unit_test(an_error_with_a_payload_gives_the_device_up),
		cmocka_unit_test(a_used_ring_that_lies_gives_the_device_up),
		cmocka_unit_test(answers_after_the_device_was_given_up_are_not_looked_at),
		cmocka_unit_test(
			a_request_that_times_out_keeps_its_slot_until_the_device_returns_it),
		cmocka_unit_test(a_late_answer_waits_for_the_put),
		cmocka_unit_test(a_cancelled_request_is_abandoned),
		cmocka_unit_test(a_device_that_keeps_every_slot_is_given_up),
		cmocka_unit_test(a_device_that_keeps_every_payload_buffer_is_given_up),
		cmocka_unit_test(a_late_answer_that_frees_a_slot_is_progress),
		cmocka_unit_test(payload_buffers_are_waited_for_in_turn),
		cmocka_unit_test(a_bad_late_answer_gives_the_device_up),
		cmocka_unit_test(slots_that_timed_out_come_back_when_the_device_dies),
		cmocka_unit_test(a_mapping_request_that_times_out_kills_the_device),
		cmocka_unit_test(a_mapping_request_has_time_until_somebody_waits_for_it),
		cmocka_unit_test(an_untimed_request_never_expires),
		cmocka_unit_test(an_untimed_request_that_waits_for_the_ring_never_expires),
		cmocka_unit_test(when_the_device_dies_everything_ends_once),
		cmocka_unit_test(close_finishes_what_is_unfinished),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
