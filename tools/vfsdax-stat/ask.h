/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ask: which mounts there are, and what they say. */
#ifndef VFSDAX_STAT_ASK_H
#define VFSDAX_STAT_ASK_H

#include <sys/types.h>

#include "report.h"

struct mount {
	char *path;
	dev_t dev;
	int err; /* 0, or why there is no report (-errno): its daemon is dead, or another user's */
	struct report report;
};

struct mounts {
	struct mount *at;
	size_t count;
};

/*
 * Asks the mounts at these paths, or all that there are where `count` is 0. 0, or -errno after one
 * log line: a path is no such mount, or there is none. That one does not answer is in its `err`.
 */
int mounts_ask(char **paths, size_t count, struct mounts *m);
void mounts_free(struct mounts *m);

/* The report of the same mount among earlier ones; NULL. */
const struct report *mounts_before(const struct mounts *earlier, const struct mount *mount);

/* After all was shown: 0, or 1 where a mount did not answer, of which each gets a log line. */
int mounts_status(const struct mounts *m);

#endif
