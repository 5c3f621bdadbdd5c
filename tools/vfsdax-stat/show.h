/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* show: mounts and what they say, in the forms that there are. */
#ifndef VFSDAX_STAT_SHOW_H
#define VFSDAX_STAT_SHOW_H

#include "ask.h"

/* `before`: the same mounts, asked earlier; NULL: there is no interval. To standard output. */

/* people.c: in `columns` columns. One mount in a block of its own, several a line each. */
void show_people(const struct mounts *before, const struct mounts *now, unsigned columns);
/* people.c: all counters; with `before` those that have changed, and how fast. */
void show_all(const struct mounts *before, const struct mounts *now);
/* json.c: a line each. */
void show_json(const struct mounts *before, const struct mounts *now);
/* openmetrics.c */
void show_openmetrics(const struct mounts *now);

#endif
