/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz_json_read: any bytes as a JSON text. What is seen of it is text within the bounds that the
 * header gives, white space around it changes nothing, and without its last character no list,
 * object or string is JSON.
 */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_read.h"

#include "../require.h"

struct seen {
	uint64_t values, hash;
	char path[256];
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void see_text(struct seen *s, const char *text)
{
	for (; *text; text++) {
		REQUIRE((unsigned char)*text >= ' ');
		s->hash = (s->hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	}
	s->hash++;
}

static void see(void *ctx, const char *path, const char *value)
{
	struct seen *s = ctx;

	REQUIRE(strlen(path) < sizeof(s->path) && strlen(value) < 512);
	see_text(s, path);
	see_text(s, value);
	strcpy(s->path, path);
	s->values++;
}

/* The text stands alone in its memory, so that a sanitizer sees a look behind it. */
static int read_copy(const char *before, const uint8_t *data, size_t size, struct seen *s)
{
	size_t n = strlen(before), len = n + size + n;
	char *copy = malloc(len ? len : 1);
	int err;

	if (!copy)
		exit(1);
	memcpy(copy, before, n);
	if (size)
		memcpy(copy + n, data, size);
	memcpy(copy + n + size, before, n);
	*s = (struct seen){0};
	err = json_read(copy, len, see, s);
	/* Nothing is seen only where there is nothing; and a path that was seen can be asked for.
	 */
	REQUIRE(s->values || isnan(json_number(copy, len, s->path)));
	json_number(copy, len, s->path);
	free(copy);
	return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen alone, among_spaces, cut;
	int err = read_copy("", data, size, &alone);

	REQUIRE(read_copy(" \r\n\t", data, size, &among_spaces) == err);
	REQUIRE(alone.values == among_spaces.values && alone.hash == among_spaces.hash);
	if (err)
		return 0;
	while (size && strchr(" \t\r\n", data[size - 1]))
		size--;
	REQUIRE(size);
	if (data[size - 1] == ']' || data[size - 1] == '}' || data[size - 1] == '"')
		REQUIRE(read_copy("", data, size - 1, &cut));
	return 0;
}
