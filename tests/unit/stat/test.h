/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VFSDAX_TESTS_STAT_TEST_H
#define VFSDAX_TESTS_STAT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "report.h"

/* The report that a mount would send so; or what reading it says. */
static inline int report_of(const char *text, struct report *r)
{
	FILE *f = fmemopen((void *)text, strlen(text), "r");
	int err;

	assert_non_null(f);
	err = report_read(f, r);
	fclose(f);
	return err;
}

#endif
