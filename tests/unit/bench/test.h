/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What cmocka wants in front of its header. */
#ifndef BENCH_TEST_H
#define BENCH_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
