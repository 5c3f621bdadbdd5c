/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuse/tell: notifications to the kernel, each one write on a descriptor of the connection.
 *
 *   never waits   fuse_tell_attr(), fuse_tell_everything(): any thread may
 *   waits for requests to end (a page's or a directory's lock is held by one that is under way)
 *                 fuse_tell_data(), fuse_tell_name(): never a thread that serves requests, nor
 *                 under a lock; and not a process that has the only descriptors of the connection,
 *                 since it cannot be killed meanwhile
 *
 * Returns 0 or -errno; -ENOENT: the kernel does not know it.
 */
#ifndef VFSDAX_FUSE_TELL_H
#define VFSDAX_FUSE_TELL_H

#include <stdint.h>

/*
 * Watchers (inotify, fanotify) of a mount see what is done through its kernel alone. So who tells
 * the kernel does on the mount what the host has done, under this file-system user id (setfsuid(2))
 * by which its requests are known, whichever driver reads them: they change nothing on the host
 * (bridge/touched.c), and are not held for another device. Only root can have it. The group id is
 * 0, or the low bits of the node's number whose name is removed or moved.
 */
#define FUSE_TOUCH_UID 0xfffdfaceu

/* What the kernel believes of a file's attributes is old. */
int fuse_tell_attr(int fd, uint64_t nodeid);
/* No name is believed any more. Before Linux 6.16: -EINVAL. */
int fuse_tell_everything(int fd);

/* And its pages; of a directory, what is remembered of its names. */
int fuse_tell_data(int fd, uint64_t nodeid);
/* The name is to be asked for again. At most 255 bytes. */
int fuse_tell_name(int fd, uint64_t dir, const char *name);

#endif
