/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VFSDAX_STAT_OPENMETRICS_H
#define VFSDAX_STAT_OPENMETRICS_H

#include "known.h"

/* What a counter is called there. */
struct openmetrics_name {
	char family[96];
	const char *unit; /* NULL: none. It is the end of `family`, too */
	double scale;	  /* of the counter's value to that unit's */
	int decimals;
	unsigned n_labels; /* one for each part that varies */
	char label[KNOWN_VARYING_MAX][24];
};

void openmetrics_name(const struct known *known, struct openmetrics_name *n);

#endif
