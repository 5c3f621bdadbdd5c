/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuse_header: names and numbers in the installed <linux/fuse.h>, read from its text, so that a
 * header that is newer than our tables shows what they lack.
 */
#ifndef VFSDAX_TESTS_FUSE_HEADER_H
#define VFSDAX_TESTS_FUSE_HEADER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fuse_name {
	char name[64];
	uint64_t value;
};

/* "#define FUSE_X (1ULL << 3)" from FUSE_ASYNC_READ up to the next block of comment. Bits only;
 * aliases are not numbers. The count, 0 when the header cannot be read. */
static inline unsigned fuse_header_init_flags(struct fuse_name *out, unsigned max)
{
	FILE *f = fopen(LINUX_FUSE_H, "r");
	char line[512];
	bool inside = false;
	unsigned n = 0;

	while (f && fgets(line, sizeof(line), f) && n < max) {
		unsigned shift;

		inside |= strstr(line, "#define FUSE_ASYNC_READ") != NULL;
		if (inside && strncmp(line, "/**", 3) == 0)
			break;
		if (inside && (sscanf(line, "#define %63s (1 << %u)", out[n].name, &shift) == 2 ||
			       sscanf(line, "#define %63s (1ULL << %u)", out[n].name, &shift) == 2))
			out[n++].value = UINT64_C(1) << shift;
	}
	if (f)
		fclose(f);
	return n;
}

/* "FUSE_X = 3," of enum fuse_opcode, without those of CUSE and the wrong-endian INIT. */
static inline unsigned fuse_header_opcodes(struct fuse_name *out, unsigned max)
{
	FILE *f = fopen(LINUX_FUSE_H, "r");
	char line[512];
	bool inside = false;
	unsigned n = 0;

	while (f && fgets(line, sizeof(line), f) && n < max) {
		unsigned value;

		if (strstr(line, "enum fuse_opcode"))
			inside = true;
		else if (inside && strchr(line, '}'))
			break;
		else if (inside && sscanf(line, " %63[A-Z0-9_] = %u", out[n].name, &value) == 2 &&
			 strncmp(out[n].name, "FUSE_", 5) == 0 && !strstr(out[n].name, "BSWAP"))
			out[n++].value = value;
	}
	if (f)
		fclose(f);
	return n;
}

#endif
