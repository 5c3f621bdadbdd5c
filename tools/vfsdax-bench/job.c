/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * job: a thread that does one I/O after another and counts. Everything that is done for each I/O
 * is in this file, so that the cost of measuring can be seen; for engines of less than a
 * microsecond the clock is read for one I/O of many only.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "bench.h"
#include "verify.h"

/* Reading the clock may add this much to the time of an I/O. */
#define CLOCK_SHARE	0.02
#define SAMPLE_MAX	1023
#define CALIBRATION_IOS 128
#define CALIBRATION_NS	(20 * NS_PER_MS)

/* ------------------------------------------------------------------ memory */

static size_t slot_bytes(const struct subject *s)
{
	return round_up(s->o.bs, BUFFER_ALIGN);
}

int job_alloc(struct job *j)
{
	const struct subject *s = j->s;
	uint64_t state = s->o.randseed + j->index;
	size_t step = slot_bytes(s), len = s->depth * step;
	void *memory;

	j->ios = calloc(s->depth, sizeof(*j->ios));
	j->clat = calloc(DIRECTIONS, sizeof(*j->clat));
	if (!j->ios || !j->clat)
		return -ENOMEM;
	memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	j->buffers = memory;
	for (size_t i = 0; i < len; i += sizeof(state)) {
		uint64_t word = splitmix64(&state);

		memcpy(j->buffers + i, &word, sizeof(word));
	}
	for (unsigned i = 0; i < s->depth; i++) {
		j->ios[i].slot = i;
		j->ios[i].buf = j->buffers + i * step;
		j->ios[i].len = (uint32_t)s->o.bs;
	}
	return 0;
}

void job_free(struct job *j)
{
	if (j->buffers)
		munmap(j->buffers, j->s->depth * slot_bytes(j->s));
	free(j->ios);
	free(j->clat);
}

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
		job_fail(j, (int)io->res, "%s of %u bytes at %llu of %s: %s%s", verbs[io->dir], io->len,
			 off, o->filename, strerror((int)-io->res),
			 io->res == -EOPNOTSUPP && o->hipri
				 ? ": nothing to poll for there, leave out --hipri"
			 : io->res == -EINVAL && o->direct
				 ? ": O_DIRECT may want a larger --bs or --offset here"
				 : "");
	else if (!io->res)
		job_fail(j, -EIO, "%s of %u bytes at %llu of %s: nothing is there any more",
			 verbs[io->dir], io->len, off, o->filename);
	else
		job_fail(j, -EIO, "%s of %u bytes at %llu of %s gave %lld bytes, which --verify "
			 "cannot check", verbs[io->dir], io->len, off, o->filename,
			 (long long)io->res);
}

/* ------------------------------------------------------------------ before and after an I/O */

static uint64_t block_of(const struct subject *s, const struct io *io)
{
	return (io->off - s->first) / s->o.bs;
}

static void prepare_verify(struct subject *s, struct io *io)
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

static void prepare(struct job *j, struct io *io)
{
	io->off = j->s->first + pattern_next(&j->pattern, &io->dir) * j->s->o.bs;
	if (__builtin_expect(j->s->o.verify, 0))
		prepare_verify(j->s, io);
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
static bool finish(struct job *j, const struct io *io)
{
	unsigned d = DIR_COUNTED(io->dir);

	if (__builtin_expect(io->dir == DIR_STAT ? io->res < 0 : io->res <= 0, 0)) {
		io_failed(j, io);
		return false;
	}
	if (__builtin_expect(j->s->o.verify, 0) && !verified(j, io))
		return false;
	if (io->dir != DIR_STAT && io->res != io->len)
		j->tally.short_ios[d]++;
	add(&j->tally.ios[d], 1);
	add(&j->tally.bytes[d], (uint64_t)io->res);
	return true;
}

/* ------------------------------------------------------------------ phases */

static void note_usage(struct tally *t, int sign)
{
	struct rusage u;

	getrusage(RUSAGE_THREAD, &u);
	t->user_us += (uint64_t)sign * ((uint64_t)u.ru_utime.tv_sec * 1000000 + (uint64_t)u.ru_utime.tv_usec);
	t->system_us += (uint64_t)sign * ((uint64_t)u.ru_stime.tv_sec * 1000000 + (uint64_t)u.ru_stime.tv_usec);
	t->switches += (uint64_t)sign * (uint64_t)(u.ru_nvcsw + u.ru_nivcsw);
}

static void begin_measuring(struct job *j)
{
	struct tally *t = &j->tally;

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
	struct tally *t = &j->tally;

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

		prepare(j, io);
		if (sample)
			io->start_ns = clock_now_ns();
		err = ops->issue(j, io);
		if (sample) {
			hist_add(&j->clat[DIR_COUNTED(io->dir)], clock_now_ns() - io->start_ns);
			until_sample = j->sample_every;
		}
		if (err < 0)
			job_fail(j, err, "%s: %s", j->s->o.filename, strerror(-err));
		if (err < 0 || !finish(j, io) || (seen == PHASE_MEASURE && !--left))
			break;
	}
	end_measuring(j);
}

struct flight {
	struct io **done; /* what reap() gave */
	struct io **idle;
	unsigned idle_count, under_way;
};

/* Takes up what is done; with `count` it is measured. False where the run has failed. */
static bool take_done(struct job *j, struct flight *f, unsigned min, bool count)
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
		if (!count)
			continue;
		hist_add(&j->clat[DIR_COUNTED(io->dir)], now - io->start_ns);
		if (!finish(j, io))
			return false;
	}
	return true;
}

/* Issues all that is idle; one time stamp serves them all. */
static int fill(struct job *j, struct flight *f, uint64_t *left)
{
	uint64_t now = clock_now_ns();
	int err = 0;

	while (!err && f->idle_count && *left) {
		struct io *io = f->idle[f->idle_count - 1];

		prepare(j, io);
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
		err = fill(j, f, &left);
		if (err < 0) {
			job_fail(j, err, "%s: %s", j->s->o.filename, strerror(-err));
			break;
		}
		if (!f->under_way)
			break;
		ok = take_done(j, f, batch ? f->under_way : 1, true);
	}
	end_measuring(j);
	/* The kernel writes into the buffers of what is under way. What is done counts for verify. */
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

/* ------------------------------------------------------------------ calibration */

static double clock_cost_ns(void)
{
	uint64_t start = clock_now_ns();

	for (int i = 0; i < 62; i++)
		(void)clock_now_ns();
	return (double)(clock_now_ns() - start) / 63;
}

/* How often the clock can be read without its showing. Takes a few I/Os of the pattern, which then
 * begins anew. */
static void calibrate(struct job *j)
{
	struct pattern saved = j->pattern;
	struct io *io = &j->ios[0];
	uint64_t start = clock_now_ns(), n = 0;
	enum direction dir;
	double each, every;

	for (; n < 1024; n++)
		pattern_next(&j->pattern, &dir);
	j->choose_ns = (double)(clock_now_ns() - start) / 1024;
	j->sample_every = j->s->o.lat_sample ? (unsigned)j->s->o.lat_sample : 1;
	if (j->s->ops->queues || j->s->o.lat_sample || j->s->o.verify)
		goto done;
	start = clock_now_ns();
	for (n = 0; n < CALIBRATION_IOS && clock_now_ns() - start < CALIBRATION_NS; n++) {
		prepare(j, io);
		if (j->s->ops->issue(j, io) < 0 || io->res < 0)
			goto done; /* the run will meet it too */
	}
	each = (double)(clock_now_ns() - start) / (double)n - clock_cost_ns();
	every = 2 * clock_cost_ns() / (CLOCK_SHARE * MAX(each, 1.0));
	/* odd: not in step with pages and ranges */
	j->sample_every = (unsigned)MIN(MAX(every, 1.0), (double)SAMPLE_MAX);
	j->sample_every += j->sample_every > 1 && j->sample_every % 2 == 0;
done:
	j->pattern = saved;
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
	} else {
		calibrate(j);
	}
	pthread_mutex_lock(&s->lock);
	atomic_fetch_add(&s->ready, 1);
	pthread_cond_broadcast(&s->start);
	while (!s->started)
		pthread_cond_wait(&s->start, &s->lock);
	pthread_mutex_unlock(&s->lock);
	if (!err) {
		if (s->ops->queues)
			run_queue(j);
		else
			loop_sync(j);
		if (s->ops->job_close)
			s->ops->job_close(j);
	}
	pthread_mutex_lock(&s->lock);
	atomic_store(&j->done, true);
	pthread_cond_broadcast(&s->start);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}
