/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* table: for people. */
#include <string.h>

#include "base/bytes.h"
#include "base/parse.h"
#include "report.h"

#define LABEL_MAX 48

void report_workload(FILE *f, const struct session *n)
{
	const struct options *o = &n->columns[0].s.o;
	unsigned least = n->columns[0].s.depth, most = least;
	bool same_rw = true, same_bs = true, same_jobs = true;
	char bs[24];

	for (size_t i = 1; i < n->count; i++) {
		const struct options *p = &n->columns[i].s.o;

		same_rw &= p->rw == o->rw && p->rwmixread == o->rwmixread;
		same_bs &= p->bs == o->bs;
		same_jobs &= p->numjobs == o->numjobs;
		least = MIN(least, n->columns[i].s.depth);
		most = MAX(most, n->columns[i].s.depth);
	}
	fputs(same_rw ? options_rw_name(o->rw) : "several workloads", f);
	if (same_rw && options_rw_reads(o->rw) && options_rw_writes(o->rw))
		fprintf(f, ", rwmixread=%llu", (unsigned long long)o->rwmixread);
	if (same_bs && o->rw != RW_STAT)
		fprintf(f, ", bs=%s", format_size(o->bs, bs));
	fprintf(f, most > least ? ", iodepth=%u to %u" : ", iodepth=%u", least, most);
	if (same_jobs)
		fprintf(f, ", numjobs=%llu", (unsigned long long)o->numjobs);
}

/* What a reader must know to believe the numbers. */
static void print_notes(FILE *f, const struct column *c, const char *who, const char *colon)
{
	unsigned every = c->s.o.lat_sample ? (unsigned)c->s.o.lat_sample : c->s.ops->lat_sample;
	uint64_t less = c->all.dir[DIR_READ].short_ios + c->all.dir[DIR_WRITE].short_ios;

	if (every > 1 && !subject_queues(&c->s))
		fprintf(f,
			"%s%s1 operation in %u was timed for the latencies: the clock would show "
			"in all\n",
			who, colon, every);
	if (less)
		fprintf(f, "%s%s%llu reads and writes gave less than --bs\n", who, colon,
			(unsigned long long)less);
	if (c->s.o.verify)
		fprintf(f, "%s%sverify: no mismatch\n", who, colon);
}

/* ------------------------------------------------------------------ one column */

static void print_direction(FILE *f, const struct column *c, unsigned d)
{
	static const char *const names[] = {"slat", "clat", "lat"};
	static const double percents[] = {50, 90, 95, 99, 99.9, 99.99};
	const struct result *r = &c->all;
	const char *name = c->s.o.rw == RW_STAT ? "stat" : d == DIR_WRITE ? "write" : "read";
	char a[24], b[24], m[24], x[24];

	if (!r->dir[d].ios || r->seconds <= 0)
		return;
	fprintf(f, "  %-6s %s IOPS", name, format_count((double)r->dir[d].ios / r->seconds, a));
	if (c->s.o.rw != RW_STAT)
		fprintf(f, ", %s/s",
			format_size((uint64_t)((double)r->dir[d].bytes / r->seconds), a));
	fprintf(f, "; %llu in %.3f s\n", (unsigned long long)r->dir[d].ios, r->seconds);
	for (unsigned i = r->dir[d].latency[SLAT].count ? SLAT : LAT; i < LATENCIES; i++) {
		const struct hist *h = &r->dir[d].latency[i];

		fprintf(f, "  %-6s min %s, mean %s, stddev %s, max %s\n", names[i],
			format_ns(h->count ? (double)h->min : 0, a), format_ns(hist_mean(h), m),
			format_ns(hist_stddev(h), b), format_ns((double)h->max, x));
	}
	fputs("        ", f);
	for (size_t i = 0; i < ARRAY_SIZE(percents); i++)
		fprintf(f, " %sp%g %s", i ? " " : "", percents[i],
			format_ns((double)hist_percentile(&r->dir[d].latency[LAT], percents[i]),
				  a));
	fputc('\n', f);
}

static void report_run(FILE *f, const struct session *n)
{
	const struct column *c = &n->columns[0];
	const struct options *o = &c->s.o;
	struct estimate e = stats_interval(c->iops, n->rounds);
	char size[24], a[24], b[24], m[24];

	fprintf(f, "%s: ", c->label);
	report_workload(f, n);
	fprintf(f, "; %s of %s%s%s\n", format_size(c->s.blocks * o->bs, size), o->filename,
		o->share ? " of " : "", o->share ? o->share : "");
	for (unsigned d = 0; d < DIRECTIONS; d++)
		print_direction(f, c, d);
	if (c->all.seconds > 0)
		fprintf(f, "  CPU    user %.1f %%, system %.1f %%\n",
			100 * c->all.user_s / c->all.seconds,
			100 * c->all.system_s / c->all.seconds);
	else
		fputs("  nothing was measured\n", f);
	if (e.has_interval)
		fprintf(f,
			"  rounds %zu: median %s IOPS, mean %s with 95 %% confidence from %s to "
			"%s\n",
			n->rounds, format_count(stats_median(c->iops, n->rounds), m),
			format_count(e.value, a), format_count(e.low, b),
			format_count(e.high, size));
	print_notes(f, c, "", "  ");
	if (n->interrupted)
		fputs("  interrupted: this is what there was\n", f);
}

/* ------------------------------------------------------------------ several */

static void print_row(FILE *f, const struct session *n, size_t i, int width)
{
	static const double percents[] = {50, 99, 99.9};
	const struct column *c = &n->columns[i];
	struct estimate e = session_ratio(n, i), by_p50 = session_p50_ratio(n, i);
	char a[24], interval[48] = "", p50[24] = "-";
	struct hist h;

	result_latencies(&c->all, &h);
	/* a label that is too long for its column has a line of its own */
	fprintf(f, strlen(c->label) > (size_t)width ? "%s\n%*s" : "%s%*s", c->label,
		(int)(width - (strlen(c->label) > (size_t)width ? 0 : strlen(c->label))), "");
	fprintf(f, " %9s", format_count(stats_median(c->iops, n->rounds), a));
	if (c->s.o.rw == RW_STAT)
		fprintf(f, " %12s", "-");
	else
		fprintf(f, " %10s/s",
			format_size((uint64_t)stats_median(c->bandwidth, n->rounds), a));
	for (size_t p = 0; p < ARRAY_SIZE(percents); p++)
		fprintf(f, " %8s", format_ns((double)hist_percentile(&h, percents[p]), a));
	if (e.has_interval)
		snprintf(interval, sizeof(interval), "[%.3f, %.3f]", e.low, e.high);
	if (by_p50.value > 0)
		snprintf(p50, sizeof(p50), "%.3f", by_p50.value);
	if (i)
		fprintf(f, " %8.3f %18s %7s\n", e.value, interval, p50);
	else
		fprintf(f, " %8s\n", "1");
}

static void report_compare(FILE *f, const struct session *n)
{
	size_t width = 8;
	char seconds[24];

	for (size_t i = 0; i < n->count; i++)
		width = MIN(MAX(width, strlen(n->columns[i].label)), LABEL_MAX);
	report_workload(f, n);
	fprintf(f, "; %zu rounds", n->rounds);
	if (n->o.runtime_ns)
		fprintf(f, " of %s", format_ns((double)n->o.runtime_ns, seconds));
	fputs(", columns in turn\n\n", f);
	if (!n->rounds) {
		fputs("interrupted before the first round was over\n", f);
		return;
	}
	fprintf(f, "%-*s %9s %12s %8s %8s %8s %8s %18s %7s\n", (int)width, "", "IOPS", "bandwidth",
		"p50", "p99", "p99.9", "ratio", n->rounds > 1 ? "95 % confidence" : "", "by p50");
	for (size_t i = 0; i < n->count; i++)
		print_row(f, n, i, (int)width);
	fprintf(f,
		"\nIOPS, bandwidth: medians of the rounds. ratio: IOPS to those of %s, geometric "
		"mean;\nby p50: the same of median latencies, more is faster.\n",
		n->columns[0].label);
	for (size_t i = 0; i < n->count; i++)
		print_notes(f, &n->columns[i], n->columns[i].label, ": ");
	if (n->interrupted)
		fprintf(f, "interrupted after %zu of %llu rounds\n", n->rounds,
			(unsigned long long)n->o.rounds);
}

void report_table(FILE *f, const struct session *n)
{
	if (n->compare)
		report_compare(f, n);
	else
		report_run(f, n);
}
