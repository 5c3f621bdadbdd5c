/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libop: many threads; devices that die or hang. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "check.h"

#define MB	(UINT64_C(1) << 20)
#define THREADS 8

struct worker {
	struct rig *r;
	unsigned number;
	pthread_t thread;
};

static atomic_bool stop;
static atomic_uint rounds, failures;
static struct vfsdax_file *shared;
static _Atomic uint64_t slowest_ms;

static void random_map(struct vfsdax_file *f, unsigned seed)
{
	uint64_t off = random_below(6 * MB);
	struct vfsdax_map *m;
	int err = vfsdax_map(f, off, 1 + random_below(MB),
			     random_below(3) ? 0 : VFSDAX_MAP_WHOLE | VFSDAX_MAP_WRITE, &m);
	volatile uint8_t *p;

	if (err == -ENOSPC)
		return;
	OK(err);
	p = vfsdax_map_addr(m);
	CHECK(p[0] == pattern(off, seed));
	CHECK(p[vfsdax_map_len(m) - 1] == pattern(off + vfsdax_map_len(m) - 1, seed));
	vfsdax_unmap(m);
}

static void random_batch(struct rig *r, struct vfsdax_file *f)
{
	struct vfsdax_result results[16];
	uint8_t bufs[16][512];
	struct vfsdax_queue *q;
	uint64_t offs[16];
	int n = 0;

	OK(vfsdax_queue_create(r->s, 16, &q));
	for (unsigned i = 0; i < 16; i++) {
		offs[i] = random_below(6 * MB);
		OK(vfsdax_prep_read(q, f, bufs[i], sizeof(bufs[i]), offs[i], i));
	}
	IS(16, vfsdax_submit(q));
	while (n < 16) {
		int k = (int)OK(vfsdax_reap(q, results, 16, 1, -1));

		for (int i = 0; i < k; i++) {
			uint64_t j = results[i].user_data;

			IS(512, results[i].result);
			CHECK(bufs[j][511] == pattern(offs[j] + 511, 7));
		}
		n += k;
	}
	OK(vfsdax_queue_destroy(q));
}

/* Each thread has a file of its own besides the one that all read. */
static void *hammer(void *arg)
{
	struct worker *w = arg;
	struct rig *r = w->r;
	uint8_t buf[9000];
	char name[32];
	struct vfsdax_file *f;
	struct stat st;

	snprintf(name, sizeof(name), "own%u", w->number);
	for (unsigned i = 0; i < w->number * 7; i++)
		random_below(2);
	OK(vfsdax_open(r->s, name, O_RDWR | O_CREAT, 0644, &f));
	while (!atomic_load(&stop)) {
		uint64_t off = random_below(6 * MB);
		size_t len = random_below(sizeof(buf)) + 1;

		IS(len, vfsdax_read(shared, buf, len, off));
		CHECK(buf[len - 1] == pattern(off + len - 1, 7));
		memset(buf, (int)w->number, sizeof(buf));
		IS(len, vfsdax_write(f, buf, len, random_below(100000)));
		IS(len, vfsdax_write(f, buf, len, 0));
		IS(len, vfsdax_read(f, buf, len, 0));
		CHECK(buf[len / 2] == w->number);
		if (random_below(4) == 0)
			OK(vfsdax_stat(r->s, "deep/er/f", &st));
		if (random_below(4) == 0)
			random_map(shared, 7);
		if (random_below(8) == 0)
			random_batch(r, shared);
		if (random_below(16) == 0) {
			OK(vfsdax_truncate(f, random_below(50000)));
			OK(vfsdax_fsync(f, 1));
		}
		atomic_fetch_add(&rounds, 1);
	}
	OK(vfsdax_close(f));
	return NULL;
}

static void run_all(struct rig *r, struct worker *w, void *(*what)(void *))
{
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct worker){.r = r, .number = i + 1};
		CHECK(pthread_create(&w[i].thread, NULL, what, &w[i]) == 0);
	}
}

static void join_all(struct worker *w)
{
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(w[i].thread, NULL);
}

static void lay_out(struct rig *r)
{
	host_fill(r, "shared", 8 * MB, 7);
	CHECK(mkdir(on_host(r, "deep"), 0755) == 0);
	CHECK(mkdir(on_host(r, "deep/er"), 0755) == 0);
	host_fill(r, "deep/er/f", 10, 1);
}

void op_threads(struct rig *r)
{
	unsigned seconds = r->args[0] ? (unsigned)atoi(r->args[0]) : 5;
	struct worker w[THREADS];

	lay_out(r);
	rig_attach(r, NULL);
	OK(vfsdax_open(r->s, "shared", O_RDWR, 0, &shared));
	run_all(r, w, hammer);
	sleep(seconds);
	atomic_store(&stop, true);
	join_all(w);
	OK(vfsdax_close(shared));
	fprintf(stderr, "%u rounds\n", atomic_load(&rounds));
	CHECK(atomic_load(&rounds) > 20);
	rig_detach(r);
}

/* ------------------------------------------------------------------ the end of a device */

static void note(uint64_t began, int err)
{
	uint64_t took = now_ms() - began;

	uint64_t most = atomic_load(&slowest_ms);

	while (took > most && !atomic_compare_exchange_weak(&slowest_ms, &most, took))
		;
	if (err >= 0)
		return;
	if (err != -ENODEV && err != -EIO && err != -ENOTCONN && err != -ETIMEDOUT)
		FAIL("an error %d (%s) that is none of a device", err, strerror(-err));
	atomic_fetch_add(&failures, 1);
}

/* Until each kind of call has failed. */
static void *use_until_dead(void *arg)
{
	struct worker *w = arg;
	struct vfsdax_result results[8];
	struct vfsdax_queue *q;
	struct vfsdax_map *m;
	uint8_t buf[5000];
	struct stat st;
	unsigned failed;

	OK(vfsdax_queue_create(w->r->s, 8, &q));
	do {
		uint64_t began = now_ms();
		int err;

		failed = atomic_load(&failures);
		switch (w->number % 4) {
		case 0:
			note(began, vfsdax_stat(w->r->s, "deep/er/f", &st));
			break;
		case 1:
			err = (int)vfsdax_read(shared, buf, sizeof(buf), 8 * MB - 4500);
			note(began, err);
			break;
		case 2:
			err = vfsdax_map(shared, random_below(8 * MB - 4096), 4096, 0, &m);
			note(began, err);
			if (!err)
				vfsdax_unmap(m);
			break;
		default:
			for (int i = 0; i < 8; i++)
				OK(vfsdax_prep_fstat(q, shared, &st, 0));
			IS(8, vfsdax_submit(q));
			err = vfsdax_reap(q, results, 8, 8, -1);
			if (err != 8)
				FAIL("%d of 8 results after %llu ms", err,
				     (unsigned long long)(now_ms() - began));
			note(began, (int)results[7].result);
			break;
		}
		atomic_fetch_add(&rounds, 1);
	} while (failed < 2 * THREADS);
	OK(vfsdax_queue_destroy(q));
	return NULL;
}

static atomic_int lost_err;
static void on_lost(void *ctx, struct vfsdax_map *map, int err)
{
	(void)ctx;
	(void)map;
	atomic_store(&lost_err, err);
}

static void wait_for_fd(struct rig *r)
{
	struct vfsdax_result result;
	struct vfsdax_queue *q;
	struct pollfd p = {.events = POLLIN};
	struct stat st;
	int n = 0;

	OK(vfsdax_queue_create(r->s, 1, &q));
	p.fd = (int)OK(vfsdax_queue_fd(q));
	OK(vfsdax_prep_fstat(q, shared, &st, 0));
	OK(vfsdax_submit(q));
	while (n == 0) {
		CHECK(poll(&p, 1, 10000) == 1);
		n = (int)OK(vfsdax_reap(q, &result, 1, 0, 0));
	}
	CHECK(result.result < 0);
	OK(vfsdax_queue_destroy(q));
}

/* ARGUMENT: the device's process; the time-out is 2 s. A device that is stopped (SIGSTOP) is as
 * good as one that hangs. */
static void end_of_device(struct rig *r, int sig, uint64_t bound_ms)
{
	struct vfsdax_options o = VFSDAX_OPTIONS_INIT;
	struct vfsdax_info i = VFSDAX_INFO_INIT;
	pid_t device = atoi(r->args[0]);
	struct worker w[THREADS];
	struct vfsdax_map *m;
	uint64_t began;

	lay_out(r);
	o.timeout_ms = 2000;
	rig_attach(r, &o);
	OK(vfsdax_open(r->s, "shared", O_RDWR, 0, &shared));
	OK(vfsdax_map(shared, MB, 4096, 0, &m));
	vfsdax_map_on_stale(m, on_lost, NULL);
	run_all(r, w, use_until_dead);
	while (atomic_load(&rounds) < 200)
		usleep(1000);
	IS(0, kill(device, sig));
	join_all(w);
	fprintf(stderr, "the longest call took %llu ms\n",
		(unsigned long long)atomic_load(&slowest_ms));
	CHECK(atomic_load(&slowest_ms) < bound_ms);
	wait_for_fd(r);
	if (sig == SIGKILL) {
		IS(-ENODEV, atomic_load(&lost_err));
		IS(-ENODEV, vfsdax_map_check(m));
		OK(vfsdax_get_info(r->s, &i));
		CHECK(i.device_failure < 0);
		/* What the window had is memory still. */
		CHECK(*(volatile uint8_t *)vfsdax_map_addr(m) == pattern(MB, 7));
	}
	vfsdax_unmap(m);
	began = now_ms();
	CHECK(vfsdax_close(shared) <= 0);
	OK(vfsdax_detach(r->s));
	CHECK(now_ms() - began < bound_ms + 5000);
	IS(r->fds, rig_fds());
	if (sig == SIGSTOP)
		kill(device, SIGCONT);
}

void op_killed(struct rig *r)
{
	end_of_device(r, SIGKILL, 4000);
}

void op_hung(struct rig *r)
{
	end_of_device(r, SIGSTOP, 9000);
}
