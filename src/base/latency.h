/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * latency: the buckets in which times are counted. Below 16 ns one for each value; above that eight
 * of equal width for each power of two, so that a percentile is wrong by a sixteenth at most; the
 * last takes all from 64 s on.
 */
#ifndef VFSDAX_BASE_LATENCY_H
#define VFSDAX_BASE_LATENCY_H

#include <stdint.h>

#define LATENCY_BITS	3
#define LATENCY_MAX_BIT 36
#define LATENCY_BUCKETS ((LATENCY_MAX_BIT - LATENCY_BITS + 1) << LATENCY_BITS)

/* What a request was, and which way its data went. */
#define LATENCY_KINDS(X) X(window_read) X(window_write) X(queue_read) X(queue_write) X(other)
enum latency_kind {
#define X(name) LATENCY_##name,
	LATENCY_KINDS(X)
#undef X
		LATENCY_KIND_COUNT
};

static inline unsigned latency_bucket(uint64_t ns)
{
	unsigned msb = 63 - (unsigned)__builtin_clzll(ns | 1);
	unsigned shift = msb > LATENCY_BITS ? msb - LATENCY_BITS : 0;

	return msb >= LATENCY_MAX_BIT ? LATENCY_BUCKETS - 1
				      : (shift << LATENCY_BITS) + (unsigned)(ns >> shift);
}

/* The shortest time in it. Of LATENCY_BUCKETS: behind the last one. */
static inline uint64_t latency_from_ns(unsigned bucket)
{
	unsigned shift = bucket >> LATENCY_BITS;

	if (shift <= 1)
		return bucket;
	return (uint64_t)((bucket & ((1u << LATENCY_BITS) - 1)) | 1u << LATENCY_BITS)
	       << (shift - 1);
}

#endif
