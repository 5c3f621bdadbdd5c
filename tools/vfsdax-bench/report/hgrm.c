/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hgrm: latencies as HdrHistogram prints a distribution, in microseconds, for its plotter and
 * others. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "report.h"

#define TICKS 5 /* lines for each halving of what is left to 100 % */

static void write_lines(FILE *f, const struct hist *h)
{
	uint64_t seen = 0;
	double percent = 0;

	fprintf(f, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount",
		"1/(1-Percentile)");
	for (unsigned i = 0; i < HIST_SIZE && seen < h->count; i++) {
		double value = (double)hist_value(i) / 1e3, share;

		seen += h->buckets[i];
		share = 100 * (double)seen / (double)h->count;
		while (h->buckets[i] && seen < h->count && percent <= share) {
			double left = 1 - percent / 100;

			fprintf(f, "%12.3f %14.12f %10llu %14.2f\n", value, percent / 100,
				(unsigned long long)seen, 1 / left);
			percent += 100 / (TICKS * exp2(floor(log2(1 / left)) + 1));
		}
		if (h->buckets[i] && seen == h->count)
			fprintf(f, "%12.3f %14.12f %10llu\n", (double)h->max / 1e3, 1.0,
				(unsigned long long)seen);
	}
	fprintf(f, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n", hist_mean(h) / 1e3,
		hist_stddev(h) / 1e3);
	fprintf(f, "#[Max     = %12.3f, Total count    = %12llu]\n", (double)h->max / 1e3,
		(unsigned long long)h->count);
	fprintf(f, "#[Buckets = %12d, SubBuckets     = %12d]\n", HIST_SIZE >> HIST_BITS,
		1 << HIST_BITS);
}

int report_hgrm(const struct session *n, const char *prefix)
{
	for (size_t i = 0; i < n->count; i++) {
		struct hist h;
		char path[4096];
		FILE *f;
		bool bad;

		result_latencies(&n->columns[i].all, &h);
		snprintf(path, sizeof(path), "%s.%zu.hgrm", prefix, i + 1);
		f = fopen(path, "we");
		if (f)
			write_lines(f, &h);
		bad = f && ferror(f);
		if (!f || fclose(f) != 0 || bad) {
			int err = errno ? -errno : -EIO;

			log_error("--hgrm=%s: %s: %s", prefix, path, strerror(-err));
			return err;
		}
	}
	return 0;
}
