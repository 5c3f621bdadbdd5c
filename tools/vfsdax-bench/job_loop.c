/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * job_loop: one I/O after another. Everything that is done for each I/O is in this file, so that
 * the cost of measuring can be seen; for engines of less than a microsecond the clock is read for
 * one I/O of many only.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/log.h"
#include "bench.h"
#include "verify.h"

/* ------------------------------------------------------------------ failure */

void job_fail(struct job *j, int err, const char *format, ...)
{
	char text[512];
	va_list args;

	if (atomic_exchange(&j->s->failed, err ? err : -EIO))
		return; /* another job was first */
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_error("%s: %s", j->s->ops->name, text);
	atomic_store(&j->s->phase, PHASE_STOP);
}

static const char *const verbs[] = {"read", "write", "stat"};

static void io_failed(struct job *j, const struct io *io)
{
	const struct options *o = &j->s->o;
	unsigned long long off = io->off;

	if (io->res < 0)
		job_fail(j, (int)io->res, "%s of %u bytes at %llu of %s: %s%s", verbs[io->dir],
			 io->len, off, o->filename, strerror((int)-io->res),
			 io->res == -EOPNOTSUPP && o->hipri
				 ? ": nothing to poll for there, leave out --hipri"
			 : io->res == -EINVAL && o->direct
				 ? ": O_DIRECT may want a larger --bs or --offset here"
				 : "");
	else if (!io->res)
		job_fail(j, -EIO, "%s of %u bytes at %llu of %s: nothing is there any more",
			 verbs[io->dir], io->len, off, o->filename);
	else
		job_fail(j, -EIO,
			 "%s of %u bytes at %llu of %s gave %lld bytes, which --verify "
			 "cannot check",
			 verbs[io->dir], io->len, off, o->filename, (long long)io->res);
}

/* ------------------------------------------------------------------ before and after an I/O */

static uint64_t block_of(const struct subject *s, const struct io *io)
{
	return (io->off - s->first) / s->o.bs;
}

static void prepare_block(struct subject *s, struct io *io)
{
	uint64_t block = block_of(s, io);

	io->check = false;
	if (io->dir == DIR_WRITE)
		verify_fill(io->buf, io->len, io->off, s->content_seed);
	else if (subject_writes(s)) /* what this run has written */
		io->check = atomic_load(&s->written[block / 64]) >> block % 64 & 1;
	else
		io->check = true;
}

void job_prepare(struct job *j, struct io *io)
{
	io->off = j->s->first + pattern_next(&j->pattern, &io->dir) * j->s->o.bs;
	if (__builtin_expect(j->s->o.verify, 0))
		prepare_block(j->s, io);
}

static bool verified(struct job *j, const struct io *io)
{
	struct subject *s = j->s;
	uint64_t block = block_of(s, io);
	struct verify_mismatch m;

	if (io->res != io->len) {
		io_failed(j, io);
		return false;
	}
	if (io->dir == DIR_WRITE)
		atomic_fetch_or(&s->written[block / 64], UINT64_C(1) << block % 64);
	if (!io->check || !verify_check(io->buf, io->len, io->off, s->content_seed,
					!subject_writes(s) && !s->o.randseed_given, &m))
		return true;
	job_fail(j, -EILSEQ, "verify: %s at offset %llu: %s is 0x%llx, expected 0x%llx",
		 s->o.filename, (unsigned long long)m.at, m.what, (unsigned long long)m.actual,
		 (unsigned long long)m.expected);
	return false;
}

/* Only this thread writes: an addition, not an atomic one. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/* False where the run has failed. */
static bool finish_io(struct job *j, const struct io *io)
{
	unsigned d = DIR_COUNTED(io->dir);

	if (__builtin_expect(io->dir == DIR_STAT ? io->res < 0 : io->res <= 0, 0)) {
		io_failed(j, io);
		return false;
	}
	if (__builtin_expect(j->s->o.verify, 0) && !verified(j, io))
		return false;
	if (io->dir != DIR_STAT && io->res != io->len)
		j->counts.short_ios[d]++;
	add(&j->counts.ios[d], 1);
	/* (of a block of which one byte is loaded the others were not moved) */
	add(&j->counts.bytes[d],
	    j->s->o.touch == TOUCH_BYTE && d == DIR_READ ? 1 : (uint64_t)io->res);
	return true;
}

/* ------------------------------------------------------------------ phases */

static void note_usage(struct job_counts *t, int sign)
{
	struct rusage u;

	getrusage(RUSAGE_THREAD, &u);
	t->user_us += (uint64_t)sign *
		      ((uint64_t)u.ru_utime.tv_sec * 1000000 + (uint64_t)u.ru_utime.tv_usec);
	t->system_us += (uint64_t)sign *
			((uint64_t)u.ru_stime.tv_sec * 1000000 + (uint64_t)u.ru_stime.tv_usec);
	t->switches += (uint64_t)sign * (uint64_t)(u.ru_nvcsw + u.ru_nivcsw);
}

static void begin_measuring(struct job *j)
{
	struct job_counts *t = &j->counts;

	for (unsigned d = 0; d < DIRECTIONS; d++) {
		atomic_store(&t->ios[d], 0);
		atomic_store(&t->bytes[d], 0);
		t->short_ios[d] = 0;
		hist_reset(&j->clat[d]);
	}
	t->user_us = t->system_us = t->switches = 0;
	note_usage(t, -1);
	t->start_ns = clock_now_ns();
}

static void end_measuring(struct job *j)
{
	struct job_counts *t = &j->counts;

	if (!t->start_ns) { /* stopped during the ramp: what it did does not count */
		begin_measuring(j);
		t->start_ns = clock_now_ns();
	}
	t->end_ns = clock_now_ns();
	note_usage(t, 1);
}

/* Whether to go on. `seen` is the phase of the I/O before. */
static bool go_on(struct job *j, int *seen)
{
	int phase = atomic_load_explicit(&j->s->phase, memory_order_relaxed);

	if (__builtin_expect(phase == *seen, 1))
		return true;
	*seen = phase;
	if (phase == PHASE_MEASURE)
		begin_measuring(j);
	return phase != PHASE_STOP;
}

static uint64_t ios_wanted(const struct subject *s)
{
	return s->o.time_based ? UINT64_MAX : s->blocks;
}

/* ------------------------------------------------------------------ loops */

static void loop_sync(struct job *j)
{
	const struct engine_ops *ops = j->s->ops;
	struct io *io = &j->ios[0];
	uint64_t left = ios_wanted(j->s);
	unsigned until_sample = 1;
	int seen = PHASE_RAMP, err;

	while (go_on(j, &seen)) {
		bool sample = --until_sample == 0;

		job_prepare(j, io);
		if (sample)
			io->start_ns = clock_now_ns();
		err = ops->issue(j, io);
		if (sample) {
			hist_add(&j->clat[DIR_COUNTED(io->dir)], clock_now_ns() - io->start_ns);
			until_sample = j->sample_every;
		}
		if (err < 0)
			job_fail(j, err, "%s: %s", j->s->o.filename, strerror(-err));
		if (err < 0 || !finish_io(j, io) || (seen == PHASE_MEASURE && !--left))
			break;
	}
	end_measuring(j);
}

struct flight {
	struct io **done; /* what reap() gave */
	struct io **idle;
	unsigned idle_count, under_way;
};

/* Takes up what is done and counts it. False where the run has failed. */
static bool take_done(struct job *j, struct flight *f, unsigned min)
{
	uint64_t now;
	int n = j->s->ops->reap(j, min, f->done);

	if (n < 0) {
		job_fail(j, n, "%s: %s", j->s->o.filename, strerror(-n));
		return false;
	}
	now = clock_now_ns();
	f->under_way -= (unsigned)n;
	for (int i = 0; i < n; i++) {
		struct io *io = f->done[i];

		f->idle[f->idle_count++] = io;
		hist_add(&j->clat[DIR_COUNTED(io->dir)], now - io->start_ns);
		if (!finish_io(j, io))
			return false;
	}
	return true;
}

/* Issues all that is idle; one time stamp serves them all. */
static int fill_queue(struct job *j, struct flight *f, uint64_t *left)
{
	uint64_t now = clock_now_ns();
	int err = 0;

	while (!err && f->idle_count && *left) {
		struct io *io = f->idle[f->idle_count - 1];

		job_prepare(j, io);
		io->start_ns = now;
		err = j->s->ops->issue(j, io);
		if (err < 0)
			break;
		f->idle_count--;
		f->under_way++;
		--*left;
	}
	return err;
}

static void loop_queue(struct job *j, struct flight *f)
{
	uint64_t wanted = ios_wanted(j->s), left = UINT64_MAX;
	bool batch = j->s->o.batch > 1, ok = true;
	int seen = PHASE_RAMP, before = seen, err;

	while (ok && go_on(j, &seen)) {
		if (seen != before) { /* the pass that counts begins */
			left = wanted;
			before = seen;
		}
		err = fill_queue(j, f, &left);
		if (err < 0) {
			job_fail(j, err, "%s: %s", j->s->o.filename, strerror(-err));
			break;
		}
		if (!f->under_way)
			break;
		ok = take_done(j, f, batch ? f->under_way : 1);
	}
	end_measuring(j);
	/* The kernel writes into the buffers of what is under way. What is done counts for verify.
	 */
	for (int n = 0; f->under_way && n >= 0;) {
		n = j->s->ops->reap(j, f->under_way, f->done);
		for (int i = 0; i < n; i++)
			if (j->s->o.verify && !atomic_load(&j->s->failed))
				verified(j, f->done[i]);
		f->under_way -= n > 0 ? (unsigned)n : 0;
	}
}

static void run_queue(struct job *j)
{
	unsigned depth = j->s->depth;
	struct flight f = {
		.done = calloc(depth, sizeof(struct io *)),
		.idle = calloc(depth, sizeof(struct io *)),
		.idle_count = depth,
	};

	if (f.done && f.idle) {
		for (unsigned i = 0; i < depth; i++)
			f.idle[i] = &j->ios[depth - 1 - i];
		loop_queue(j, &f);
	} else {
		job_fail(j, -ENOMEM, "%s", strerror(ENOMEM));
	}
	free(f.done);
	free(f.idle);
}

void job_loop(struct job *j)
{
	if (subject_queues(j->s))
		run_queue(j);
	else
		loop_sync(j);
}
