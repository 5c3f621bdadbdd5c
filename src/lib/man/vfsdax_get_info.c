/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax_get_info - what a share is, its counters, and the library's version
 * functions: vfsdax_version vfsdax_version_number vfsdax_get_info vfsdax_get_stats
 * shows: struct vfsdax_info, VFSDAX_VERSION_NUMBER
 * see also: vfsdax_attach(3), vfsdax-stat(1)
 * example: Says whether a share has a window, and how many requests it took to find out.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <vfsdax/vfsdax.h>

static void print(void *ctx, const char *name, uint64_t value)
{
	(void)ctx;
	if (strncmp(name, "queue.requests.", 15) == 0 && value)
		printf("%s %" PRIu64 "\n", name + 15, value);
}

int main(int argc, char **argv)
{
	struct vfsdax_info info = VFSDAX_INFO_INIT;
	struct vfsdax *share;

	if (argc != 2 || vfsdax_attach(argv[1], NULL, &share))
		return 1;
	if (vfsdax_get_info(share, &info) == 0) {
		printf("libvfsdax %s, tag %s\n", vfsdax_version(), info.tag);
		if (info.window_bytes)
			printf("window: %" PRIu64 " MiB\n", info.window_bytes >> 20);
		else
			printf("no window: %s\n", info.no_dax_reason);
	}
	vfsdax_get_stats(share, print, NULL);
	vfsdax_detach(share);
	return 0;
}
