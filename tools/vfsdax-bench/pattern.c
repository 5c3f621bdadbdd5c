/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pattern.h"

void permutation_init(struct permutation *p, uint64_t n, uint64_t seed)
{
	unsigned bits = n > 2 ? 64 - (unsigned)__builtin_clzll(n - 1) : 1;

	p->n = n;
	p->mask = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
	p->shift = bits / 2 ? bits / 2 : 1;
	for (int i = 0; i < 3; i++)
		p->key[i] = splitmix64(&seed);
}

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
		.rng = seed,
	};
	if (!options_rw_random(o->rw))
		return;
	p->choose = o->norandommap ? CHOOSE_ANY : CHOOSE_EACH_ONCE;
	permutation_init(&p->order, blocks, splitmix64(&p->rng));
}

void pattern_wrap(struct pattern *p)
{
	p->at = 0;
	if (p->choose == CHOOSE_EACH_ONCE)
		permutation_init(&p->order, p->blocks, splitmix64(&p->rng));
}
