/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* open_again: the file of a descriptor, opened anew: flags, position and locks are its own. */
#ifndef VFSDAX_BASE_OPEN_AGAIN_H
#define VFSDAX_BASE_OPEN_AGAIN_H

#include <fcntl.h>
#include <stdio.h>

/* `flags` as for open(2), without O_CREAT; close-on-exec in any case. A descriptor, or -1 and
 * errno: by the rights of now, whatever `fd` was opened with. Any thread; needs /proc. */
static inline int open_again(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

#endif
