/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* json: as fio's --output-format=json and json+, as far as both know the same; see jobs[]. */
#include <inttypes.h>
#include <math.h>
#include <time.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/json.h"
#include "report.h"

static void write_bins(struct json *j, const struct hist *h)
{
	char key[24];

	json_object(j, "bins");
	for (unsigned i = 0; i < HIST_SIZE; i++) {
		if (!h->buckets[i])
			continue;
		snprintf(key, sizeof(key), "%" PRIu64, hist_value(i));
		json_u64(j, key, h->buckets[i]);
	}
	json_end(j);
}

static void write_latency(struct json *j, const char *name, const struct hist *h, bool bins)
{
	static const double percents[] = {1,  5,  10, 20, 30,	40,   50,    60,   70,
					  80, 90, 95, 99, 99.5, 99.9, 99.95, 99.99};
	char key[24];

	json_object(j, name);
	json_u64(j, "min", h->count ? h->min : 0);
	json_u64(j, "max", h->max);
	json_double(j, "mean", hist_mean(h), 6);
	json_double(j, "stddev", hist_stddev(h), 6);
	json_u64(j, "N", h->count);
	if (h->count) {
		json_object(j, "percentile");
		for (size_t i = 0; i < ARRAY_SIZE(percents); i++) {
			snprintf(key, sizeof(key), "%.6f", percents[i]);
			json_u64(j, key, hist_percentile(h, percents[i]));
		}
		json_end(j);
	}
	if (h->count && bins)
		write_bins(j, h);
	json_end(j);
}

static void write_direction(struct json *j, const struct session *n, const struct result *r,
			    unsigned d, const char *name)
{
	static const char *const latencies[] = {"slat_ns", "clat_ns", "lat_ns"};
	double per_second = r->seconds > 0 ? 1 / r->seconds : 0;
	double bw = (double)r->dir[d].bytes * per_second;

	json_object(j, name);
	json_u64(j, "io_bytes", r->dir[d].bytes);
	json_u64(j, "io_kbytes", r->dir[d].bytes >> 10);
	json_double(j, "bw_bytes", bw, 0);
	json_double(j, "bw", bw / 1024, 0);
	json_double(j, "iops", (double)r->dir[d].ios * per_second, 6);
	json_double(j, "runtime", r->dir[d].ios ? r->seconds * 1e3 : 0, 0);
	json_u64(j, "total_ios", r->dir[d].ios);
	json_u64(j, "short_ios", r->dir[d].short_ios);
	json_u64(j, "drop_ios", 0);
	for (unsigned i = 0; i < LATENCIES; i++)
		write_latency(j, latencies[i], &r->dir[d].latency[i],
			      n->o.output == OUTPUT_JSON_PLUS);
	json_end(j);
}

static void write_option(void *ctx, const char *name, const char *value)
{
	json_string(ctx, name, value);
}

static void write_job(struct json *j, const struct session *n, const struct column *c)
{
	static const struct result nothing;
	const struct result *r = &c->all;

	json_object(j, NULL);
	json_string(j, "jobname", c->label);
	json_u64(j, "groupid", 0);
	json_u64(j, "error", 0);
	json_u64(j, "eta", 0);
	json_double(j, "elapsed", ceil(r->seconds), 0);
	json_object(j, "job options");
	options_each(&c->s.o, write_option, j);
	json_end(j);
	write_direction(j, n, r, DIR_READ, "read");
	write_direction(j, n, r, DIR_WRITE, "write");
	write_direction(j, n, &nothing, DIR_READ, "trim");
	json_double(j, "job_runtime", r->seconds * 1e3, 0);
	json_double(j, "usr_cpu", r->seconds > 0 ? 100 * r->user_s / r->seconds : 0, 6);
	json_double(j, "sys_cpu", r->seconds > 0 ? 100 * r->system_s / r->seconds : 0, 6);
	json_u64(j, "ctx", r->switches);
	json_u64(j, "rounds", n->rounds);
	json_end(j);
}

static void write_rounds(struct json *j, const char *name, const double *v, size_t n)
{
	json_array(j, name);
	for (size_t i = 0; i < n; i++)
		json_double(j, NULL, v[i], 3);
	json_end(j);
}

static void write_estimate(struct json *j, const char *name, struct estimate e)
{
	json_object(j, name);
	json_double(j, "value", e.value, 6);
	if (e.has_interval) {
		json_array(j, "ci95");
		json_double(j, NULL, e.low, 6);
		json_double(j, NULL, e.high, 6);
		json_end(j);
	}
	json_end(j);
}

static void write_columns(struct json *j, const struct session *n)
{
	json_object(j, "compare");
	json_u64(j, "rounds", n->rounds);
	json_array(j, "columns");
	for (size_t i = 0; i < n->count; i++) {
		const struct column *c = &n->columns[i];

		json_object(j, NULL);
		json_string(j, "name", c->label);
		write_rounds(j, "iops", c->iops, n->rounds);
		write_rounds(j, "bw_bytes", c->bandwidth, n->rounds);
		json_double(j, "iops_median", stats_median(c->iops, n->rounds), 3);
		write_estimate(j, "iops_mean", stats_interval(c->iops, n->rounds));
		write_estimate(j, "ratio", session_ratio(n, i));
		write_rounds(j, "p50_ns", c->p50, n->rounds);
		if (session_p50_ratio(n, i).value > 0)
			write_estimate(j, "p50_ratio", session_p50_ratio(n, i));
		json_end(j);
	}
	json_end(j);
	json_end(j);
}

void report_json(FILE *f, const struct session *n)
{
	uint64_t now_ms = clock_read_ns(CLOCK_REALTIME) / NS_PER_MS;
	time_t now = (time_t)(now_ms / 1000);
	char text[40] = "";
	struct json j;

	ctime_r(&now, text);
	text[strcspn(text, "\n")] = '\0';
	json_init(&j, f);
	json_object(&j, NULL);
	/* (what reads fio's looks for this key) */
	json_string(&j, "fio version", "vfsdax-bench-" VFSDAX_VERSION);
	json_u64(&j, "timestamp", now_ms / 1000);
	json_u64(&j, "timestamp_ms", now_ms);
	json_string(&j, "time", text);
	json_bool(&j, "interrupted", n->interrupted);
	json_array(&j, "jobs");
	for (size_t i = 0; i < n->count; i++)
		write_job(&j, n, &n->columns[i]);
	json_end(&j);
	if (n->count > 1 || n->o.rounds > 1)
		write_columns(&j, n);
	json_end(&j);
	putc('\n', f);
}
