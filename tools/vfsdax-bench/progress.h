/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* progress: a line on the terminal that is rewritten while a round runs; nothing where stderr is
 * none. */
#ifndef VFSDAX_BENCH_PROGRESS_H
#define VFSDAX_BENCH_PROGRESS_H

#include "bench.h"

struct progress {
	const char *what;
	bool shown;
	uint64_t begin_ns, span_ns, next_ns;
	uint64_t last_ns, last_ios, last_bytes;
};

void progress_init(struct progress *p, const char *what);
void progress_begin(struct progress *p, uint64_t ramp_ns, uint64_t runtime_ns);
/* As often as one likes. */
void progress_show(struct progress *p, const struct subject *s);
/* Wipes the line. */
void progress_end(struct progress *p);

#endif
