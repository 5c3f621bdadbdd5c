/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stats: what a few rounds say. Rounds are few and pairs are interleaved, so what is compared is
 * the ratio within each round, on a logarithmic scale, with Student's t.
 */
#ifndef VFSDAX_BENCH_STATS_H
#define VFSDAX_BENCH_STATS_H

#include <stdbool.h>
#include <stddef.h>

double stats_mean(const double *v, size_t n);
/* With n - 1; 0 for fewer than two. */
double stats_stddev(const double *v, size_t n);
/* Does not change `v`; n <= STATS_ROUNDS_MAX. 0 for none. */
double stats_median(const double *v, size_t n);

#define STATS_ROUNDS_MAX 1000

/* The factor t for a two-sided interval of 95 % with that many degrees of freedom (at least 1). */
double stats_t95(size_t degrees);

struct estimate {
	double value;
	double low, high; /* the 95 % confidence interval, where there is one */
	bool has_interval;
};

/* Of a mean. */
struct estimate stats_interval(const double *v, size_t n);
/* Of the geometric mean of v[i] / base[i]; pairs with a value that is not positive do not count. */
struct estimate stats_ratio(const double *v, const double *base, size_t n);

#endif
