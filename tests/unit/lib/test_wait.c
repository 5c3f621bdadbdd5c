/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A waiter is woken whichever thread collects the answer; a batch is one kick. */
#include <errno.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "rig.h"

#define THREADS 6

static void a_batch_is_one_kick_and_results_come_in_their_order(void **state)
{
	struct vfsdax_result results[32];
	struct vfsdax_queue *q;
	struct vfsdax_file *f;
	struct stat st[32];
	unsigned kicks;
	struct rig r;

	(void)state;
	rig_open(&r, 1, 5000);
	f = rig_file(&r, O_RDWR);
	assert_int_equal(vfsdax_queue_create(r.s, 32, &q), 0);
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(vfsdax_prep_fstat(q, f, &st[i], i), 0);
	atomic_store(&r.hold, true);
	kicks = fake_device_kicks(r.dev, 1);
	assert_int_equal(vfsdax_submit(q), 32);
	assert_int_equal(fake_device_kicks(r.dev, 1), kicks + 1);
	assert_int_equal(vfsdax_reap(q, results, 32, 32, 50), 0);
	assert_int_equal(vfsdax_reap(q, results, 32, 1, 0), 0);
	while (rig_held(&r) < 32)
		usleep(1000);
	rig_release(&r); /* the last first */
	assert_int_equal(vfsdax_reap(q, results, 5, 5, -1), 5);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(results[i].user_data, 31 - i);
	assert_int_equal(vfsdax_reap(q, results, 32, 32, 5000), 27);
	assert_int_equal(results[26].user_data, 0);
	assert_int_equal(vfsdax_queue_destroy(q), 0);
	assert_int_equal(vfsdax_close(f), 0);
	rig_close(&r);
}

/* More requests than the lane has slots or buffers: those without one are sent later. */
static void what_finds_no_buffer_is_sent_later(void **state)
{
	static uint8_t bufs[64][16384];
	struct vfsdax_result results[64];
	struct vfsdax_queue *q[3];
	struct vfsdax_file *f;
	struct rig r;
	unsigned sent = 0;

	(void)state;
	rig_open(&r, 1, 10000);
	f = rig_file(&r, O_RDWR);
	atomic_store(&r.hold, true);
	for (unsigned k = 0; k < 3; k++) {
		assert_int_equal(vfsdax_queue_create(r.s, 64, &q[k]), 0);
		for (unsigned i = 0; i < 64; i++)
			assert_int_equal(vfsdax_prep_read(q[k], f, bufs[i], sizeof(bufs[i]), 0, i),
					 0);
		assert_int_equal(vfsdax_submit(q[k]), 64);
		assert_int_equal(vfsdax_reap(q[k], results, 64, 1, 0), 0);
	}
	while (rig_held(&r) < 8)
		usleep(1000);
	rig_release(&r);
	for (unsigned k = 0; k < 3; k++) {
		for (unsigned n = 0; n < 64;) {
			int got = vfsdax_reap(q[k], results, 64, 1, -1);

			assert_true(got > 0);
			for (int i = 0; i < got; i++)
				assert_int_equal(results[i].result, 8000);
			n += (unsigned)got;
		}
		sent += 64;
		assert_int_equal(vfsdax_queue_destroy(q[k]), 0);
	}
	assert_int_equal(atomic_load(&r.requests[FUSE_READ]), sent);
	assert_int_equal(vfsdax_close(f), 0);
	rig_close(&r);
}

/* The device alone makes the descriptor readable. */
static void the_descriptor_says_when(void **state)
{
	struct vfsdax_result result;
	struct vfsdax_queue *q;
	struct vfsdax_file *f;
	struct pollfd p = {.events = POLLIN};
	struct stat st;
	struct rig r;

	(void)state;
	rig_open(&r, 2, 20000);
	f = rig_file(&r, O_RDWR);
	assert_int_equal(vfsdax_queue_create(r.s, 4, &q), 0);
	p.fd = vfsdax_queue_fd(q);
	assert_true(p.fd >= 0);
	for (int i = 0; i < 50; i++) {
		int n = 0;

		atomic_store(&r.hold, true);
		assert_int_equal(vfsdax_prep_fstat(q, f, &st, 1), 0);
		assert_int_equal(vfsdax_submit(q), 1);
		while (rig_held(&r) < 1)
			usleep(100);
		while (vfsdax_reap(q, &result, 1, 0, 0) == 0 && poll(&p, 1, 0) == 1)
			;
		rig_release(&r);
		while (n == 0) {
			assert_int_equal(poll(&p, 1, 5000), 1);
			n = vfsdax_reap(q, &result, 1, 0, 0);
		}
		assert_int_equal(result.result, 0);
	}
	assert_int_equal(vfsdax_queue_destroy(q), 0);
	assert_int_equal(vfsdax_close(f), 0);
	rig_close(&r);
}

static void *call_once_more(void *f)
{
	struct stat st;

	return (void *)(intptr_t)vfsdax_fstat(f, &st);
}

/* Another thread that blocks switches the calls on, and off afterwards: the descriptor needs them.
 */
static void the_descriptor_keeps_its_calls_when_others_block(void **state)
{
	struct vfsdax_result result;
	struct vfsdax_queue *q;
	struct vfsdax_file *f;
	struct pollfd p = {.events = POLLIN};
	pthread_t thread;
	struct stat st;
	struct rig r;
	void *err;

	(void)state;
	rig_open(&r, 1, 20000);
	f = rig_file(&r, O_RDWR);
	assert_int_equal(vfsdax_queue_create(r.s, 4, &q), 0);
	p.fd = vfsdax_queue_fd(q);
	atomic_store(&r.hold, true);
	assert_int_equal(vfsdax_prep_fstat(q, f, &st, 1), 0);
	assert_int_equal(vfsdax_submit(q), 1);
	while (rig_held(&r) < 1)
		usleep(100);
	assert_int_equal(pthread_create(&thread, NULL, call_once_more, f), 0);
	while (rig_held(&r) < 2)
		usleep(100);
	usleep(20000); /* it blocks now */
	rig_release_last(&r);
	pthread_join(thread, &err);
	assert_null(err);
	while (poll(&p, 1, 0) == 1)
		assert_int_equal(vfsdax_reap(q, &result, 1, 0, 0), 0);
	/* A wait that times out. */
	share_pause(r.s, &r.s->lanes[0], clock_now_ns() + 20 * NS_PER_MS);
	assert_int_equal(poll(&p, 1, 0), 0);
	rig_release(&r);
	assert_int_equal(poll(&p, 1, 2000), 1);
	while (vfsdax_reap(q, &result, 1, 0, 0) == 0)
		assert_int_equal(poll(&p, 1, 2000), 1);
	assert_int_equal(vfsdax_queue_destroy(q), 0);
	assert_int_equal(vfsdax_close(f), 0);
	rig_close(&r);
}

/* A request that fails at once has no answer of the device to signal it. */
static void the_descriptor_signals_results_without_an_answer(void **state)
{
	struct vfsdax_result result;
	struct vfsdax_queue *q;
	struct vfsdax_file *f;
	struct pollfd p = {.events = POLLIN};
	struct rig r;

	(void)state;
	rig_open(&r, 1, 20000);
	f = rig_file(&r, O_RDONLY);
	assert_int_equal(vfsdax_queue_create(r.s, 4, &q), 0);
	p.fd = vfsdax_queue_fd(q);
	while (poll(&p, 1, 0) == 1)
		vfsdax_reap(q, &result, 1, 0, 0);
	assert_int_equal(vfsdax_prep_write(q, f, "x", 1, 0, 1), 0);
	assert_int_equal(vfsdax_prep_write(q, f, "x", 1, 0, 2), 0);
	assert_int_equal(vfsdax_submit(q), 2);
	for (uint64_t i = 1; i <= 2; i++) {
		assert_int_equal(poll(&p, 1, 0), 1);
		assert_int_equal(vfsdax_reap(q, &result, 1, 0, 0), 1);
		assert_int_equal(result.user_data, i);
		assert_int_equal(result.result, -EBADF);
	}
	assert_int_equal(vfsdax_reap(q, &result, 1, 0, 0), 0);
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_int_equal(vfsdax_queue_destroy(q), 0);
	assert_int_equal(vfsdax_close(f), 0);
	rig_close(&r);
}

/* With a silent device the time-out makes it readable. */
static void the_descriptor_notices_a_silent_device(void **state)
{
	struct vfsdax_result result;
	struct vfsdax_queue *q;
	struct vfsdax_file *f;
	struct pollfd p = {.events = POLLIN};
	struct stat st;
	struct rig r;

	(void)state;
	rig_open(&r, 2, 400);
	f = rig_file(&r, O_RDWR);
	assert_int_equal(vfsdax_queue_create(r.s, 4, &q), 0);
	p.fd = vfsdax_queue_fd(q);
	rig_lie(&r, FUSE_GETATTR, 0, NULL, 0);
	r.lie.silent = true;
	assert_int_equal(vfsdax_prep_fstat(q, f, &st, 1), 0);
	assert_int_equal(vfsdax_submit(q), 1);
	for (int n = 0; n == 0;) {
		assert_int_equal(poll(&p, 1, 5000), 1);
		n = vfsdax_reap(q, &result, 1, 0, 0);
	}
	assert_int_equal(result.result, -EIO);
	rig_truth(&r);
	assert_int_equal(vfsdax_queue_destroy(q), 0);
	assert_int_equal(vfsdax_close(f), 0);
	rig_close(&r);
}

/* A device that keeps all slots: requests without one end with the time-out as well. */
static void what_never_finds_a_slot_ends_too(void **state)
{
	struct vfsdax_result results[64];
	struct vfsdax_queue *q[3];
	struct vfsdax_file *f;
	struct stat st;
	struct rig r;

	(void)state;
	rig_open(&r, 1, 400);
	f = rig_file(&r, O_RDWR);
	rig_lie(&r, FUSE_GETATTR, 0, NULL, 0);
	r.lie.silent = true;
	for (unsigned k = 0; k < 3; k++) {
		assert_int_equal(vfsdax_queue_create(r.s, 64, &q[k]), 0);
		for (unsigned i = 0; i < 64; i++)
			assert_int_equal(vfsdax_prep_fstat(q[k], f, &st, i), 0);
		assert_int_equal(vfsdax_submit(q[k]), 64);
	}
	for (unsigned k = 0; k < 3; k++) {
		assert_int_equal(vfsdax_reap(q[k], results, 64, 64, 5000), 64);
		assert_int_equal(results[63].result, -EIO);
		assert_int_equal(vfsdax_queue_destroy(q[k]), 0);
	}
	assert_int_equal(vfsdax_fstat(f, &st), -EIO);
	vfsdax_close(f);
	assert_int_equal(vfsdax_detach(r.s), 0);
	pthread_mutex_destroy(&r.lock);
}

/* ------------------------------------------------------------------ threads */

struct caller {
	struct rig *r;
	struct vfsdax_file *f;
	pthread_t thread;
	unsigned calls;
	uint64_t slowest_ns;
	int last;
};

static void *call_often(void *arg)
{
	struct caller *c = arg;
	struct stat st;

	for (unsigned i = 0; i < c->calls; i++) {
		uint64_t start = clock_now_ns();

		c->last = vfsdax_fstat(c->f, &st);
		c->slowest_ns = MAX(c->slowest_ns, clock_now_ns() - start);
		if (c->last)
			break;
	}
	return NULL;
}

static void start(struct caller *c, struct rig *r, struct vfsdax_file *f, unsigned calls)
{
	for (unsigned i = 0; i < THREADS; i++) {
		c[i] = (struct caller){.r = r, .f = f, .calls = calls};
		assert_int_equal(pthread_create(&c[i].thread, NULL, call_often, &c[i]), 0);
	}
}

/* After a lost wake-up the call would end with the bound, a second. */
static void no_wake_up_is_lost(void **state)
{
	struct caller c[THREADS];
	struct vfsdax_file *f;
	struct rig r;

	(void)state;
	for (unsigned spin = 0; spin < 2; spin++) {
		rig_open(&r, 2, 10000);
		r.s->cpus = spin ? 8 : 1;
		f = rig_file(&r, O_RDWR);
		start(c, &r, f, 3000);
		for (unsigned i = 0; i < THREADS; i++) {
			pthread_join(c[i].thread, NULL);
			assert_int_equal(c[i].last, 0);
			assert_true(c[i].slowest_ns < 900 * NS_PER_MS);
		}
		assert_int_equal(vfsdax_close(f), 0);
		rig_close(&r);
	}
}

struct sleeper {
	struct rig *r;
	struct waiter w;
	pthread_t thread;
	uint64_t slept_ns;
};

static void *sleep_until_woken(void *arg)
{
	struct sleeper *s = arg;
	uint64_t start = clock_now_ns();

	if (share_wait(s->r->s, &s->w, &s->r->s->lanes[0], start + 10 * NS_PER_S))
		s->slept_ns = clock_now_ns() - start;
	return NULL;
}

static unsigned state_of(struct sleeper *s)
{
	return atomic_load(&s->w.state);
}

/* One leads, the others block; each is woken where it blocks, and one leads when the leader leaves.
 */
static void each_waiter_is_woken_where_it_blocks(void **state)
{
	struct sleeper s[3];
	struct rig r;

	(void)state;
	rig_open(&r, 1, 20000);
	r.s->cpus = 1;
	for (unsigned i = 0; i < 3; i++) {
		s[i] = (struct sleeper){.r = &r};
		waiter_init(&s[i].w);
		assert_int_equal(pthread_create(&s[i].thread, NULL, sleep_until_woken, &s[i]), 0);
		while (state_of(&s[i]) != (i ? WAITER_BLOCKS : WAITER_LEADS))
			usleep(100);
	}
	waiter_wake(r.s, &s[1].w);
	pthread_join(s[1].thread, NULL);
	assert_int_equal(state_of(&s[2]), WAITER_BLOCKS);
	/* (the bound of a second is not what ended it) */
	usleep(10000);
	waiter_wake(r.s, &s[0].w);
	pthread_join(s[0].thread, NULL);
	for (int i = 0; i < 200 && state_of(&s[2]) != WAITER_LEADS; i++)
		usleep(1000);
	assert_int_equal(state_of(&s[2]), WAITER_LEADS);
	waiter_wake(r.s, &s[2].w);
	pthread_join(s[2].thread, NULL);
	for (unsigned i = 0; i < 3; i++)
		assert_in_range(s[i].slept_ns, 1, 700 * NS_PER_MS);
	rig_close(&r);
}

static void a_device_that_dies_ends_every_call(void **state)
{
	struct caller c[THREADS];
	struct vfsdax_file *f;
	uint64_t began;
	struct stat st;
	struct rig r;

	(void)state;
	rig_open(&r, 2, 20000);
	f = rig_file(&r, O_RDWR);
	atomic_store(&r.hold, true);
	start(c, &r, f, 1);
	while (rig_held(&r) < THREADS)
		usleep(1000);
	began = clock_now_ns();
	fake_device_die(r.dev, -ENODEV);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(c[i].thread, NULL);
		assert_int_equal(c[i].last, -ENODEV);
	}
	assert_int_equal(vfsdax_fstat(f, &st), -ENODEV);
	assert_true(vfsdax_close(f) < 0);
	assert_int_equal(vfsdax_detach(r.s), 0);
	assert_true(clock_now_ns() - began < 5 * NS_PER_S);
	while (r.n_held)
		fake_request_free(r.held[--r.n_held]);
	pthread_mutex_destroy(&r.lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_batch_is_one_kick_and_results_come_in_their_order),
		cmocka_unit_test(what_finds_no_buffer_is_sent_later),
		cmocka_unit_test(the_descriptor_says_when),
		cmocka_unit_test(the_descriptor_keeps_its_calls_when_others_block),
		cmocka_unit_test(the_descriptor_signals_results_without_an_answer),
		cmocka_unit_test(the_descriptor_notices_a_silent_device),
		cmocka_unit_test(what_never_finds_a_slot_ends_too),
		cmocka_unit_test(each_waiter_is_woken_where_it_blocks),
		cmocka_unit_test(no_wake_up_is_lost),
		cmocka_unit_test(a_device_that_dies_ends_every_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
