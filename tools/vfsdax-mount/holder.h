/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* holder: the process that keeps a driver's descriptors. It begins after a fork and calls nothing
 * that could wait for, or need, what a fork does not copy: no malloc, no log, no lock. */
#ifndef VFSDAX_MOUNT_HOLDER_H
#define VFSDAX_MOUNT_HOLDER_H

#include <sys/types.h>

#define HOLDER_NAME "vfsdax-holder"

/* In the child. `sock`: the driver's connection; `pidfd`, `pid`: its process. All other descriptors
 * are closed. */
_Noreturn void holder_run(int sock, int pidfd, pid_t pid);

/* holder_settle.c: a process of its own: session, name, no descriptor but these two, which get
 * other numbers. */
void holder_settle(int *sock, int *pidfd);

#endif
