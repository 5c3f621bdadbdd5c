/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * router: what a read or a write costs through the queue and through the window, as far as it was
 * measured, and which of the two is the cheaper. It owns smoothed measurements and nothing else:
 * when a request is timed bridge/measure.c decides.
 *
 *   queue(len)   from giving a request to the device to its answer
 *   copy(len)    copying out of or into a range that is mapped
 *   setup        mapping one more range        remove   unmapping one
 *
 * Lengths are sorted into classes, powers of two from 4 KiB to 1 MiB. What was not measured has a
 * usual cost, and is measured each time until there are a few samples.
 *
 * All functions may be called from any thread, without a lock: two samples that come at the same
 * moment are one. Times are in nanoseconds; 0 as a length counts as the smallest class.
 */
#ifndef VFSDAX_WINDOW_ROUTER_H
#define VFSDAX_WINDOW_ROUTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define ROUTER_CLASSES 9 /* 4 KiB << 0 .. 8 */

enum router_dir { ROUTER_READ, ROUTER_WRITE };

/* An exponentially weighted mean; the first samples weigh as in a plain one. */
struct router_mean {
	_Atomic uint32_t ns, samples;
};

/* All zeroes: nothing measured. */
struct router {
	struct router_mean queue[2][ROUTER_CLASSES]; /* by direction and length */
	struct router_mean copy[2][ROUTER_CLASSES];
	struct router_mean setup, remove; /* of one mapping */
	_Atomic uint64_t by_queue;	  /* requests that router_avoids() sent to the queue */
};

static inline unsigned router_class(uint64_t len_bytes)
{
	uint64_t pages = len_bytes >> 12;
	unsigned c = pages ? 63 - (unsigned)__builtin_clzll(pages) : 0;

	return c < ROUTER_CLASSES ? c : ROUTER_CLASSES - 1;
}

void router_note_queue(struct router *r, enum router_dir dir, uint64_t len_bytes, uint64_t ns);
void router_note_copy(struct router *r, enum router_dir dir, uint64_t len_bytes, uint64_t ns);
void router_note_setup(struct router *r, uint64_t ns);
/* n: mappings in one request. */
void router_note_remove(struct router *r, unsigned n, uint64_t ns);
/* True while so little is known of this that each request should be measured. */
bool router_wants_queue(const struct router *r, enum router_dir dir, uint64_t len_bytes);
bool router_wants_copy(const struct router *r, enum router_dir dir, uint64_t len_bytes);

uint64_t router_setup_ns(const struct router *r);
uint64_t router_remove_ns(const struct router *r);
/* What a hit saves; 0 where it saves nothing. */
uint64_t router_gain_ns(const struct router *r, enum router_dir dir, uint64_t len_bytes);
/* The queue serves this faster, also where a range is mapped: so it is with large copies out of a
 * window that the CPU does not cache. */
bool router_avoids(const struct router *r, enum router_dir dir, uint64_t len_bytes);
/* The queue may be the faster: nobody knows, since all of these were served by the window, or the
 * two are close together. */
bool router_doubts(const struct router *r, enum router_dir dir, uint64_t len_bytes);

#endif
