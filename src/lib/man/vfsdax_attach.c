/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax_attach - open and end a share
 * functions: vfsdax_attach vfsdax_detach
 * shows: struct vfsdax_options, enum vfsdax_log_level, VFSDAX_ATTACH_READONLY,
 * VFSDAX_ATTACH_NO_DAX, VFSDAX_ATTACH_RECONNECT, VFSDAX_ATTACH_NO_WATCH
 * see also: vfsdax_get_info(3), vfsdax_open(3), vfsdax-mount(8), vfsdax-device(8)
 * example: Is there such a share? The messages of the library say why not.
 */

#include <stdio.h>
#include <vfsdax/vfsdax.h>

static void print(void *ctx, enum vfsdax_log_level level, const char *line)
{
	if (level <= VFSDAX_LOG_WARN)
		fprintf(ctx, "%s\n", line);
}

int main(int argc, char **argv)
{
	struct vfsdax_options options = VFSDAX_OPTIONS_INIT;
	struct vfsdax *share;

	options.flags = VFSDAX_ATTACH_READONLY;
	options.timeout_ms = 5000;
	options.log = print;
	options.log_ctx = stderr;
	if (argc != 2 || vfsdax_attach(argv[1], &options, &share))
		return 1;
	printf("%s is there\n", argv[1]);
	vfsdax_detach(share);
	return 0;
}
