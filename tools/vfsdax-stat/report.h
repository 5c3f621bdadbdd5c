/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * report: what a mount says of itself at one time: lines of "dotted.name value", where a value is
 * JSON. Nothing of it is used unless it was looked at: names are letters, digits, "_" and ".",
 * values are numbers, true, false or strings.
 */
#ifndef VFSDAX_STAT_REPORT_H
#define VFSDAX_STAT_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct report_item {
	const char *name, *value;
};

struct report {
	char *text;
	struct report_item *items; /* in the mount's order */
	size_t count;
};

/* What is no line of a report is left out. 0; -ENODATA: nothing is left; -E2BIG, -ENOMEM, or what
 * reading it said. Then there is nothing to free. */
int report_read(FILE *f, struct report *r);
void report_free(struct report *r);

/* NULL: the mount does not say it. */
const char *report_value(const struct report *r, const char *name);
/* 0 and false where the mount does not say it. */
uint64_t report_u64(const struct report *r, const char *name);
bool report_flag(const struct report *r, const char *name);
/* A string as it was before JSON quoted it; of a number, the number. Returns `out`; cut where it
 * does not fit. */
const char *report_text(const char *value, char *out, size_t len);

#endif
