/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * exchange: a piece of a fuzzer's input, of what is asked of a hostile device and what it answers:
 *
 *   byte 0       what is asked
 *   byte 1       how it is answered
 *   bytes 2, 3   length of the payload, little-endian; at most what is left of the input
 *   the rest     the payload of the answer
 */
#ifndef VFSDAX_TESTS_FUZZ_EXCHANGE_H
#define VFSDAX_TESTS_FUZZ_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct exchange {
	uint8_t which, how;
	uint16_t len;
	const uint8_t *payload;
};

/* False: the input is at its end. */
static inline bool take_exchange(struct bytes *in, struct exchange *e)
{
	uint8_t head[4];

	if (!bytes_take(in, head, sizeof(head)))
		return false;
	*e = (struct exchange){
		.which = head[0],
		.how = head[1],
		.len = (uint16_t)(head[2] | head[3] << 8),
		.payload = in->at,
	};
	e->len = (uint16_t)MIN((size_t)e->len, in->left);
	return bytes_skip(in, e->len);
}

#endif
