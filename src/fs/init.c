/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fs/init.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "wire/agreement.h"

#define BOTH(bit)                             \
	{                                     \
		bit, #bit, FS_INIT_BOTH, NULL \
	}
#define LOCAL(bit)                             \
	{                                      \
		bit, #bit, FS_INIT_LOCAL, NULL \
	}
#define WINDOW(bit)                             \
	{                                       \
		bit, #bit, FS_INIT_WINDOW, NULL \
	}
#define FILES(bit)                             \
	{                                      \
		bit, #bit, FS_INIT_FILES, NULL \
	}
#define NEVER(bit, why)                       \
	{                                     \
		bit, #bit, FS_INIT_NEVER, why \
	}

/* Of what is passed through: no file systems that lie on others. With more none could lie on us. */
#define STACK_DEPTH 1u

static const struct fs_init_row rows[] = {
	LOCAL(FUSE_ASYNC_READ),
	BOTH(FUSE_POSIX_LOCKS),
	NEVER(FUSE_FILE_OPS, "unused since 7.12"),
	BOTH(FUSE_ATOMIC_O_TRUNC),
	BOTH(FUSE_EXPORT_SUPPORT),
	LOCAL(FUSE_BIG_WRITES),
	BOTH(FUSE_DONT_MASK),
	NEVER(FUSE_SPLICE_WRITE, "pages are copied, which is faster than moving them"),
	NEVER(FUSE_SPLICE_MOVE, "pages are copied, which is faster than moving them"),
	NEVER(FUSE_SPLICE_READ, "pages are copied, which is faster than moving them"),
	BOTH(FUSE_FLOCK_LOCKS),
	NEVER(FUSE_HAS_IOCTL_DIR, "ioctl structures do not cross machines"),
	BOTH(FUSE_AUTO_INVAL_DATA),
	BOTH(FUSE_DO_READDIRPLUS),
	BOTH(FUSE_READDIRPLUS_AUTO),
	LOCAL(FUSE_ASYNC_DIO),
	NEVER(FUSE_WRITEBACK_CACHE, "the window is the cache; sizes and times stay the host's"),
	BOTH(FUSE_NO_OPEN_SUPPORT),
	BOTH(FUSE_PARALLEL_DIROPS),
	BOTH(FUSE_HANDLE_KILLPRIV),
	BOTH(FUSE_POSIX_ACL),
	LOCAL(FUSE_ABORT_ERROR),
	LOCAL(FUSE_MAX_PAGES),
	BOTH(FUSE_CACHE_SYMLINKS),
	BOTH(FUSE_NO_OPENDIR_SUPPORT),
	BOTH(FUSE_EXPLICIT_INVAL_DATA),
	WINDOW(FUSE_MAP_ALIGNMENT),
	NEVER(FUSE_SUBMOUNTS, "a plain FUSE mount cannot automount them"),
	BOTH(FUSE_HANDLE_KILLPRIV_V2),
	BOTH(FUSE_SETXATTR_EXT),
	LOCAL(FUSE_INIT_EXT),
	/* In the header a negative int: as 64 bits it would be all flags of the upper half. */
	{UINT64_C(1) << 31, "FUSE_INIT_RESERVED", FS_INIT_NEVER, "reserved"},
	BOTH(FUSE_SECURITY_CTX),
	WINDOW(FUSE_HAS_INODE_DAX),
	BOTH(FUSE_CREATE_SUPP_GROUP),
	NEVER(FUSE_HAS_EXPIRE_ONLY, "no notification queue"),
	LOCAL(FUSE_DIRECT_IO_ALLOW_MMAP),
	FILES(FUSE_PASSTHROUGH),
	BOTH(FUSE_NO_EXPORT_SUPPORT),
	NEVER(FUSE_HAS_RESEND, "a request is never lost and sent again"),
	NEVER(FUSE_ALLOW_IDMAP, "needs default_permissions and a mapping device"),
	NEVER(FUSE_OVER_IO_URING, "requests are read from /dev/fuse"),
	NEVER(FUSE_REQUEST_TIMEOUT, "the driver has its own time-out"),
};

const struct fs_init_row *fs_init_row(uint64_t bit)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].bit == bit)
			return &rows[i];
	return NULL;
}

static uint64_t bits_with(enum fs_init_rule rule)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].rule == rule)
			bits |= rows[i].bit;
	return bits;
}

static uint64_t join(uint32_t flags, uint32_t flags2)
{
	return flags & FUSE_INIT_EXT ? flags | (uint64_t)flags2 << 32 : flags;
}

uint64_t fs_init_in_flags(const struct fuse_init_in *in)
{
	return join(in->flags, in->flags2);
}

uint64_t fs_init_out_flags(const struct fuse_init_out *out)
{
	return join(out->flags, out->flags2);
}

void fs_init_request(uint64_t kernel_flags, uint32_t max_readahead, bool window,
		     struct fuse_init_in *to_device)
{
	uint64_t flags = (kernel_flags & bits_with(FS_INIT_BOTH)) | bits_with(FS_INIT_LOCAL);

	if (window)
		flags |= bits_with(FS_INIT_WINDOW);
	memset(to_device, 0, sizeof(*to_device));
	to_device->major = FUSE_KERNEL_VERSION;
	/* The messages are the kernel's own; 7.38 is the youngest that we have read. */
	to_device->minor = 38;
	to_device->max_readahead = max_readahead;
	to_device->flags = (uint32_t)flags;
	to_device->flags2 = (uint32_t)(flags >> 32);
}

void fs_init_ask(uint32_t agreement, struct fuse_init_in *to_device)
{
	agreement_put(to_device, agreement);
}

/* What our device accepted of what it was asked for; another one accepts nothing. That it checks
 * rights it may say without being asked. */
static uint32_t agreed_flags(const struct fuse_init_in *sent, const struct fuse_init_out *answer)
{
	uint32_t asked, accepted;

	agreement_get(sent, &asked);
	agreement_get(answer, &accepted);
	return asked ? accepted & (asked | AGREE_CHECK_PERMISSIONS) : 0;
}

int fs_init_accept(const struct fuse_init_in *sent, const struct fuse_init_out *answer,
		   uint32_t page_bytes, struct fs_limits *limits, char why[128])
{
	uint32_t max_write = answer->max_write;
	uint64_t flags = fs_init_out_flags(answer) & fs_init_in_flags(sent);

	memset(limits, 0, sizeof(*limits));
	if (answer->major != FUSE_KERNEL_VERSION) {
		snprintf(why, 128, "it speaks FUSE %u.%u, this driver speaks 7", answer->major,
			 answer->minor);
		return -EPROTO;
	}
	if (answer->minor < 31) {
		snprintf(why, 128, "it speaks FUSE 7.%u; 7.31 is the oldest with a DAX window",
			 answer->minor);
		return -EPROTO;
	}
	if (max_write < 4096) {
		snprintf(why, 128, "its max_write is %u bytes; 4096 is the least", max_write);
		return -EPROTO;
	}
	/* log2 of the bytes; the window's smallest range must be able to hold it. */
	if (flags & FUSE_MAP_ALIGNMENT && answer->map_alignment > 30) {
		snprintf(why, 128, "its map_alignment is 2^%u bytes; 2^30 is the most",
			 answer->map_alignment);
		return -EPROTO;
	}
	limits->flags = flags;
	limits->minor = MIN(answer->minor, sent->minor);
	/* Without MAX_PAGES a FUSE server gets 32 pages at a time. */
	limits->max_pages = flags & FUSE_MAX_PAGES && answer->max_pages ? answer->max_pages : 32;
	limits->max_pages = MIN(limits->max_pages, MAX(FS_IO_BYTES_MAX / page_bytes, 1));
	limits->max_write = MIN(max_write, FS_IO_BYTES_MAX);
	limits->max_write = MIN(limits->max_write, limits->max_pages * page_bytes);
	limits->max_readahead = answer->max_readahead;
	limits->agreed = agreed_flags(sent, answer);
	limits->map_alignment = 4096;
	if (flags & FUSE_MAP_ALIGNMENT)
		limits->map_alignment = MAX(UINT64_C(1) << answer->map_alignment, 4096u);
	return 0;
}

void fs_init_reply(const struct fuse_init_in *from_kernel, const struct fs_limits *limits,
		   struct fuse_init_out *to_kernel)
{
	const uint32_t depth = STACK_DEPTH;
	uint64_t offered = fs_init_in_flags(from_kernel);
	uint64_t flags =
		offered & ((limits->flags & bits_with(FS_INIT_BOTH)) | bits_with(FS_INIT_LOCAL));

	if (limits->agreed & AGREE_FILES)
		flags |= offered & bits_with(FS_INIT_FILES);
	/* The bridge sends all groups, so the kernel need not send one. */
	if (limits->agreed & AGREE_CHECK_PERMISSIONS)
		flags &= ~FUSE_CREATE_SUPP_GROUP;

	memset(to_kernel, 0, sizeof(*to_kernel));
	to_kernel->major = FUSE_KERNEL_VERSION;
	to_kernel->minor = MIN(from_kernel->minor, limits->minor);
	to_kernel->max_readahead = MIN(from_kernel->max_readahead, limits->max_readahead);
	to_kernel->flags = (uint32_t)flags;
	to_kernel->flags2 = (uint32_t)(flags >> 32);
	/* The kernel lets no more than this many asynchronous requests out at a time. */
	to_kernel->max_background = 64;
	to_kernel->congestion_threshold = 48;
	to_kernel->max_write = limits->max_write;
	to_kernel->max_pages = (uint16_t)limits->max_pages;
	to_kernel->time_gran = 1;
	if (flags & FUSE_PASSTHROUGH)
		memcpy((uint8_t *)to_kernel + FUSE_INIT_OUT_STACK_DEPTH_OFFSET, &depth,
		       sizeof(depth));
}
