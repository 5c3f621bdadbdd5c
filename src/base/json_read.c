/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/json_read.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 32
#define VALUE_MAX 512 /* longer strings are cut */

struct reader {
	const char *at, *end;
	void (*see)(void *ctx, const char *path, const char *value);
	void *ctx;
	char path[256];
	size_t path_len;
	char value[VALUE_MAX];
};

static char next(struct reader *r)
{
	while (r->at < r->end && strchr(" \t\r\n", *r->at) && *r->at)
		r->at++;
	return r->at < r->end ? *r->at : '\0';
}

static bool take(struct reader *r, char c)
{
	if (next(r) != c)
		return false;
	r->at++;
	return true;
}

/* Adds a key to the path; the length that it had before, or -1. */
static int enter(struct reader *r, const char *key, size_t len)
{
	size_t before = r->path_len;

	if (before + len + 2 > sizeof(r->path))
		return -1;
	if (before)
		r->path[r->path_len++] = '/';
	memcpy(r->path + r->path_len, key, len);
	r->path_len += len;
	r->path[r->path_len] = '\0';
	return (int)before;
}

static void leave(struct reader *r, int before)
{
	r->path_len = (size_t)before;
	r->path[before] = '\0';
}

/* What is between two quotes. */
static bool read_string(struct reader *r, const char **from, size_t *len)
{
	if (!take(r, '"'))
		return false;
	*from = r->at;
	for (; r->at < r->end && *r->at != '"'; r->at++) {
		if (*r->at == '\\' && r->end - r->at > 1)
			r->at++;
		if ((unsigned char)*r->at < 0x20)
			return false;
	}
	if (r->at >= r->end)
		return false;
	*len = (size_t)(r->at++ - *from);
	return true;
}

static bool read_number(const char *s, size_t len, double *v)
{
	char number[64], more;

	if (!len || len >= sizeof(number))
		return false;
	snprintf(number, sizeof(number), "%.*s", (int)len, s);
	return strspn(number, "+-.eE0123456789") == len && sscanf(number, "%lf%c", v, &more) == 1;
}

static bool is_word(const char *s, size_t len)
{
	static const char *const words[] = {"true", "false", "null"};
	double v;

	for (int i = 0; i < 3; i++)
		if (len == strlen(words[i]) && memcmp(s, words[i], len) == 0)
			return true;
	return read_number(s, len, &v);
}

static bool read_scalar(struct reader *r)
{
	const char *from;
	size_t len;

	if (next(r) == '"') {
		if (!read_string(r, &from, &len))
			return false;
	} else {
		for (from = r->at; r->at < r->end && *r->at && !strchr(",]} \t\r\n", *r->at);
		     r->at++)
			;
		len = (size_t)(r->at - from);
		if (!is_word(from, len))
			return false;
	}
	snprintf(r->value, sizeof(r->value), "%.*s", (int)(len < VALUE_MAX ? len : VALUE_MAX - 1),
		 from);
	if (r->see)
		r->see(r->ctx, r->path, r->value);
	return true;
}

static bool read_value(struct reader *r, int depth)
{
	bool array = next(r) == '[';
	size_t len;
	unsigned i = 0;

	if (!array && next(r) != '{')
		return read_scalar(r);
	r->at++;
	if (depth == DEPTH_MAX)
		return false;
	if (take(r, array ? ']' : '}'))
		return true;
	do {
		char index[16];
		const char *key = index;
		int before;

		if (array)
			len = (size_t)snprintf(index, sizeof(index), "%u", i++);
		else if (!read_string(r, &key, &len) || !take(r, ':'))
			return false;
		before = enter(r, key, len);
		if (before < 0 || !read_value(r, depth + 1))
			return false;
		leave(r, before);
	} while (take(r, ','));
	return take(r, array ? ']' : '}');
}

int json_read(const char *text, size_t len,
	      void (*see)(void *ctx, const char *path, const char *value), void *ctx)
{
	struct reader r = {.at = text, .end = text + len, .see = see, .ctx = ctx};

	return read_value(&r, 0) && next(&r) == '\0' && r.at == r.end ? 0 : -EINVAL;
}

struct search {
	const char *path;
	double value;
};

static void see_number(void *ctx, const char *path, const char *value)
{
	struct search *q = ctx;

	if (strcmp(path, q->path) == 0 && !read_number(value, strlen(value), &q->value))
		q->value = NAN;
}

double json_number(const char *text, size_t len, const char *path)
{
	struct search q = {path, NAN};

	json_read(text, len, see_number, &q);
	return q.value;
}
