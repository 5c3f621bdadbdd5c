/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* file: a file or block device by path, as the engines uring, psync and mmap need it. */
#ifndef VFSDAX_BENCH_FILE_H
#define VFSDAX_BENCH_FILE_H

#include "vfsdax-bench/bench.h"

/* Opens s->o.filename with `flags` besides O_RDONLY or O_RDWR, writes what is missing of it, and
 * sets s->fd and s->file_bytes. One log line on failure. */
int file_open(struct subject *s, int flags);
void file_close(struct subject *s);

/*
 * Which part of a file of `have` bytes is to be written before it can be measured: returns 0 and
 * [*from, *to), empty where nothing is missing, or -EINVAL after a line. `exists`: it was there.
 */
int file_missing(const struct subject *s, bool exists, uint64_t have, uint64_t *from, uint64_t *to);

/* Writes [from, to) with contents that do not compress, through `put`: bytes or -errno. */
int file_fill(uint64_t from, uint64_t to,
	      int64_t (*put)(void *ctx, const void *buf, size_t len, uint64_t off), void *ctx);

#endif
