/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/parse.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "base/clock.h"

struct unit {
	const char *name;
	uint64_t factor;
};

/* Digits only: no blanks, no sign, which strtoull() would take. */
static int digits(const char *text, uint64_t *value, const char **end)
{
	uint64_t v = 0;
	const char *at = text;

	for (; *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*at - '0'), &v))
			return -ERANGE;
	if (at == text)
		return -EINVAL;
	*value = v;
	*end = at;
	return 0;
}

static int with_unit(const char *text, const struct unit *units, size_t n, uint64_t *out)
{
	const char *end;
	uint64_t v;
	int err = digits(text, &v, &end);

	if (err)
		return err;
	for (size_t i = 0; i < n; i++) {
		if (strcasecmp(end, units[i].name) != 0)
			continue;
		if (__builtin_mul_overflow(v, units[i].factor, &v) || v > INT64_MAX)
			return -ERANGE;
		*out = v;
		return 0;
	}
	return -EINVAL;
}

int parse_size(const char *text, uint64_t *bytes)
{
	static const struct unit units[] = {
		{"", 1},
		{"b", 1},
		{"k", KIB},
		{"kb", KIB},
		{"kib", KIB},
		{"m", MIB},
		{"mb", MIB},
		{"mib", MIB},
		{"g", GIB},
		{"gb", GIB},
		{"gib", GIB},
		{"t", 1024 * GIB},
		{"tb", 1024 * GIB},
		{"tib", 1024 * GIB},
	};

	return with_unit(text, units, ARRAY_SIZE(units), bytes);
}

int parse_time(const char *text, uint64_t *ns)
{
	static const struct unit units[] = {
		{"", NS_PER_S},		 {"us", NS_PER_US},    {"ms", NS_PER_MS},
		{"s", NS_PER_S},	 {"m", 60 * NS_PER_S}, {"h", 3600 * NS_PER_S},
		{"d", 86400 * NS_PER_S},
	};

	return with_unit(text, units, ARRAY_SIZE(units), ns);
}

int parse_u64(const char *text, uint64_t *value)
{
	const char *end;
	uint64_t v;
	int err;

	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X') &&
	    isxdigit((unsigned char)text[2])) {
		char *stop;

		errno = 0;
		v = strtoull(text + 2, &stop, 16);
		if (errno)
			return -ERANGE;
		if (*stop)
			return -EINVAL;
		*value = v;
		return 0;
	}
	err = digits(text, &v, &end);
	if (err)
		return err;
	if (*end)
		return -EINVAL;
	*value = v;
	return 0;
}

int parse_double(const char *text, double *value)
{
	char *end;
	double v;

	/* strtod() takes blanks, "nan", "inf" and hexadecimal too */
	if (!*text || text[strspn(text, "0123456789.")])
		return -EINVAL;
	v = strtod(text, &end);
	if (*end || end == text || !isfinite(v))
		return -EINVAL;
	*value = v;
	return 0;
}

int parse_bool(const char *text, bool *value)
{
	if ((text[0] != '0' && text[0] != '1') || text[1])
		return -EINVAL;
	*value = text[0] == '1';
	return 0;
}

const char *format_size(uint64_t bytes, char out[24])
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	unsigned i = 0;
	double v = (double)bytes;

	while (i + 1 < ARRAY_SIZE(names) && v >= 1024) {
		v /= 1024;
		i++;
	}
	snprintf(out, 24, v == (double)(uint64_t)v ? "%.0f %s" : "%.1f %s", v, names[i]);
	return out;
}

/* Three digits that mean something. */
static const char *scaled(double v, const char *const *names, size_t n, char out[24])
{
	size_t i = 0;

	while (i + 1 < n && v >= 999.5) {
		v /= 1000;
		i++;
	}
	snprintf(out, 24, "%.*f%s",
		 v >= 99.95 || (i == 0 && v == (double)(uint64_t)v) ? 0
		 : v >= 9.995					    ? 1
								    : 2,
		 v, names[i]);
	return out;
}

const char *format_ns(double ns, char out[24])
{
	static const char *const names[] = {" ns", " us", " ms", " s"};

	return scaled(ns, names, ARRAY_SIZE(names), out);
}

const char *format_count(double count, char out[24])
{
	static const char *const names[] = {"", " k", " M", " G"};

	return scaled(count, names, ARRAY_SIZE(names), out);
}
