/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lib/direct: the client of direct mmap, as its two files share it. */
#ifndef VFSDAX_LIB_DIRECT_H
#define VFSDAX_LIB_DIRECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "vfsdax/vfsdax.h"
#include "wire/direct.h"

struct direct_piece {
	struct direct_piece *next;
	uint8_t *addr;
	size_t len, bytes; /* what was given, and the whole pages that it is in */
	uint64_t id;
	uint64_t fd_off;
	/* As /proc/self/maps shows the file. */
	unsigned major, minor;
	unsigned long long ino;
	/* Memory that shows the window lasts as long as this is open here or in a child; -1: it is
	 * of the file itself. */
	int life;
	bool dontfork;
};

struct vfsdax_conn {
	int sock;
	pid_t pid;	       /* who connected: a child has only the memory */
	unsigned major, minor; /* of the mount */
	uint64_t alignment;
	bool broken; /* an answer is missing: the next one would be to something else */
	struct direct_piece *pieces;
	char reason[DIRECT_REASON_BYTES];
};

/* ---- direct_conn.c: what is said. All but the first note a reason when they fail. ---- */

struct direct_request direct_request(enum direct_op op);
/* Notes the reason and returns err. */
int direct_refuse(struct vfsdax_conn *c, int err, const char *reason);
/* The same, for a connection that is of no use any more. */
int direct_lost(struct vfsdax_conn *c, int err, const char *why);
int direct_ask(struct vfsdax_conn *c, const struct direct_request *r);
/* One answer, within the time, with at most two descriptors, which are the caller's. */
int direct_hear(struct vfsdax_conn *c, struct direct_answer *a, int fds[2], unsigned *n_fds);
/* An answer to `op` without descriptors. A refusal is the result. */
int direct_hear_plain(struct vfsdax_conn *c, enum direct_op op, struct direct_answer *a);
void direct_close_all(int *fds, unsigned n);

#endif
