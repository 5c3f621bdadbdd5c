/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the parts of holder share. See main.c. */
#ifndef VFSDAX_TESTS_HOLDER_H
#define VFSDAX_TESTS_HOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loopback/op.h"

#define FILE_LEN  300001u
#define WAIT_MS	  10000
#define HOST_PATH 4096

/* One thing that is held: what is made before the device dies, and looked at when it is back. Both
 * run in the directory. */
struct thing {
	const char *name;
	void (*hold)(void);
	void (*look)(void);
};

extern const struct thing file_things[], dir_things[], lock_things[]; /* the last has no name */
extern const char *host; /* the directory as its host sees it, NULL: out of reach */

/* One check of a thing, by its own name. True: it is as it should be. */
__attribute__((format(printf, 3, 4))) bool check(const char *name, bool right, const char *why,
						 ...);
/* As the last word of a check: what a call gave. */
const char *said(long result);
/* What the file holds when it is made: bytes that depend on where they are and on `seed`. */
void fill(unsigned char *to, size_t len, size_t off, unsigned seed);
int make_file(const char *path, unsigned seed, int flags);
/* `len` bytes at `off` are those of `seed`. */
bool holds(const char *name, int fd, unsigned seed, size_t off, size_t len);
const char *on_host(const char *path, char to[static HOST_PATH]);

#endif
