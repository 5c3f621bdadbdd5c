/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bridge/notice_parse: the bytes of a notification, which are the device's, as what they say. Pure
 * and fuzzed. */
#ifndef VFSDAX_BRIDGE_NOTICE_PARSE_H
#define VFSDAX_BRIDGE_NOTICE_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/agreement.h"

#define NOTICE_NAME_MAX 255

enum notice_kind { NOTICE_INODE, NOTICE_CHANGE, NOTICE_EVERYTHING };

/* Numbers are the device's, and may be of nothing; names are single components. */
struct notice {
	enum notice_kind kind;
	uint64_t nodeid; /* NOTICE_INODE */
	bool data;
	bool passed;		   /* AGREEMENT_LEN_PASSED */
	struct agreement_change c; /* NOTICE_CHANGE */
	char name[NOTICE_NAME_MAX + 1], to_name[NOTICE_NAME_MAX + 1];
};

/* `len` bytes, a header first. -EPROTO: they are none; -ENOTSUP: of a kind that is not followed. */
int notice_parse(const uint8_t *bytes, size_t len, struct notice *n);

#endif
