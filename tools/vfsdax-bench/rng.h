/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rng: splitmix64 for seeds and contents, xoshiro256** for the rest (Blackman, Vigna). A number
 * costs about a nanosecond, which matters where what is measured costs a hundred.
 */
#ifndef VFSDAX_BENCH_RNG_H
#define VFSDAX_BENCH_RNG_H

#include <stdint.h>

struct rng {
	uint64_t s[4];
};

static inline uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Streams of different `stream` are independent of each other. */
static inline void rng_seed(struct rng *r, uint64_t seed, uint64_t stream)
{
	uint64_t state = seed;

	state = splitmix64(&state) ^ stream;
	for (int i = 0; i < 4; i++)
		r->s[i] = splitmix64(&state);
}

static inline uint64_t rng_rotl(uint64_t v, int by)
{
	return (v << by) | (v >> (64 - by));
}

static inline uint64_t rng_next(struct rng *r)
{
	uint64_t *s = r->s, result = rng_rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rng_rotl(s[3], 45);
	return result;
}

/* Evenly from [0, n), up to a bias of n / 2^64; n > 0. */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return (uint64_t)(((unsigned __int128)rng_next(r) * n) >> 64);
}

/* From [0, 1). */
static inline double rng_unit(struct rng *r)
{
	return (double)(rng_next(r) >> 11) * 0x1p-53;
}

#endif
