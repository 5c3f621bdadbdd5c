/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* json: as fio's --output-format=json, as far as both know the same; see jobs[]. */
#include <inttypes.h>
#include <math.h>
#include <time.h>

#include "base/bytes.h"
#include "base/json.h"
#include "report.h"

static void write_latency(struct json *j, const char *name, const struct hist *h, bool percentiles)
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
	if (h->count && percentiles) {
		json_object(j, "percentile");
		for (size_t i = 0; i < ARRAY_SIZE(percents); i++) {
			snprintf(key, sizeof(key), "%.6f", percents[i]);
			json_u64(j, key, hist_percentile(h, percents[i]));
		}
		json_end(j);
	}
	json_end(j);
}

static void write_direction(struct json *j, const struct result *r, unsigned d)
{
	double per_second = r->seconds > 0 ? 1 / r->seconds : 0;
	double bw = (double)r->bytes[d] * per_second;

	json_object(j, d == DIR_WRITE ? "write" : "read");
	json_u64(j, "io_bytes", r->bytes[d]);
	json_u64(j, "io_kbytes", r->bytes[d] >> 10);
	json_double(j, "bw_bytes", bw, 0);
	json_double(j, "bw", bw / 1024, 0);
	json_double(j, "iops", (double)r->ios[d] * per_second, 6);
	json_double(j, "runtime", r->seconds * 1e3, 0);
	json_u64(j, "total_ios", r->ios[d]);
	json_u64(j, "short_ios", r->short_ios[d]);
	json_u64(j, "drop_ios", 0);
	/* From the submission to the result, under both of fio's names. */
	write_latency(j, "clat_ns", &r->clat[d], true);
	write_latency(j, "lat_ns", &r->clat[d], false);
	json_end(j);
}

/* fio writes options as they were typed: as strings. */
static void write_number_option(struct json *j, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	json_string(j, name, text);
}

static void write_options(struct json *j, const struct column *c)
{
	const struct options *o = &c->s.o;

	json_object(j, "job options");
	json_string(j, "ioengine", c->s.ops->name);
	json_string(j, "rw", options_rw_name(o->rw));
	json_string(j, "filename", o->filename);
	if (o->share)
		json_string(j, "share", o->share);
	write_number_option(j, "bs", o->bs);
	write_number_option(j, "iodepth", o->iodepth);
	write_number_option(j, "batch", o->batch);
	write_number_option(j, "numjobs", o->numjobs);
	write_number_option(j, "direct", o->direct);
	write_number_option(j, "size", c->s.blocks * o->bs);
	write_number_option(j, "offset", o->offset);
	write_number_option(j, "rwmixread", o->rwmixread);
	write_number_option(j, "randseed", o->randseed);
	json_string(j, "touch", options_touch_name(o->touch));
	write_number_option(j, "verify", o->verify);
	json_end(j);
}

static void write_job(struct json *j, const struct session *n, const struct column *c,
		      const struct result *r)
{
	json_object(j, NULL);
	json_string(j, "jobname", c->label);
	json_u64(j, "groupid", 0);
	json_u64(j, "error", 0);
	json_double(j, "elapsed", ceil(r->seconds), 0);
	write_options(j, c);
	write_direction(j, r, DIR_READ);
	write_direction(j, r, DIR_WRITE);
	json_double(j, "job_runtime", r->seconds * 1e3, 0);
	json_double(j, "usr_cpu", r->user_percent, 6);
	json_double(j, "sys_cpu", r->system_percent, 6);
	json_u64(j, "ctx", r->switches);
	json_u64(j, "lat_sample", r->sample_every);
	json_double(j, "choose_ns", r->choose_ns, 1);
	json_u64(j, "verified_blocks", c->verified);
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
	struct json j;

	json_init(&j, f);
	json_object(&j, NULL);
	json_string(&j, "vfsdax-bench version", VFSDAX_VERSION);
	json_u64(&j, "timestamp", (uint64_t)time(NULL));
	json_bool(&j, "interrupted", n->interrupted);
	json_array(&j, "jobs");
	for (size_t i = 0; i < n->count; i++) {
		const struct column *c = &n->columns[i];
		/* as fio: a job each, or all jobs of a group together */
		bool group = n->o.group_reporting || c->s.o.numjobs == 1;

		for (uint64_t k = 0; k < (group ? 1 : c->s.o.numjobs); k++)
			write_job(&j, n, c, group ? &c->all : &c->each[k]);
	}
	json_end(&j);
	if (n->count > 1 || n->o.rounds > 1)
		write_columns(&j, n);
	json_end(&j);
	putc('\n', f);
}
