/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib_share: shares through libvfsdax, for the engines lib and map. A device has one driver at a
 * time, so columns that name the same source share what is attached.
 */
#ifndef VFSDAX_BENCH_LIB_SHARE_H
#define VFSDAX_BENCH_LIB_SHARE_H

#include <vfsdax/vfsdax.h>

#include "vfsdax-bench/bench.h"

struct lib_share;

/* Attaches to s->o.share, or takes part in what is. One log line on failure. */
int lib_share_get(const struct subject *s, struct lib_share **share);
void lib_share_put(struct lib_share *share);
struct vfsdax *lib_share_handle(struct lib_share *share);

/* Opens s->o.filename, creates or extends it where that is asked for, sets s->file_bytes. One log
 * line on failure. */
int lib_file_open(struct subject *s, struct lib_share *share, struct vfsdax_file **file);

#endif
