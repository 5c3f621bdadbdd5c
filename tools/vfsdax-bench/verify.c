/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "verify.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "rng.h"

static uint64_t load(const unsigned char *at)
{
	uint64_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

static void store(unsigned char *at, uint64_t v)
{
	memcpy(at, &v, sizeof(v));
}

/* The header up to the hash, and what is behind it. */
static uint64_t hash(const unsigned char *block, uint32_t len)
{
	uint64_t h = len;

	for (uint32_t i = 0; i < len; i += 8) {
		uint64_t word = 0;

		if (i == 32)
			continue;
		memcpy(&word, block + i, MIN(8u, len - i));
		h = (rng_rotl(h, 5) ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 29;
	}
	return h;
}

/* The state of the generator of a block's contents. */
static uint64_t contents(uint64_t off, uint64_t seed)
{
	uint64_t state = seed;

	return splitmix64(&state) ^ off;
}

void verify_fill(unsigned char *block, uint32_t len, uint64_t off, uint64_t seed)
{
	uint64_t state = contents(off, seed);

	store(block, VERIFY_MAGIC);
	store(block + 8, off);
	store(block + 16, seed);
	store(block + 24, len);
	for (uint32_t i = VERIFY_HEADER; i < len; i += 8) {
		uint64_t word = splitmix64(&state);

		memcpy(block + i, &word, MIN(8u, len - i));
	}
	store(block + 32, hash(block, len));
}

static int mismatch(struct verify_mismatch *m, uint64_t at, const char *what, uint64_t expected,
		    uint64_t actual)
{
	*m = (struct verify_mismatch){at, what, expected, actual};
	return -EILSEQ;
}

int verify_check(const unsigned char *block, uint32_t len, uint64_t off, uint64_t seed,
		 bool any_seed, struct verify_mismatch *m)
{
	uint64_t state = contents(off, any_seed ? load(block + 16) : seed), want;

	if (load(block) != VERIFY_MAGIC)
		return mismatch(m, off, "magic number of a block", VERIFY_MAGIC, load(block));
	if (load(block + 8) != off)
		return mismatch(m, off + 8, "file offset told by the block", off, load(block + 8));
	if (!any_seed && load(block + 16) != seed)
		return mismatch(m, off + 16, "seed of the block", seed, load(block + 16));
	if (load(block + 24) != len)
		return mismatch(m, off + 24, "length told by the block (--bs)", len,
				load(block + 24));
	want = hash(block, len);
	if (load(block + 32) == want)
		return 0;
	for (uint32_t i = VERIFY_HEADER; i < len; i += 8) {
		unsigned char word[8];
		uint64_t v = splitmix64(&state);

		memcpy(word, &v, sizeof(word));
		for (uint32_t k = 0; k < 8 && i + k < len; k++)
			if (block[i + k] != word[k])
				return mismatch(m, off + i + k, "byte", word[k], block[i + k]);
	}
	return mismatch(m, off + 32, "hash of the block", want, load(block + 32));
}
