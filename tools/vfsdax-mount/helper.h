/* SPDX-License-Identifier: GPL-2.0-or-later */
/* helper: what mount(8) wants of a mount besides the mounting. */
#ifndef VFSDAX_MOUNT_HELPER_H
#define VFSDAX_MOUNT_HELPER_H

#include "options.h"

#define EXIT_USAGE 2

/* Into the mount namespace of -N, before the first thread. 0, or -errno after one log line. */
int helper_enter(const struct options *o);
/* -o remount: changes flags of what is mounted at o->mountpoint; all else must be as it is. 0, or
 * -errno after one log line. */
int helper_remount(const struct options *o);
/* Ours are 0, 1 (failure) and EXIT_USAGE; mount(8) wants 0, 32 and 1. */
int helper_status(const struct options *o, int status);

#endif
