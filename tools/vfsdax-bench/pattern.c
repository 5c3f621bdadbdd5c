/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pattern.h"

void pattern_init(struct pattern *p, const struct options *o, uint64_t blocks, uint64_t seed)
{
	bool reads = options_rw_reads(o->rw), writes = options_rw_writes(o->rw);

	*p = (struct pattern){
		.dir = o->rw == RW_STAT ? DIR_STAT
		       : writes		? DIR_WRITE
					: DIR_READ,
		.mixed = reads && writes,
		.read_below = (o->rwmixread << 32) / 100,
		.blocks = blocks,
	};
	rng_seed(&p->rng, seed, 0);
	if (!options_rw_random(o->rw)) {
		p->choose = CHOOSE_NEXT;
		return;
	}
	switch (o->distribution) {
	case DIST_RANDOM:
		p->choose = o->norandommap ? CHOOSE_ANY : CHOOSE_EACH_ONCE;
		permutation_init(&p->scatter, blocks, rng_next(&p->rng));
		break;
	case DIST_ZIPF:
		p->choose = CHOOSE_ZIPF;
		zipf_init(&p->zipf, blocks, o->distribution_parameter);
		/* the same blocks are hot for all jobs and in all rounds */
		permutation_init(&p->scatter, blocks, o->randseed);
		break;
	case DIST_PARETO:
		p->choose = CHOOSE_PARETO;
		pareto_init(&p->pareto, blocks, o->distribution_parameter);
		permutation_init(&p->scatter, blocks, o->randseed);
		break;
	}
}

void pattern_wrap(struct pattern *p)
{
	p->at = 0;
	if (p->choose == CHOOSE_EACH_ONCE)
		permutation_init(&p->scatter, p->blocks, rng_next(&p->rng));
}
