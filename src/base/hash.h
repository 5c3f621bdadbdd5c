/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hash: one mix of 64 bits for every hash table and sketch: the finaliser of splitmix64 (Steele,
 * Lea, Flood, 2014). Each bit of the input reaches each bit of the result, so any bits of it will
 * do; and it is one-to-one, so different ids have different hashes. Not for keys that an attacker
 * may choose.
 */
#ifndef VFSDAX_BASE_HASH_H
#define VFSDAX_BASE_HASH_H

#include <stdint.h>

static inline uint64_t hash_u64(uint64_t v)
{
	v = (v ^ (v >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	v = (v ^ (v >> 27)) * UINT64_C(0x94d049bb133111eb);
	return v ^ (v >> 31);
}

/* Of two values; longer keys are chained: hash_pair(a, hash_pair(b, c)). */
static inline uint64_t hash_pair(uint64_t a, uint64_t b)
{
	return hash_u64(a ^ hash_u64(b + UINT64_C(0x9e3779b97f4a7c15)));
}

#endif
