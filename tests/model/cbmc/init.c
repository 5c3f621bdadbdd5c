/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * init: any answer of a device to FUSE INIT (src/fs/init.c). What is accepted lies within the limits that the buffers are
 * made for, and neither side is granted a flag that it, or we, did not ask for.
 */
#include "any.h"
#include "fs/init.c"

void check_init(void)
{
	struct fuse_init_in kernel, sent;
	struct fuse_init_out answer, reply;
	struct fs_limits limits;
	uint32_t asked = kernel.flags2; /* any */
	char why[128];

	fs_init_request(fs_init_in_flags(&kernel), kernel.max_readahead, nondet_bool(), &sent);
	fs_init_ask(asked, &sent);
	if (fs_init_accept(&sent, &answer, 4096, &limits, why))
		return;
	CLAIM((limits.flags & ~fs_init_in_flags(&sent)) == 0);
	CLAIM((limits.agreed & ~(asked | AGREE_CHECK_PERMISSIONS)) == 0 && (asked || !limits.agreed));
	CLAIM(limits.max_write >= 4096 && limits.max_write <= FS_IO_BYTES_MAX);
	CLAIM(limits.max_pages >= 1 && limits.max_pages <= FS_IO_PAGES_MAX);
	CLAIM(limits.max_write <= limits.max_pages * 4096);
	CLAIM(limits.map_alignment >= 4096 && limits.map_alignment <= UINT64_C(1) << 30);
	CLAIM(is_pow2(limits.map_alignment));
	fs_init_reply(&kernel, &limits, &reply);
	CLAIM((fs_init_out_flags(&reply) & ~fs_init_in_flags(&kernel)) == 0);
	CLAIM(reply.max_write == limits.max_write && reply.max_pages == limits.max_pages);
	CLAIM(reply.max_readahead <= kernel.max_readahead);
}
