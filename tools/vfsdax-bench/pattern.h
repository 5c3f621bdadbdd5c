/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pattern: which block is next and what is done with it. One for each job; a few nanoseconds, set
 * up in constant time, no memory for each block.
 */
#ifndef VFSDAX_BENCH_PATTERN_H
#define VFSDAX_BENCH_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "options.h"

/* A stat is counted as a read of no bytes, as fio's filestat engine does. */
enum direction { DIR_READ, DIR_WRITE, DIR_STAT };
#define DIRECTIONS	 2
#define DIR_COUNTED(dir) ((dir) == DIR_WRITE ? DIR_WRITE : DIR_READ)

/* splitmix64 (Steele, Lea, Flood): a number costs about a nanosecond, which matters where what is
 * measured costs a hundred. The state is any number. */
static inline uint64_t splitmix64(uint64_t *state)
{
	return hash_u64(*state += UINT64_C(0x9e3779b97f4a7c15));
}

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

struct pattern {
	enum { CHOOSE_NEXT, CHOOSE_EACH_ONCE, CHOOSE_ANY } choose;
	enum direction dir; /* where there is no mix */
	bool mixed;
	uint64_t read_below; /* of 2^32: a mix reads when a random number is below */
	uint64_t blocks, at;
	uint64_t rng;
	struct permutation order; /* each block once */
};

void pattern_init(struct pattern *p, const struct options *o, uint64_t blocks, uint64_t seed);

/* A pass over all blocks has ended. */
void pattern_wrap(struct pattern *p);

static inline uint64_t pattern_next(struct pattern *p, enum direction *dir)
{
	uint64_t block;

	*dir = !p->mixed				     ? p->dir
	       : (splitmix64(&p->rng) >> 32) < p->read_below ? DIR_READ
							     : DIR_WRITE;
	if (p->choose == CHOOSE_ANY)
		return (uint64_t)(((unsigned __int128)splitmix64(&p->rng) * p->blocks) >> 64);
	block = p->at++;
	if (p->choose == CHOOSE_EACH_ONCE)
		block = permutation_of(&p->order, block);
	if (p->at == p->blocks)
		pattern_wrap(p);
	return block;
}

#endif
