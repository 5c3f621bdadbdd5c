/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* run: one round: threads are started, measured for a while, and collected. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "bench.h"

/* So long an I/O that is under way may take after SIGINT. */
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
	struct sigaction sa = {.sa_handler = on_signal,
			       .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

bool run_interrupted(void)
{
	return interrupted;
}

/* ------------------------------------------------------------------ results */

void result_reset(struct result *r)
{
	memset(r, 0, sizeof(*r));
	for (unsigned d = 0; d < DIRECTIONS; d++)
		for (unsigned i = 0; i < LATENCIES; i++)
			hist_reset(&r->dir[d].latency[i]);
}

void result_latencies(const struct result *r, struct hist *both)
{
	*both = r->dir[DIR_READ].latency[LAT];
	hist_merge(both, &r->dir[DIR_WRITE].latency[LAT]);
}

double result_iops(const struct result *r)
{
	return r->seconds > 0 ? (double)(r->dir[DIR_READ].ios + r->dir[DIR_WRITE].ios) / r->seconds
			      : 0;
}

void result_add(struct result *into, const struct result *r)
{
	for (unsigned d = 0; d < DIRECTIONS; d++) {
		into->dir[d].ios += r->dir[d].ios;
		into->dir[d].bytes += r->dir[d].bytes;
		into->dir[d].short_ios += r->dir[d].short_ios;
		for (unsigned i = 0; i < LATENCIES; i++)
			hist_merge(&into->dir[d].latency[i], &r->dir[d].latency[i]);
	}
	into->user_s += r->user_s;
	into->system_s += r->system_s;
	into->switches += r->switches;
	into->seconds += r->seconds;
}

/* ------------------------------------------------------------------ waiting; the lock is held */

/* Until all threads are counted there, or that time has come, or the user has had enough; where
 * end_ns is 0 for as long as it takes, but after the user stopped the run only for a while. */
static void wait_until(struct subject *s, const unsigned *counter, uint64_t end_ns)
{
	uint64_t patience_ns = 0;

	while (*counter < s->running) {
		uint64_t now = clock_now_ns();
		struct timespec ts =
			clock_timespec(MIN(end_ns ? end_ns : UINT64_MAX, now + TICK_NS));

		if (end_ns && (now >= end_ns || interrupted || atomic_load(&s->failed)))
			return;
		if (!patience_ns && interrupted)
			patience_ns = now + PATIENCE_NS;
		if (patience_ns && now > patience_ns) {
			log_error("%s: an I/O on %s does not return: nothing is reported, and the "
				  "program ends when the kernel lets it",
				  s->ops->name, s->o.filename);
			_exit(128 + SIGINT);
		}
		pthread_cond_timedwait(&s->changed, &s->lock, &ts);
	}
}

/* ------------------------------------------------------------------ a round */

static void start_jobs(struct subject *s)
{
	uint64_t state = s->o.randseed + s->rounds++ * 1000003;
	int err = 0;

	atomic_store(&s->failed, 0);
	atomic_store(&s->phase, s->o.ramp_ns ? PHASE_RAMP : PHASE_MEASURE);
	s->started = false;
	s->ready = s->done = s->running = 0;
	while (s->running < s->o.numjobs && !err) {
		struct job *j = &s->jobs[s->running];

		j->start_ns = j->end_ns = 0;
		pattern_init(&j->pattern, &s->o, s->blocks, splitmix64(&state));
		result_reset(&j->r);
		err = pthread_create(&j->thread, NULL, job_main, j);
		s->running += !err;
	}
	if (!err)
		return;
	log_error("--numjobs=%llu: not so many threads: %s", (unsigned long long)s->o.numjobs,
		  strerror(err));
	atomic_store(&s->failed, -err);
	atomic_store(&s->phase, PHASE_STOP);
}

static double seconds_between(struct timeval a, struct timeval b)
{
	return (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_usec - a.tv_usec) / 1e6;
}

/* From the ramp to the end of all threads. */
static void let_run(struct subject *s, struct result *r)
{
	struct rusage a, b;

	wait_until(s, &s->ready, 0);
	s->started = true;
	pthread_cond_broadcast(&s->changed);
	if (s->o.ramp_ns)
		wait_until(s, &s->done, clock_now_ns() + s->o.ramp_ns);
	getrusage(RUSAGE_SELF, &a);
	if (atomic_load(&s->phase) == PHASE_RAMP && !interrupted)
		atomic_store(&s->phase, PHASE_MEASURE);
	wait_until(s, &s->done, s->o.runtime_ns ? clock_now_ns() + s->o.runtime_ns : UINT64_MAX);
	getrusage(RUSAGE_SELF, &b);
	atomic_store(&s->phase, PHASE_STOP);
	wait_until(s, &s->done, 0);
	r->user_s = seconds_between(a.ru_utime, b.ru_utime);
	r->system_s = seconds_between(a.ru_stime, b.ru_stime);
	r->switches = (uint64_t)(b.ru_nvcsw - a.ru_nvcsw + b.ru_nivcsw - a.ru_nivcsw);
}

/* The jobs ran at the same time: their counts add up, their seconds do not. */
int run_round(struct subject *s, struct result *r)
{
	uint64_t start = UINT64_MAX, end = 0;
	int err;

	result_reset(r);
	if (s->ops->round)
		return s->ops->round(s, r);
	pthread_mutex_lock(&s->lock);
	start_jobs(s);
	let_run(s, r);
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < s->running; i++) {
		struct job *j = &s->jobs[i];

		pthread_join(j->thread, NULL);
		start = MIN(start, j->start_ns);
		end = MAX(end, j->end_ns);
		result_add(r, &j->r);
	}
	r->seconds = end > start ? (double)(end - start) / 1e9 : 0;
	err = atomic_load(&s->failed);
	return err ? err : interrupted ? -EINTR : 0;
}
