/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * json: writes one JSON value (RFC 8259) to a stream, without blanks. It owns commas, nesting and the
 * escaping of strings; write errors are the stream's (ferror()).
 *
 *   struct json j;
 *   json_init(&j, stdout);
 *   json_object(&j, NULL);
 *   json_string(&j, "tag", tag);
 *   json_end(&j);
 *
 * `key` names a member of the object that is open; in an array and at the top it is NULL.
 */
#ifndef VFSDAX_BASE_JSON_H
#define VFSDAX_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_DEPTH_MAX 31u

struct json {
	FILE *out;
	unsigned depth;
	uint32_t is_array;  /* bit N: what is open at depth N is an array, not an object */
	uint32_t has_items; /* bit N: the next item at depth N needs a comma */
};

void json_init(struct json *j, FILE *out);

/* Opens an object or an array; at most JSON_DEPTH_MAX are open at a time. */
void json_object(struct json *j, const char *key);
void json_array(struct json *j, const char *key);
/* Closes what was opened last. */
void json_end(struct json *j);

/* Quotes, backslashes and control characters are escaped; each byte that is not part of valid UTF-8
 * becomes U+FFFD. NULL is null. */
void json_string(struct json *j, const char *key, const char *value);
void json_u64(struct json *j, const char *key, uint64_t value);
void json_i64(struct json *j, const char *key, int64_t value);
/* With so many decimals; null where it is not finite. */
void json_double(struct json *j, const char *key, double value, int decimals);
void json_bool(struct json *j, const char *key, bool value);
void json_null(struct json *j, const char *key);
/* `value` is one JSON value already. */
void json_raw(struct json *j, const char *key, const char *value);

#endif
