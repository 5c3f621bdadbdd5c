/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "report.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REPORT_BYTES_MAX ((size_t)1 << 20)
#define ITEMS_MAX	 8192u
#define DEPTH_MAX	 8u

/* ------------------------------------------------------------------ what it may say */

static bool is_name(const char *name)
{
	unsigned dots = 0;

	if (!isalpha((unsigned char)*name))
		return false;
	for (const char *c = name; *c; c++) {
		if (*c == '.' && (c[1] == '.' || !c[1] || ++dots == DEPTH_MAX))
			return false;
		if (*c != '.' && *c != '_' && !isalnum((unsigned char)*c))
			return false;
	}
	return true;
}

static bool is_string(const char *value)
{
	const unsigned char *c = (const unsigned char *)value;

	if (*c++ != '"')
		return false;
	for (; *c && *c != '"'; c++) {
		if (*c < 0x20)
			return false;
		if (*c != '\\')
			continue;
		if (*++c == 'u') {
			for (unsigned i = 0; i < 4; i++)
				if (!isxdigit(*++c))
					return false;
		} else if (!*c || !strchr("\"\\/bfnrt", *c)) {
			return false;
		}
	}
	return c[0] == '"' && !c[1];
}

static bool is_value(const char *value)
{
	size_t digits = strspn(value, "0123456789");

	if (digits && !value[digits])
		return digits <= 20 && (digits == 1 || *value != '0');
	return strcmp(value, "true") == 0 || strcmp(value, "false") == 0 || is_string(value);
}

/* ------------------------------------------------------------------ reading */

/* A device's tag and a socket's name may hold anything but a line's end: they come as JSON. */
static int read_text(FILE *f, char **text)
{
	char *buf = malloc(REPORT_BYTES_MAX + 1);
	size_t n;

	if (!buf)
		return -ENOMEM;
	errno = 0;
	n = fread(buf, 1, REPORT_BYTES_MAX + 1, f);
	if (n > REPORT_BYTES_MAX || ferror(f)) {
		free(buf);
		return n > REPORT_BYTES_MAX ? -E2BIG : errno ? -errno : -EIO;
	}
	buf[n] = '\0';
	*text = buf;
	return 0;
}

static void take_lines(struct report *r)
{
	char *line = r->text, *end;

	for (; (end = strchr(line, '\n')) && r->count < ITEMS_MAX; line = end + 1) {
		char *space = strchr(line, ' ');

		*end = '\0';
		if (!space || space > end)
			continue;
		*space = '\0';
		if (is_name(line) && is_value(space + 1))
			r->items[r->count++] = (struct report_item){line, space + 1};
	}
}

int report_read(FILE *f, struct report *r)
{
	int err;

	*r = (struct report){0};
	err = read_text(f, &r->text);
	if (err)
		return err;
	r->items = calloc(ITEMS_MAX, sizeof(*r->items));
	if (!r->items)
		err = -ENOMEM;
	else
		take_lines(r);
	if (!err && !r->count)
		err = -ENODATA;
	if (err)
		report_free(r);
	return err;
}

void report_free(struct report *r)
{
	free(r->text);
	free(r->items);
	*r = (struct report){0};
}

/* ------------------------------------------------------------------ looking */

const char *report_value(const struct report *r, const char *name)
{
	for (size_t i = 0; i < r->count; i++)
		if (strcmp(r->items[i].name, name) == 0)
			return r->items[i].value;
	return NULL;
}

uint64_t report_u64(const struct report *r, const char *name)
{
	const char *value = report_value(r, name);

	return value ? strtoull(value, NULL, 10) : 0;
}

bool report_flag(const struct report *r, const char *name)
{
	const char *value = report_value(r, name);

	return value && (strcmp(value, "true") == 0 || strcmp(value, "1") == 0);
}

/* One character of a JSON string, which json.c has written; returns what follows. */
static const char *unescape(const char *at, char *out)
{
	char hex[5] = "";

	*out = *at;
	if (*at != '\\')
		return at + 1;
	switch (*++at) {
	case 'u':
		memcpy(hex, at + 1, 4);
		*out = (char)strtoul(hex, NULL,
				     16); /* control characters are all that is written so */
		return at + 5;
	case 'n':
		*out = '\n';
		break;
	case 't':
		*out = '\t';
		break;
	case 'r':
		*out = '\r';
		break;
	case 'b':
		*out = '\b';
		break;
	case 'f':
		*out = '\f';
		break;
	default:
		*out = *at;
	}
	return at + 1;
}

const char *report_text(const char *value, char *out, size_t len)
{
	size_t n = 0;

	if (*value != '"') {
		snprintf(out, len, "%s", value);
		return out;
	}
	for (value++; *value && *value != '"' && n + 1 < len;)
		value = unescape(value, &out[n++]);
	out[n] = '\0';
	return out;
}
