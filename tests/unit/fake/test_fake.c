/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fake device against the real rings: what the tests of the higher floors stand on. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/log.h"
#include "fake/fake.h"
#include "virtqueue/virtqueue.h"
#include "wire/virtio.h"

#define SIZE 8

struct rig {
	struct transport *t;
	struct fake_device *dev;
	struct dma_mem mem;
	struct virtqueue *vq;
	uint8_t *question, *answer; /* 256 bytes each */
};

static struct rig rig_open(uint64_t features)
{
	struct fake_params params = {.window_bytes = 4 * MIB};
	struct queue_addr addr = {.size = SIZE};
	bool indirect = features & VIRTIO_F_BIT(VIRTIO_F_INDIRECT_DESC);
	struct vq_params vp = {.size = SIZE,
			       .indirect = indirect,
			       .event_idx = features & VIRTIO_F_BIT(VIRTIO_F_EVENT_IDX)};
	struct rig r;

	assert_int_equal(fake_create(&params, &r.t, &r.dev), 0);
	assert_int_equal(r.t->ops->set_features(r.t, features), 0);
	assert_int_equal(r.t->ops->dma_arena(r.t, 64 * KIB, &r.mem), 0);
	vp.va = r.mem.va;
	vp.iova = r.mem.iova;
	assert_int_equal(vq_create(&vp, &r.vq), 0);
	vq_areas(r.vq, &addr.desc_iova, &addr.avail_iova, &addr.used_iova);
	assert_int_equal(r.t->ops->queue_setup(r.t, 1, &addr), 0);
	assert_int_equal(r.t->ops->start(r.t), 0);
	r.question = r.mem.va + 32 * KIB;
	r.answer = r.mem.va + 40 * KIB;
	return r;
}

static void rig_close(struct rig *r)
{
	r->t->ops->close(r->t);
	vq_destroy(r->vq);
}

/* Sends `text` in two pieces, with room for 100 bytes in two pieces. */
static void ask(struct rig *r, const char *text)
{
	uint64_t q = r->mem.iova + 32 * KIB, a = r->mem.iova + 40 * KIB;
	uint32_t len = (uint32_t)strlen(text);
	struct vq_segment out[2] = {{q, 3}, {q + 3, len - 3}};
	struct vq_segment in[2] = {{a, 10}, {a + 10, 90}};

	memcpy(r->question, text, len);
	assert_int_equal(vq_add(r->vq, out, 2, in, 2, r), 0);
	if (vq_publish(r->vq))
		r->t->ops->kick(r->t, 1);
}

static const uint64_t combinations[] = {
	VIRTIO_F_BIT(VIRTIO_F_VERSION_1),
	VIRTIO_F_BIT(VIRTIO_F_VERSION_1) | VIRTIO_F_BIT(VIRTIO_F_EVENT_IDX),
	VIRTIO_F_BIT(VIRTIO_F_VERSION_1) | VIRTIO_F_BIT(VIRTIO_F_INDIRECT_DESC),
	VIRTIO_F_BIT(VIRTIO_F_VERSION_1) | VIRTIO_F_BIT(VIRTIO_F_INDIRECT_DESC) |
		VIRTIO_F_BIT(VIRTIO_F_EVENT_IDX),
};

static void a_request_goes_round_by_hand(void **state)
{
	(void)state;
	for (size_t c = 0; c < ARRAY_SIZE(combinations); c++) {
		struct rig r = rig_open(combinations[c]);

		assert_null(fake_device_pop(r.dev, 1));
		for (unsigned i = 0; i < 20; i++) {
			struct fake_request *req;
			struct vq_done done;

			ask(&r, "what is it");
			req = fake_device_wait(r.dev, 1, 1000);
			assert_non_null(req);
			assert_int_equal(req->readable_bytes, 10);
			assert_memory_equal(req->readable, "what is it", 10);
			assert_int_equal(req->n_readable, 2);
			assert_int_equal(req->writable_bytes, 100);
			assert_null(fake_device_pop(r.dev, 1));
			fake_device_push(r.dev, req, "it is a fake device", 19);
			assert_int_equal(vq_reap(r.vq, &done, 1, NULL), 1);
			assert_int_equal(done.written_bytes, 19);
			assert_memory_equal(r.answer, "it is a fake device", 19);
			vq_enable_calls(r.vq);
		}
		assert_int_equal(fake_device_kicks(r.dev, 1), 20);
		assert_int_equal(fake_device_calls(r.dev, 1), 20);
		rig_close(&r);
	}
}

static void echo(struct fake_device *dev, struct fake_request *req, void *ctx)
{
	(void)ctx;
	fake_device_push(dev, req, req->readable, req->readable_bytes);
}

static void a_request_goes_round_by_the_thread(void **state)
{
	(void)state;
	for (size_t c = 0; c < ARRAY_SIZE(combinations); c++) {
		struct rig r = rig_open(combinations[c]);
		struct pollfd p = {.fd = r.t->ops->call_fd(r.t, 1), .events = POLLIN};
		struct vq_done done;

		assert_int_equal(fake_device_serve(r.dev, echo, NULL), 0);
		for (unsigned i = 0; i < 200; i++) {
			ask(&r, "echo");
			if (!vq_enable_calls(r.vq))
				assert_int_equal(poll(&p, 1, 5000), 1);
			while (!vq_pending(r.vq))
				;
			assert_int_equal(vq_reap(r.vq, &done, 1, NULL), 1);
			assert_int_equal(done.written_bytes, 4);
		}
		(r.t->ops->stop)(r.t);
		assert_false(fake_device_started(r.dev));
		rig_close(&r);
	}
}

static void misbehaviour_reaches_the_driver(void **state)
{
	struct vq_done done;
	char why[128];

	(void)state;
	for (unsigned how = 0; how < 3; how++) {
		struct rig r = rig_open(combinations[3]);

		ask(&r, "break");
		fake_request_free(fake_device_pop(r.dev, 1));
		if (how == 0)
			fake_device_push_raw(r.dev, 1, 5, 0);
		else if (how == 1)
			fake_device_push_raw(r.dev, 1, 0, 101);
		else
			fake_device_advance_used(r.dev, 1, 2);
		assert_int_equal(vq_reap(r.vq, &done, 1, why), -EPROTO);
		rig_close(&r);
	}
}

static void drop_line(enum log_level level, const char *line, void *ctx)
{
	(void)level, (void)line, (void)ctx;
}

static void death_is_told_through_the_call_fd(void **state)
{
	struct rig r = rig_open(combinations[3]);
	struct pollfd p = {.fd = r.t->ops->call_fd(r.t, 1), .events = POLLIN};

	(void)state;
	log_set_handler(drop_line, NULL);
	ask(&r, "nobody hears this");
	assert_int_equal(poll(&p, 1, 0), 0);
	fake_device_die(r.dev, -ENODEV);
	assert_int_equal(transport_failed(r.t), -ENODEV);
	assert_int_equal(poll(&p, 1, 0), 1);
	assert_null(fake_device_pop(r.dev, 1));
	rig_close(&r);
}

static void what_the_device_shows_is_what_was_asked_for(void **state)
{
	static const uint8_t bytes[] = {1, 2, 3, 4};
	struct fake_params params = {
		.features = 1, .config = bytes, .config_bytes = 4, .queues = 9};
	struct shm_window w;
	struct transport *t;
	struct fake_device *dev;
	const char *reason;
	uint64_t offered;
	uint8_t got[4];

	(void)state;
	assert_int_equal(fake_create(&params, &t, &dev), 0);
	assert_int_equal(t->ops->features(t, &offered), 0);
	assert_int_equal(offered, 1);
	assert_int_equal(t->ops->set_features(t, 3), -ENOTSUP);
	assert_int_equal(t->ops->queue_count(t), 9);
	assert_int_equal(t->ops->config_read(t, 1, got, 3), 0);
	assert_memory_equal(got, bytes + 1, 3);
	assert_int_equal(t->ops->config_read(t, 1, got, 4), -EINVAL);
	fake_device_break_config(dev, -EIO);
	assert_int_equal(t->ops->config_read(t, 1, got, 1), -EIO);
	assert_int_equal(t->ops->window(t, &w, &reason), 0);
	assert_int_equal(w.len_bytes, 0);
	assert_non_null(reason);
	fake_device_break_start(dev, -ETIMEDOUT);
	assert_int_equal(t->ops->start(t), -ETIMEDOUT);
	fake_device_refuse_features(dev);
	assert_int_equal(t->ops->set_features(t, 1), -ENOTSUP);
	t->ops->close(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_goes_round_by_hand),
		cmocka_unit_test(a_request_goes_round_by_the_thread),
		cmocka_unit_test(misbehaviour_reaches_the_driver),
		cmocka_unit_test(death_is_told_through_the_call_fd),
		cmocka_unit_test(what_the_device_shows_is_what_was_asked_for),
	};

	alarm(50);
	return cmocka_run_group_tests_name("fake", tests, NULL, NULL);
}
