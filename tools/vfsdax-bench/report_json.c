/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* report_json: as fio's --output-format=json, as far as both know the same; see jobs[]. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "report.h"

static void print_string(FILE *f, const char *text)
{
	fputc('"', f);
	for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
		if (*at == '"' || *at == '\\')
			fprintf(f, "\\%c", *at);
		else if (*at < 0x20)
			fprintf(f, "\\u%04x", *at);
		else
			fputc(*at, f);
	}
	fputc('"', f);
}

static void print_latency(FILE *f, const char *name, const struct hist *h, bool percentiles)
{
	static const double percents[] = {1,  5,  10, 20, 30,	40,   50,    60,   70,
					  80, 90, 95, 99, 99.5, 99.9, 99.95, 99.99};

	fprintf(f, "\"%s\":{\"min\":%llu,\"max\":%llu,\"mean\":%.6f,\"stddev\":%.6f,\"N\":%llu",
		name, h->count ? (unsigned long long)h->min : 0, (unsigned long long)h->max,
		hist_mean(h), hist_stddev(h), (unsigned long long)h->count);
	if (h->count && percentiles) {
		fputs(",\"percentile\":{", f);
		for (size_t i = 0; i < ARRAY_SIZE(percents); i++)
			fprintf(f, "%s\"%.6f\":%llu", i ? "," : "", percents[i],
				(unsigned long long)hist_percentile(h, percents[i]));
		fputc('}', f);
	}
	fputc('}', f);
}

static void print_direction(FILE *f, const struct result *r, unsigned d)
{
	double per_second = r->seconds > 0 ? 1 / r->seconds : 0;
	double bw = (double)r->bytes[d] * per_second;

	fprintf(f,
		"\"%s\":{\"io_bytes\":%llu,\"io_kbytes\":%llu,\"bw_bytes\":%.0f,\"bw\":%.0f,"
		"\"iops\":%.6f,\"runtime\":%.0f,\"total_ios\":%llu,\"short_ios\":%llu,\"drop_ios\":"
		"0,",
		d == DIR_WRITE ? "write" : "read", (unsigned long long)r->bytes[d],
		(unsigned long long)(r->bytes[d] >> 10), bw, bw / 1024,
		(double)r->ios[d] * per_second, r->seconds * 1e3, (unsigned long long)r->ios[d],
		(unsigned long long)r->short_ios[d]);
	/* from issuing to the result, whichever of the two a script looks at */
	print_latency(f, "clat_ns", &r->clat[d], true);
	fputc(',', f);
	print_latency(f, "lat_ns", &r->clat[d], false);
	fputc('}', f);
}

static void print_options(FILE *f, const struct column *c)
{
	const struct options *o = &c->s.o;

	fprintf(f,
		"\"job options\":{\"ioengine\":\"%s\",\"rw\":\"%s\",\"filename\":", c->s.ops->name,
		options_rw_name(o->rw));
	print_string(f, o->filename);
	if (o->share) {
		fputs(",\"share\":", f);
		print_string(f, o->share);
	}
	fprintf(f,
		",\"bs\":\"%llu\",\"iodepth\":\"%llu\",\"batch\":\"%llu\",\"numjobs\":\"%llu\","
		"\"direct\":\"%d\",\"size\":\"%llu\",\"offset\":\"%llu\",\"rwmixread\":\"%llu\","
		"\"randseed\":\"%llu\",\"touch\":\"%s\",\"verify\":\"%d\"}",
		(unsigned long long)o->bs, (unsigned long long)o->iodepth,
		(unsigned long long)o->batch, (unsigned long long)o->numjobs, o->direct,
		(unsigned long long)c->s.blocks * o->bs, (unsigned long long)o->offset,
		(unsigned long long)o->rwmixread, (unsigned long long)o->randseed,
		options_touch_name(o->touch), o->verify);
}

static void print_job(FILE *f, const struct session *n, const struct column *c,
		      const struct result *r)
{
	fputs("{\"jobname\":", f);
	print_string(f, c->label);
	fprintf(f, ",\"groupid\":0,\"error\":0,\"elapsed\":%.0f,", ceil(r->seconds));
	print_options(f, c);
	fputc(',', f);
	print_direction(f, r, DIR_READ);
	fputc(',', f);
	print_direction(f, r, DIR_WRITE);
	fprintf(f,
		",\"job_runtime\":%.0f,\"usr_cpu\":%.6f,\"sys_cpu\":%.6f,\"ctx\":%llu,"
		"\"lat_sample\":%u,\"choose_ns\":%.1f,\"verified_blocks\":%llu,\"rounds\":%zu}",
		r->seconds * 1e3, r->user_percent, r->system_percent,
		(unsigned long long)r->switches, r->sample_every, r->choose_ns,
		(unsigned long long)c->verified, n->rounds);
}

static void print_numbers(FILE *f, const double *v, size_t n)
{
	fputc('[', f);
	for (size_t i = 0; i < n; i++)
		fprintf(f, "%s%.3f", i ? "," : "", v[i]);
	fputc(']', f);
}

static void print_estimate(FILE *f, const char *name, struct estimate e)
{
	fprintf(f, "\"%s\":{\"value\":%.6f", name, e.value);
	if (e.has_interval)
		fprintf(f, ",\"ci95\":[%.6f,%.6f]", e.low, e.high);
	fputc('}', f);
}

static void print_columns(FILE *f, const struct session *n)
{
	fprintf(f, ",\"compare\":{\"rounds\":%zu,\"columns\":[", n->rounds);
	for (size_t i = 0; i < n->count; i++) {
		const struct column *c = &n->columns[i];

		fprintf(f, "%s{\"name\":", i ? "," : "");
		print_string(f, c->label);
		fputs(",\"iops\":", f);
		print_numbers(f, c->iops, n->rounds);
		fputs(",\"bw_bytes\":", f);
		print_numbers(f, c->bandwidth, n->rounds);
		fprintf(f, ",\"iops_median\":%.3f,", stats_median(c->iops, n->rounds));
		print_estimate(f, "iops_mean", stats_interval(c->iops, n->rounds));
		fputc(',', f);
		print_estimate(f, "ratio", session_ratio(n, i));
		fputs(",\"p50_ns\":", f);
		print_numbers(f, c->p50, n->rounds);
		if (session_p50_ratio(n, i).value > 0) {
			fputc(',', f);
			print_estimate(f, "p50_ratio", session_p50_ratio(n, i));
		}
		fputc('}', f);
	}
	fputs("]}", f);
}

void report_json(FILE *f, const struct session *n)
{
	time_t now = time(NULL);
	bool first = true;

	fprintf(f,
		"{\"vfsdax-bench version\":\"" VFSDAX_VERSION "\",\"timestamp\":%lld,"
		"\"interrupted\":%s,\"jobs\":[",
		(long long)now, n->interrupted ? "true" : "false");
	for (size_t i = 0; i < n->count; i++) {
		const struct column *c = &n->columns[i];
		/* as fio: a job each, or all jobs of a group together */
		bool group = n->o.group_reporting || c->s.o.numjobs == 1;

		for (uint64_t k = 0; k < (group ? 1 : c->s.o.numjobs); k++) {
			if (!first)
				fputc(',', f);
			first = false;
			print_job(f, n, c, group ? &c->all : &c->each[k]);
		}
	}
	fputc(']', f);
	if (n->count > 1 || n->o.rounds > 1)
		print_columns(f, n);
	fputs("}\n", f);
}
