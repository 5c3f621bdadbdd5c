/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fuse/reply: one answer is one write on the descriptor from which the request was read. */
#ifndef VFSDAX_FUSE_REPLY_H
#define VFSDAX_FUSE_REPLY_H

#include <stddef.h>
#include <stdint.h>

/* `error` is 0 or a negative errno. Returns 0, or -errno of the write: -ENOENT when the request
 * was interrupted and nobody waits for the answer, -ENODEV after the unmount. */
int fuse_reply_error(int fd, uint64_t unique, int error);
/* An answer with `len` bytes of payload; the payload is ordinary memory (no PFNMAP mapping). */
int fuse_reply_data(int fd, uint64_t unique, const void *payload, size_t len);
/* The same, where `payload` has 16 bytes of room in front of it: one segment, no gather. */
int fuse_reply_in_place(int fd, uint64_t unique, uint8_t *payload, size_t len);

#endif
