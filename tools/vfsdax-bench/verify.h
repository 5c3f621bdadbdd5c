/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * verify: blocks from which it can be seen whether they are what was written. A block is
 *
 *   0  magic      8  file offset of the block   16  seed   24  length   32  hash   40  contents
 *
 * where the contents follow from seed and offset alone, and the hash is of all the rest. So a
 * block that is wrong shows whether it is stale, misplaced or damaged, and at which byte.
 */
#ifndef VFSDAX_BENCH_VERIFY_H
#define VFSDAX_BENCH_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VERIFY_MAGIC   UINT64_C(0x3176786164736676) /* "vfsdaxv1" */
#define VERIFY_HEADER  40
#define VERIFY_MIN_LEN 64

void verify_fill(unsigned char *block, uint32_t len, uint64_t off, uint64_t seed);

struct verify_mismatch {
	uint64_t at; /* of the first wrong byte, in the file */
	const char *what;
	uint64_t expected, actual;
};

/* 0, or -EILSEQ and what is wrong. Any seed is right where `any_seed`. */
int verify_check(const unsigned char *block, uint32_t len, uint64_t off, uint64_t seed,
		 bool any_seed, struct verify_mismatch *m);

#endif
