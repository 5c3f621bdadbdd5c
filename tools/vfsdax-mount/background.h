/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* background: a child that serves the mount, and a parent that returns when the mount answers. */
#ifndef VFSDAX_MOUNT_BACKGROUND_H
#define VFSDAX_MOUNT_BACKGROUND_H

/* Calls `run` in a child. The exit status of the parent: 0 as soon as the child has detached, that
 * of the child if it ends before; of the child: what `run` returns. */
int background_run(int (*run)(void *ctx, int ready_fd), void *ctx);
/* In the child: the mount answers. Lets the parent and the terminal go; messages go to syslog. */
void background_detach(int ready_fd);

#endif
