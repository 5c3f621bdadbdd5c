/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bytes: arithmetic and reads that cannot overflow, for lengths and offsets that somebody else
 * chose (a device, a guest, a socket, a file).
 */
#ifndef VFSDAX_BASE_BYTES_H
#define VFSDAX_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)     ((a) < (b) ? (a) : (b))
#define MAX(a, b)     ((a) > (b) ? (a) : (b))

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* True, and *sum set, when a + b fits. */
static inline bool u64_add(uint64_t a, uint64_t b, uint64_t *sum)
{
	return !__builtin_add_overflow(a, b, sum);
}

/* True when [off, off + len) lies within [0, limit); an empty extent at `limit` does. */
static inline bool extent_within(uint64_t off, uint64_t len, uint64_t limit)
{
	return off <= limit && len <= limit - off;
}

static inline bool is_pow2(uint64_t v)
{
	return v && !(v & (v - 1));
}

/* `align` is a power of two. round_up saturates to the last multiple instead of wrapping. */
static inline uint64_t round_down(uint64_t v, uint64_t align)
{
	return v & ~(align - 1);
}

static inline uint64_t round_up(uint64_t v, uint64_t align)
{
	uint64_t sum;

	return u64_add(v, align - 1, &sum) ? round_down(sum, align) : round_down(UINT64_MAX, align);
}

/* A cursor over bytes that are not trusted. A failed take leaves it where it was. */
struct bytes {
	const uint8_t *at;
	size_t left;
};

static inline bool bytes_take(struct bytes *b, void *out, size_t len)
{
	if (b->left < len)
		return false;
	memcpy(out, b->at, len);
	b->at += len;
	b->left -= len;
	return true;
}

static inline bool bytes_skip(struct bytes *b, size_t len)
{
	if (b->left < len)
		return false;
	b->at += len;
	b->left -= len;
	return true;
}

/* A NUL-terminated string inside the bytes, or NULL. Points into them; the cursor moves past it. */
static inline const char *bytes_take_string(struct bytes *b)
{
	const uint8_t *start = b->at;
	const uint8_t *nul = b->left ? memchr(start, 0, b->left) : NULL;

	if (!nul)
		return NULL;
	bytes_skip(b, (size_t)(nul - start) + 1);
	return (const char *)start;
}

/* Writes at offset `at` of two buffers in a row, which have room for it. */
static inline void bytes_put(const struct iovec to[2], size_t at, const void *from, size_t len)
{
	size_t first = at < to[0].iov_len ? MIN(len, to[0].iov_len - at) : 0;

	if (first)
		memcpy((uint8_t *)to[0].iov_base + at, from, first);
	if (first < len)
		memcpy((uint8_t *)to[1].iov_base + (at + first - to[0].iov_len),
		       (const uint8_t *)from + first, len - first);
}

#endif
