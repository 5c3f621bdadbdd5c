/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tell: what the host has changed, on its way to the kernel (bridge_heard). What may wait for a
 * request to end is done by a process of its own (teller.c), which serves none: a thread of ours
 * that waited could not be killed, and would keep the connection open whose end is waited for.
 *
 * So there must be somebody to end those requests, whatever becomes of this process: only a mount
 * that its holder keeps for the next driver is told.
 */
#ifndef VFSDAX_MOUNT_TELL_H
#define VFSDAX_MOUNT_TELL_H

#include "bridge/bridge.h"
#include "fuse/mount.h"

struct tell;

/* Forks; before there are threads and a device. -errno. */
int tell_start(struct tell **out);
/* The connection, which stays the caller's, and where it is mounted. It stays the same: a second
 * call does nothing. */
void tell_begin(struct tell *t, const struct fusemnt *mount);
/* For bridge_params; nothing where `t` is NULL. */
struct bridge_heard tell_heard(struct tell *t);
/* While requests are served: the process has ended when it returns, or is on its own: it was busy
 * for too long. NULL is fine. */
void tell_end(struct tell *t);

#endif
