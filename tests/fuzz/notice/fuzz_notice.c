/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz_notice: any bytes as a notification. Input: the bytes; the length in their header is made
 * right, or nothing would ever pass. What passes has names that are single components.
 */
#include <stdlib.h>
#include <string.h>

#include "bridge/notice_parse.h"

#include "../require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(const char *name)
{
	size_t len = strnlen(name, NOTICE_NAME_MAX + 1);

	REQUIRE(len > 0 && len <= NOTICE_NAME_MAX && !strchr(name, '/'));
	REQUIRE(strcmp(name, ".") && strcmp(name, ".."));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuse_out_header h = {.len = (uint32_t)size};
	uint8_t *bytes = malloc(size ? size : 1);
	struct notice n;

	if (!bytes)
		return 0;
	memcpy(bytes, data, size);
	if (size >= sizeof(h)) {
		memcpy(&h.error, bytes + offsetof(struct fuse_out_header, error), sizeof(h.error));
		memcpy(bytes, &h, sizeof(h));
	}
	if (notice_parse(bytes, size, &n) == 0 && n.kind == NOTICE_CHANGE) {
		check_name(n.name);
		REQUIRE((n.c.what == CHANGE_RENAMED) == (n.to_name[0] != 0));
		if (n.to_name[0])
			check_name(n.to_name);
	}
	free(bytes);
	return 0;
}
