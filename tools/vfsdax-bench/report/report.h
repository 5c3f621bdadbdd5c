/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* report: what a session found, for people, for scripts that know fio's JSON, and as a picture. */
#ifndef VFSDAX_BENCH_REPORT_H
#define VFSDAX_BENCH_REPORT_H

#include <stdio.h>

#include "vfsdax-bench/session.h"

void report_table(FILE *f, const struct session *n);
void report_json(FILE *f, const struct session *n);
/* Writes PREFIX.1.hgrm and so on, a file a column; -errno after a line. */
int report_hgrm(const struct session *n, const char *prefix);

/* Whether there is what --plot needs, before anything is measured; -errno after a line. */
int plot_check(const char *path);
/* Draws; -errno after a line. */
int plot_draw(const struct session *n, const char *path);

/* "randread, bs=4 KiB, iodepth=8, numjobs=2": what the columns have in common. */
void report_workload(FILE *f, const struct session *n);

#endif
