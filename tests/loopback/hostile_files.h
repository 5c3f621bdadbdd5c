/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hostile_files: what hostile_device hands over where a file is due. */
#ifndef VFSDAX_TESTS_LOOPBACK_HOSTILE_FILES_H
#define VFSDAX_TESTS_LOOPBACK_HOSTILE_FILES_H

#include <sys/types.h>

#define HOSTILE_FILES_MAX 2

/* The descriptors of this fault, for the caller to close; how many. `good` is the file that is
 * served. */
unsigned hostile_files(const char *fault, int good, pid_t holder, int fds[HOSTILE_FILES_MAX]);

#endif
