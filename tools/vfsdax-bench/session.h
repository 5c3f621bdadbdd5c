/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * session: columns that are measured in turn, round after round, so that what disturbs the machine
 * disturbs all of them alike. A plain run is a session of one column.
 */
#ifndef VFSDAX_BENCH_SESSION_H
#define VFSDAX_BENCH_SESSION_H

#include <stddef.h>

#include "bench.h"
#include "vfsdax-bench/report/stats.h"

#define COLUMNS_MAX 16

struct column {
	const char *label;
	char *values; /* where strings of s.o are */
	struct subject s;
	double iops[STATS_ROUNDS_MAX], bandwidth[STATS_ROUNDS_MAX], p50[STATS_ROUNDS_MAX];
	struct result all; /* of all rounds */
};

struct session {
	struct options o;
	struct column columns[COLUMNS_MAX];
	size_t count;
	size_t rounds; /* those in which every column was measured */
	bool compare, interrupted;
};

/* specs: NULL for one column with the common options; they must outlive the session. 0, or -errno
 * after a line. */
int session_open(struct session *n, const struct options *o, char **specs, size_t count);
/* 0, -EINTR where the user stopped it, or -errno after a line. */
int session_run(struct session *n);
void session_close(struct session *n);

/* The ratio of a column's operations per second to those of the first. */
struct estimate session_ratio(const struct session *n, size_t column);
/* The same of median latencies, where more is faster too: what else runs on the machine disturbs it
 * less. No value where columns have different numbers of operations under way. */
struct estimate session_p50_ratio(const struct session *n, size_t column);

#endif
