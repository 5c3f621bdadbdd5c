/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dist.h"

#include <math.h>

void permutation_init(struct permutation *p, uint64_t n, uint64_t seed)
{
	unsigned bits = n > 2 ? 64 - (unsigned)__builtin_clzll(n - 1) : 1;

	p->n = n;
	p->mask = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
	p->shift = bits / 2 ? bits / 2 : 1;
	for (int i = 0; i < 3; i++)
		p->key[i] = splitmix64(&seed);
}

double zipf_zeta(uint64_t n, double theta)
{
	/* The head as it is, the tail by Euler and Maclaurin: exact to a part in 10^12. */
	const uint64_t head = 1000;
	double sum = 0, a, b;

	for (uint64_t k = 1; k <= n && k <= head; k++)
		sum += pow((double)k, -theta);
	if (n <= head)
		return sum;
	a = (double)head;
	b = (double)n;
	sum += (pow(b, 1 - theta) - pow(a, 1 - theta)) / (1 - theta);
	sum += (pow(b, -theta) - pow(a, -theta)) / 2;
	sum -= theta * (pow(b, -theta - 1) - pow(a, -theta - 1)) / 12;
	return sum;
}

void zipf_init(struct zipf *z, uint64_t n, double theta)
{
	double zeta2 = 1 + pow(0.5, theta);

	z->n = n;
	z->theta = theta;
	z->alpha = 1 / (1 - theta);
	z->zeta_n = zipf_zeta(n, theta);
	z->second = zeta2;
	z->eta = n > 2 ? (1 - pow(2.0 / (double)n, 1 - theta)) / (1 - zeta2 / z->zeta_n) : 1;
}

uint64_t zipf_next(const struct zipf *z, struct rng *r)
{
	double u = rng_unit(r), uz = u * z->zeta_n, v;

	if (uz < 1 || z->n < 2)
		return 0;
	if (uz < z->second || z->n < 3)
		return 1;
	v = (double)z->n * pow(z->eta * u - z->eta + 1, z->alpha);
	if (!(v >= 0))
		return 0;
	return v < (double)z->n ? (uint64_t)v : z->n - 1;
}

void pareto_init(struct pareto *p, uint64_t n, double h)
{
	p->n = n;
	p->power = log(h) / log(1 - h);
}

uint64_t pareto_next(const struct pareto *p, struct rng *r)
{
	uint64_t v = (uint64_t)((double)p->n * pow(rng_unit(r), p->power));

	return v < p->n ? v : p->n - 1;
}
