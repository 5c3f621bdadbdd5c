/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fs/init: what is negotiated with FUSE_INIT, as a table over the flag bits. Two conversations go
 * on: the kernel (or a program) with us, and we with the device. Flag bits are never copied from
 * one to the other; each has a row that says who decides.
 *
 * Pure functions; they own nothing.
 */
#ifndef VFSDAX_FS_INIT_H
#define VFSDAX_FS_INIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/fuse.h"

/* The most that one READ or WRITE carries; the request buffers are made for it. */
#define FS_IO_BYTES_MAX 1048576u

enum fs_init_rule {
	/* Both ends must want it: offered to the device if the kernel offers it, granted to the
	 * kernel if the device accepts it. */
	FS_INIT_BOTH,
	/* Ours to grant to the kernel; the bit is set towards the device too, where it knows it. */
	FS_INIT_LOCAL,
	/* Between us and the device; the kernel never sees it. */
	FS_INIT_WINDOW,
	/* Granted to the kernel where the device gives files (AGREE_FILES); it never sees it. */
	FS_INIT_FILES,
	/* Refused on both sides; `why` says why. */
	FS_INIT_NEVER,
};

struct fs_init_row {
	uint64_t bit;
	const char *name;
	enum fs_init_rule rule;
	const char *why;
};

/* The row of a flag bit, or NULL for a bit that this version does not know (never negotiated). */
const struct fs_init_row *fs_init_row(uint64_t bit);

/* The 64 flag bits of a message; the upper half counts only with FUSE_INIT_EXT. */
uint64_t fs_init_in_flags(const struct fuse_init_in *in);
uint64_t fs_init_out_flags(const struct fuse_init_out *out);

/* What to offer the device, given what the kernel offers (or ~0 where there is no kernel). */
void fs_init_request(uint64_t kernel_flags, uint32_t max_readahead, bool window,
		     struct fuse_init_in *to_device);
/* What our own device may be asked beyond FUSE: enum agreement_flags. */
void fs_init_ask(uint32_t agreement, struct fuse_init_in *to_device);

/* What the session is allowed by the device's answer. */
struct fs_limits {
	uint64_t flags; /* accepted by the device, of those that we offered */
	uint32_t minor;
	uint32_t max_write; /* bytes, at most FS_IO_BYTES_MAX, at least 4096 */
	uint32_t max_pages; /* of this machine; at most FS_IO_BYTES_MAX, and at least one */
	uint32_t max_readahead;
	uint64_t map_alignment; /* bytes */
	uint32_t agreed;	/* enum agreement_flags: accepted, of those that were asked */
};

/* 0; -EPROTO for an answer that makes no sense, `why` then names the value. page_bytes: of this
 * machine, in which max_pages counts. */
int fs_init_accept(const struct fuse_init_in *sent, const struct fuse_init_out *answer,
		   uint32_t page_bytes, struct fs_limits *limits, char why[128]);

/* The answer to the kernel: what it offered, as far as the device or we have it. */
void fs_init_reply(const struct fuse_init_in *from_kernel, const struct fs_limits *limits,
		   struct fuse_init_out *to_kernel);

#endif
