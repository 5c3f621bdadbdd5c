/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hist: how often which latency occurred. As HdrHistogram: 128 buckets of equal width in each power
 * of two, so that a percentile is wrong by less than 1 % whatever its size, and recording is a
 * shift and an increment. What took longer than HIST_TOP is counted there, as fio counts it at 17
 * s. One thread writes.
 */
#ifndef VFSDAX_BENCH_HIST_H
#define VFSDAX_BENCH_HIST_H

#include <stdint.h>

#define HIST_BITS 7
#define HIST_TOP  UINT64_C(17000000000)
/* Values below 2^(HIST_BITS + 1) have a bucket each; above that 2^HIST_BITS for each power of two,
 * up to that of HIST_TOP. */
#define HIST_SIZE ((33 - HIST_BITS + 2) << HIST_BITS)

struct hist {
	uint64_t count, min, max;
	double sum, sum_squares;
	uint64_t buckets[HIST_SIZE];
};

void hist_reset(struct hist *h);
void hist_merge(struct hist *into, const struct hist *from);
/* The value below or at which `percent` of all values are: the middle of its bucket, within the
 * smallest and largest value seen. 0 where there are none. */
uint64_t hist_percentile(const struct hist *h, double percent);
/* The middle of what falls into bucket `i`. */
uint64_t hist_value(unsigned i);
double hist_mean(const struct hist *h);
double hist_stddev(const struct hist *h);

static inline unsigned hist_index(uint64_t v)
{
	unsigned msb, shift;

	if (v > HIST_TOP)
		v = HIST_TOP;
	msb = 63 - (unsigned)__builtin_clzll(v | 1);
	shift = msb > HIST_BITS ? msb - HIST_BITS : 0;
	return (shift << HIST_BITS) + (unsigned)(v >> shift);
}

static inline void hist_add(struct hist *h, uint64_t v)
{
	h->buckets[hist_index(v)]++;
	h->count++;
	h->sum += (double)v;
	h->sum_squares += (double)v * (double)v;
	if (v < h->min)
		h->min = v;
	if (v > h->max)
		h->max = v;
}

#endif
