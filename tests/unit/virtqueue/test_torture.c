/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Driver and device on a thread each. In the first tests both go to sleep whenever they believe
 * that there is nothing to do: a wake-up that is lost shows as a stand-still until the alarm, a
 * missing release or acquire as an answer of another request, or under ThreadSanitizer as a data
 * race. The last two let the two sides of each store-then-load pair meet again and again at the
 * same moment: without a full barrier on both sides, both miss each other every few thousand times.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "virtqueue/virtqueue.h"
#include "wire/virtio.h"

#define IOVA	 (UINT64_C(1) << 32)
#define SIZE	 16
#define REQUESTS 60000u
#define STUCK_S	 100

/* One request: a question, and room for its answer. Lies in DMA memory behind the queue. */
struct cell {
	uint32_t question;
	uint32_t answer;
};

struct bench {
	bool indirect, event_idx;
	uint8_t *va;
	size_t queue_bytes;
	struct virtqueue *vq;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	int kick, call; /* eventfds; reading blocks */
};

static void *at_iova(struct bench *b, uint64_t iova)
{
	return b->va + (iova - IOVA);
}

/* ------------------------------------------------------------------------- device */

static void device_serve(struct bench *b, uint16_t id, uint16_t *used_idx)
{
	struct vring_desc *d = &b->desc[id];
	uint32_t *question, *answer;

	if (d->flags & VRING_DESC_F_INDIRECT) {
		d = at_iova(b, d->addr);
		question = at_iova(b, d[0].addr);
		answer = at_iova(b, d[1].addr);
	} else {
		question = at_iova(b, d->addr);
		answer = at_iova(b, b->desc[d->next].addr);
	}
	*answer = ~*question;
	b->used->ring[*used_idx % SIZE].id = id;
	b->used->ring[*used_idx % SIZE].len = sizeof(*answer);
	(*used_idx)++;
}

static bool device_wants_to_call(struct bench *b, uint16_t new_idx, uint16_t old_idx)
{
	__atomic_store_n(&b->used->idx, new_idx, __ATOMIC_SEQ_CST);
	if (b->event_idx)
		return vring_need_event(__atomic_load_n(&b->avail->ring[SIZE], __ATOMIC_SEQ_CST),
					new_idx, old_idx);
	return !(__atomic_load_n(&b->avail->flags, __ATOMIC_SEQ_CST) & VRING_AVAIL_F_NO_INTERRUPT);
}

/* Asks for a kick at the next chain, and tells whether one came in the meantime. */
static bool device_listen(struct bench *b, uint16_t avail_next)
{
	if (b->event_idx)
		__atomic_store_n((uint16_t *)&b->used->ring[SIZE], avail_next, __ATOMIC_SEQ_CST);
	else
		__atomic_store_n(&b->used->flags, 0, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&b->avail->idx, __ATOMIC_SEQ_CST) != avail_next;
}

static void *device_main(void *arg)
{
	struct bench *b = arg;
	uint16_t avail_next = 0, used_idx = 0;
	unsigned seed = 1, served = 0;

	while (served < REQUESTS) {
		uint16_t old = used_idx;
		unsigned batch = 1 + (unsigned)rand_r(&seed) % 5;
		eventfd_t n;

		while (batch-- && __atomic_load_n(&b->avail->idx, __ATOMIC_ACQUIRE) != avail_next) {
			device_serve(b, b->avail->ring[avail_next++ % SIZE], &used_idx);
			served++;
		}
		if (used_idx != old) {
			if (device_wants_to_call(b, used_idx, old))
				eventfd_write(b->call, 1);
			if (!b->event_idx && rand_r(&seed) % 2)
				__atomic_store_n(&b->used->flags, VRING_USED_F_NO_NOTIFY,
						 __ATOMIC_SEQ_CST);
		} else if (!device_listen(b, avail_next)) {
			eventfd_read(b->kick, &n);
		}
	}
	return NULL;
}

/* ------------------------------------------------------------------------- driver */

static unsigned drive_submit(struct bench *b, struct cell **idle, unsigned *n_idle, unsigned *next,
			     unsigned batch)
{
	unsigned added = 0;

	while (added < batch && *n_idle && *next < REQUESTS) {
		struct cell *c = idle[*n_idle - 1];
		uint64_t iova = IOVA + (uint64_t)((uint8_t *)c - b->va);
		struct vq_segment out = {iova + offsetof(struct cell, question), 4};
		struct vq_segment in = {iova + offsetof(struct cell, answer), 4};

		c->question = *next;
		c->answer = 0;
		if (vq_add(b->vq, &out, 1, &in, 1, c) != 0)
			break;
		(*n_idle)--;
		(*next)++;
		added++;
	}
	return added;
}

static unsigned drive_reap(struct bench *b, struct cell **idle, unsigned *n_idle, bool *seen)
{
	struct vq_done done[4];
	char why[128] = "";
	int n = vq_reap(b->vq, done, 4, why);

	if (n < 0)
		fail_msg("%s", why);
	for (int i = 0; i < n; i++) {
		struct cell *c = done[i].token;

		assert_int_equal(done[i].written_bytes, 4);
		assert_int_equal(c->answer, ~c->question);
		assert_false(seen[c->question]);
		seen[c->question] = true;
		idle[(*n_idle)++] = c;
	}
	return (unsigned)n;
}

/* A device that is another CPU does not need the barriers of one that is hardware, nor does it mind. */
static struct bench bench_open(bool indirect, bool event_idx, bool hardware)
{
	struct bench b = {.indirect = indirect, .event_idx = event_idx};
	size_t cells_bytes = round_up(SIZE * sizeof(struct cell), 64);
	uint64_t desc, avail, used;

	b.queue_bytes = round_up(vq_memory_bytes(SIZE, indirect), 64);
	b.va = aligned_alloc(64, b.queue_bytes + cells_bytes);
	memset(b.va, 0, b.queue_bytes + cells_bytes);
	b.kick = eventfd(0, EFD_CLOEXEC);
	b.call = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(
		vq_create(&(struct vq_params){SIZE, indirect, event_idx, b.va, IOVA, hardware},
			  &b.vq),
		0);
	vq_areas(b.vq, &desc, &avail, &used);
	b.desc = at_iova(&b, desc);
	b.avail = at_iova(&b, avail);
	b.used = at_iova(&b, used);
	return b;
}

static void bench_close(struct bench *b)
{
	vq_destroy(b->vq);
	close(b->kick);
	close(b->call);
	free(b->va);
}

static void torture(bool indirect, bool event_idx, bool hardware)
{
	struct bench b = bench_open(indirect, event_idx, hardware);
	bool *seen = calloc(REQUESTS, sizeof(*seen));
	unsigned seed = 2, next = 0, finished = 0, n_idle = 0;
	struct cell *idle[SIZE];
	pthread_t device;

	for (; n_idle < SIZE; n_idle++)
		idle[n_idle] = (struct cell *)(b.va + b.queue_bytes) + n_idle;
	alarm(STUCK_S);
	assert_int_equal(pthread_create(&device, NULL, device_main, &b), 0);

	while (finished < REQUESTS) {
		unsigned batch = (unsigned)rand_r(&seed) % 7, done;
		eventfd_t n;

		drive_submit(&b, idle, &n_idle, &next, batch);
		if (vq_publish(b.vq))
			eventfd_write(b.kick, 1);
		done = drive_reap(&b, idle, &n_idle, seen);
		finished += done;
		if (done || !vq_in_flight(b.vq) || rand_r(&seed) % 2) {
			if (rand_r(&seed) % 3 == 0)
				vq_disable_calls(b.vq);
			continue;
		}
		if (!vq_enable_calls(b.vq))
			eventfd_read(b.call, &n);
	}
	pthread_join(device, NULL);
	alarm(0);
	assert_int_equal(vq_in_flight(b.vq), 0);
	bench_close(&b);
	free(seen);
}

static void direct_chains_with_flags(void **state)
{
	(void)state;
	torture(false, false, false);
}

static void direct_chains_with_event_index(void **state)
{
	(void)state;
	torture(false, true, false);
}

static void indirect_chains_with_flags(void **state)
{
	(void)state;
	torture(true, false, false);
}

static void indirect_chains_with_event_index(void **state)
{
	(void)state;
	torture(true, true, false);
}

static void barriers_for_hardware(void **state)
{
	(void)state;
	torture(true, true, true);
	torture(false, false, true);
}

/* ------------------------------------------------------------------------- the two races */

/* On a busy machine the time ends it; then the two seldom met, and the next run may. */
#define ROUNDS 500000u
#define RACE_S 4

/* Both threads meet twice a round: before the race and after it. */
struct meeting {
	struct bench *b;
	_Atomic unsigned driver_at, device_at;
	bool kicked, called; /* written between the meetings, read after the second */
	bool device_saw;
	bool over;
};

static void meet(_Atomic unsigned *mine, _Atomic unsigned *other)
{
	unsigned here = atomic_fetch_add(mine, 1) + 1;

	/* On one CPU the other one has to run, too. */
	for (unsigned spins = 0; atomic_load(other) < here; spins++)
		if (spins > 2000)
			sched_yield();
}

static void a_moment(unsigned *seed)
{
	for (int n = rand_r(seed) % 400; n > 0; n--)
		__asm__ volatile("" ::: "memory");
}

/* Race 1: the driver publishes a chain; the device asks for a kick and looks a last time. Race 2:
 * the device finishes the chain; the driver asks for a call and looks a last time. */
static void *racing_device(void *arg)
{
	struct meeting *m = arg;
	uint16_t used_idx = 0;
	unsigned seed = 5;

	for (unsigned round = 0;; round++) {
		uint16_t old = used_idx;

		meet(&m->device_at, &m->driver_at);
		if (m->over)
			return NULL;
		a_moment(&seed);
		m->device_saw = device_listen(m->b, (uint16_t)round);
		meet(&m->device_at, &m->driver_at);

		meet(&m->device_at, &m->driver_at);
		device_serve(m->b, m->b->avail->ring[round % SIZE], &used_idx);
		a_moment(&seed);
		m->called = device_wants_to_call(m->b, used_idx, old);
		if (!m->b->event_idx) /* awake: no kicks, please, until it listens again */
			__atomic_store_n(&m->b->used->flags, VRING_USED_F_NO_NOTIFY,
					 __ATOMIC_SEQ_CST);
		meet(&m->device_at, &m->driver_at);
	}
}

static void race(bool event_idx)
{
	struct bench b = bench_open(true, event_idx, false);
	struct meeting m = {.b = &b};
	struct cell *idle[SIZE] = {(struct cell *)(b.va + b.queue_bytes)};
	bool seen[1], saw;
	unsigned seed = 6, n_idle = 1;
	uint64_t end_ns;
	pthread_t device;

	alarm(STUCK_S);
	assert_int_equal(pthread_create(&device, NULL, racing_device, &m), 0);
	end_ns = clock_now_ns() + RACE_S * NS_PER_S;
	for (unsigned round = 0; round < ROUNDS && (round % 64 || clock_now_ns() < end_ns);
	     round++) {
		unsigned next = 0;

		assert_int_equal(drive_submit(&b, idle, &n_idle, &next, 1), 1);
		meet(&m.driver_at, &m.device_at);
		a_moment(&seed);
		m.kicked = vq_publish(b.vq);
		meet(&m.driver_at, &m.device_at);
		if (!m.kicked && !m.device_saw)
			fail_msg("round %u: neither kicked nor seen", round);

		vq_disable_calls(b.vq);
		meet(&m.driver_at, &m.device_at);
		a_moment(&seed);
		saw = vq_enable_calls(b.vq);
		meet(&m.driver_at, &m.device_at);
		if (!saw && !m.called)
			fail_msg("round %u: neither called nor seen", round);
		seen[0] = false;
		assert_int_equal(drive_reap(&b, idle, &n_idle, seen), 1);
	}
	m.over = true;
	meet(&m.driver_at, &m.device_at);
	pthread_join(device, NULL);
	alarm(0);
	bench_close(&b);
}

static void no_wake_up_is_lost_with_flags(void **state)
{
	(void)state;
	race(false);
}

static void no_wake_up_is_lost_with_event_index(void **state)
{
	(void)state;
	race(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(direct_chains_with_flags),
		cmocka_unit_test(direct_chains_with_event_index),
		cmocka_unit_test(indirect_chains_with_flags),
		cmocka_unit_test(indirect_chains_with_event_index),
		cmocka_unit_test(barriers_for_hardware),
		cmocka_unit_test(no_wake_up_is_lost_with_flags),
		cmocka_unit_test(no_wake_up_is_lost_with_event_index),
	};

	return cmocka_run_group_tests_name("virtqueue-torture", tests, NULL, NULL);
}
