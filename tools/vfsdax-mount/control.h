/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* control: the socket on which a running mount sends its counters to vfsdax-stat. */
#ifndef VFSDAX_MOUNT_CONTROL_H
#define VFSDAX_MOUNT_CONTROL_H

#include <stdio.h>
#include <sys/types.h>

struct control {
	int fd; /* to poll for POLLIN; -1: there is no socket */
	char path[108];
	ino_t ino; /* of the socket there */
};

/* Opens the socket for the mount with this device number. 0 or -errno; not being able to is no
 * reason not to mount. */
int control_open(struct control *c, dev_t dev);
void control_close(struct control *c);

/* Answers one connection with what `report` prints, if it is the same user or root. Bounded. */
void control_serve(struct control *c, void (*report)(void *ctx, FILE *out), void *ctx);

#endif
