/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* direct_message: is what a client sent a request that makes sense? Pure; see wire/direct.h. */
#ifndef VFSDAX_MOUNT_DIRECT_MESSAGE_H
#define VFSDAX_MOUNT_DIRECT_MESSAGE_H

#include <stddef.h>

#include "wire/direct.h"

/*
 * Copies one packet of `len` bytes. 0; or, with `why` (static): -EPROTO, no honest client sends
 * that; -EPROTONOSUPPORT, one of another version.
 */
int direct_request_parse(const void *packet, size_t len, struct direct_request *out,
			 const char **why);

/* May [off, off + len) be asked for, as far as numbers tell? 0 or -EINVAL with `why` (static). */
int direct_range_check(uint64_t off, uint64_t len, uint64_t alignment, const char **why);

#endif
