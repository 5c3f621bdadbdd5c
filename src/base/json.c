/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>

void json_init(struct json *j, FILE *out)
{
	*j = (struct json){.out = out};
}

/* The length of the valid UTF-8 sequence at `s`, 0 where there is none (RFC 3629, section 4). */
static size_t utf8_sequence(const unsigned char *s)
{
	unsigned char low = 0x80, high = 0xbf; /* of the second byte */
	size_t len;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (s[0] == 0xe0)
		low = 0xa0; /* overlong */
	else if (s[0] == 0xed)
		high = 0x9f; /* surrogates */
	else if (s[0] == 0xf0)
		low = 0x90; /* overlong */
	else if (s[0] == 0xf4)
		high = 0x8f; /* above U+10FFFF */
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

static void write_quoted(FILE *out, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	putc('"', out);
	while (*s) {
		size_t len = utf8_sequence(s);

		if (*s == '"' || *s == '\\')
			fprintf(out, "\\%c", *s);
		else if (*s < 0x20 || *s == 0x7f)
			fprintf(out, "\\u%04x", *s);
		else if (len)
			fwrite(s, 1, len, out);
		else
			fputs("\xef\xbf\xbd", out);
		s += len ? len : 1;
	}
	putc('"', out);
}

/* What comes before a value: the comma and the key. */
static void begin_item(struct json *j, const char *key)
{
	uint32_t bit = UINT32_C(1) << j->depth;

	assert(!key == (!j->depth || (j->is_array & bit)));
	if (j->has_items & bit)
		putc(',', j->out);
	j->has_items |= bit;
	if (!key)
		return;
	write_quoted(j->out, key);
	putc(':', j->out);
}

static void open_nested(struct json *j, const char *key, bool array)
{
	begin_item(j, key);
	assert(j->depth < JSON_DEPTH_MAX);
	j->depth++;
	j->has_items &= ~(UINT32_C(1) << j->depth);
	j->is_array &= ~(UINT32_C(1) << j->depth);
	j->is_array |= (uint32_t)array << j->depth;
	putc(array ? '[' : '{', j->out);
}

void json_object(struct json *j, const char *key)
{
	open_nested(j, key, false);
}

void json_array(struct json *j, const char *key)
{
	open_nested(j, key, true);
}

void json_end(struct json *j)
{
	assert(j->depth);
	putc(j->is_array >> j->depth & 1 ? ']' : '}', j->out);
	j->depth--;
}

void json_string(struct json *j, const char *key, const char *value)
{
	if (!value) {
		json_null(j, key);
		return;
	}
	begin_item(j, key);
	write_quoted(j->out, value);
}

void json_u64(struct json *j, const char *key, uint64_t value)
{
	begin_item(j, key);
	fprintf(j->out, "%" PRIu64, value);
}

void json_i64(struct json *j, const char *key, int64_t value)
{
	begin_item(j, key);
	fprintf(j->out, "%" PRId64, value);
}

void json_double(struct json *j, const char *key, double value, int decimals)
{
	if (!isfinite(value)) {
		json_null(j, key);
		return;
	}
	begin_item(j, key);
	fprintf(j->out, "%.*f", decimals, value);
}

void json_bool(struct json *j, const char *key, bool value)
{
	json_raw(j, key, value ? "true" : "false");
}

void json_null(struct json *j, const char *key)
{
	json_raw(j, key, "null");
}

void json_raw(struct json *j, const char *key, const char *value)
{
	begin_item(j, key);
	fputs(value, j->out);
}
