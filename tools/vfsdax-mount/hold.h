/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hold: what must not be closed when this process dies: copies of descriptors, by name, kept by a
 * tiny process of ours that does nothing else (holder.c), or by systemd (hold_store.c). The next
 * vfsdax-mount takes them over.
 *
 * The driver is who has the connection to the holder; two processes never have it at once. One
 * thread at a time.
 */
#ifndef VFSDAX_MOUNT_HOLD_H
#define VFSDAX_MOUNT_HOLD_H

#include <stdbool.h>
#include <sys/types.h>

#define HOLD_NAME_MAX 31
/* So many names; a further one is not kept. */
#define HOLD_MAX      64

struct hold;

/* Optional, before hold_start(): the words of the command line, one behind the other, which in the
 * holder become its name: who looks for the driver by its arguments shall not find the holder. */
void hold_rename(int argc, char **argv);
/* Forks the holder, unless systemd keeps descriptors. Called before there are threads. 0 or -errno.
 */
int hold_start(struct hold **out);
/* The holder keeps a copy of fd by this name, in the place of what it had by it. Sending is all:
 * once this returns 0 the copy survives us. -EPIPE: the holder was killed. -EAGAIN: it is stopped.
 * -ENAMETOOLONG; with systemd -EINVAL: a blank or a colon. */
int hold_put(struct hold *h, const char *name, int fd);
/* From now on another process finds the holder by the mount's device number. When we die the copies
 * are kept for so many seconds (UINT_MAX: for ever), but not longer than the mount is there: the
 * descriptor by the name `fuse_name` then reports POLLERR. 0 or -errno: nobody will find it. */
int hold_publish(struct hold *h, dev_t dev, const char *fuse_name, unsigned seconds);

/*
 * Takes over from a driver that died. 0: we are the driver, hold_get() gives what that one had.
 * -ENOENT: no holder has this device number. -EBUSY: a driver lives, whose process is *pid; with
 * `by_force` the holder ends it (SIGKILL), and 0 means that it is dead. -EPROTONOSUPPORT: the
 * holder is of another version. -EAGAIN: it, or the driver that is to end, has not done so in 10 s.
 */
int hold_take(dev_t dev, bool by_force, pid_t *pid, struct hold **out);
/* A look without taking: a copy of the descriptor by that name; or -ENOENT, and as hold_take(). */
int hold_peek(dev_t dev, const char *name);

/* A new descriptor, close-on-exec, the caller's to close. -ENOENT: none by that name. */
int hold_get(struct hold *h, const char *name);
/* Orderly end: the holder closes everything, removes its socket, and is gone when this returns.
 * NULL is fine. */
void hold_end(struct hold *h);
/* Leaves without ending: from here on it is as if we had died. NULL is fine. */
void hold_leave(struct hold *h);

#endif
