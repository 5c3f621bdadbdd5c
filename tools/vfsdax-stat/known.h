/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* known: the counters that a mount may have, from the tables of which the mount makes them. */
#ifndef VFSDAX_STAT_KNOWN_H
#define VFSDAX_STAT_KNOWN_H

#include <stddef.h>

enum known_kind { KNOWN_counter, KNOWN_gauge, KNOWN_flag, KNOWN_text };

struct known {
	const char *name; /* capitals stand for what varies */
	const char *kind_name, *help;
	enum known_kind kind;
};

#define KNOWN_VARYING_MAX 2

/* What stands for the capitals, in the order of the name. */
struct known_parts {
	unsigned n;
	struct {
		const char *at;
		size_t len;
	} part[KNOWN_VARYING_MAX];
};

extern const struct known known_counters[];
extern const size_t known_count;

/* The row that a name of a report belongs to; NULL: of a mount of another version. `parts` may be
 * NULL; it points into `name`. */
const struct known *known_find(const char *name, struct known_parts *parts);

#endif
