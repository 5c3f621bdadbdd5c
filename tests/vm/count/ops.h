/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ops: what main.c repeats, by one of two programs: on a mount (files.c), or by libvfsdax
 * (library.c). */
#ifndef VFSDAX_TESTS_VM_OPS_H
#define VFSDAX_TESTS_VM_OPS_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "../../loopback/op.h"

#define KIB	   1024
#define DATA_BYTES (4 * KIB * KIB) /* the file "data" is at least as long */

struct op {
	const char *name; /* NULL: the end of the table */
	void (*run)(unsigned i);
	int flags; /* of "data" */
	bool warm; /* N times before, on the same open file: a kernel drops its cache with each open
		    */
};

extern const struct op ops[];
extern char *buffer; /* 1 MiB, aligned for O_DIRECT */

/* "data" in `where`, which has a folder "names" as well. Ends the program when it cannot. */
void ops_open(const char *where, int flags);
void ops_close(void);

/* Ends the program unless an operation did what it should. */
static inline void must(ssize_t rc, ssize_t want, const char *what)
{
	if (rc != want)
		die("%s: %zd in place of %zd, errno %d", what, rc, want, errno);
}

/* Where the ith piece of this size begins: all over the file. */
static inline off_t piece(unsigned i, size_t bytes)
{
	return (off_t)(i * 37 % (DATA_BYTES / bytes) * bytes);
}

static inline const char *name(const char *kind, unsigned i)
{
	static char path[64];

	snprintf(path, sizeof(path), "/names/%s%u", kind, i);
	return path;
}

#endif
