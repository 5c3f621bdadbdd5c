/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The worker's loop, over a socketpair in place of /dev/fuse (one packet is one message there as
 * well) and an eventfd in place of a device.
 */
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "capture.h"
#include "fuse/reply.h"
#include "fuse/pool.h"
#include "fuse/worker.h"
#include "wire/fuse.h"

#define WAIT_MS	  20000
/* Well below the second after which a worker looks around for things that it overlooked. */
#define PROMPT_MS 600

#define BURST 8

struct bench {
	int kernel, ours; /* the ends of the kernel and of the worker */
	int call_fd, ended_fd;
	struct fuse_worker *w;
	uint8_t buffer[2][4096];

	atomic_bool no_buffer; /* none free; reap() finds one if `returns_buffer` */
	atomic_bool returns_buffer;
	atomic_uint busy;	/* requests at the device */
	atomic_uint answers;	/* that it has given */
	atomic_ullong deadline; /* 0: none */
	atomic_uint n_buffer, n_request, n_reap, n_reaped, n_flush, n_sleep;
	atomic_ullong reaped_at;
	atomic_bool calls; /* wanted */
	/* The device answers when the worker is about to block. */
	atomic_bool answers_late;
	/* One answer to each request, from the device instead of at once. */
	bool defer;
	uint64_t deferred;
	int fd;
	/* The kernel asks so much at once, from inside the first request; when each was served. */
	unsigned burst;
	unsigned flushed[BURST];
	/* The worker is at place 1 of 2; when it wakes, its pool is made to let place 0 alone read.
	 */
	struct fuse_pool *pool;
};

static void ask(struct bench *b, uint64_t unique);

static bool bench_buffer(void *ctx, struct iovec iov[FUSE_WORKER_IOV])
{
	struct bench *b = ctx;

	atomic_fetch_add(&b->n_buffer, 1);
	iov[0] = (struct iovec){b->buffer[0], sizeof(b->buffer[0])};
	iov[1] = (struct iovec){b->buffer[1], sizeof(b->buffer[1])};
	iov[2] = (struct iovec){NULL, 0};
	return !atomic_load(&b->no_buffer);
}

static void bench_request(void *ctx, int fd, const struct iovec *iov, size_t len)
{
	struct bench *b = ctx;
	struct fuse_in_header h;

	(void)iov;
	assert_true(len >= sizeof(h));
	memcpy(&h, b->buffer[0], sizeof(h));
	if (b->burst && h.unique <= BURST) {
		for (; b->burst < BURST; b->burst++)
			ask(b, b->burst + 1);
		b->flushed[h.unique - 1] = atomic_load(&b->n_flush);
		atomic_fetch_add(&b->busy, 1);
		atomic_fetch_add(&b->n_request, 1);
		return;
	}
	atomic_fetch_add(&b->n_request, 1);
	if (b->defer) {
		b->deferred = h.unique;
		b->fd = fd;
		atomic_fetch_add(&b->busy, 1);
		return;
	}
	fuse_reply_error(fd, h.unique, -(int)h.opcode);
}

static unsigned bench_reap(void *ctx)
{
	struct bench *b = ctx;
	unsigned n = atomic_exchange(&b->answers, 0);

	atomic_fetch_add(&b->n_reap, 1);
	atomic_store(&b->reaped_at, clock_now_ns());
	if (!n)
		return 0;
	if (b->deferred)
		fuse_reply_error(b->fd, b->deferred, -77);
	b->deferred = 0;
	if (atomic_load(&b->busy))
		atomic_fetch_sub(&b->busy, n);
	if (atomic_load(&b->returns_buffer))
		atomic_store(&b->no_buffer, false);
	atomic_fetch_add(&b->n_reaped, n);
	return n;
}

static void bench_flush(void *ctx)
{
	atomic_fetch_add(&((struct bench *)ctx)->n_flush, 1);
}

static unsigned bench_busy(void *ctx, uint64_t *deadline_ns)
{
	struct bench *b = ctx;
	uint64_t deadline = atomic_load(&b->deadline);

	*deadline_ns = deadline ? deadline : UINT64_MAX;
	return atomic_load(&b->busy);
}

static bool bench_calls_on(void *ctx)
{
	struct bench *b = ctx;

	atomic_store(&b->calls, true);
	atomic_fetch_add(&b->n_sleep, 1);
	if (atomic_load(&b->answers_late) && b->deferred)
		atomic_store(&b->answers, 1);
	return atomic_load(&b->answers);
}

static void bench_calls_off(void *ctx)
{
	struct bench *b = ctx;

	atomic_store(&b->calls, false);
	while (b->pool && fuse_pool_role(b->pool, 1).reads)
		fuse_pool_request(b->pool, 0);
}

static const struct fuse_worker_ops bench_ops = {
	.buffer = bench_buffer,
	.request = bench_request,
	.reap = bench_reap,
	.flush = bench_flush,
	.busy = bench_busy,
	.calls_on = bench_calls_on,
	.calls_off = bench_calls_off,
};

/* `call_fd`: one that is shared, or -1. */
static struct bench *bench_new(int call_fd)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	b->call_fd = call_fd >= 0 ? dup(call_fd) : eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	b->ended_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return b;
}

static void bench_start(struct bench *b, enum spin_mode polling)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	b->kernel = sv[0];
	b->ours = sv[1];
	struct fuse_worker_params params = {
		.ops = &bench_ops,
		.ctx = b,
		.fd = sv[1],
		.call_fds = {b->call_fd, -1},
		.ended_fd = b->ended_fd,
		.cpu = -1,
		.polling = polling,
		.pool = b->pool,
		.place = b->pool ? 1 : 0,
	};
	assert_int_equal(fuse_worker_start(&params, &b->w), 0);
}

static void bench_end(struct bench *b)
{
	fuse_worker_stop(b->w);
	fuse_worker_join(b->w);
	fuse_worker_free(b->w);
	close(b->kernel);
	close(b->ours);
	close(b->call_fd);
	close(b->ended_fd);
	free(b);
}

static bool readable(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, timeout_ms) == 1;
}

static bool reaches(atomic_uint *counter, unsigned at_least, unsigned timeout_ms)
{
	uint64_t end = clock_now_ns() + timeout_ms * NS_PER_MS;

	while (atomic_load(counter) < at_least) {
		if (clock_now_ns() > end)
			return false;
		nanosleep(&(struct timespec){0, 200000}, NULL);
	}
	return true;
}

static void ask(struct bench *b, uint64_t unique)
{
	struct fuse_in_header h = {.len = sizeof(h), .opcode = 5, .unique = unique};

	assert_int_equal(write(b->kernel, &h, sizeof(h)), sizeof(h));
}

static struct fuse_out_header answer(struct bench *b)
{
	struct fuse_out_header h;

	assert_true(readable(b->kernel, WAIT_MS));
	assert_int_equal(read(b->kernel, &h, sizeof(h)), sizeof(h));
	return h;
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* ------------------------------------------------------------------ requests */

static void requests_are_served_in_their_order(void **state)
{
	static const enum spin_mode modes[] = {SPIN_AUTO, SPIN_NEVER, SPIN_ALWAYS};

	(void)state;
	for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
		struct bench *b = bench_new(-1);
		struct fuse_worker_stats stats;

		bench_start(b, modes[m]);
		for (uint64_t i = 1; i <= 50; i++)
			ask(b, i);
		for (uint64_t i = 1; i <= 50; i++)
			assert_int_equal(answer(b).unique, i);
		fuse_worker_get_stats(b->w, &stats);
		assert_int_equal(stats.requests, 50);
		bench_end(b);
	}
}

static void what_was_queued_is_flushed_before_the_worker_blocks(void **state)
{
	struct bench *b = bench_new(-1);
	unsigned before;

	(void)state;
	bench_start(b, SPIN_NEVER);
	assert_true(reaches(&b->n_flush, 1, WAIT_MS));
	before = atomic_load(&b->n_flush);
	ask(b, 1);
	answer(b);
	assert_true(reaches(&b->n_flush, before + 1, WAIT_MS));
	bench_end(b);
}

/* So one kick will do for all of it. */
static void what_can_be_read_is_read_before_anything_is_flushed(void **state)
{
	static const enum spin_mode modes[] = {SPIN_NEVER, SPIN_AUTO};

	(void)state;
	for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
		struct bench *b = bench_new(-1);

		b->burst = 1;
		bench_start(b, modes[m]);
		ask(b, 1);
		assert_true(reaches(&b->n_request, BURST, WAIT_MS));
		for (unsigned i = 1; i < BURST; i++)
			assert_int_equal(b->flushed[i], b->flushed[0]);
		assert_true(reaches(&b->n_flush, b->flushed[0] + 1, WAIT_MS));
		atomic_store(&b->answers, BURST);
		bench_end(b);
	}
}

/* ------------------------------------------------------------------ waiting */

static void assert_sleeps(struct bench *b, const char *what)
{
	uint64_t before;

	/* past the beginning, and whatever the worker does before it sleeps */
	assert_true(reaches(&b->n_buffer, 1, WAIT_MS));
	nanosleep(&(struct timespec){0, 20000000}, NULL);
	before = cpu_ns();
	nanosleep(&(struct timespec){0, 200000000}, NULL);
	if (cpu_ns() - before > 40 * NS_PER_MS)
		fail_msg("%s: %llu ms of CPU in 200 ms", what,
			 (unsigned long long)((cpu_ns() - before) / NS_PER_MS));
}

static void with_nothing_to_do_it_takes_no_cpu(void **state)
{
	static const enum spin_mode modes[] = {SPIN_AUTO, SPIN_NEVER, SPIN_ALWAYS};
	static const char *const names[] = {"auto", "never", "always"};

	(void)state;
	for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
		struct bench *b = bench_new(-1);

		bench_start(b, modes[m]);
		assert_sleeps(b, names[m]);
		bench_end(b);
	}
}

static void with_a_slow_device_it_takes_no_cpu(void **state)
{
	struct bench *b = bench_new(-1);

	(void)state;
	atomic_store(&b->busy, 1);
	bench_start(b, SPIN_AUTO);
	assert_sleeps(b, "busy");
	bench_end(b);
	b = bench_new(-1);
	atomic_store(&b->busy, 1);
	atomic_store(&b->no_buffer, true);
	bench_start(b, SPIN_AUTO);
	assert_sleeps(b, "busy, no buffer");
	bench_end(b);
}

static void answers_are_collected_while_no_request_comes(void **state)
{
	struct bench *b = bench_new(-1);

	(void)state;
	b->defer = true;
	bench_start(b, SPIN_AUTO);
	for (uint64_t i = 1; i <= 5; i++) {
		ask(b, i);
		assert_true(reaches(&b->busy, 1, WAIT_MS));
		atomic_fetch_add(&b->answers, 1);
		eventfd_write(b->call_fd, 1);
		assert_true(readable(b->kernel, PROMPT_MS));
		assert_int_equal(answer(b).error, -77);
	}
	bench_end(b);
}

static atomic_uint n_readv;

/* In place of the C library's. */
ssize_t readv(int fd, const struct iovec *iov, int n)
{
	atomic_fetch_add(&n_readv, 1);
	return syscall(SYS_readv, fd, iov, n);
}

/* One that waits for each answer before it asks again. */
static void a_caller_alone_costs_one_read_a_request(void **state)
{
	enum { TIMES = 200 };
	struct bench *b = bench_new(-1);
	unsigned before = 0;

	(void)state;
	b->defer = true;
	bench_start(b, SPIN_NEVER);
	for (uint64_t i = 1; i <= 2 * TIMES; i++) {
		if (i == TIMES + 1)
			before = atomic_load(&n_readv);
		ask(b, i);
		assert_true(reaches(&b->busy, 1, WAIT_MS));
		atomic_fetch_add(&b->answers, 1);
		eventfd_write(b->call_fd, 1);
		assert_int_equal(answer(b).unique, i);
	}
	assert_in_range(atomic_load(&n_readv) - before, TIMES, TIMES + TIMES / 4);
	/* and when the next one comes all the same, it is read before that */
	ask(b, 1000);
	assert_true(reaches(&b->busy, 1, WAIT_MS));
	ask(b, 1001);
	assert_true(reaches(&b->n_request, 2 * TIMES + 2, PROMPT_MS));
	bench_end(b);
}

static uint64_t spins(struct bench *b)
{
	struct fuse_worker_stats stats;

	fuse_worker_get_stats(b->w, &stats);
	return stats.spins;
}

/* Also by the answers that are found where the worker blocks: it would else poll a slow device for
 * ever, and once it had stopped, block on a fast one for ever. */
static void how_long_answers_take_is_learnt_from_all_of_them(void **state)
{
	struct bench *b = bench_new(-1);
	uint64_t before;
	cpu_set_t cpus;

	(void)state;
	if (sched_getaffinity(0, sizeof(cpus), &cpus) || CPU_COUNT(&cpus) < 2)
		skip();
	b->defer = true;
	bench_start(b, SPIN_AUTO);
	for (uint64_t i = 1; i <= 30; i++) {
		before = spins(b);
		ask(b, i);
		assert_true(reaches(&b->busy, 1, WAIT_MS));
		nanosleep(&(struct timespec){0, 3000000}, NULL);
		atomic_fetch_add(&b->answers, 1);
		eventfd_write(b->call_fd, 1);
		answer(b);
	}
	assert_int_equal(spins(b), before);
	atomic_store(&b->answers_late, true);
	for (uint64_t i = 31; spins(b) == before; i++) {
		assert_true(i < 10000);
		ask(b, i);
		answer(b);
	}
	bench_end(b);
}

/* The kernel wakes one of those that wait for a request. If that one may not read any more it has
 * to, all the same: nobody else was woken. */
static void who_was_woken_for_a_request_reads_it_whatever_its_role_is_now(void **state)
{
	struct bench *b = bench_new(-1);
	struct fuse_pool *pool;

	(void)state;
	assert_int_equal(fuse_pool_create(SPIN_AUTO, 2, &pool), 0);
	fuse_pool_join(pool, 0, b->call_fd);
	b->pool = pool;
	atomic_store(&b->busy, 1);
	bench_start(b, SPIN_NEVER);
	assert_true(reaches(&b->n_sleep, 1, WAIT_MS));
	ask(b, 1);
	assert_true(reaches(&b->n_request, 1, WAIT_MS));
	assert_false(fuse_pool_role(b->pool, 1).reads);
	atomic_store(&b->answers, 1);
	bench_end(b);
	fuse_pool_destroy(pool);
}

static void without_a_buffer_it_waits_for_answers_only(void **state)
{
	struct bench *b = bench_new(-1);
	unsigned looks;

	(void)state;
	atomic_store(&b->no_buffer, true);
	atomic_store(&b->returns_buffer, true);
	atomic_store(&b->busy, 1);
	bench_start(b, SPIN_NEVER);
	assert_true(reaches(&b->n_sleep, 1, WAIT_MS));
	ask(b, 9);
	/* neither read, nor woken by it again and again */
	looks = atomic_load(&b->n_buffer);
	nanosleep(&(struct timespec){0, 50000000}, NULL);
	assert_int_equal(atomic_load(&b->n_request), 0);
	assert_true(atomic_load(&b->n_buffer) <= looks + 2);
	atomic_fetch_add(&b->answers, 1);
	eventfd_write(b->call_fd, 1);
	assert_true(readable(b->kernel, PROMPT_MS));
	assert_int_equal(answer(b).unique, 9);
	bench_end(b);
}

/* All buffers are with requests that timed out: the device has nothing that anybody waits for, so
 * busy() says 0, and yet its answers bring the buffers back. */
static void answers_that_nobody_waits_for_bring_buffers_back(void **state)
{
	struct bench *b = bench_new(-1);

	(void)state;
	atomic_store(&b->no_buffer, true);
	atomic_store(&b->returns_buffer, true);
	bench_start(b, SPIN_NEVER);
	assert_true(reaches(&b->n_sleep, 1, WAIT_MS));
	ask(b, 9);
	atomic_fetch_add(&b->answers, 1);
	eventfd_write(b->call_fd, 1);
	assert_true(readable(b->kernel, PROMPT_MS));
	bench_end(b);
	/* and when they came before it slept */
	b = bench_new(-1);
	atomic_store(&b->no_buffer, true);
	atomic_store(&b->returns_buffer, true);
	atomic_store(&b->answers, 1);
	bench_start(b, SPIN_NEVER);
	ask(b, 9);
	assert_true(readable(b->kernel, PROMPT_MS));
	bench_end(b);
}

static void a_call_fd_of_two_workers_wakes_both(void **state)
{
	struct bench *a = bench_new(-1), *b = bench_new(a->call_fd);

	(void)state;
	atomic_store(&a->busy, 1);
	atomic_store(&b->busy, 1);
	bench_start(a, SPIN_NEVER);
	bench_start(b, SPIN_NEVER);
	for (unsigned round = 1; round <= 3; round++) {
		unsigned a_slept = atomic_load(&a->n_sleep), b_slept = atomic_load(&b->n_sleep);

		assert_true(reaches(&a->n_sleep, 1, WAIT_MS));
		assert_true(reaches(&b->n_sleep, 1, WAIT_MS));
		atomic_store(&a->busy, 1);
		atomic_store(&b->busy, 1);
		atomic_fetch_add(&a->answers, 1);
		atomic_fetch_add(&b->answers, 1);
		eventfd_write(a->call_fd, 1);
		assert_true(reaches(&a->n_reaped, round, PROMPT_MS));
		assert_true(reaches(&b->n_reaped, round, PROMPT_MS));
		(void)a_slept, (void)b_slept;
		/* busy again, so that they go to sleep on their calls once more */
		atomic_store(&a->busy, 1);
		atomic_store(&b->busy, 1);
		ask(a, round), answer(a);
		ask(b, round), answer(b);
	}
	bench_end(a);
	bench_end(b);
}

static void a_deadline_is_kept_without_a_call(void **state)
{
	struct bench *b = bench_new(-1);
	uint64_t begin = clock_now_ns(), deadline = begin + 100 * NS_PER_MS;
	unsigned before;

	(void)state;
	atomic_store(&b->busy, 1);
	atomic_store(&b->deadline, deadline);
	bench_start(b, SPIN_NEVER);
	assert_true(reaches(&b->n_sleep, 1, WAIT_MS));
	/* it reaps at the deadline, which is when the session times requests out */
	while (clock_now_ns() < deadline)
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	before = atomic_load(&b->n_reap);
	assert_true(reaches(&b->n_reap, before + 1, PROMPT_MS));
	assert_true(atomic_load(&b->reaped_at) >= deadline);
	atomic_store(&b->deadline, 0);
	bench_end(b);
}

/* ------------------------------------------------------------------ the end */

static void assert_ends(struct bench *b)
{
	assert_true(readable(b->ended_fd, PROMPT_MS));
	assert_true(fuse_worker_ended(b->w));
}

static void stop_ends_one_that_blocks_in_read(void **state)
{
	struct bench *b = bench_new(-1);
	uint64_t begin;

	(void)state;
	bench_start(b, SPIN_NEVER);
	assert_true(reaches(&b->n_buffer, 1, WAIT_MS));
	nanosleep(&(struct timespec){0, 5000000}, NULL);
	assert_false(fuse_worker_ended(b->w));
	begin = clock_now_ns();
	bench_end(b);
	assert_true(clock_now_ns() - begin < PROMPT_MS * NS_PER_MS);
}

static void stop_ends_one_that_sleeps_on_the_ring(void **state)
{
	struct bench *b = bench_new(-1);

	(void)state;
	atomic_store(&b->busy, 1);
	bench_start(b, SPIN_NEVER);
	assert_true(reaches(&b->n_sleep, 1, WAIT_MS));
	fuse_worker_stop(b->w);
	assert_ends(b);
	bench_end(b);
}

/* At any point of its loop. */
static void stop_is_never_missed(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		struct bench *b = bench_new(-1);

		bench_start(b, i % 2 ? SPIN_NEVER : SPIN_ALWAYS);
		for (unsigned spin = 0; spin < i * 300; spin++)
			__asm__ volatile("" ::: "memory");
		bench_end(b);
	}
}

static void the_end_of_the_mount_ends_it(void **state)
{
	struct bench *b = bench_new(-1);

	(void)state;
	bench_start(b, SPIN_NEVER);
	shutdown(b->kernel, SHUT_WR);
	assert_ends(b);
	bench_end(b);
	b = bench_new(-1);
	atomic_store(&b->busy, 1);
	bench_start(b, SPIN_NEVER);
	assert_true(reaches(&b->n_sleep, 1, WAIT_MS));
	shutdown(b->kernel, SHUT_WR);
	assert_ends(b);
	bench_end(b);
}

static void a_message_without_a_header_ends_it(void **state)
{
	struct bench *b = bench_new(-1);

	(void)state;
	bench_start(b, SPIN_NEVER);
	assert_int_equal(write(b->kernel, "short", 5), 5);
	assert_ends(b);
	assert_int_equal(atomic_load(&b->n_request), 0);
	bench_end(b);
}

static void a_worker_that_cannot_start_closes_its_descriptor(void **state)
{
	struct fuse_worker *w = NULL;
	int sv[2];
	(void)state;
	capture_begin();
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	struct fuse_worker_params params = {
		.ops = &bench_ops,
		.fd = sv[1],
		.call_fds = {1 << 20, -1}, /* no such descriptor */
		.cpu = -1,
	};
	assert_true(fuse_worker_start(&params, &w) < 0);
	assert_null(w);
	assert_logged("cannot be started");
	close(sv[0]);
	close(sv[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_served_in_their_order),
		cmocka_unit_test(what_was_queued_is_flushed_before_the_worker_blocks),
		cmocka_unit_test(what_can_be_read_is_read_before_anything_is_flushed),
		cmocka_unit_test(with_nothing_to_do_it_takes_no_cpu),
		cmocka_unit_test(with_a_slow_device_it_takes_no_cpu),
		cmocka_unit_test(answers_are_collected_while_no_request_comes),
		cmocka_unit_test(a_caller_alone_costs_one_read_a_request),
		cmocka_unit_test(how_long_answers_take_is_learnt_from_all_of_them),
		cmocka_unit_test(who_was_woken_for_a_request_reads_it_whatever_its_role_is_now),
		cmocka_unit_test(without_a_buffer_it_waits_for_answers_only),
		cmocka_unit_test(answers_that_nobody_waits_for_bring_buffers_back),
		cmocka_unit_test(a_call_fd_of_two_workers_wakes_both),
		cmocka_unit_test(a_deadline_is_kept_without_a_call),
		cmocka_unit_test(stop_ends_one_that_blocks_in_read),
		cmocka_unit_test(stop_ends_one_that_sleeps_on_the_ring),
		cmocka_unit_test(stop_is_never_missed),
		cmocka_unit_test(the_end_of_the_mount_ends_it),
		cmocka_unit_test(a_message_without_a_header_ends_it),
		cmocka_unit_test(a_worker_that_cannot_start_closes_its_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
