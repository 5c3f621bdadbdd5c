/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* json_read: what is in a JSON text (RFC 8259) that another program wrote, value by value; nothing
 * is kept. */
#ifndef VFSDAX_BASE_JSON_READ_H
#define VFSDAX_BASE_JSON_READ_H

#include <stddef.h>

/*
 * Calls `see` for each string, number, true, false and null: `path` has the keys that lead to it,
 * with "/" between them, and the index in arrays, as "jobs/0/read/iops"; `value` is a string's
 * text with its escapes as they are, or the word as it stands. Both are valid during the call. 0;
 * -EINVAL where the text is no JSON, or its keys are longer than 255 bytes or more than 32 deep:
 * values before that place have been seen. `see` may be NULL. A number is what scanf(3) takes for
 * one in decimal: "007" and "1.", too.
 */
int json_read(const char *text, size_t len,
	      void (*see)(void *ctx, const char *path, const char *value), void *ctx);

/* The number at `path`, also of a string that is one; NaN where there is none, or behind a place
 * where the text is no JSON. */
double json_number(const char *text, size_t len, const char *path);

#endif
