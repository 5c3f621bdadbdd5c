/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "window/router.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"

#define ROUND_TRIP_NS	  20000u /* assumed where none was measured */
#define MEMORY_NS_PER_KIB 100u	 /* 10 GB/s */
#define PIN_NS		  100u
#define SETUP_ROUND_TRIPS 4u /* a mapping is a request, and what the host does for it */
#define SAMPLES_SOON	  8u /* as many are taken of each thing as soon as it happens */
#define WEIGHT		  16u
#define OUTLIER		  4u /* a sample counts as this many times the mean at most */

static uint64_t class_bytes(unsigned c)
{
	return UINT64_C(4096) << c;
}

/* ------------------------------------------------------------------ means */

/*
 * A thread that was descheduled in the middle measures the scheduler: what is far out counts for
 * less, but a lasting change is followed all the same.
 */
static void mean_add(struct router_mean *m, uint64_t ns)
{
	uint32_t n = atomic_load_explicit(&m->samples, memory_order_relaxed);
	int64_t mean = atomic_load_explicit(&m->ns, memory_order_relaxed);
	int64_t sample = (int64_t)MIN(ns, (uint64_t)UINT32_MAX / 2);

	if (n)
		sample = MIN(sample, mean * OUTLIER + 100);
	mean += (sample - mean) / (int64_t)MIN(n + 1, WEIGHT);
	atomic_store_explicit(&m->ns, (uint32_t)mean, memory_order_relaxed);
	if (n < UINT32_MAX)
		atomic_store_explicit(&m->samples, n + 1, memory_order_relaxed);
}

static uint64_t mean_ns(const struct router_mean *m)
{
	return atomic_load_explicit(&m->ns, memory_order_relaxed);
}

static bool mean_known(const struct router_mean *m)
{
	return atomic_load_explicit(&m->samples, memory_order_relaxed);
}

static bool mean_wants(const struct router_mean *m)
{
	return atomic_load_explicit(&m->samples, memory_order_relaxed) < SAMPLES_SOON;
}

/* ------------------------------------------------------------------ estimates */

static uint64_t memory_ns(const struct router *r, uint64_t bytes)
{
	return bytes / 1024 * r->memory_ns_per_kib;
}

/*
 * The cost of class c from the means of all classes: its own, or that of the nearest that is known
 * (the smaller of two that are equally near), with the difference in length at `scale` times the
 * speed of memory, or in proportion where the known one is slower than that. UINT64_MAX: none.
 */
static uint64_t estimate(const struct router *r, const struct router_mean *means, unsigned c,
			 unsigned scale)
{
	for (unsigned d = 0; d < ROUTER_CLASSES; d++) {
		uint64_t ns;

		if (c >= d && mean_known(&means[c - d])) {
			ns = mean_ns(&means[c - d]);
			return ns + scale * memory_ns(r, class_bytes(c) - class_bytes(c - d));
		}
		if (c + d < ROUTER_CLASSES && mean_known(&means[c + d])) {
			uint64_t more = scale * memory_ns(r, class_bytes(c + d) - class_bytes(c));

			ns = mean_ns(&means[c + d]);
			return ns > more ? MAX(ns - more, ns >> d) : ns >> d;
		}
	}
	return UINT64_MAX;
}

uint64_t router_queue_ns(const struct router *r, enum router_dir dir, uint64_t len_bytes)
{
	unsigned c = router_class(len_bytes);
	/* The host copies too. */
	uint64_t ns = estimate(r, r->queue[dir], c, 1);

	if (ns == UINT64_MAX)
		ns = estimate(r, r->queue[!dir], c, 1);
	return ns == UINT64_MAX ? r->round_trip_ns + memory_ns(r, class_bytes(c)) : ns;
}

static uint64_t copy_ns(const struct router *r, enum router_dir dir, enum router_copy how,
			unsigned c)
{
	return estimate(r, r->copy[dir][how], c, 1);
}

uint64_t router_window_ns(const struct router *r, enum router_dir dir, uint64_t len_bytes)
{
	unsigned c = router_class(len_bytes);
	uint64_t plain = copy_ns(r, dir, ROUTER_COPY_PLAIN, c);
	uint64_t wide = copy_ns(r, dir, ROUTER_COPY_WIDE, c);
	uint64_t ns = MIN(plain, wide);

	if (ns == UINT64_MAX)
		ns = copy_ns(r, !dir, ROUTER_COPY_PLAIN, c);
	return PIN_NS + (ns == UINT64_MAX ? memory_ns(r, class_bytes(c)) : ns);
}

/* 0, 1, 2..3, 4..7, ... */
static unsigned live_class(unsigned live)
{
	unsigned c = live ? 32 - (unsigned)__builtin_clz(live) : 0;

	return MIN(c, ROUTER_LIVE_CLASSES - 1u);
}

uint64_t router_setup_ns(const struct router *r, unsigned live)
{
	uint64_t touch = mean_ns(&r->touch);
	unsigned c = live_class(live);

	/* From fewer mappings: at least so much. From more: at most. */
	for (unsigned d = 0; d < ROUTER_LIVE_CLASSES; d++) {
		if (c >= d && mean_known(&r->setup[c - d]))
			return mean_ns(&r->setup[c - d]) + touch;
		if (c + d < ROUTER_LIVE_CLASSES && mean_known(&r->setup[c + d]))
			return mean_ns(&r->setup[c + d]) + touch;
	}
	return SETUP_ROUND_TRIPS * (uint64_t)r->round_trip_ns;
}

uint64_t router_remove_ns(const struct router *r)
{
	return mean_known(&r->remove) ? mean_ns(&r->remove) : r->round_trip_ns;
}

uint64_t router_gain_ns(const struct router *r, enum router_dir dir, uint64_t len_bytes)
{
	uint64_t queue = router_queue_ns(r, dir, len_bytes);
	uint64_t window = router_window_ns(r, dir, len_bytes);

	return queue > window ? queue - window : 0;
}

/* ------------------------------------------------------------------ decisions */

/* Both ways must have been measured; and with a distance, so that noise changes nothing. */
static void decide_avoid(struct router *r, enum router_dir dir, unsigned c)
{
	uint32_t bit = 1u << c, was = atomic_load_explicit(&r->avoid[dir], memory_order_relaxed);
	uint64_t queue = mean_ns(&r->queue[dir][c]);
	uint64_t window = router_window_ns(r, dir, class_bytes(c));
	bool avoid = was & bit ? window > queue : window > queue + queue / 4;

	if (mean_wants(&r->queue[dir][c]) || (mean_wants(&r->copy[dir][ROUTER_COPY_PLAIN][c]) &&
					      mean_wants(&r->copy[dir][ROUTER_COPY_WIDE][c])))
		return;
	if (avoid != !!(was & bit))
		atomic_fetch_xor_explicit(&r->avoid[dir], bit, memory_order_relaxed);
}

static void decide_wide(struct router *r, enum router_dir dir, unsigned c)
{
	uint32_t bit = 1u << c, was = atomic_load_explicit(&r->wide[dir], memory_order_relaxed);
	const struct router_mean *plain = &r->copy[dir][ROUTER_COPY_PLAIN][c];
	const struct router_mean *other = &r->copy[dir][ROUTER_COPY_WIDE][c];
	uint64_t limit = mean_ns(plain);
	bool wide;

	if (mean_wants(plain) || mean_wants(other))
		return;
	wide = mean_ns(other) < (was & bit ? limit : limit - limit / 4);
	if (wide != !!(was & bit))
		atomic_fetch_xor_explicit(&r->wide[dir], bit, memory_order_relaxed);
}

/* ------------------------------------------------------------------ samples */

void router_note_queue(struct router *r, enum router_dir dir, uint64_t len_bytes, uint64_t ns)
{
	unsigned c = router_class(len_bytes);

	mean_add(&r->queue[dir][c], ns);
	decide_avoid(r, dir, c);
}

void router_note_copy(struct router *r, enum router_dir dir, enum router_copy how,
		      uint64_t len_bytes, uint64_t ns, bool first)
{
	unsigned c = router_class(len_bytes);
	uint64_t usual = copy_ns(r, dir, how, c);

	if (first) {
		/* The pages of a mapping are entered as they are touched: part of its set-up. */
		if (usual != UINT64_MAX)
			mean_add(&r->touch, ns > usual ? ns - usual : 0);
		return;
	}
	mean_add(&r->copy[dir][how][c], ns);
	decide_wide(r, dir, c);
	decide_avoid(r, dir, c);
}

void router_note_setup(struct router *r, unsigned live, uint64_t ns)
{
	mean_add(&r->setup[live_class(live)], ns);
}

void router_note_remove(struct router *r, unsigned n, uint64_t ns)
{
	mean_add(&r->remove, ns / MAX(n, 1u));
}

bool router_wants_queue(const struct router *r, enum router_dir dir, uint64_t len_bytes)
{
	return mean_wants(&r->queue[dir][router_class(len_bytes)]);
}

bool router_wants_copy(const struct router *r, enum router_dir dir, enum router_copy how,
		       uint64_t len_bytes)
{
	return mean_wants(&r->copy[dir][how][router_class(len_bytes)]);
}

/* ------------------------------------------------------------------ at the start */

void router_init(struct router *r, uint32_t round_trip_ns, uint32_t memory_ns_per_kib)
{
	memset(r, 0, sizeof(*r));
	r->round_trip_ns = round_trip_ns ? round_trip_ns : ROUND_TRIP_NS;
	r->memory_ns_per_kib = memory_ns_per_kib ? memory_ns_per_kib : MEMORY_NS_PER_KIB;
}

uint32_t router_memory_ns_per_kib(void)
{
	const size_t len = 256 * KIB;
	uint64_t best = UINT64_MAX;
	char *from = malloc(len), *to = malloc(len);

	if (from && to) {
		memset(from, 1, len);
		for (int i = 0; i < 4; i++) {
			uint64_t start = clock_now_ns(), ns;

			memcpy(to, from, len);
			/* Or the compiler sees that nobody reads it. */
			__asm__ volatile("" : : "r"(to) : "memory");
			ns = clock_now_ns() - start;
			/* The first pass also enters the pages. */
			if (i)
				best = MIN(best, ns);
		}
	}
	free(from);
	free(to);
	return best == UINT64_MAX ? 0 : (uint32_t)MAX(best / (len / KIB), 1u);
}
