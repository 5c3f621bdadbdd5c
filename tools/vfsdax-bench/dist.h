/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dist: which of n blocks is next. Everything here is set up in constant time and needs no memory
 * for each block.
 */
#ifndef VFSDAX_BENCH_DIST_H
#define VFSDAX_BENCH_DIST_H

#include <stdint.h>

#include "rng.h"

/*
 * A permutation of [0, n) that looks random: rounds of steps that are each reversible among `bits`
 * bits, repeated while the result is not below n (fewer than two times on average).
 */
struct permutation {
	uint64_t n, mask, key[3];
	unsigned shift;
};

void permutation_init(struct permutation *p, uint64_t n, uint64_t seed);

static inline uint64_t permutation_of(const struct permutation *p, uint64_t i)
{
	do {
		for (int round = 0; round < 3; round++) {
			i = (i + p->key[round]) & p->mask;
			i ^= i >> p->shift;
			i = (i * UINT64_C(0x9fb21c651e98df25)) & p->mask;
			i ^= i >> p->shift;
		}
	} while (i >= p->n);
	return i;
}

/*
 * Ranks with Zipf's law: rank k (from 0) has a probability that goes with 1 / (k + 1)^theta. By
 * Gray et al., "Quickly generating billion-record synthetic databases" (SIGMOD 1994), as fio's.
 */
struct zipf {
	uint64_t n;
	double theta, alpha, zeta_n, eta, second;
};

/* theta > 0 and not 1 (the formula's pole); n > 0. */
void zipf_init(struct zipf *z, uint64_t n, double theta);
uint64_t zipf_next(const struct zipf *z, struct rng *r);
/* The sum of 1 / k^theta for k = 1 .. n. */
double zipf_zeta(uint64_t n, double theta);

/* Pareto, as fio's: a share of about (1 - h) of the accesses falls on a share h of the ranks. */
struct pareto {
	uint64_t n;
	double power;
};

/* 0 < h < 1 */
void pareto_init(struct pareto *p, uint64_t n, double h);
uint64_t pareto_next(const struct pareto *p, struct rng *r);

#endif
