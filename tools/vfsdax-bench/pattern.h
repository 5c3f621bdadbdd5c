/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pattern: which block is next and what is done with it. One for each job; a few nanoseconds. */
#ifndef VFSDAX_BENCH_PATTERN_H
#define VFSDAX_BENCH_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

#include "dist.h"
#include "options.h"
#include "rng.h"

/* A stat is counted as a read of no bytes, as fio's filestat engine does. */
enum direction { DIR_READ, DIR_WRITE, DIR_STAT };
#define DIRECTIONS	 2
#define DIR_COUNTED(dir) ((dir) == DIR_WRITE ? DIR_WRITE : DIR_READ)

struct pattern {
	enum { CHOOSE_NEXT, CHOOSE_EACH_ONCE, CHOOSE_ANY, CHOOSE_ZIPF, CHOOSE_PARETO } choose;
	enum direction dir; /* where there is no mix */
	bool mixed;
	uint64_t read_below; /* of 2^32: a mix reads when a random number is below */
	uint64_t blocks, at;
	struct rng rng;
	struct permutation scatter; /* each block once; or where the hot ranks lie */
	struct zipf zipf;
	struct pareto pareto;
};

void pattern_init(struct pattern *p, const struct options *o, uint64_t blocks, uint64_t seed);

/* A pass over all blocks has ended. */
void pattern_wrap(struct pattern *p);

static inline uint64_t pattern_next(struct pattern *p, enum direction *dir)
{
	uint64_t block;

	*dir = !p->mixed				   ? p->dir
	       : (rng_next(&p->rng) >> 32) < p->read_below ? DIR_READ
							   : DIR_WRITE;
	switch (p->choose) {
	case CHOOSE_NEXT:
	case CHOOSE_EACH_ONCE:
		block = p->at++;
		if (p->choose == CHOOSE_EACH_ONCE)
			block = permutation_of(&p->scatter, block);
		if (p->at == p->blocks)
			pattern_wrap(p);
		return block;
	case CHOOSE_ZIPF:
		return permutation_of(&p->scatter, zipf_next(&p->zipf, &p->rng));
	case CHOOSE_PARETO:
		return permutation_of(&p->scatter, pareto_next(&p->pareto, &p->rng));
	case CHOOSE_ANY:
		break;
	}
	return rng_below(&p->rng, p->blocks);
}

#endif
