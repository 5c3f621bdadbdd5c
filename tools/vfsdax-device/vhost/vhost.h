/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost: the vhost-user back end: one front end at a time on one socket, message by message
 * (vhost-user.rst). It owns the queues, the space, the back-end channel and the window, and decides
 * when rings start and stop and when the session behind them is over. It runs on the main thread
 * alone and never waits there for the front end, except for the next message.
 */
#ifndef VFSDAX_DEVICE_VHOST_H
#define VFSDAX_DEVICE_VHOST_H

#include <stdbool.h>
#include <stdint.h>

#include "vfsdax-device/fs/request.h"
#include "wire/virtio.h"

struct vhost_options {
	char tag[VIRTIO_FS_TAG_LEN]; /* padded with NUL, not always terminated */
	unsigned num_request_queues; /* 1 to VHOST_REQUEST_QUEUES_MAX */
	uint32_t queue_size_max;     /* entries; a power of two */
	uint64_t cache_size_bytes;   /* of the window; a multiple of the page size; 0: none */
	bool no_event_idx, no_indirect;
	bool notifications; /* one more queue, if the file system has something to tell */
};

/* A vring message names its queue in 8 bits. */
#define VHOST_REQUEST_QUEUES_MAX 64u

struct vhost;

/* `options` is copied. -errno after one line of log. */
int vhost_create(const struct vhost_options *options, struct vhost **out);
/* NULL is fine. No connection is being served. */
void vhost_destroy(struct vhost *v);

/* The window to give to fs_create(); valid until vhost_destroy(). */
struct shmem *vhost_shmem(struct vhost *v);
/* Who answers the requests; before the first vhost_serve(), and valid until vhost_destroy(). */
void vhost_attach(struct vhost *v, struct fs *fs);

/*
 * Serves the front end on `sock` until it leaves or breaks the protocol (0), or stop_fd becomes
 * readable (-ECANCELED). Others that connect to listen_fd meanwhile are turned away; -1: none.
 * When it returns no queue runs and the file system is reset; -EBUSY in place of that: stop_fd is
 * readable and a request is stuck in the file system, so that only the process's end is left.
 */
int vhost_serve(struct vhost *v, int sock, int listen_fd, int stop_fd);

#endif
