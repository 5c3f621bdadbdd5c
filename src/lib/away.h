/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/away: the device of a share, its end, and the one that follows (VFSDAX_ATTACH_RECONNECT). How
 * they fit together: away.c.
 */
#ifndef VFSDAX_LIB_AWAY_H
#define VFSDAX_LIB_AWAY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/log.h"
#include "bridge/caller.h"

struct claim;
struct fuse_args;
struct transport;
struct vfsdax;

/* ------------------------------------------------------------------ a device */

/* A share has one at a time; those that failed are kept by the maps that were made of them, whose
 * memory they are. */
struct device {
	atomic_uint refs;
	struct transport *transport;
	struct claim *claim; /* NULL for a socket */
	/* NULL once it was left. */
	struct fs_session *session;
	struct bridge *bridge;
};

/* device.c */

/* One log line, and -errno, if it cannot be had. `transport`: as above; it is closed in any case.
 */
int device_open(struct vfsdax *s, struct transport *transport, unsigned handshake_ms,
		struct device **out);
/* Its bridge and session end: with the share, or because it failed. */
void device_leave(struct device *d, bool failed);
struct device *device_get(struct device *d);
/* With the last reference it is closed. NULL is fine. */
void device_put(struct device *d);
/* hear.c: what is done where a device tells what the host has changed. NULLs: it is not to. */
struct bridge_heard share_heard(struct vfsdax *s);
/* Notes what a new device is like. */
void share_describe(struct vfsdax *s, struct device *d);

/* ------------------------------------------------------------------ away */

struct away {
	pthread_t thread;
	int event_fd;	     /* the device was given up, or it is to end */
	int back_fd;	     /* edge-triggered, never read: there is another device */
	atomic_uint devices; /* that came back */
	uint64_t wait_ms, since_ns;
	struct log_sink log;	/* of its attempts, and of what they start */
	char reason[256];	/* why the last one failed */
	_Atomic uint64_t order; /* of calls */
	pthread_mutex_t lock;	/* of what follows; nothing is taken inside */
	struct list held;	/* calls, in their order */
	struct list forgets;	/* lookups to be given back */
	bool refuses;
};

/* 0 or -errno; then, also after a failure, away_free(). */
int away_init(struct vfsdax *s);
void away_free(struct vfsdax *s);
/* The thread that waits for the device's end, and then for its return. 0 or -errno. */
int away_start(struct vfsdax *s);
/* ... ends; calls that wait fail. No other thread is in the share. */
void away_stop(struct vfsdax *s);

/* ------------------------------------------------------------------ calls that wait */

/* A message of a program, from the first time that it is sent. */
struct share_call {
	struct bridge_call call;
	struct vfsdax *share;
	const struct fuse_args *args;
	uint64_t order;	  /* 0: not sent yet */
	struct list link; /* away.held */
};
/* bridge_call.held: it is sent to the next device, or ends with -EIO. */
void share_hold(struct bridge_call *call);

/* ------------------------------------------------------------------ forget.c */

/* Gives a lookup back: now, or when the device is there. */
void share_forget(struct vfsdax *s, uint64_t nodeid);
/* Publishes FORGETs, unless a thread that is inside a call will. */
void share_flush_forgets(struct vfsdax *s);
/* Of a node that was forgotten just now: what it has in the window leaves first, which takes an
 * answer. Waits for that, for a bounded time. No lock is held. */
void share_see_off(struct vfsdax *s, uint64_t nodeid);
/* What was to be forgotten while the device was away; `b` may be NULL. */
void forget_held(struct vfsdax *s, struct bridge *b);

#endif
