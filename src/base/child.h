/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* child: another program, as gnuplot or fio, that is run to its end: what it is to read, and what
 * it says, are texts. */
#ifndef VFSDAX_BASE_CHILD_H
#define VFSDAX_BASE_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether $PATH has it. */
bool child_in_path(const char *program);

struct child {
	const char *in;	 /* what it reads; NULL: nothing */
	char *out, *err; /* what it wrote, at most 64 MiB; "" if nothing */
};

/*
 * Runs argv[0]: its exit status, 128 and the signal that ended it, or -errno. When `stop` (NULL:
 * never) says so it gets SIGINT, and five seconds later, or after `limit_ns` (0: none), it is
 * killed
 * (-ETIMEDOUT). c->out and c->err are to be freed in any case.
 */
int child_run(struct child *c, char *const argv[], uint64_t limit_ns, bool (*stop)(void));

#endif
