/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* any: arbitrary values, and claims about them, for the harnesses. */
#ifndef VFSDAX_TESTS_MODEL_CBMC_ANY_H
#define VFSDAX_TESTS_MODEL_CBMC_ANY_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define ASSUME(condition) __CPROVER_assume(condition)
#define CLAIM(condition)  __CPROVER_assert((condition), #condition)

bool nondet_bool(void);
uint16_t nondet_u16(void);
uint32_t nondet_u32(void);
uint64_t nondet_u64(void);
unsigned nondet_unsigned(void);

static inline unsigned any_below(unsigned limit)
{
	unsigned n = nondet_unsigned();

	ASSUME(n < limit);
	return n;
}

/* What a message says is of no interest here, that it fits is. */
int vsnprintf(char *to, size_t size, const char *format, va_list ap)
{
	(void)format;
	(void)ap;
	CLAIM(size > 0 && __CPROVER_w_ok(to, size));
	to[0] = '\0';
	return (int)any_below(512);
}

int snprintf(char *to, size_t size, const char *format, ...)
{
	(void)format;
	CLAIM(size > 0 && __CPROVER_w_ok(to, size));
	to[0] = '\0';
	return (int)any_below(512);
}

#endif
