/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "known.h"

#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"

/* In the order in which a mount says them. */
const struct known known_counters[] = {
#define COUNTER(when, name, kind, value, help) {name, #kind, help, KNOWN_##kind},
#define FAMILY(when, name, kind, emit, help)   {name, #kind, help, KNOWN_##kind},
#include "vfsdax-mount/counters.def"
#include "bridge/counters.def"
#undef COUNTER
#undef FAMILY
};
const size_t known_count = ARRAY_SIZE(known_counters);

static bool is_capital(char c)
{
	return c >= 'A' && c <= 'Z';
}

/* What varies ends where the pattern's next character begins; at the end it is all that is left. */
static bool matches(const char *pattern, const char *name, struct known_parts *parts)
{
	parts->n = 0;
	while (*pattern) {
		const char *end;

		if (!is_capital(*pattern)) {
			if (*pattern++ != *name++)
				return false;
			continue;
		}
		while (is_capital(*pattern))
			pattern++;
		end = *pattern ? strchr(name, *pattern) : name + strlen(name);
		/* "queue_write" is one KIND, of "KIND_ns" */
		if (*pattern && !strpbrk(pattern, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") &&
		    strlen(name) >= strlen(pattern))
			end = name + strlen(name) - strlen(pattern);
		if (!end || end == name || parts->n == KNOWN_VARYING_MAX)
			return false;
		parts->part[parts->n].at = name;
		parts->part[parts->n++].len = (size_t)(end - name);
		name = end;
	}
	return !*name;
}

const struct known *known_find(const char *name, struct known_parts *parts)
{
	struct known_parts ignored;

	for (size_t i = 0; i < known_count; i++)
		if (matches(known_counters[i].name, name, parts ? parts : &ignored))
			return &known_counters[i];
	return NULL;
}
