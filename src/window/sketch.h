/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sketch: about how often each of many keys was seen lately, in fixed memory: a count-min sketch
 * with conservative update (C. Estan, G. Varghese, "New Directions in Traffic Measurement and
 * Accounting", SIGCOMM 2002) and ageing by halving ("reset" in G. Einziger, R. Friedman, B. Manes,
 * "TinyLFU: A Highly Efficient Cache Admission Policy", ACM ToS 13(4), 2017). It never counts too
 * little (but for the ageing), and too much only where keys meet in every row. The caller's lock
 * guards it.
 */
#ifndef VFSDAX_WINDOW_SKETCH_H
#define VFSDAX_WINDOW_SKETCH_H

#include <stddef.h>
#include <stdint.h>

#define SKETCH_ROWS	 4
/* Columns for each range of the cache: with two bytes a counter, 32 bytes a range. */
#define SKETCH_PER_RANGE 4

struct sketch {
	uint16_t *counters; /* SKETCH_ROWS rows */
	uint32_t columns;   /* a power of two */
};

/* -ENOMEM. Memory is at least 8 KiB and at most 1 MiB, whatever the number of ranges. */
int sketch_init(struct sketch *s, uint64_t ranges);
void sketch_fini(struct sketch *s);

/* Counts the key once more; returns the new count. Saturates. */
uint32_t sketch_add(struct sketch *s, uint64_t key);
uint32_t sketch_get(const struct sketch *s, uint64_t key);
/* Halves all counts. */
void sketch_age(struct sketch *s);
#endif
