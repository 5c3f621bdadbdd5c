/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * parse: sizes, times and numbers as fio writes them, and back. Each takes the whole string or
 * nothing.
 */
#ifndef VFSDAX_BASE_PARSE_H
#define VFSDAX_BASE_PARSE_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes: digits and one of k, m, g, t (1024 and its powers), as "4k", "4kb", "4KiB"; -EINVAL, or
 * -ERANGE where it does not fit 63 bits. */
int parse_size(const char *text, uint64_t *bytes);
/* Digits and one of us, ms, s, m, h, d; seconds without a unit. In nanoseconds. Errors as above. */
int parse_time(const char *text, uint64_t *ns);
/* Decimal, or hexadecimal behind 0x. Errors as above. */
int parse_u64(const char *text, uint64_t *value);
/* A finite decimal number; -EINVAL. */
int parse_double(const char *text, double *value);
/* 0 or 1; -EINVAL. */
int parse_bool(const char *text, bool *value);

/* How people read it, in a static-free way: all of them write into `out` and return it. */
const char *format_size(uint64_t bytes, char out[24]); /* 4 KiB, exact where it can be */
const char *format_ns(double ns, char out[24]);	       /* 123 ns, 4.56 us, 7.89 ms, 1.2 s */
const char *format_count(double count, char out[24]);  /* 123, 45.6 k, 7.89 M */

#endif
