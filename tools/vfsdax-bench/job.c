/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* job: a thread, its memory, how often it may read the clock, its life. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "bench.h"

/* Reading the clock may add this much to the time of an I/O. */
#define CLOCK_SHARE	 0.02
#define SAMPLE_MAX	 1023
/* So many times so many I/Os are tried, for so long at most; the fastest lot counts, because the
 * first ones fault pages in and any may be interrupted. */
#define CALIBRATION_LOTS 8
#define CALIBRATION_IOS	 32
#define CALIBRATION_NS	 (20 * NS_PER_MS)

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

/* ------------------------------------------------------------------ calibration */

static double clock_cost_ns(void)
{
	uint64_t best = UINT64_MAX;

	for (int lot = 0; lot < CALIBRATION_LOTS; lot++) {
		uint64_t start = clock_now_ns();

		for (int i = 1; i < CALIBRATION_IOS; i++)
			(void)clock_now_ns();
		best = MIN(best, clock_now_ns() - start);
	}
	return (double)best / CALIBRATION_IOS;
}

/* What an I/O costs in nanoseconds, or 0 where they fail, which the run will meet too. */
static double io_cost_ns(struct job *j)
{
	uint64_t begin = clock_now_ns(), start, best = 0;
	struct io *io = &j->ios[0];

	for (int lot = 0; lot < CALIBRATION_LOTS; lot++) {
		start = clock_now_ns();
		for (int n = 0; n < CALIBRATION_IOS; n++) {
			job_prepare(j, io);
			if (j->s->ops->issue(j, io) < 0 || io->res < 0)
				return 0;
			if (n + 1 < CALIBRATION_IOS && n % 8 == 0 &&
			    clock_now_ns() - begin > CALIBRATION_NS)
				return best ? (double)best / CALIBRATION_IOS
					    : (double)CALIBRATION_NS;
		}
		start = clock_now_ns() - start;
		best = best ? MIN(best, start) : start;
	}
	return (double)best / CALIBRATION_IOS;
}

/* How often the clock can be read without its showing. Takes a few I/Os of the pattern, which then
 * begins anew. */
static void calibrate(struct job *j)
{
	struct pattern saved = j->pattern;
	uint64_t start = clock_now_ns();
	enum direction dir;
	double each, every;

	for (int n = 0; n < 1024; n++)
		pattern_next(&j->pattern, &dir);
	j->choose_ns = (double)(clock_now_ns() - start) / 1024;
	j->sample_every = j->s->o.lat_sample ? (unsigned)j->s->o.lat_sample : 1;
	if (!subject_queues(j->s) && !j->s->o.lat_sample && !j->s->o.verify) {
		each = io_cost_ns(j);
		every = each > 0 ? 2 * clock_cost_ns() / (CLOCK_SHARE * each) : 1;
		/* odd: not in step with pages and ranges */
		j->sample_every = (unsigned)MIN(MAX(every, 1.0), (double)SAMPLE_MAX) | 1;
	}
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
		job_loop(j);
		if (s->ops->job_close)
			s->ops->job_close(j);
	}
	pthread_mutex_lock(&s->lock);
	atomic_store(&j->done, true);
	pthread_cond_broadcast(&s->start);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}
