/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A started device: kicks and calls, death and errors, stop and start again, translations. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend.h"
#include "base/bytes.h"
#include "base/clock.h"

struct fixture {
	struct backend b;
	struct leftovers before;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	log_capture();
	log_forget();
	f->before = leftovers_now();
	backend_defaults(&f->b);
	backend_open(&f->b);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	backend_close(&f->b);
	assert_nothing_left(f->before);
	free(f);
	return 0;
}

static void assert_fails_within(struct transport *t, int err, unsigned ms)
{
	uint64_t end = clock_now_ns() + ms * NS_PER_MS;

	while (!transport_failed(t) && clock_now_ns() < end)
		usleep(1000);
	assert_int_equal(transport_failed(t), err);
}

static void kicks_and_calls_reach_the_other_side(void **state)
{
	struct fixture *f = *state;
	struct transport *t = backend_start(&f->b, NULL);

	t->ops->kick(t, 1);
	assert_true(readable_within(f->b.kick[1], 1000));
	assert_false(readable_within(f->b.kick[0], 0));
	eventfd_write(f->b.call[0], 1);
	assert_true(readable_within(t->ops->call_fd(t, 0), 1000));
	assert_false(readable_within(t->ops->call_fd(t, 1), 0));
	assert_int_equal(t->ops->call_fd(t, 99), -EINVAL);
	t->ops->close(t);
	assert_int_equal(log_errors(), 0);
}

static void both_sides_see_the_same_memory(void **state)
{
	struct fixture *f = *state;
	struct transport *t;
	struct dma_mem mem;

	assert_int_equal(transport_vhost_user_open(f->b.path, NULL, &t), 0);
	assert_int_equal(t->ops->set_features(t, VIRTIO_F_BIT(VIRTIO_F_VERSION_1)), 0);
	assert_int_equal(t->ops->dma_arena(t, 3 * MIB + 5, &mem), 0);
	assert_true(mem.len_bytes >= 3 * MIB + 5);
	assert_int_not_equal(mem.iova, 0);
	assert_int_equal(t->ops->start(t), 0);
	assert_int_equal(f->b.mem.regions[0].guest_addr, mem.iova);
	memcpy(mem.va + 3 * MIB, "hello", 5);
	assert_memory_equal(f->b.memory + 3 * MIB, "hello", 5);
	t->ops->close(t);
}

static void death_wakes_everybody_and_is_logged_once(void **state)
{
	struct fixture *f = *state;
	struct transport *t = backend_start(&f->b, NULL);
	struct virtio_fs_config_wire config;
	uint64_t begin;

	backend_die(&f->b);
	assert_true(readable_within(t->ops->call_fd(t, 0), 1000));
	assert_true(readable_within(t->ops->call_fd(t, 1), 1000));
	assert_int_equal(transport_failed(t), -ENOTCONN);
	assert_logged("the back end closed the connection");
	/* nothing waits for it any more */
	begin = clock_now_ns();
	assert_int_equal(t->ops->config_read(t, 0, &config, sizeof(config)), -ENOTCONN);
	t->ops->kick(t, 0);
	(t->ops->stop)(t);
	t->ops->close(t);
	assert_true(clock_now_ns() - begin < NS_PER_S);
	assert_int_equal(log_errors(), 1);
}

static void an_error_on_a_queue_gives_the_device_up(void **state)
{
	struct fixture *f = *state;
	struct transport *t = backend_start(&f->b, NULL);

	eventfd_write(f->b.err[1], 1);
	assert_true(readable_within(t->ops->call_fd(t, 1), 1000));
	assert_fails_within(t, -EIO, 1000);
	assert_logged("error on a queue");
	t->ops->close(t);
}

static void the_floors_above_can_drop_the_back_end(void **state)
{
	struct fixture *f = *state;
	struct transport *t = backend_start(&f->b, NULL);

	transport_fail(t, -EPROTO, "used element %d is wrong", 7);
	transport_fail(t, -EIO, "and something that follows from it");
	assert_int_equal(transport_failed(t), -EPROTO);
	assert_true(transport_cut_off(t));
	assert_logged("used element 7 is wrong");
	assert_true(readable_within(t->ops->call_fd(t, 0), 0));
	assert_true(readable_within(f->b.sock, 1000)); /* it sees that it was hung up on */
	t->ops->close(t);
	assert_int_equal(log_errors(), 1);
}

static void a_failure_during_set_up_reaches_queues_that_come_later(void **state)
{
	struct fixture *f = *state;
	struct queue_addr addr = {.size = 16};
	struct transport *t;
	struct dma_mem mem;

	assert_int_equal(transport_vhost_user_open(f->b.path, NULL, &t), 0);
	assert_int_equal(t->ops->dma_arena(t, 16384, &mem), 0);
	backend_die(&f->b);
	assert_fails_within(t, -ENOTCONN, 1000);
	addr.desc_iova = addr.avail_iova = addr.used_iova = mem.iova;
	assert_int_equal(t->ops->queue_setup(t, 0, &addr), -ENOTCONN);
	assert_int_equal(t->ops->start(t), -ENOTCONN);
	t->ops->close(t);
	assert_int_equal(log_errors(), 1);
}

static void a_device_starts_again_after_a_stop(void **state)
{
	struct fixture *f = *state;
	struct transport *t = backend_start(&f->b, NULL);

	for (unsigned i = 1; i < 5; i++) {
		(t->ops->stop)(t);
		(t->ops->stop)(t);
		assert_int_equal(f->b.stops, 2 * i);
		assert_int_equal(f->b.status, 0);
		assert_int_equal(t->ops->set_features(t, VIRTIO_F_BIT(VIRTIO_F_VERSION_1)), 0);
		assert_int_equal(t->ops->start(t), 0);
		assert_int_equal(t->ops->start(t), -EINVAL);
		assert_int_equal(f->b.status, 0xf);
	}
	t->ops->close(t);
	assert_int_equal(log_errors(), 0);
}

static void a_back_end_may_close_its_channel(void **state)
{
	struct fixture *f = *state;
	struct transport *t = backend_start(&f->b, NULL);
	struct virtio_fs_config_wire config;

	close(f->b.channel);
	f->b.channel = -1;
	usleep(20000);
	assert_int_equal(t->ops->config_read(t, 0, &config, sizeof(config)), 0);
	assert_int_equal(transport_failed(t), 0);
	t->ops->close(t);
	assert_int_equal(log_errors(), 0);
}

static void unknown_requests_are_answered(void **state)
{
	struct fixture *f = *state;
	struct transport *t = backend_start(&f->b, NULL);
	uint8_t uuid[16] = {1, 2, 3};
	int fd = f->b.quit;

	/* the barrier of a device that also runs under QEMU */
	assert_int_not_equal(
		channel_ask(&f->b, VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE, uuid, 16, NULL, 0), 0);
	assert_int_not_equal(channel_ask(&f->b, 4242, NULL, 0, NULL, 0), 0);
	assert_int_not_equal(channel_ask(&f->b, 4242, uuid, 16, &fd, 1), 0);
	/* without NEED_REPLY there is no answer, and the next one is for the next request */
	assert_true(raw_send(f->b.channel, 4242, VHOST_USER_VERSION, uuid, 16, &fd, 1));
	assert_int_not_equal(channel_ask(&f->b, 4243, NULL, 0, NULL, 0), UINT64_MAX);
	assert_int_equal(transport_failed(t), 0);
	t->ops->close(t);
	assert_int_equal(log_errors(), 0);
}

static void assert_dropped_by(struct backend *b, uint32_t request, uint32_t flags, uint32_t size,
			      const char *words)
{
	struct transport *t = backend_start(b, NULL);
	struct vhost_user_header h = {request, flags, size};

	assert_true(send(b->channel, &h, sizeof(h), MSG_NOSIGNAL) == sizeof(h));
	assert_fails_within(t, -EPROTO, 1000);
	assert_true(readable_within(t->ops->call_fd(t, 0), 1000));
	assert_logged(words);
	t->ops->close(t);
}

static void a_channel_message_of_another_version_drops_the_back_end(void **state)
{
	struct fixture *f = *state;

	assert_dropped_by(&f->b, VHOST_USER_BACKEND_SHMEM_MAP, 3, 40, "version 3");
}

static void a_huge_channel_message_drops_the_back_end(void **state)
{
	struct fixture *f = *state;

	assert_dropped_by(&f->b, VHOST_USER_BACKEND_SHMEM_MAP, 1, 1u << 30, "1073741824 bytes");
}

static void an_answer_on_the_channel_drops_the_back_end(void **state)
{
	struct fixture *f = *state;

	assert_dropped_by(&f->b, VHOST_USER_BACKEND_SHMEM_MAP, 5, 0, "where we asked nothing");
}

static void half_a_channel_message_drops_the_back_end_in_time(void **state)
{
	struct fixture *f = *state;
	const struct vhost_user_params params = {.timeout_ms = 500};
	struct transport *t = backend_start(&f->b, &params);

	assert_true(send(f->b.channel, "half", 4, MSG_NOSIGNAL) == 4);
	assert_fails_within(t, -ETIMEDOUT, 5000);
	assert_logged("never became whole");
	t->ops->close(t);
}

static void close_does_not_wait_for_half_a_channel_message(void **state)
{
	struct fixture *f = *state;
	struct transport *t = backend_start(&f->b, NULL);
	uint64_t begin = clock_now_ns();

	assert_true(send(f->b.channel, "half", 4, MSG_NOSIGNAL) == 4);
	usleep(20000);
	t->ops->close(t);
	assert_true(clock_now_ns() - begin < 2 * NS_PER_S);
}

/* ------------------------------------------------------------------------- translations */

static const struct vhost_user_params with_iommu = {.iommu_platform = true};

static void wait_for_iotlb(struct backend *b, unsigned count)
{
	for (int i = 0; i < 2000 && atomic_load(&b->iotlb_count) < count; i++)
		usleep(1000);
	assert_int_equal(atomic_load(&b->iotlb_count), count);
}

static void a_miss_is_answered_with_the_page_of_the_arena(void **state)
{
	struct fixture *f = *state;
	struct backend *b = &f->b;
	struct transport *t = backend_start(b, &with_iommu);
	struct vhost_user_iotlb miss = {.type = VHOST_IOTLB_MISS_MSG, .perm = 1};
	uint64_t iova = b->addr[1].avail_user_addr;

	assert_true(b->accepted & VIRTIO_F_BIT(VIRTIO_F_ACCESS_PLATFORM));
	/* neither the process's addresses nor the memory table's */
	assert_false(extent_within(iova - b->mem.regions[0].user_addr, 1, b->mem.regions[0].size));
	assert_false(extent_within(iova - b->mem.regions[0].guest_addr, 1, b->mem.regions[0].size));
	miss.iova = iova + 3;
	assert_int_equal(channel_ask(b, VHOST_USER_BACKEND_IOTLB_MSG, &miss, sizeof(miss), NULL, 0),
			 0);
	wait_for_iotlb(b, 1);
	assert_int_equal(b->iotlb[0].type, VHOST_IOTLB_UPDATE_MSG);
	assert_int_equal(b->iotlb[0].iova, round_down(iova, 4096));
	assert_int_equal(b->iotlb[0].size, 4096);
	assert_int_equal(b->iotlb[0].perm, 3);
	assert_int_equal(b->iotlb[0].user_addr - b->mem.regions[0].user_addr, 8192);
	/* the answer to the update does not get into the way of later questions */
	for (unsigned i = 0; i < 100; i++) {
		struct virtio_fs_config_wire config;

		assert_true(raw_send(b->channel, VHOST_USER_BACKEND_IOTLB_MSG, VHOST_USER_VERSION,
				     &miss, sizeof(miss), NULL, 0));
		assert_int_equal(t->ops->config_read(t, 0, &config, sizeof(config)), 0);
	}
	wait_for_iotlb(b, 101);
	t->ops->close(t);
	assert_int_equal(log_errors(), 0);
}

static void a_miss_outside_of_the_arena_fails(void **state)
{
	struct fixture *f = *state;
	struct backend *b = &f->b;
	struct transport *t = backend_start(b, &with_iommu);
	uint64_t base = b->addr[0].desc_user_addr;
	const uint64_t wrong[] = {0, base - 1, base + 64 * KIB, b->mem.regions[0].user_addr,
				  UINT64_MAX};

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct vhost_user_iotlb miss = {
			.iova = wrong[i], .type = VHOST_IOTLB_MISS_MSG, .perm = 2};

		assert_int_not_equal(
			channel_ask(b, VHOST_USER_BACKEND_IOTLB_MSG, &miss, sizeof(miss), NULL, 0),
			0);
		wait_for_iotlb(b, i + 1);
		assert_int_equal(b->iotlb[i].type, VHOST_IOTLB_FAIL_MSG);
		assert_int_equal(b->iotlb[i].iova, wrong[i]);
	}
	assert_int_equal(transport_failed(t), 0);
	t->ops->close(t);
}

static void without_the_feature_translations_are_refused(void **state)
{
	struct fixture *f = *state;
	struct transport *t = backend_start(&f->b, NULL);
	struct vhost_user_iotlb miss = {.type = VHOST_IOTLB_MISS_MSG, .perm = 1};

	assert_int_not_equal(
		channel_ask(&f->b, VHOST_USER_BACKEND_IOTLB_MSG, &miss, sizeof(miss), NULL, 0), 0);
	assert_int_equal(atomic_load(&f->b.iotlb_count), 0);
	assert_int_equal(transport_failed(t), 0);
	t->ops->close(t);
}

/* A queue that has to be drained before the ring stops, and needs a translation for that: the
 * update must come while the driver waits for the answer to GET_VRING_BASE. */
static void miss_before_stop(struct backend *b)
{
	struct vhost_user_iotlb miss = {
		.iova = b->addr[0].desc_user_addr, .type = VHOST_IOTLB_MISS_MSG, .perm = 1};
	struct vhost_user_header h;
	struct vhost_user_iotlb update;
	uint64_t zero = 0;
	unsigned n_fds;
	int fds[8];

	raw_send(b->channel, VHOST_USER_BACKEND_IOTLB_MSG, VHOST_USER_VERSION, &miss, sizeof(miss),
		 NULL, 0);
	if (raw_recv(b->sock, &h, &update, sizeof(update), fds, &n_fds) != sizeof(update) ||
	    h.request != VHOST_USER_IOTLB_MSG)
		abort();
	raw_send(b->sock, VHOST_USER_IOTLB_MSG, VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY, &zero,
		 sizeof(zero), NULL, 0);
	b->iotlb_count++;
}

static void a_translation_is_given_while_a_ring_stops(void **state)
{
	struct fixture *f = *state;
	struct transport *t = backend_start(&f->b, &with_iommu);

	f->b.before_stop = miss_before_stop;
	(t->ops->stop)(t);
	assert_int_equal(atomic_load(&f->b.iotlb_count), 2);
	assert_int_equal(transport_failed(t), 0);
	t->ops->close(t);
	assert_int_equal(log_errors(), 0);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(kicks_and_calls_reach_the_other_side),
		CASE(both_sides_see_the_same_memory),
		CASE(death_wakes_everybody_and_is_logged_once),
		CASE(an_error_on_a_queue_gives_the_device_up),
		CASE(the_floors_above_can_drop_the_back_end),
		CASE(a_failure_during_set_up_reaches_queues_that_come_later),
		CASE(a_device_starts_again_after_a_stop),
		CASE(a_back_end_may_close_its_channel),
		CASE(unknown_requests_are_answered),
		CASE(a_channel_message_of_another_version_drops_the_back_end),
		CASE(a_huge_channel_message_drops_the_back_end),
		CASE(an_answer_on_the_channel_drops_the_back_end),
		CASE(half_a_channel_message_drops_the_back_end_in_time),
		CASE(close_does_not_wait_for_half_a_channel_message),
		CASE(a_miss_is_answered_with_the_page_of_the_arena),
		CASE(a_miss_outside_of_the_arena_fails),
		CASE(without_the_feature_translations_are_refused),
		CASE(a_translation_is_given_while_a_ring_stops),
	};

	alarm(100);
	return cmocka_run_group_tests_name("vhost-user-running", tests, NULL, NULL);
}
