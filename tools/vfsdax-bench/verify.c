/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "verify.h"

#include <errno.h>
#include <string.h>

#include "pattern.h"

static uint64_t word_at(uint32_t i, uint32_t len, uint64_t off, uint64_t *state)
{
	return i == 0 ? off : i == 8 ? len : splitmix64(state);
}

void verify_fill(unsigned char *block, uint32_t len, uint64_t off)
{
	uint64_t state = off;

	for (uint32_t i = 0; i < len; i += 8) {
		uint64_t word = word_at(i, len, off, &state);

		memcpy(block + i, &word, sizeof(word));
	}
}

int verify_check(const unsigned char *block, uint32_t len, uint64_t off, struct verify_mismatch *m)
{
	uint64_t state = off;

	for (uint32_t i = 0; i < len; i += 8) {
		uint64_t want = word_at(i, len, off, &state), have;
		unsigned bit = 0;

		memcpy(&have, block + i, sizeof(have));
		if (have == want)
			continue;
		if (i >= 16) /* bytes lie in memory from the lowest on */
			bit = (unsigned)__builtin_ctzll(have ^ want) & ~7u;
		*m = (struct verify_mismatch){off + i + bit / 8,
					      i == 0   ? "file offset told by the block"
					      : i == 8 ? "length told by the block (--bs)"
						       : "byte",
					      i < 16 ? want : (unsigned char)(want >> bit),
					      i < 16 ? have : (unsigned char)(have >> bit)};
		return -EILSEQ;
	}
	return 0;
}
