/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * internal: what vhost.c (the connection), rings.c (starting and stopping rings, and the messages
 * about them) and requests.c (all other messages) share. All of it runs on the main thread.
 */
#ifndef VFSDAX_DEVICE_VHOST_INTERNAL_H
#define VFSDAX_DEVICE_VHOST_INTERNAL_H

#include "channel.h"
#include "message.h"
#include "queue.h"
#include "shmem.h"
#include "space.h"
#include "vhost.h"

/* A request may take its time (a slow disk); one that takes longer is called stuck. */
#define STOP_TIMEOUT_MS 20000u

/* For the rest of a message that has begun, and for room for an answer. */
#define MESSAGE_TIMEOUT_MS 10000u

/* What the front end said about a ring. */
struct ring_config {
	uint16_t size;
	uint16_t base; /* where it begins, or where it stopped */
	bool placed;   /* SET_VRING_ADDR came */
	bool kicked;   /* SET_VRING_KICK came: "started" in the specification's words */
	bool enabled;
	uint64_t desc, avail, used;
};

struct vhost {
	struct vhost_options options;
	unsigned n_queues;
	struct queue *queues;
	struct ring_config *rings;
	struct channel channel;
	struct space space;
	struct shmem shmem;
	struct fs *fs;

	/* Of the connection. */
	int sock, listen_fd, stop_fd;
	uint64_t features, protocol_features;
	unsigned queues_seen; /* the front end has at least so many */
	bool window_open;
	bool session_used;	 /* a ring ran since the last fs_reset() */
	uint64_t newcomer_since; /* when another front end was seen in the listen queue; 0: none */
	uint64_t tidy_at;	 /* when fs_tidy() is due */
	uint64_t shut_at;	 /* when the window was shut with rings still running */
};

#define F(n)	   (UINT64_C(1) << (n))
#define F_PROTOCOL F(VHOST_USER_F_PROTOCOL_FEATURES)
#define PF(name)   F(VHOST_USER_PROTOCOL_F_##name)

/*
 * A handler gets a message whose length and number of descriptors the table in requests.c has
 * checked. It takes descriptors by setting them to -1. 0; or -errno: refused, after a line of log.
 * One with an answer leaves the payload and its size in *m.
 */
typedef int (*message_handler)(struct vhost *v, struct vhost_user_message *m);

int on_set_vring_num(struct vhost *v, struct vhost_user_message *m);
int on_set_vring_base(struct vhost *v, struct vhost_user_message *m);
int on_set_vring_addr(struct vhost *v, struct vhost_user_message *m);
int on_get_vring_base(struct vhost *v, struct vhost_user_message *m);
int on_set_vring_enable(struct vhost *v, struct vhost_user_message *m);
int on_set_vring_kick(struct vhost *v, struct vhost_user_message *m);
int on_set_vring_call(struct vhost *v, struct vhost_user_message *m);
int on_set_vring_err(struct vhost *v, struct vhost_user_message *m);

/* The message's only descriptor, or -1. */
static inline int message_take_fd(struct vhost_user_message *m)
{
	int fd = m->n_fds ? m->fds[0] : -1;

	if (m->n_fds)
		m->fds[0] = -1;
	return fd;
}

/* Runs the handler and answers. 0, or -errno: the connection ends. */
int message_dispatch(struct vhost *v, struct vhost_user_message *m);

/* ---- rings.c */

/* The window is usable while the device runs; opening and shutting twice is harmless. */
void window_open(struct vhost *v);
void window_shut(struct vhost *v);

/* Stops all rings; the first error is returned, and no other ring is waited for after it. */
int rings_stop(struct vhost *v, unsigned timeout_ms);
/* Forgets the guest's session. All rings stand still. */
void session_reset(struct vhost *v);

#endif
