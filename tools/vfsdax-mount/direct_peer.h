/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * direct_peer: what one client of direct mmap has asked for and has. Everything here is for one
 * thread, that of direct.c; workers come in by the authorisation's done() and the map's revoke()
 * only.
 *
 *   a map:   asked --token--> proving --done(0)--> HELD --descriptor sent--> HELD or PINNED
 *                                |                  |                             |
 *                             done(err)          revoke                 unmap, end of the
 *                                v                  v                   connection or of `life`
 *                             refused            DROPPED                          v  freed
 *
 * HELD: the client's memory is of the file itself, so whoever cuts the file drops the pin, and the
 * memory is what mmap(2) makes of it. PINNED: the memory shows a place of the window, so the pin
 * stays and the file cannot be cut, unless it has a gate (wire/direct.h): then it is as HELD.
 */
#ifndef VFSDAX_MOUNT_DIRECT_PEER_H
#define VFSDAX_MOUNT_DIRECT_PEER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/list.h"
#include "bridge/authorise.h"
#include "transport/transport.h"
#include "wire/direct.h"

#define PEERS_MAX     256u
#define PEER_MAPS_MAX 1024u
#define MAPS_MAX      16384u

/* What epoll reports. */
enum watch_kind { WATCH_LISTEN, WATCH_WAKE, WATCH_PEER, WATCH_LIFE };
struct watch {
	enum watch_kind kind;
	bool dead;	  /* closed, and freed after the events of this round */
	struct list link; /* of the dead */
};

/* What all peers share. */
struct peer_home {
	struct bridge_authorisations *authorisations;
	struct bridge *bridge;
	struct transport *transport;
	uint64_t alignment; /* of offsets */
	uid_t owner; /* with root, the one to whom the limits for a single user do not apply */
	int64_t device_uid; /* who gets the device if need be; -1: nobody */

	int epoll_fd;
	int wake_fd; /* an eventfd: some authorisation is done that a peer waits for */
	struct watch wake_watch, listen_watch;
	pthread_mutex_t lock; /* guards direct_map.done and .orphan */
	struct list peers;
	struct list lone; /* maps whose peer is gone; they last as long as their `life` */
	struct list dead;
	_Atomic uint64_t connections, maps, bytes, refused;
};

struct peer {
	struct watch watch;
	struct list link;
	struct peer_home *home;
	int sock;
	uid_t uid;
	pid_t pid;
	bool greeted;
	struct list maps;
	unsigned n_maps;
	uint64_t next_id;
	struct direct_map *asked; /* MAP is under way */
	bool authorised;	  /* the client says so, and waits for the answer */
};

/* direct_home.c. 0 or -errno; peer_home_destroy() in both cases. Fields up to device_uid are the
 * caller's to fill in. */
int peer_home_init(struct peer_home *home);
/* One socket whose arrivals peer_home_serve() reports from now on; until peer_home_ignore(). */
int peer_home_listen(struct peer_home *home, int fd);
void peer_home_ignore(struct peer_home *home, int fd);
/* Waits for events for `timeout_ms` (-1: as long as it takes) and serves them. True: a client waits
 * to be accepted. */
bool peer_home_serve(struct peer_home *home, int timeout_ms);
unsigned peers_of(const struct peer_home *home, uid_t uid);
/* The limits for a single user are for this one. */
bool peer_is_limited(const struct peer_home *home, uid_t uid);
/* No peer is left; gives up what maps of former peers hold. What is with a worker stays, and frees
 * itself. How many maps of the window other processes may still have. */
unsigned peer_home_close(struct peer_home *home);
void peer_home_destroy(struct peer_home *home);

/* `sock` (non-blocking, SOCK_SEQPACKET) is the peer's from here on, also when it fails: -ENOMEM,
 * -errno of epoll_ctl(2). */
int peer_open(struct peer_home *home, int sock, uid_t uid, pid_t pid);
/* Sends the reason for which a client is refused, if that is possible without waiting. Closes
 * `sock`. */
void peer_turn_away(struct peer_home *home, int sock, int err, const char *reason);
void peer_close(struct peer *peer);
/* There is something to read, or the end. The peer may be dead afterwards. */
void peer_readable(struct peer *peer);
/* Answers those whose authorisations are done. */
void peers_conclude(struct peer_home *home);

#endif
