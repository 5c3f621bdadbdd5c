/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * router: what a read or a write costs by either way, as far as it was measured, and what follows
 * from it. It owns smoothed measurements and nothing else: who measures, and what a request or a
 * device is, it does not know.
 *
 *   queue(len)     from handing a request to the device to its answer
 *   window(len)    pinning, and copying out of or into a range that is mapped
 *   setup(live)    mapping one more range when `live` are mapped already, and its first touch
 *   remove         unmapping one
 *
 * Lengths are sorted into classes, powers of two from 4 KiB to 1 MiB. A class that was not measured
 * is estimated from its nearest neighbour that was, and from the speed of this machine's memory.
 *
 * All functions may be called from any thread, without a lock: two samples that come at the same
 * moment are one. Times are in nanoseconds; 0 as a length counts as the smallest class.
 */
#ifndef VFSDAX_WINDOW_ROUTER_H
#define VFSDAX_WINDOW_ROUTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define ROUTER_CLASSES	    9  /* 4 KiB << 0 .. 8 */
#define ROUTER_LIVE_CLASSES 17 /* 0, 1, 2, 4, ... 2^15 and more live mappings */

enum router_dir { ROUTER_READ, ROUTER_WRITE };
enum router_copy { ROUTER_COPY_PLAIN, ROUTER_COPY_WIDE };

/* An exponentially weighted mean; the first samples weigh as in a plain one. */
struct router_mean {
	_Atomic uint32_t ns, samples;
};

struct router {
	struct router_mean queue[2][ROUTER_CLASSES];   /* by direction and length */
	struct router_mean copy[2][2][ROUTER_CLASSES]; /* by direction, way of copying, length */
	struct router_mean setup[ROUTER_LIVE_CLASSES];
	struct router_mean remove; /* of one mapping */
	struct router_mean touch;  /* what the first copy out of a range costs more */
	uint32_t round_trip_ns;	   /* of a small request, at mount */
	uint32_t memory_ns_per_kib;
	/* What follows, a bit for each class; worked out anew with every sample. */
	_Atomic uint32_t avoid[2]; /* the queue is the faster way */
	_Atomic uint32_t wide[2];  /* the wide copy is the faster one */
	_Atomic uint64_t by_queue; /* requests that `avoid` sent to the queue */
};

/* Before anything is measured: the round trip of a small request, and a copy in memory. 0: unknown,
 * something usual is assumed. */
void router_init(struct router *r, uint32_t round_trip_ns, uint32_t memory_ns_per_kib);
/* Times a copy in ordinary memory, for router_init(); takes about 0.1 ms. */
uint32_t router_memory_ns_per_kib(void);

static inline unsigned router_class(uint64_t len_bytes)
{
	uint64_t pages = len_bytes >> 12;
	unsigned c = pages ? 63 - (unsigned)__builtin_clzll(pages) : 0;

	return c < ROUTER_CLASSES ? c : ROUTER_CLASSES - 1;
}

/* ---- what was measured ---- */

void router_note_queue(struct router *r, enum router_dir dir, uint64_t len_bytes, uint64_t ns);
/* first: out of a range that nobody had touched. */
void router_note_copy(struct router *r, enum router_dir dir, enum router_copy how,
		      uint64_t len_bytes, uint64_t ns, bool first);
void router_note_setup(struct router *r, unsigned live, uint64_t ns);
void router_note_remove(struct router *r, unsigned n, uint64_t ns);
/* True while so little is known of this that each request should be measured. */
bool router_wants_queue(const struct router *r, enum router_dir dir, uint64_t len_bytes);
bool router_wants_copy(const struct router *r, enum router_dir dir, enum router_copy how,
		       uint64_t len_bytes);

/* ---- what it costs ---- */

uint64_t router_queue_ns(const struct router *r, enum router_dir dir, uint64_t len_bytes);
uint64_t router_window_ns(const struct router *r, enum router_dir dir, uint64_t len_bytes);
uint64_t router_setup_ns(const struct router *r, unsigned live);
uint64_t router_remove_ns(const struct router *r);
/* What a hit saves; 0 where it saves nothing. */
uint64_t router_gain_ns(const struct router *r, enum router_dir dir, uint64_t len_bytes);

/* ---- what follows ---- */

/* The queue serves this faster, also where a range is mapped. */
static inline bool router_avoids(const struct router *r, enum router_dir dir, uint64_t len_bytes)
{
	return atomic_load_explicit(&r->avoid[dir], memory_order_relaxed) >>
		       router_class(len_bytes) &
	       1;
}

static inline enum router_copy router_copy_for(const struct router *r, enum router_dir dir,
					       uint64_t len_bytes)
{
	return atomic_load_explicit(&r->wide[dir], memory_order_relaxed) >>
				       router_class(len_bytes) &
			       1
		       ? ROUTER_COPY_WIDE
		       : ROUTER_COPY_PLAIN;
}

#endif
