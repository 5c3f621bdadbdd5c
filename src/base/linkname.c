/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/linkname.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define TARGET_MAX 512

int link_name(const char *path, char *out, size_t out_len)
{
	char target[TARGET_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	const char *name;

	if (n < 0)
		return -errno;
	target[n] = '\0';
	name = strrchr(target, '/');
	name = name ? name + 1 : target;
	if (strlen(name) >= out_len)
		return -ENAMETOOLONG;
	memcpy(out, name, strlen(name) + 1);
	return 0;
}
