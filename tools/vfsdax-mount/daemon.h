/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * daemon: what a running mount owns. The mount itself lasts as long as the process; a device may be
 * followed by another one (away.c).
 */
#ifndef VFSDAX_MOUNT_DAEMON_H
#define VFSDAX_MOUNT_DAEMON_H

#include <stdint.h>

#include "bridge/authorise.h"
#include "bridge/bridge.h"
#include "control.h"
#include "direct.h"
#include "fuse/mount.h"
#include "hold.h"
#include "options.h"
#include "source.h"
#include "tell.h"

#define WORKERS_MAX 16

struct daemon {
	struct options o;
	int ready_fd;	   /* background.h; -1: in the foreground, or said already */
	struct tell *tell; /* NULL: the kernel is not told what the host changes */
	struct hold *hold; /* NULL: the mount ends with this process */
	struct fusemnt *mount;
	struct bridge_kept *kept;
	struct control control;
	int signal_fd, ended_fd;
	int notify_fd; /* base/notify.h; -1 */
	uint64_t started_ns;
	/* Of the first device, for messages and counters. */
	char *name, *tag;

	/* Of the device that is there, in the order of their making; NULL where there is none. */
	struct source *source;
	struct fs_session *session;
	struct bridge *bridge;
	struct bridge_authorisations *authorisations;
	struct direct *direct; /* NULL: no direct maps */

	/* away.c */
	uint64_t away_since_ns; /* 0: it is there */
	uint64_t reconnects;
	char reason[256]; /* why the last attempt failed */
};

/* device.c: the device's side, up and down; one log line, and -errno, if it cannot be had. */
int device_open(struct daemon *d, unsigned timeout_ms);
int device_serve(struct daemon *d);
/* `leave`: what the kernel knows is kept for another device. */
void device_close(struct daemon *d, bool leave);
/* Says to who waits for it that the mount is there. */
void daemon_ready(struct daemon *d);
/* A worker a CPU that we may run on: how many, and which. */
unsigned device_cpus(int cpus[WORKERS_MAX]);

/*
 * away.c: the device has failed. Waits for it to come back, or another one in its place, while
 * callers wait; for longer than -o reconnect= says only in the background, while they get EIO.
 * False: the mount is gone, or its end was asked for. `report`: as control_serve() has it.
 */
bool away_wait(struct daemon *d, void (*report)(void *ctx, FILE *out));

/*
 * takeover.c: the mountpoint's driver has died, and this is the next: 0, it has its mount and what
 * that driver kept, and no device yet. -ENOENT: there is no such thing; or -errno after a log line.
 */
int takeover(struct daemon *d);
/* The mount is there: what another driver needs. */
void takeover_prepare(struct daemon *d, dev_t dev);
/* With --upgrade: d->o becomes the options of the driver that is to be replaced, and these. 0 or
 * -errno after a log line: it cannot be. */
int takeover_options(struct daemon *d);
/* As fusemnt_clone(); another driver gets it, too. */
int daemon_clone(struct daemon *d, unsigned i);

#endif
