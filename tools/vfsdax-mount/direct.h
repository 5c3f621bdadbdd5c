/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * direct: direct mmap for other processes (vfsdax_connect() of libvfsdax): a socket beside that of
 * the counters, and a thread that serves it. It waits for no client, not for the device, and not
 * for the mount's workers. Bounded by what direct_peer.h says.
 */
#ifndef VFSDAX_MOUNT_DIRECT_H
#define VFSDAX_MOUNT_DIRECT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct bridge;
struct bridge_authorisations;
struct transport;
struct direct;

struct direct_params {
	struct bridge *bridge;
	struct bridge_authorisations *authorisations; /* NULL: no direct maps; *out is NULL then */
	struct transport *transport;
	dev_t dev;		/* of the mount: names the socket */
	uint64_t map_alignment; /* of the device, in bytes */
	bool others;		/* allow_other: any user, whom a file's descriptor then lets in */
	int64_t device_uid; /* who gets the device itself where nothing less will do; -1: nobody */
};

/* A process that was killed may have left its socket, by this device number: clients would wait
 * there for a server. */
void direct_remove_dead(bool others, dev_t dev);

/* 0 or -errno; not being able to is no reason not to mount. */
int direct_open(const struct direct_params *params, struct direct **out);
/*
 * Serves no more, and holds nothing of the bridge any more, which comes before bridge_close(). How
 * many maps of the device's memory other processes may still have. NULL is fine.
 */
unsigned direct_stop(struct direct *d);
/* After bridge_close(): what a worker had then is through. NULL is fine. */
void direct_free(struct direct *d);

/* Any thread; zeros for NULL. */
struct direct_stats {
	uint64_t connections, maps, bytes, refused;
};
struct direct_stats direct_stats(const struct direct *d);

#endif
