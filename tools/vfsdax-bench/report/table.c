/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* table: for people. */
#include <stddef.h>
#include <string.h>

#include "base/bytes.h"
#include "base/parse.h"
#include "report.h"

static const char *rate(double bytes_per_second, char out[24])
{
	format_size((uint64_t)bytes_per_second, out);
	return out;
}

/* Whether that number is the same in all columns. */
static bool same(const struct session *n, size_t offset, size_t size)
{
	for (size_t i = 1; i < n->count; i++)
		if (memcmp((const char *)&n->columns[0].s.o + offset,
			   (const char *)&n->columns[i].s.o + offset, size) != 0)
			return false;
	return true;
}

#define SAME(n, field) same(n, offsetof(struct options, field), sizeof((n)->columns[0].s.o.field))

void report_workload(FILE *f, const struct session *n)
{
	const struct options *o = &n->columns[0].s.o;
	char bs[24];

	fprintf(f, "%s", SAME(n, rw) ? options_rw_name(o->rw) : "several workloads");
	if (SAME(n, bs) && o->rw != RW_STAT)
		fprintf(f, ", bs=%s", format_size(o->bs, bs));
	if (SAME(n, batch) && o->batch > 1)
		fprintf(f, ", batch=%llu", (unsigned long long)o->batch);
	else if (SAME(n, batch) && SAME(n, iodepth))
		fprintf(f, ", iodepth=%llu", (unsigned long long)o->iodepth);
	if (SAME(n, numjobs))
		fprintf(f, ", numjobs=%llu", (unsigned long long)o->numjobs);
	if (SAME(n, rwmixread) && (o->rw == RW_RW || o->rw == RW_RANDRW))
		fprintf(f, ", rwmixread=%llu", (unsigned long long)o->rwmixread);
	if (SAME(n, distribution) && SAME(n, distribution_parameter) &&
	    o->distribution != DIST_RANDOM)
		fprintf(f, ", %s:%g", o->distribution == DIST_ZIPF ? "zipf" : "pareto",
			o->distribution_parameter);
	if (SAME(n, direct) && o->direct)
		fputs(", direct=1", f);
	if (SAME(n, touch) && o->touch != TOUCH_COPY)
		fprintf(f, ", touch=%s", options_touch_name(o->touch));
}

/* What a reader must know to believe the numbers. */
static void print_notes(FILE *f, const struct column *c, const char *prefix)
{
	const struct result *r = &c->all;
	double iops = result_iops(r), each_ns = iops > 0 ? 1e9 * (double)c->s.o.numjobs / iops : 0;
	char ns[24];

	if (r->sample_every > 1)
		fprintf(f,
			"%s1 operation in %u was timed for the latencies: the clock would show in "
			"all\n",
			prefix, r->sample_every);
	if (each_ns > 0 && r->choose_ns > each_ns * 0.05)
		fprintf(f, "%schoosing the block took %s of each operation\n", prefix,
			format_ns(r->choose_ns, ns));
	if (r->short_ios[DIR_READ] || r->short_ios[DIR_WRITE])
		fprintf(f, "%s%llu reads and %llu writes gave less than --bs\n", prefix,
			(unsigned long long)r->short_ios[DIR_READ],
			(unsigned long long)r->short_ios[DIR_WRITE]);
	if (c->s.o.verify && subject_writes(&c->s))
		fprintf(f, "%sverify: no mismatch; %llu blocks written here were read back\n",
			prefix, (unsigned long long)c->verified);
	else if (c->s.o.verify)
		fprintf(f, "%sverify: no mismatch in what was read\n", prefix);
}

/* ------------------------------------------------------------------ one column */

static void print_direction(FILE *f, const struct column *c, unsigned d)
{
	static const double percents[] = {50, 90, 95, 99, 99.9, 99.99};
	const struct result *r = &c->all;
	const struct hist *h = &r->clat[d];
	const char *name = c->s.o.rw == RW_STAT ? "stat" : d == DIR_WRITE ? "write" : "read";
	char a[24], b[24], m[24], x[24];

	if (!r->ios[d] || r->seconds <= 0)
		return;
	fprintf(f, "  %-6s %s IOPS", name, format_count((double)r->ios[d] / r->seconds, a));
	if (c->s.o.rw != RW_STAT)
		fprintf(f, ", %s/s", rate((double)r->bytes[d] / r->seconds, a));
	fprintf(f, "; %llu in %.3f s\n", (unsigned long long)r->ios[d], r->seconds);
	if (!h->count)
		return;
	fprintf(f, "         latency: min %s, mean %s, stddev %s, max %s\n",
		format_ns((double)h->min, a), format_ns(hist_mean(h), m),
		format_ns(hist_stddev(h), b), format_ns((double)h->max, x));
	fputs("        ", f);
	for (size_t i = 0; i < ARRAY_SIZE(percents); i++)
		fprintf(f, " %sp%g %s", i ? " " : "", percents[i],
			format_ns((double)hist_percentile(h, percents[i]), a));
	fputc('\n', f);
}

void report_run(FILE *f, const struct session *n)
{
	const struct column *c = &n->columns[0];
	struct estimate e = stats_interval(c->iops, n->rounds);
	char size[24], a[24], b[24], m[24];

	fprintf(f, "%s: ", c->label);
	if (c->s.o.name)
		fprintf(f, "%s, ", c->s.ops->name);
	report_workload(f, n);
	fprintf(f, "; %s%s%s", c->s.o.share ? c->s.o.share : "", c->s.o.share ? ":" : "",
		c->s.o.filename);
	if (c->s.o.rw != RW_STAT)
		fprintf(f, ", %s of it", format_size(c->s.blocks * c->s.o.bs, size));
	fputc('\n', f);
	for (unsigned d = 0; d < DIRECTIONS; d++)
		print_direction(f, c, d);
	if (!c->all.ios[DIR_READ] && !c->all.ios[DIR_WRITE])
		fputs("  nothing was measured\n", f);
	fprintf(f, "  CPU    user %.1f %%, system %.1f %%\n", c->all.user_percent,
		c->all.system_percent);
	if (e.has_interval)
		fprintf(f,
			"  rounds %zu: median %s IOPS, mean %s with 95 %% confidence from %s to "
			"%s\n",
			n->rounds, format_count(stats_median(c->iops, n->rounds), m),
			format_count(e.value, a), format_count(e.low, b),
			format_count(e.high, size));
	print_notes(f, c, "  ");
	if (n->interrupted)
		fputs("  interrupted: this is what there was\n", f);
}

/* ------------------------------------------------------------------ several */

static int widest_label(const struct session *n)
{
	size_t width = 8;

	for (size_t i = 0; i < n->count; i++)
		width = MAX(width, strlen(n->columns[i].label));
	return (int)MIN(width, 48);
}

static void print_row(FILE *f, const struct session *n, size_t i, int width)
{
	static const double percents[] = {50, 99, 99.9};
	const struct column *c = &n->columns[i];
	struct estimate e = session_ratio(n, i), by_p50 = session_p50_ratio(n, i);
	char a[24], interval[48] = "", p50[24] = "-";
	struct hist h;

	result_latencies(&c->all, &h);
	/* a label that is too long for its column has a line of its own */
	fprintf(f, "%-*s", width, c->label);
	if (strlen(c->label) > (size_t)width)
		fprintf(f, "\n%-*s", width, "");
	fprintf(f, " %9s", format_count(stats_median(c->iops, n->rounds), a));
	if (c->s.o.rw == RW_STAT)
		fprintf(f, " %12s", "-");
	else
		fprintf(f, " %10s/s", rate(stats_median(c->bandwidth, n->rounds), a));
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

void report_compare(FILE *f, const struct session *n)
{
	int width = widest_label(n);
	char seconds[24];

	report_workload(f, n);
	fprintf(f, "; %zu rounds", n->rounds);
	if (n->o.runtime_ns)
		fprintf(f, " of %s", format_ns((double)n->o.runtime_ns, seconds));
	fputs(", columns in turn\n\n", f);
	if (!n->rounds) {
		fputs("interrupted before the first round was over\n", f);
		return;
	}
	fprintf(f, "%-*s %9s %12s %8s %8s %8s %8s %18s %7s\n", width, "", "IOPS", "bandwidth",
		"p50", "p99", "p99.9", "ratio", n->rounds > 1 ? "95 % confidence" : "", "by p50");
	for (size_t i = 0; i < n->count; i++)
		print_row(f, n, i, width);
	fprintf(f,
		"\nIOPS, bandwidth: medians of the rounds. ratio: IOPS to those of %s, geometric "
		"mean;\nby p50: the same of median latencies, more is faster.\n",
		n->columns[0].label);
	for (size_t i = 0; i < n->count; i++) {
		char prefix[80];

		snprintf(prefix, sizeof(prefix), "%.70s: ", n->columns[i].label);
		print_notes(f, &n->columns[i], prefix);
	}
	if (n->interrupted)
		fprintf(f, "interrupted after %zu of %llu rounds\n", n->rounds,
			(unsigned long long)n->o.rounds);
}
