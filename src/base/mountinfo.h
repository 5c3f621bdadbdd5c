/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mountinfo: what is mounted where, from /proc/self/mountinfo; nothing that is mounted is touched,
 * so a dead mount can be asked about. */
#ifndef VFSDAX_BASE_MOUNTINFO_H
#define VFSDAX_BASE_MOUNTINFO_H

#include <stdbool.h>
#include <sys/types.h>

struct mountinfo {
	dev_t dev;
	char type[64];
	char source[256];
	char options[128];    /* of the mount: "rw,nosuid,relatime" */
	char fs_options[512]; /* of its file system */
};

/* Each mount, in the order in which they were made: later ones lie on top of earlier ones. */
void mountinfo_each(void (*see)(void *ctx, const char *path, const struct mountinfo *m), void *ctx);

/* The topmost mount at exactly this canonical path. False: none. */
bool mountinfo_find(const char *path, struct mountinfo *out);

/*
 * The absolute path without symbolic links, as /proc has that of a mount. Its last component may be
 * a mount whose daemon is dead, and need not exist. The caller frees it; NULL with errno set.
 */
char *mountinfo_canonical(const char *path);

/* Undoes the octal escapes of /proc files, in place. */
void mountinfo_unescape(char *s);

#endif
