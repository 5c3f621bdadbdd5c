/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rundir: where a running mount can be asked: one Unix socket a mount, named by its device. */
#ifndef VFSDAX_BASE_RUNDIR_H
#define VFSDAX_BASE_RUNDIR_H

#include <stddef.h>
#include <sys/types.h>

/* The directory for run-time files of this user: /run/vfsdax for root, else one below
 * $XDG_RUNTIME_DIR or /tmp. */
int rundir_path(uid_t uid, char *buf, size_t len);
/* Makes the directory, for its owner only, and refuses one that somebody else owns. 0 or -errno. */
int rundir_make(char *buf, size_t len);
/* The same for what every user is to reach, by name: /run/vfsdax for root, else one below /tmp. */
int rundir_make_public(char *buf, size_t len);
/* The socket of the mount with this device number, in the directory `dir`: of the counters ... */
int rundir_socket(const char *dir, dev_t dev, char *buf, size_t len);
/* ... of direct mmap (wire/direct.h), ... */
int rundir_direct_socket(const char *dir, dev_t dev, char *buf, size_t len);
/* ... and of the process that outlives a killed vfsdax-mount (tools/vfsdax-mount/holder.c). */
int rundir_holder_socket(const char *dir, dev_t dev, char *buf, size_t len);

/*
 * A device number is one mount's alone while it is mounted, so what has the name already is of a
 * mount that is gone: it is removed. But that one's process may still be about to end, when it must
 * not remove ours. 0 or -errno; *ino is for rundir_unbind().
 */
int rundir_bind(int fd, const char *path, ino_t *ino);
void rundir_unbind(const char *path, ino_t ino);

#endif
