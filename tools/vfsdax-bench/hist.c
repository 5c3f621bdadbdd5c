/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hist.h"

#include <math.h>
#include <string.h>

void hist_reset(struct hist *h)
{
	memset(h, 0, sizeof(*h));
	h->min = UINT64_MAX;
}

void hist_merge(struct hist *into, const struct hist *from)
{
	for (unsigned i = 0; i < HIST_SIZE; i++)
		into->buckets[i] += from->buckets[i];
	into->count += from->count;
	into->sum += from->sum;
	into->sum_squares += from->sum_squares;
	if (from->min < into->min)
		into->min = from->min;
	if (from->max > into->max)
		into->max = from->max;
}

uint64_t hist_value(unsigned i)
{
	unsigned shift = i >> HIST_BITS;

	if (shift <= 1)
		return i;
	shift--;
	return ((uint64_t)((i & ((1u << HIST_BITS) - 1)) | (1u << HIST_BITS)) << shift) +
	       (UINT64_C(1) << shift) / 2;
}

uint64_t hist_percentile(const struct hist *h, double percent)
{
	/* nearest rank: the smallest value with at least that share at or below it */
	double want = ceil(percent / 100 * (double)h->count);
	uint64_t seen = 0, v;

	if (!h->count)
		return 0;
	for (unsigned i = 0; i < HIST_SIZE; i++) {
		seen += h->buckets[i];
		if (!h->buckets[i] || (double)seen < want)
			continue;
		v = hist_value(i);
		return v < h->min ? h->min : v > h->max ? h->max : v;
	}
	return h->max;
}

double hist_mean(const struct hist *h)
{
	return h->count ? h->sum / (double)h->count : 0;
}

double hist_stddev(const struct hist *h)
{
	double n = (double)h->count, mean = hist_mean(h), variance;

	if (h->count < 2)
		return 0;
	variance = (h->sum_squares - n * mean * mean) / (n - 1);
	return variance > 0 ? sqrt(variance) : 0;
}
