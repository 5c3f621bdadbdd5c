/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/mountinfo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define LINKS_MAX 40u /* as many as the kernel follows */

void mountinfo_unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

void mountinfo_each(void (*see)(void *ctx, const char *path, const struct mountinfo *m), void *ctx)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t cap = 0;

	if (!f)
		return;
	/* ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS FIELDS... - TYPE SOURCE OPTIONS */
	while (getline(&line, &cap, f) > 0) {
		struct mountinfo m;
		unsigned major, minor;
		char at[4096];
		char *rest = strstr(line, " - ");

		if (!rest ||
		    sscanf(line, "%*s %*s %u:%u %*s %4095s %127s", &major, &minor, at, m.options) !=
			    4 ||
		    sscanf(rest, " - %63s %255s %511s", m.type, m.source, m.fs_options) != 3)
			continue;
		mountinfo_unescape(at);
		mountinfo_unescape(m.source);
		m.dev = makedev(major, minor);
		see(ctx, at, &m);
	}
	free(line);
	fclose(f);
}

struct wanted {
	const char *path;
	struct mountinfo *out;
	bool found;
};

static void take_last(void *ctx, const char *path, const struct mountinfo *m)
{
	struct wanted *w = ctx;

	if (strcmp(path, w->path) != 0)
		return;
	*w->out = *m;
	w->found = true;
}

bool mountinfo_find(const char *path, struct mountinfo *out)
{
	struct wanted w = {path, out, false};

	mountinfo_each(take_last, &w);
	return w.found;
}

/* Without links, but in its last component. */
static char *canonical_before_last(const char *path)
{
	char *copy = strdup(path), *real = NULL, *full = NULL;
	char *slash;
	const char *last;
	char here[] = ".";

	if (!copy)
		return NULL;
	while ((slash = strrchr(copy, '/')) && slash[1] == '\0' && slash != copy)
		*slash = '\0';
	slash = strrchr(copy, '/');
	last = slash ? slash + 1 : copy;
	if (!*copy || slash == copy || strcmp(last, "..") == 0 || strcmp(last, ".") == 0) {
		real = realpath(copy, NULL);
		free(copy);
		return real;
	}
	if (slash)
		*slash = '\0';
	real = realpath(slash ? copy : here, NULL);
	if (real && asprintf(&full, "%s/%s", strcmp(real, "/") ? real : "", last) < 0)
		full = NULL;
	free(real);
	free(copy);
	return full;
}

/* Where a link at a path from the above leads; NULL: it is none. What is mounted there is not
 * asked. */
static char *follow_link(const char *path)
{
	char target[4096], *whole = NULL, *canonical;
	const char *slash = strrchr(path, '/');
	ssize_t n = readlink(path, target, sizeof(target) - 1);

	if (n < 0 || !slash)
		return NULL;
	target[n] = '\0';
	if (asprintf(&whole, "%.*s/%s", target[0] == '/' ? 0 : (int)(slash - path), path, target) <
	    0)
		return NULL;
	canonical = canonical_before_last(whole);
	free(whole);
	return canonical;
}

char *mountinfo_canonical(const char *path)
{
	char *at = canonical_before_last(path), *next;

	for (unsigned links = 0; at && (next = follow_link(at)); links++) {
		free(at);
		at = next;
		if (links == LINKS_MAX) {
			free(at);
			errno = ELOOP;
			return NULL;
		}
	}
	return at;
}
