/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * job: a thread, its memory, its life, and one I/O after another. Everything that is done for each
 * I/O is in this file, so that the cost of measuring can be seen; for engines of less than a
 * microsecond the clock is read for one I/O of many only.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "bench.h"
#include "verify.h"

/* ------------------------------------------------------------------ memory */

static size_t memory_bytes(const struct subject *s)
{
	return s->depth * round_up(s->o.bs, BUFFER_ALIGN) + BUFFER_ALIGN;
}

/* Of mmap(2) each buffer begins with a page; of malloc(3) they lie as they come, as fio's do, but
 * for O_DIRECT, where the first one does. */
int job_alloc(struct job *j, unsigned index)
{
	const struct subject *s = j->s;
	bool heap = s->o.mem == MEM_MALLOC;
	size_t len = memory_bytes(s), step = heap ? s->o.bs : round_up(s->o.bs, BUFFER_ALIGN);
	unsigned char *at;

	j->ios = calloc(s->depth, sizeof(*j->ios));
	j->queue = calloc(s->depth, 2 * sizeof(*j->queue));
	j->memory =
		heap ? malloc(len)
		     : mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (j->memory == MAP_FAILED)
		j->memory = NULL;
	if (!j->ios || !j->queue || !j->memory)
		return -ENOMEM;
	/* contents that do not compress */
	verify_fill(j->memory, (uint32_t)MIN(round_down(len, 8), UINT32_MAX - 7), index);
	at = j->memory;
	if (heap && s->o.direct)
		at += -(uintptr_t)at & (BUFFER_ALIGN - 1);
	for (unsigned i = 0; i < s->depth; i++)
		j->ios[i] = (struct io){.slot = i, .buf = at + i * step, .len = (uint32_t)s->o.bs};
	return 0;
}

void job_free(struct job *j)
{
	if (j->memory && j->s->o.mem == MEM_MALLOC)
		free(j->memory);
	else if (j->memory)
		munmap(j->memory, memory_bytes(j->s));
	free(j->ios);
	free(j->queue);
}

/* ------------------------------------------------------------------ failure */

/* Logs the first failure of a run, and ends it. */
__attribute__((format(printf, 3, 4))) static void job_fail(struct job *j, int err,
							   const char *format, ...)
{
	char text[512];
	va_list args;

	if (atomic_exchange(&j->s->failed, err))
		return; /* another job was first */
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_error("%s: %s", j->s->ops->name, text);
	atomic_store(&j->s->phase, PHASE_STOP);
}

static bool engine_failed(struct job *j, int err)
{
	job_fail(j, err, "%s: %s", j->s->o.filename, strerror(-err));
	return false;
}

static bool io_failed(struct job *j, const struct io *io)
{
	static const char *const verbs[] = {"read", "write", "stat"};

	job_fail(j, io->res < 0 ? (int)io->res : -EIO, "%s of %u bytes at %llu of %s: %s%s",
		 verbs[io->dir], io->len, (unsigned long long)io->off, j->s->o.filename,
		 io->res < 0 ? strerror((int)-io->res)
		 : io->res   ? "it gave fewer, which --verify cannot check"
			     : "nothing is there any more",
		 io->res == -EINVAL && j->s->o.direct
			 ? ": O_DIRECT may want a larger --bs or --offset here"
			 : "");
	return false;
}

/* ------------------------------------------------------------------ before and after an I/O */

static void prepare(struct job *j, struct io *io)
{
	const struct subject *s = j->s;

	io->off = s->first + pattern_next(&j->pattern, &io->dir) * s->o.bs;
	if (__builtin_expect(s->o.verify, 0) && io->dir == DIR_WRITE)
		verify_fill(io->buf, io->len, io->off);
}

static bool verify_failed(struct job *j, const struct verify_mismatch *m)
{
	job_fail(j, -EILSEQ, "verify: %s at offset %llu: %s is 0x%llx, expected 0x%llx",
		 j->s->o.filename, (unsigned long long)m->at, m->what,
		 (unsigned long long)m->actual, (unsigned long long)m->expected);
	return false;
}

/* False where the run has failed. */
static bool finish_io(struct job *j, const struct io *io)
{
	unsigned d = DIR_COUNTED(io->dir);
	bool whole = io->res == io->len, verify = j->s->o.verify;
	struct verify_mismatch m;

	if (__builtin_expect(!whole, 0)) {
		if (io->res < 0 || (io->dir != DIR_STAT && (!io->res || verify)))
			return io_failed(j, io);
		j->r.dir[d].short_ios += io->dir != DIR_STAT;
	}
	if (__builtin_expect(verify, 0) && d == DIR_READ &&
	    verify_check(io->buf, io->len, io->off, &m))
		return verify_failed(j, &m);
	j->r.dir[d].ios++;
	j->r.dir[d].bytes += (uint64_t)io->res;
	return true;
}

/* ------------------------------------------------------------------ loops */

/* Whether to go on. `seen` is the phase of the I/O before; *left is what is to be done yet, which
 * counts from the end of the ramp on. */
static bool go_on(struct job *j, int *seen, uint64_t *left)
{
	int phase = atomic_load_explicit(&j->s->phase, memory_order_relaxed);

	if (__builtin_expect(phase == *seen, 1))
		return *left;
	*seen = phase;
	if (phase == PHASE_MEASURE) {
		result_reset(&j->r);
		*left = j->s->o.time_based ? UINT64_MAX : j->s->blocks;
		j->start_ns = clock_now_ns();
	}
	return phase != PHASE_STOP;
}

static void loop_sync(struct job *j)
{
	const struct engine_ops *ops = j->s->ops;
	struct io *io = &j->ios[0];
	unsigned every = j->s->o.lat_sample ? (unsigned)j->s->o.lat_sample : ops->lat_sample;
	unsigned until_sample = 1;
	uint64_t left = UINT64_MAX;
	int seen = PHASE_RAMP, err;
	bool ok = true;

	while (ok && go_on(j, &seen, &left)) {
		bool sample = --until_sample == 0;

		left--;
		prepare(j, io);
		if (sample)
			io->start_ns = clock_now_ns();
		err = ops->issue(j, io);
		if (sample) {
			hist_add(&j->r.dir[DIR_COUNTED(io->dir)].latency[CLAT],
				 clock_now_ns() - io->start_ns);
			until_sample = every;
		}
		ok = err < 0 ? engine_failed(j, err) : finish_io(j, io);
	}
	j->end_ns = clock_now_ns();
	for (unsigned d = 0; d < DIRECTIONS; d++)
		j->r.dir[d].latency[LAT] = j->r.dir[d].latency[CLAT];
}

struct flight {
	struct io **done; /* what reap() gave */
	struct io **idle;
	unsigned idle_count, under_way;
};

/* Hands over up to a batch of what is idle; one time stamp serves it all. */
static int submit_batch(struct job *j, struct flight *f, uint64_t *left)
{
	const struct engine_ops *ops = j->s->ops;
	unsigned n = MIN(f->idle_count, j->s->o.batch ? (unsigned)j->s->o.batch : j->s->depth);
	uint64_t now = clock_now_ns(), issued;
	int err = 0;

	n = (unsigned)MIN(n, *left);
	for (unsigned i = 0; i < n && err >= 0; i++) {
		struct io *io = f->idle[f->idle_count - 1 - i];

		prepare(j, io);
		io->start_ns = now;
		err = ops->issue(j, io);
	}
	if (err >= 0)
		err = ops->submit(j);
	if (err < 0)
		return err;
	issued = clock_now_ns();
	for (unsigned i = 0; i < n; i++) {
		struct io *io = f->idle[--f->idle_count];

		io->issued_ns = issued;
		hist_add(&j->r.dir[DIR_COUNTED(io->dir)].latency[SLAT], issued - now);
	}
	f->under_way += n;
	*left -= n;
	return 0;
}

/* Takes up what is done and counts it. False where the run has failed. */
static bool take_done(struct job *j, struct flight *f)
{
	const struct options *o = &j->s->o;
	int n = j->s->ops->reap(j, (unsigned)MIN(o->complete_min, f->under_way),
				o->complete_max ? (unsigned)o->complete_max : j->s->depth, f->done);
	uint64_t now = clock_now_ns();

	if (n < 0)
		return engine_failed(j, n);
	f->under_way -= (unsigned)n;
	for (int i = 0; i < n; i++) {
		struct io *io = f->done[i];
		struct hist *h = j->r.dir[DIR_COUNTED(io->dir)].latency;

		f->idle[f->idle_count++] = io;
		/* (one that was handed over before the measurement began counts with all its time)
		 */
		hist_add(&h[CLAT], now - io->issued_ns);
		hist_add(&h[LAT], now - io->start_ns);
		if (!finish_io(j, io))
			return false;
	}
	return true;
}

static void loop_queue(struct job *j)
{
	struct flight f = {.done = j->queue, .idle = j->queue + j->s->depth};
	uint64_t left = UINT64_MAX;
	bool ok = true;
	int seen = PHASE_RAMP, err = 0;

	while (f.idle_count < j->s->depth) {
		f.idle[f.idle_count] = &j->ios[j->s->depth - 1 - f.idle_count];
		f.idle_count++;
	}
	while (ok && (go_on(j, &seen, &left) || (f.under_way && seen != PHASE_STOP))) {
		while (!err && f.idle_count && left)
			err = submit_batch(j, &f, &left);
		ok = err ? engine_failed(j, err) : take_done(j, &f);
	}
	j->end_ns = clock_now_ns();
	/* The kernel writes into the buffers of what is under way. */
	for (int n = 0; f.under_way && n >= 0;) {
		n = j->s->ops->reap(j, f.under_way, j->s->depth, f.done);
		f.under_way -= n > 0 ? (unsigned)n : 0;
	}
}

/* ------------------------------------------------------------------ life */

/* Measures until the run is stopped or all is done. */
static void measure(struct job *j)
{
	if (subject_queues(j->s))
		loop_queue(j);
	else
		loop_sync(j);
	if (!j->start_ns) { /* stopped during the ramp: what it did does not count */
		result_reset(&j->r);
		j->start_ns = j->end_ns;
	}
}

void *job_main(void *argument)
{
	struct job *j = argument;
	struct subject *s = j->s;
	int err = s->ops->job_open ? s->ops->job_open(j) : 0;

	if (err) {
		/* the engine has said why */
		atomic_store(&s->failed, err);
		atomic_store(&s->phase, PHASE_STOP);
	}
	pthread_mutex_lock(&s->lock);
	s->ready++;
	pthread_cond_broadcast(&s->changed);
	while (!s->started)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	if (!err) {
		measure(j);
		if (s->ops->job_close)
			s->ops->job_close(j);
	}
	pthread_mutex_lock(&s->lock);
	s->done++;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}
