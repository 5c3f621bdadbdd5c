/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * figures: what a person asks of a mount, worked out of one report, which is then an average since
 * its counters began, or of two, which is what happened between them.
 */
#ifndef VFSDAX_STAT_FIGURES_H
#define VFSDAX_STAT_FIGURES_H

#include "base/latency.h"
#include "report.h"

/* Of one way of one direction. */
struct figures_way {
	double bytes_s, requests_s;
	uint64_t timed; /* how many latencies the percentiles are of; 0: they are not known */
	uint64_t p50_ns, p99_ns;
};

struct figures {
	double seconds;				    /* 0: there is nothing to say */
	struct figures_way way[LATENCY_KIND_COUNT]; /* LATENCY_other has no bytes */
	struct figures_way reads;		    /* both ways together */
	double hit_rate;     /* of look-ups in the window, 0 to 1; -1: there were none */
	double window_share; /* of the file data, what came or went through the window; -1 */
};

enum figures_state {
	STATE_THERE,
	STATE_WAITING,	/* the device is gone, and callers wait for it */
	STATE_REFUSING, /* the same, and callers get EIO meanwhile */
	STATE_FAILED,	/* it was given up for good: callers get EIO until it is unmounted */
};

extern const char *const figures_kind_names[LATENCY_KIND_COUNT];
extern const char *const figures_state_names[]; /* by enum figures_state */

/* `before`: NULL, or an earlier report of the same mount. With another device the counters begin
 * anew; then what they have is what happened meanwhile. */
void figures_work_out(const struct report *before, const struct report *now, struct figures *f);
enum figures_state figures_state(const struct report *r);
/* `before`, if the counters of `now` go on where its own were; else NULL. */
const struct report *figures_same_device(const struct report *before, const struct report *now);

/* Of one kind: the counters "latency.KIND.NS". All are 0 of a report that is NULL. */
void figures_buckets(const struct report *r, const char *kind, uint64_t to[LATENCY_BUCKETS]);

/* The nearest rank: in the middle of the bucket below or in which `percent` of all are. 0: there
 * are none. */
uint64_t figures_percentile(const uint64_t buckets[LATENCY_BUCKETS], double percent);

#endif
