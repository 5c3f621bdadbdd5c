/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What two processes of cohop, one at each side of a share, have in common. */
#ifndef VFSDAX_TESTS_COHERENCE_COHOP_H
#define VFSDAX_TESTS_COHERENCE_COHOP_H

#include <stdatomic.h>

#include "coherence/side.h"

enum status {
	COHERENT = 0,
	WRONG = 1,   /* also what die() ends with */
	REFUSED = 2, /* by an error that was said; nothing is lost */
	SECOND = 4,  /* seen late, but within a second */
};

#define MODEL_BYTES (3u << 20)

/* A file that is on no share, zeros at first, mapped by both. */
struct control {
	atomic_uint arrived[2]; /* barriers */
	atomic_uint gone[2];	/* 1 + the status with which this side has ended */
	atomic_uint no_map;	/* a side was refused a map */
	atomic_ullong version;	/* replace: the last that has its name */
	/* fsx: whose turn it is has all of these */
	uint64_t random, size, ops, changes_of_size;
	uint8_t model[MODEL_BYTES];
};

struct run {
	struct control *c;
	unsigned me; /* 0 or 1 */
	struct side side;
	const char *name;
	char **args; /* of the workload */
};

/* Returns when both are there. When the other has ended, well or not, it is not waited for: 1 + its
 * status. */
unsigned barrier(struct run *r);

int run_count(struct run *r);
int run_views(struct run *r);
int run_append(struct run *r);
int run_replace(struct run *r);
int run_fsx(struct run *r);

#endif
