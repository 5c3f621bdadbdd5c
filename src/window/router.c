/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "window/router.h"

#include "base/bytes.h"

/* What is assumed where nothing was measured. */
#define ROUND_TRIP_NS	  20000u
#define SETUP_NS	  80000u /* a request, and what the host does for it */
#define MEMORY_NS_PER_KIB 100u	 /* 10 GB/s */

#define SAMPLES_SOON 8u /* as many are taken of each thing as soon as it happens */
#define WEIGHT	     16u
#define OUTLIER	     4u /* a sample counts as this many times the mean at most */

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

static uint64_t mean_or(const struct router_mean *m, uint64_t usual_ns)
{
	if (!atomic_load_explicit(&m->samples, memory_order_relaxed))
		return usual_ns;
	return atomic_load_explicit(&m->ns, memory_order_relaxed);
}

static bool mean_wants(const struct router_mean *m)
{
	return atomic_load_explicit(&m->samples, memory_order_relaxed) < SAMPLES_SOON;
}

static uint64_t memory_ns(uint64_t len_bytes)
{
	return (UINT64_C(4) << router_class(len_bytes)) * MEMORY_NS_PER_KIB;
}

static uint64_t queue_ns(const struct router *r, enum router_dir dir, uint64_t len_bytes)
{
	/* The host copies too. */
	return mean_or(&r->queue[dir][router_class(len_bytes)],
		       ROUND_TRIP_NS + memory_ns(len_bytes));
}

static uint64_t copy_ns(const struct router *r, enum router_dir dir, uint64_t len_bytes)
{
	return mean_or(&r->copy[dir][router_class(len_bytes)], memory_ns(len_bytes));
}

void router_note_queue(struct router *r, enum router_dir dir, uint64_t len_bytes, uint64_t ns)
{
	mean_add(&r->queue[dir][router_class(len_bytes)], ns);
}

void router_note_copy(struct router *r, enum router_dir dir, uint64_t len_bytes, uint64_t ns)
{
	mean_add(&r->copy[dir][router_class(len_bytes)], ns);
}

void router_note_setup(struct router *r, uint64_t ns)
{
	mean_add(&r->setup, ns);
}

void router_note_remove(struct router *r, unsigned n, uint64_t ns)
{
	mean_add(&r->remove, ns / MAX(n, 1u));
}

bool router_wants_queue(const struct router *r, enum router_dir dir, uint64_t len_bytes)
{
	return mean_wants(&r->queue[dir][router_class(len_bytes)]);
}

bool router_wants_copy(const struct router *r, enum router_dir dir, uint64_t len_bytes)
{
	return mean_wants(&r->copy[dir][router_class(len_bytes)]);
}

uint64_t router_setup_ns(const struct router *r)
{
	return mean_or(&r->setup, SETUP_NS);
}

uint64_t router_remove_ns(const struct router *r)
{
	return mean_or(&r->remove, ROUND_TRIP_NS);
}

uint64_t router_gain_ns(const struct router *r, enum router_dir dir, uint64_t len_bytes)
{
	uint64_t queue = queue_ns(r, dir, len_bytes), copy = copy_ns(r, dir, len_bytes);

	return queue > copy ? queue - copy : 0;
}

bool router_avoids(const struct router *r, enum router_dir dir, uint64_t len_bytes)
{
	uint64_t queue;

	/* Both ways must have been measured; and with a distance, so that noise changes nothing. */
	if (router_wants_queue(r, dir, len_bytes) || router_wants_copy(r, dir, len_bytes))
		return false;
	queue = queue_ns(r, dir, len_bytes);
	return copy_ns(r, dir, len_bytes) > queue + queue / 4;
}

bool router_doubts(const struct router *r, enum router_dir dir, uint64_t len_bytes)
{
	uint64_t copy = copy_ns(r, dir, len_bytes);

	/* A message costs at least what a short one does: no copy that is shorter is put to the
	 * test. */
	if (router_wants_copy(r, dir, len_bytes) || copy <= queue_ns(r, dir, 0))
		return false;
	return router_wants_queue(r, dir, len_bytes) || queue_ns(r, dir, len_bytes) < 2 * copy;
}
