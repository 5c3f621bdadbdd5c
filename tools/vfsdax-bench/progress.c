/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/parse.h"

#define PERIOD_NS (250 * NS_PER_MS)

void progress_init(struct progress *p, const char *what)
{
	memset(p, 0, sizeof(*p));
	p->what = isatty(STDERR_FILENO) ? what : NULL;
}

void progress_begin(struct progress *p, uint64_t ramp_ns, uint64_t runtime_ns)
{
	p->begin_ns = p->last_ns = clock_now_ns();
	p->next_ns = p->begin_ns + PERIOD_NS;
	p->span_ns = runtime_ns ? ramp_ns + runtime_ns : 0;
}

static void count_ios(const struct subject *s, uint64_t *ios, uint64_t *bytes)
{
	*ios = *bytes = 0;
	for (unsigned i = 0; i < s->o.numjobs; i++)
		for (unsigned d = 0; d < DIRECTIONS; d++) {
			const struct job_counts *t = &s->jobs[i].counts;

			*ios += atomic_load_explicit(&t->ios[d], memory_order_relaxed);
			*bytes += atomic_load_explicit(&t->bytes[d], memory_order_relaxed);
		}
}

void progress_show(struct progress *p, const struct subject *s)
{
	uint64_t now = clock_now_ns(), ios, bytes, percent;
	char rate[24], size[24];
	double seconds;

	if (!p->what || now < p->next_ns)
		return;
	count_ios(s, &ios, &bytes);
	/* the counters begin anew behind the ramp */
	if (ios < p->last_ios)
		p->last_ios = p->last_bytes = 0;
	seconds = (double)(now - p->last_ns) / 1e9;
	percent = p->span_ns ? MIN(100, (now - p->begin_ns) * 100 / p->span_ns)
			     : MIN(100, ios * 100 / (s->blocks * s->o.numjobs));
	fprintf(stderr, "\r\033[K%s: %s%llu %%, %s IOPS, %s/s", p->what,
		atomic_load(&s->phase) == PHASE_RAMP ? "ramp, " : "", (unsigned long long)percent,
		format_count((double)(ios - p->last_ios) / seconds, rate),
		format_size((uint64_t)((double)(bytes - p->last_bytes) / seconds), size));
	fflush(stderr);
	p->shown = true;
	p->last_ios = ios;
	p->last_bytes = bytes;
	p->last_ns = now;
	p->next_ns = now + PERIOD_NS;
}

void progress_end(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
}
