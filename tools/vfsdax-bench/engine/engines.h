/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* engines: those that there are. engine.c lists them. */
#ifndef VFSDAX_BENCH_ENGINES_H
#define VFSDAX_BENCH_ENGINES_H

#include "vfsdax-bench/bench.h"

extern const struct engine_ops engine_uring, engine_psync, engine_mmap;
#ifdef BENCH_WITH_LIB
extern const struct engine_ops engine_lib, engine_map;
#endif

#endif
