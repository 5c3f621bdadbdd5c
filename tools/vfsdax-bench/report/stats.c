/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

double stats_mean(const double *v, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += v[i];
	return n ? sum / (double)n : 0;
}

double stats_stddev(const double *v, size_t n)
{
	double mean = stats_mean(v, n), sum = 0;

	if (n < 2)
		return 0;
	for (size_t i = 0; i < n; i++)
		sum += (v[i] - mean) * (v[i] - mean);
	return sqrt(sum / (double)(n - 1));
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double stats_median(const double *v, size_t n)
{
	double sorted[STATS_ROUNDS_MAX];

	if (!n || n > STATS_ROUNDS_MAX)
		return 0;
	memcpy(sorted, v, n * sizeof(*v));
	qsort(sorted, n, sizeof(*sorted), ascending);
	return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

double stats_t95(size_t degrees)
{
	static const double table[] = {
		12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
		2.2010,	 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
		2.0796,	 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
	};
	double z = 1.959964, n = (double)degrees;

	if (!degrees)
		return INFINITY;
	if (degrees <= ARRAY_SIZE(table))
		return table[degrees - 1];
	/* Cornish-Fisher: right to four digits from here on */
	return z + (z * z * z + z) / (4 * n) +
	       (5 * pow(z, 5) + 16 * z * z * z + 3 * z) / (96 * n * n);
}

struct estimate stats_interval(const double *v, size_t n)
{
	struct estimate e = {.value = stats_mean(v, n)};
	double half;

	e.low = e.high = e.value;
	if (n < 2)
		return e;
	half = stats_t95(n - 1) * stats_stddev(v, n) / sqrt((double)n);
	e.low -= half;
	e.high += half;
	e.has_interval = true;
	return e;
}

struct estimate stats_ratio(const double *v, const double *base, size_t n)
{
	double logs[STATS_ROUNDS_MAX];
	struct estimate e;
	size_t pairs = 0;

	for (size_t i = 0; i < n && pairs < STATS_ROUNDS_MAX; i++)
		if (v[i] > 0 && base[i] > 0)
			logs[pairs++] = log(v[i] / base[i]);
	if (!pairs)
		return (struct estimate){0};
	e = stats_interval(logs, pairs);
	e.value = exp(e.value);
	e.low = exp(e.low);
	e.high = exp(e.high);
	return e;
}
