/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * verify: blocks from which it can be seen whether they are what was written. A block is its file
 * offset, its length, and contents that follow from the offset; 8 bytes each, so one that is wrong
 * shows whether it is misplaced or damaged, and at which byte.
 */
#ifndef VFSDAX_BENCH_VERIFY_H
#define VFSDAX_BENCH_VERIFY_H

#include <stdint.h>

#define VERIFY_MIN_LEN 64

struct verify_mismatch {
	uint64_t at; /* of the first wrong byte, or word of the first two, in the file */
	const char *what;
	uint64_t expected, actual;
};

/* `len` is a multiple of 8. */
void verify_fill(unsigned char *block, uint32_t len, uint64_t off);
/* 0, or -EILSEQ and what is wrong. */
int verify_check(const unsigned char *block, uint32_t len, uint64_t off, struct verify_mismatch *m);

#endif
