/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* run: one round: threads are started, measured for a while, and collected. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"
#include "bench.h"
#include "progress.h"
#include "verify.h"

/* So long an I/O that is under way may take after SIGINT before it is left alone. */
#define PATIENCE_NS (5 * NS_PER_S)
/* SIGINT is noticed this fast. */
#define TICK_NS	    (50 * NS_PER_MS)

/* ------------------------------------------------------------------ signals */

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

void run_catch_signals(void)
{
	/* a second one ends the program as it always does */
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

bool run_interrupted(void)
{
	return interrupted;
}

/* ------------------------------------------------------------------ results */

int result_alloc(struct result *r)
{
	memset(r, 0, sizeof(*r));
	r->clat = calloc(DIRECTIONS, sizeof(*r->clat));
	if (!r->clat)
		return -ENOMEM;
	for (unsigned d = 0; d < DIRECTIONS; d++)
		hist_reset(&r->clat[d]);
	return 0;
}

void result_free(struct result *r)
{
	free(r->clat);
	r->clat = NULL;
}

void result_latencies(const struct result *r, struct hist *both)
{
	hist_reset(both);
	for (unsigned d = 0; d < DIRECTIONS; d++)
		hist_merge(both, &r->clat[d]);
}

double result_iops(const struct result *r)
{
	return r->seconds > 0 ? (double)(r->ios[DIR_READ] + r->ios[DIR_WRITE]) / r->seconds : 0;
}

/* Shares of a CPU are means by time; `seconds` is that of both. */
static double by_time(double a, double a_seconds, double b, double b_seconds)
{
	double sum = a_seconds + b_seconds;

	return sum > 0 ? (a * a_seconds + b * b_seconds) / sum : 0;
}

void result_add(struct result *into, const struct result *r)
{
	for (unsigned d = 0; d < DIRECTIONS; d++) {
		into->ios[d] += r->ios[d];
		into->bytes[d] += r->bytes[d];
		into->short_ios[d] += r->short_ios[d];
		hist_merge(&into->clat[d], &r->clat[d]);
	}
	into->user_percent =
		by_time(into->user_percent, into->seconds, r->user_percent, r->seconds);
	into->system_percent =
		by_time(into->system_percent, into->seconds, r->system_percent, r->seconds);
	into->switches += r->switches;
	into->seconds += r->seconds;
	into->sample_every = MAX(into->sample_every, r->sample_every);
	into->choose_ns = MAX(into->choose_ns, r->choose_ns);
}

static void add_job(struct result *into, const struct job *j, uint64_t end_ns)
{
	const struct job_counts *t = &j->counts;
	struct result r = {
		.clat = j->clat, .sample_every = j->sample_every, .choose_ns = j->choose_ns};

	for (unsigned d = 0; d < DIRECTIONS; d++) {
		r.ios[d] = atomic_load(&t->ios[d]);
		r.bytes[d] = atomic_load(&t->bytes[d]);
		r.short_ios[d] = t->short_ios[d];
	}
	r.seconds = (double)(end_ns - t->start_ns) / 1e9;
	/* a stuck job has not asked what it used */
	if (r.seconds > 0 && t->end_ns) {
		r.switches = t->switches;
		r.user_percent = (double)t->user_us / r.seconds / 1e4;
		r.system_percent = (double)t->system_us / r.seconds / 1e4;
	}
	result_add(into, &r);
}

/* ------------------------------------------------------------------ waiting */

static unsigned count_done(const struct subject *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->o.numjobs; i++)
		n += atomic_load(&s->jobs[i].done);
	return n;
}

static void wait_tick(struct subject *s, uint64_t until_ns)
{
	uint64_t at = MIN(until_ns, clock_now_ns() + TICK_NS);
	struct timespec ts = {(time_t)(at / NS_PER_S), (long)(at % NS_PER_S)};

	pthread_cond_timedwait(&s->start, &s->lock, &ts);
}

/* Until then, or all jobs have ended, or the user has had enough. The lock is held. */
static void wait_until_time(struct subject *s, uint64_t until_ns, struct progress *p)
{
	while (count_done(s) < s->o.numjobs && clock_now_ns() < until_ns &&
	       atomic_load(&s->phase) != PHASE_STOP && !interrupted) {
		wait_tick(s, until_ns);
		progress_show(p, s);
	}
}

static bool all_ready(const struct subject *s)
{
	unsigned threads = 0;

	for (unsigned i = 0; i < s->o.numjobs; i++)
		threads += s->jobs[i].running;
	return atomic_load(&s->ready) >= threads;
}

static bool all_done(const struct subject *s)
{
	return count_done(s) == s->o.numjobs;
}

/* For as long as it takes, but after the user stopped the run only for a while: then false. */
static bool wait_for_jobs(struct subject *s, bool (*reached)(const struct subject *s))
{
	uint64_t since = 0;

	while (!reached(s)) {
		wait_tick(s, UINT64_MAX);
		if (!interrupted)
			continue;
		since = since ? since : clock_now_ns();
		if (clock_now_ns() - since < PATIENCE_NS)
			continue;
		log_warn("%s: an I/O on %s does not return: it is left alone, and ends when the "
			 "kernel lets it",
			 s->ops->name, s->o.filename);
		return false;
	}
	return true;
}

/* ------------------------------------------------------------------ a round */

static void reset_jobs(struct subject *s)
{
	uint64_t state = s->o.randseed + s->rounds++ * 1000003;

	atomic_store(&s->ready, 0);
	atomic_store(&s->failed, 0);
	atomic_store(&s->phase, s->o.ramp_ns ? PHASE_RAMP : PHASE_MEASURE);
	s->started = false;
	for (unsigned i = 0; i < s->o.numjobs; i++) {
		struct job *j = &s->jobs[i];

		memset(&j->counts, 0, sizeof(j->counts));
		atomic_store(&j->done, false);
		pattern_init(&j->pattern, &s->o, s->blocks, splitmix64(&state));
		for (unsigned d = 0; d < DIRECTIONS; d++)
			hist_reset(&j->clat[d]);
	}
}

static int start_jobs(struct subject *s)
{
	int err = 0;

	for (unsigned i = 0; i < s->o.numjobs; i++) {
		struct job *j = &s->jobs[i];

		if (!err)
			err = -pthread_create(&j->thread, NULL, job_main, j);
		j->running = !err;
		if (err)
			atomic_store(&j->done, true);
	}
	if (err) {
		log_error("--numjobs=%llu: not so many threads: %s",
			  (unsigned long long)s->o.numjobs, strerror(-err));
		atomic_store(&s->failed, err);
		atomic_store(&s->phase, PHASE_STOP);
	}
	return err;
}

static void measure(struct subject *s, struct progress *p, struct rusage *before,
		    struct rusage *after)
{
	if (s->o.ramp_ns)
		wait_until_time(s, clock_now_ns() + s->o.ramp_ns, p);
	getrusage(RUSAGE_SELF, before);
	if (atomic_load(&s->phase) == PHASE_RAMP && !interrupted)
		atomic_store(&s->phase, PHASE_MEASURE);
	wait_until_time(s, s->o.runtime_ns ? clock_now_ns() + s->o.runtime_ns : UINT64_MAX, p);
	getrusage(RUSAGE_SELF, after);
}

/* From the start of the threads to their end, or to where one does not end: then false. The lock is
 * held. */
static bool let_run(struct subject *s, struct progress *p, struct rusage *before,
		    struct rusage *after)
{
	bool ready = wait_for_jobs(s, all_ready);

	if (!ready)
		atomic_store(&s->phase, PHASE_STOP);
	s->started = true;
	pthread_cond_broadcast(&s->start);
	progress_begin(p, s->o.ramp_ns, s->o.runtime_ns);
	if (ready)
		measure(s, p, before, after);
	s->stop_ns = clock_now_ns();
	atomic_store(&s->phase, PHASE_STOP);
	return ready && wait_for_jobs(s, all_done);
}

static double us_between(struct timeval a, struct timeval b)
{
	return (double)(b.tv_sec - a.tv_sec) * 1e6 + (double)(b.tv_usec - a.tv_usec);
}

static bool stuck;

bool run_stuck(void)
{
	return stuck;
}

/* The jobs ran at the same time: their counts add up, their seconds do not. Of one that is stuck
 * counts what it did before; it does not move. */
static void collect_results(struct subject *s, const struct rusage *before,
			    const struct rusage *after, struct result *round, struct result *each)
{
	uint64_t start = UINT64_MAX, end = 0;

	for (unsigned i = 0; i < s->o.numjobs; i++) {
		const struct job *j = &s->jobs[i];
		uint64_t job_end = atomic_load(&j->done) ? j->counts.end_ns : s->stop_ns;

		if (!j->counts.start_ns || job_end < j->counts.start_ns)
			continue;
		start = MIN(start, j->counts.start_ns);
		end = MAX(end, job_end);
		add_job(round, j, job_end);
		if (each)
			add_job(&each[i], j, job_end);
	}
	round->seconds = end > start ? (double)(end - start) / 1e9 : 0;
	if (round->seconds <= 0)
		return;
	round->user_percent = us_between(before->ru_utime, after->ru_utime) / round->seconds / 1e4;
	round->system_percent =
		us_between(before->ru_stime, after->ru_stime) / round->seconds / 1e4;
}

int run_round(struct subject *s, const char *what, struct result *all, struct result *each)
{
	struct rusage before = {0}, after = {0};
	struct progress p;
	int err;

	progress_init(&p, what);
	reset_jobs(s);
	pthread_mutex_lock(&s->lock);
	start_jobs(s);
	stuck = !let_run(s, &p, &before, &after);
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < s->o.numjobs; i++) {
		if (s->jobs[i].running && atomic_load(&s->jobs[i].done))
			pthread_join(s->jobs[i].thread, NULL);
		s->jobs[i].running = false;
	}
	progress_end(&p);
	err = atomic_load(&s->failed);
	if (!err)
		collect_results(s, &before, &after, all, each);
	return err ? err : interrupted ? -EINTR : 0;
}

/* ------------------------------------------------------------------ reading back */

static int read_block(struct job *j, struct io *io)
{
	struct io *done[1];
	int err = j->s->ops->issue(j, io);

	if (err || !subject_queues(j->s))
		return err;
	do {
		err = j->s->ops->reap(j, 1, done);
	} while (!err && !interrupted);
	return err < 0 ? err : 0;
}

static int check_block(struct job *j, uint64_t block)
{
	struct subject *s = j->s;
	struct io *io = &j->ios[0];
	struct verify_mismatch m;
	int err;

	io->dir = DIR_READ;
	io->off = s->first + block * s->o.bs;
	err = read_block(j, io);
	if (!err && io->res != io->len)
		err = io->res < 0 ? (int)io->res : -EIO;
	if (err) {
		log_error("verify: %s: read of %u bytes at %llu: %s", s->o.filename, io->len,
			  (unsigned long long)io->off, strerror(-err));
		return err;
	}
	if (!verify_check(io->buf, io->len, io->off, s->content_seed, false, &m))
		return 0;
	log_error("verify: %s at offset %llu: %s is 0x%llx, expected 0x%llx", s->o.filename,
		  (unsigned long long)m.at, m.what, (unsigned long long)m.actual,
		  (unsigned long long)m.expected);
	return -EILSEQ;
}

int run_verify(struct subject *s, uint64_t *blocks)
{
	struct job *j = &s->jobs[0];
	int err = s->ops->job_open ? s->ops->job_open(j) : 0;

	if (err)
		return err;
	for (uint64_t b = 0; b < s->blocks && !err; b++) {
		if (!(atomic_load(&s->written[b / 64]) >> b % 64 & 1))
			continue;
		err = interrupted ? -EINTR : check_block(j, b);
		*blocks += !err;
	}
	memset(s->written, 0, (s->blocks + 63) / 64 * sizeof(*s->written));
	if (s->ops->job_close)
		s->ops->job_close(j);
	return err;
}
