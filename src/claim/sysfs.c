/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/linkname.h"

void claim_path(const struct claim_env *env, char out[CLAIM_PATH_MAX], const char *format, ...)
{
	int n = snprintf(out, CLAIM_PATH_MAX, "%s/", env->sysfs);
	va_list ap;

	va_start(ap, format);
	vsnprintf(out + n, CLAIM_PATH_MAX - (size_t)n, format, ap);
	va_end(ap);
}

bool claim_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

int claim_read(const char *path, void *out, size_t out_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err;
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, out, out_len);
	err = errno;
	close(fd);
	return n < 0 ? -err : (int)n;
}

int claim_read_line(const char *path, char *out, size_t out_len)
{
	int n = claim_read(path, out, out_len - 1);

	if (n < 0)
		return n;
	out[n] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return 0;
}

void claim_driver(const struct claim_env *env, const char *address, char *out, size_t out_len)
{
	char path[CLAIM_PATH_MAX];

	claim_path(env, path, "bus/pci/devices/%s/driver", address);
	if (link_name(path, out, out_len))
		out[0] = '\0';
}

/* mountinfo writes space, tab, newline and backslash as \ooo. In place. */
static void unescape(char *s)
{
	char *to = s;

	while (*s) {
		if (s[0] == '\\' && s[1] && s[2] && s[3]) {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = '\0';
}

/*
 * proc(5): id parent major:minor root MOUNTPOINT options [fields ...] - TYPE SOURCE options.
 * Is this line one of this type and source? Cuts the line up.
 */
static char *mount_of(char *line, const char *its_type, const char *its_source)
{
	char *behind = strstr(line, " - "), *type, *source, *point, *save;

	if (!behind)
		return NULL;
	*behind = '\0';
	type = strtok_r(behind + 3, " ", &save);
	source = strtok_r(NULL, " ", &save);
	if (!type || !source || strcmp(type, its_type) != 0)
		return NULL;
	unescape(source);
	if (*its_source && strcmp(source, its_source) != 0)
		return NULL;
	point = strtok_r(line, " ", &save);
	for (int i = 0; point && i < 4; i++)
		point = strtok_r(NULL, " ", &save);
	if (point)
		unescape(point);
	return point;
}

bool claim_mounted(const struct claim_env *env, const char *type, const char *source, char *out,
		   size_t out_len)
{
	FILE *f = fopen(env->mountinfo, "re");
	const char *point = NULL;
	char *line = NULL;
	size_t room = 0;

	out[0] = '\0';
	if (!f)
		return false;
	while (!point && getline(&line, &room, f) > 0) {
		point = mount_of(line, type, source);
		if (point)
			snprintf(out, out_len, "%s", point);
	}
	free(line);
	fclose(f);
	return point != NULL;
}
