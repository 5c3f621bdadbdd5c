/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Addresses of the device: pieces, misses, and what an invalidation waits for. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "stage.h"

#define RW   3
#define IOVA UINT64_C(0x40000000)

static struct stage stage;
static const _Atomic bool never = false;

static int fresh_plain(void **state)
{
	(void)state;
	stage_open(&stage, false);
	return 0;
}

static int fresh_iommu(void **state)
{
	(void)state;
	stage_open(&stage, true);
	return 0;
}

static int done(void **state)
{
	(void)state;
	stage_close(&stage);
	return 0;
}

static int map(const struct guest_range *x, unsigned n, struct iovec *pieces, unsigned max,
	       struct misses *misses)
{
	int rc;

	misses->n = 0;
	space_read_lock(&stage.space);
	rc = space_map(&stage.space, x, n, RW, pieces, max, misses);
	space_read_unlock(&stage.space);
	return rc;
}

static void guest_addresses_are_taken_as_they_are(void **state)
{
	struct guest_range x[2] = {{GUEST_ADDR + 5, 10000}, {GUEST_ADDR + GUEST_BYTES - 1, 1}};
	struct misses misses;
	struct iovec p[4];

	(void)state;
	stage.guest.va[5] = 0x5a;
	assert_int_equal(map(x, 2, p, 4, &misses), 2);
	assert_int_equal(p[0].iov_len, 10000);
	assert_int_equal(*(uint8_t *)p[0].iov_base, 0x5a);
	assert_int_equal(p[1].iov_len, 1);
	assert_int_equal(map(x, 2, p, 1, &misses), -E2BIG);
	x[1].len = 2; /* one byte past the end */
	assert_int_equal(map(x, 2, p, 4, &misses), -EFAULT);
	x[1] = (struct guest_range){UINT64_MAX, 2};
	assert_int_equal(map(x, 2, p, 4, &misses), -EFAULT);
	x[1] = (struct guest_range){USER_ADDR,
				    1}; /* the front end's addresses are not the guest's */
	assert_int_equal(map(x, 2, p, 4, &misses), -EFAULT);
}

static void an_extent_over_two_regions_is_two_pieces(void **state)
{
	struct vhost_user_mem_table t = {
		.num_regions = 2,
		.regions = {{.guest_addr = 0,
			     .size = 0x1000,
			     .user_addr = 0x10000,
			     .mmap_offset = 0x3000},
			    {.guest_addr = 0x1000, .size = 0x1000, .user_addr = 0x20000}}};
	struct guest_range x = {0xff0, 0x20};
	struct misses misses;
	struct memory *m;
	struct iovec p[4];
	uint8_t bytes[0x20];

	(void)state;
	assert_int_equal(memory_create(&t, (int[]){stage.guest.fd, stage.guest.fd}, 2, NULL, &m),
			 0);
	space_set_memory(&stage.space, m);
	memset(stage.guest.va + 0x3ff0, 1, 0x10);
	memset(stage.guest.va, 2, 0x10);
	assert_int_equal(map(&x, 1, p, 4, &misses), 2);
	assert_int_equal(p[0].iov_len, 0x10);
	assert_int_equal(space_read(&stage.space, x.addr, bytes, sizeof(bytes), &misses), 0);
	assert_int_equal(bytes[0xf], 1);
	assert_int_equal(bytes[0x10], 2);
	bytes[0x10] = 9;
	assert_int_equal(space_write(&stage.space, x.addr, bytes, sizeof(bytes), &misses), 0);
	assert_int_equal(stage.guest.va[0], 9);
}

static void no_memory_means_no_address(void **state)
{
	struct guest_range x = {GUEST_ADDR, 1};
	struct misses misses;
	struct iovec p;

	(void)state;
	space_set_memory(&stage.space, NULL);
	assert_int_equal(map(&x, 1, &p, 1, &misses), -EFAULT);
}

static void all_misses_of_a_request_are_found_at_once(void **state)
{
	struct guest_range x[2] = {{IOVA + 0x800, 0x3000}, {IOVA + 0x100000, 1}};
	struct misses misses;
	struct iovec p[8];

	(void)state;
	space_update(&stage.space, IOVA + 0x1000, 0x1000, USER_ADDR, RW);
	assert_int_equal(map(x, 2, p, 8, &misses), -EAGAIN);
	assert_int_equal(misses.n, 4);
	assert_int_equal(misses.at[0].iova, IOVA);
	assert_int_equal(misses.at[1].iova, IOVA + 0x2000);
	assert_int_equal(misses.at[2].iova, IOVA + 0x3000);
	assert_int_equal(misses.at[3].iova, IOVA + 0x100000);
}

static void scattered_pages_become_pieces_and_neighbours_one_piece(void **state)
{
	struct guest_range x = {IOVA, 0x4000};
	struct misses misses;
	struct iovec p[8];

	(void)state;
	space_update(&stage.space, IOVA, 0x1000, USER_ADDR + 0x8000, RW);
	space_update(&stage.space, IOVA + 0x1000, 0x1000, USER_ADDR + 0x9000, RW);
	space_update(&stage.space, IOVA + 0x2000, 0x2000, USER_ADDR, RW);
	assert_int_equal(map(&x, 1, p, 8, &misses), 2);
	assert_int_equal(p[0].iov_len, 0x2000);
	/* a translation that leads out of memory */
	space_update(&stage.space, IOVA + 0x3000, 0x1000, 0x1234000, RW);
	assert_int_equal(map(&x, 1, p, 8, &misses), -EFAULT);
}

/* ------------------------------------------------------------------ misses and a front end */

struct answerer {
	pthread_t thread;
	int fd;
	bool refuse, refuse_by_reply;
	_Atomic bool silent;
	_Atomic unsigned asked;
};

static void reply(int fd, uint32_t request, uint64_t value)
{
	struct {
		struct vhost_user_header h;
		uint64_t value;
	} __attribute__((packed))
	m = {{request, VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY, sizeof(value)}, value};

	assert_int_equal(send(fd, &m, sizeof(m), 0), sizeof(m));
}

static void *answer_misses(void *arg)
{
	struct answerer *a = arg;
	struct {
		struct vhost_user_header h;
		struct vhost_user_iotlb t;
	} __attribute__((packed)) m;

	while (recv(a->fd, &m, sizeof(m), MSG_WAITALL) == (ssize_t)sizeof(m)) {
		if (m.h.request != VHOST_USER_BACKEND_IOTLB_MSG || m.t.type != VHOST_IOTLB_MISS_MSG)
			break;
		a->asked++;
		if (a->silent)
			continue;
		if (m.h.flags & VHOST_USER_FLAG_NEED_REPLY)
			reply(a->fd, m.h.request, a->refuse_by_reply);
		if (a->refuse)
			space_refuse(&stage.space, m.t.iova);
		else if (!a->refuse_by_reply)
			space_update(&stage.space, m.t.iova, 0x1000, USER_ADDR + (m.t.iova - IOVA),
				     m.t.perm);
	}
	return NULL;
}

static void answerer_open(struct answerer *a)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	a->fd = pair[0];
	channel_set(&stage.channel, pair[1]);
	assert_int_equal(pthread_create(&a->thread, NULL, answer_misses, a), 0);
}

static void answerer_close(struct answerer *a)
{
	channel_set(&stage.channel, -1);
	pthread_join(a->thread, NULL);
	close(a->fd);
}

static void misses_are_asked_for_and_waited_for(void **state)
{
	struct answerer a = {0};
	struct guest_range x = {IOVA, 0x10000};
	struct misses misses;
	struct iovec p[16];

	(void)state;
	answerer_open(&a);
	assert_int_equal(map(&x, 1, p, 16, &misses), -EAGAIN);
	assert_int_equal(misses.n, 16);
	assert_int_equal(space_resolve(&stage.space, &misses, &never), 0);
	assert_int_equal(map(&x, 1, p, 16, &misses), 1);
	answerer_close(&a);
	assert_true(a.asked >= 16);
}

static void *answer_again(void *arg)
{
	struct answerer *a = arg;

	while (a->asked < 3)
		stage_sleep_ms(1);
	a->silent = false;
	return NULL;
}

/* A front end that is stopped for a while, with and without REPLY_ACK. */
static void a_late_answer_is_waited_for(void **state)
{
	(void)state;
	for (int replies = 0; replies < 2; replies++) {
		struct answerer a = {.silent = true};
		struct misses misses = {.n = 1, .at = {{IOVA + (uint64_t)replies * 0x1000, 1}}};
		pthread_t t;

		atomic_store(&stage.channel.replies, replies);
		answerer_open(&a);
		assert_int_equal(pthread_create(&t, NULL, answer_again, &a), 0);
		assert_int_equal(space_resolve(&stage.space, &misses, &never), 0);
		pthread_join(t, NULL);
		answerer_close(&a);
	}
}

/* As QEMU does: no update, and a reply that is not 0. */
static void a_miss_that_only_the_reply_refuses_fails(void **state)
{
	struct answerer a = {.refuse_by_reply = true};
	struct misses misses = {.n = 1, .at = {{IOVA, 1}}};

	(void)state;
	atomic_store(&stage.channel.replies, true);
	answerer_open(&a);
	assert_int_equal(space_resolve(&stage.space, &misses, &never), -EFAULT);
	answerer_close(&a);
	assert_int_equal(a.asked, 2);
}

static void a_miss_that_is_refused_fails_at_once(void **state)
{
	struct answerer a = {.refuse = true};
	struct misses misses = {.n = 1, .at = {{IOVA, 1}}};
	uint64_t start = clock_now_ns();

	(void)state;
	answerer_open(&a);
	assert_int_equal(space_resolve(&stage.space, &misses, &never), -EFAULT);
	assert_true(clock_now_ns() - start < 20 * NS_PER_S);
	answerer_close(&a);
}

static _Atomic bool cancel;

static void *cancel_soon(void *arg)
{
	stage_sleep_ms(20);
	if (arg)
		channel_interrupt(&stage.channel);
	else
		atomic_store(&cancel, true);
	space_nudge(&stage.space);
	return NULL;
}

static void waiting_for_a_miss_ends_when_the_queue_or_the_device_stops(void **state)
{
	struct answerer a = {.silent = true};
	struct misses misses = {.n = 1, .at = {{IOVA, 1}}};
	pthread_t t;

	(void)state;
	answerer_open(&a);
	for (int device = 0; device < 2; device++) {
		atomic_store(&cancel, false);
		pthread_create(&t, NULL, cancel_soon, device ? &a : NULL);
		assert_int_equal(space_resolve(&stage.space, &misses, &cancel), -ECANCELED);
		pthread_join(t, NULL);
	}
	answerer_close(&a);
}

static void without_a_channel_a_miss_fails(void **state)
{
	struct misses misses = {.n = 1, .at = {{IOVA, 1}}};

	(void)state;
	assert_int_equal(space_resolve(&stage.space, &misses, &never), -ENOTCONN);
}

/* ------------------------------------------------------------------ invalidation */

static _Atomic int phase;

static void *invalidate(void *arg)
{
	(void)arg;
	phase = 1;
	assert_int_equal(space_invalidate(&stage.space, IOVA, IOVA + 0xfff, 20000), 0);
	phase = 2;
	return NULL;
}

static void an_invalidation_waits_for_the_pin_that_it_touches(void **state)
{
	struct guest_range readable = {IOVA + 0x2000, 1}, writable = {IOVA + 0xfff, 1};
	struct pin p = {.ranges = {&readable, &writable}, .n = {1, 1}};
	pthread_t t;

	(void)state;
	space_update(&stage.space, IOVA, 0x4000, USER_ADDR, RW);
	space_read_lock(&stage.space);
	space_pin(&stage.space, &p);
	space_read_unlock(&stage.space);
	phase = 0;
	pthread_create(&t, NULL, invalidate, NULL);
	wait_until(phase == 1);
	stage_sleep_ms(30);
	assert_int_equal(phase, 1);
	/* but not for pins of other pages, and not for ever */
	assert_int_equal(space_invalidate(&stage.space, IOVA + 0x3000, IOVA + 0x3fff, 20000), 0);
	assert_int_equal(space_invalidate(&stage.space, IOVA + 0x1000, IOVA + 0x2000, 10),
			 -ETIMEDOUT);
	space_unpin(&stage.space, &p);
	pthread_join(t, NULL);
	assert_int_equal(phase, 2);
}

static void an_invalidation_waits_for_whoever_holds_the_read_lock(void **state)
{
	pthread_t t;

	(void)state;
	space_update(&stage.space, IOVA, 0x1000, USER_ADDR, RW);
	space_read_lock(&stage.space);
	phase = 0;
	pthread_create(&t, NULL, invalidate, NULL);
	wait_until(phase == 1);
	stage_sleep_ms(30);
	assert_int_equal(phase, 1);
	space_read_unlock(&stage.space);
	pthread_join(t, NULL);
	assert_int_equal(phase, 2);
}

static void a_pin_keeps_the_old_memory_mapped(void **state)
{
	struct guest_range x = {GUEST_ADDR, 4096};
	struct pin p = {.ranges = {&x, &x}, .n = {1, 0}};
	struct misses misses;
	struct iovec piece;

	(void)state;
	space_read_lock(&stage.space);
	misses.n = 0;
	assert_int_equal(space_map(&stage.space, &x, 1, RW, &piece, 1, &misses), 1);
	space_pin(&stage.space, &p);
	space_read_unlock(&stage.space);
	space_set_memory(&stage.space, NULL);
	memset(piece.iov_base, 0x77, piece.iov_len);
	assert_int_equal(stage.guest.va[4095], 0x77);
	space_unpin(&stage.space, &p);
}

int main(void)
{
#define PLAIN(name) cmocka_unit_test_setup_teardown(name, fresh_plain, done)
#define IOMMU(name) cmocka_unit_test_setup_teardown(name, fresh_iommu, done)
	const struct CMUnitTest tests[] = {
		PLAIN(guest_addresses_are_taken_as_they_are),
		PLAIN(an_extent_over_two_regions_is_two_pieces),
		PLAIN(no_memory_means_no_address),
		PLAIN(a_pin_keeps_the_old_memory_mapped),
		IOMMU(all_misses_of_a_request_are_found_at_once),
		IOMMU(scattered_pages_become_pieces_and_neighbours_one_piece),
		IOMMU(misses_are_asked_for_and_waited_for),
		IOMMU(a_late_answer_is_waited_for),
		IOMMU(a_miss_that_only_the_reply_refuses_fails),
		IOMMU(a_miss_that_is_refused_fails_at_once),
		IOMMU(waiting_for_a_miss_ends_when_the_queue_or_the_device_stops),
		IOMMU(without_a_channel_a_miss_fails),
		IOMMU(an_invalidation_waits_for_the_pin_that_it_touches),
		IOMMU(an_invalidation_waits_for_whoever_holds_the_read_lock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
