/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fs/internal: what the files of this floor share. */
#ifndef VFSDAX_FS_INTERNAL_H
#define VFSDAX_FS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "fs/fs.h"
#include "virtqueue/virtqueue.h"

/* A piece of the DMA arena, handed out in order and never taken back. */
struct fs_arena {
	struct dma_mem mem;
	size_t used;
};

struct fs_channel {
	struct fs_session *session;
	uint16_t queue;
	int call_fd;

	/* Guards everything below, and the ring. Held for short, bounded work only: never across
	 * done(), a kick or a system call. No other lock is taken inside it. */
	pthread_mutex_t lock;
	struct virtqueue *vq;
	struct list free_reqs, free_payloads, payload_waiters;
	unsigned n_free_reqs, n_free_payloads;
	/* Submitted, in this order; in_flight is therefore ordered by deadline. Requests with no
	 * deadline lie in `untimed`. `waiting` has no place on the ring yet. */
	struct list waiting, in_flight, untimed;
	/* On those three lists. Written under the lock; also read without it, by workers that only
	 * want to know whether there is anything at all: what they put there themselves they see.
	 */
	_Atomic unsigned n_busy;
	unsigned n_untimed;	      /* of those, without a deadline */
	_Atomic unsigned n_abandoned; /* not on the lists, and still the device's; as n_busy */
	atomic_bool unpublished;      /* as n_busy */
	bool kick_owed;		      /* by fs_channel_publish() */
	bool calls_wanted;
	/* Since when a slot, or a payload buffer, is missing and none came back; 0: none is. What
	 * keeps them is the device, where some were abandoned there; see fs_channel_expire(). */
	uint64_t slot_missing_ns, payload_missing_ns;
	bool drained; /* after a failure: nobody waits any more, there is nothing to reap */
	uint64_t kicks, submitted, answered, timeouts;

	struct fs_req *reqs;
	struct fs_payload *payloads;
	unsigned n_reqs, n_payloads;
};

struct fs_hiprio {
	struct fs_session *session;
	/* Guards everything below and the ring; nothing else is taken inside it. */
	pthread_mutex_t lock;
	struct virtqueue *vq;
	struct list free_slots;
	struct fs_hiprio_slot *slots;
	/* Waiting for a slot: a growing ring of messages. */
	struct fs_hiprio_message *pending;
	size_t n_pending, first_pending, cap_pending;
	bool unpublished;
	/* Messages wait, or are not published. Read without the lock as fs_channel.n_busy is. */
	atomic_bool active;
	uint64_t kicks, sent;
	/* On the ring; returned ever; of fs_hiprio_look(): returned at the last look, and looks
	 * since that found something there and nothing new. */
	unsigned on_ring, silent;
	uint64_t returned, returned_seen;
};

/* Of one thread, but for its beginning and its end. */
struct fs_notify {
	struct virtqueue *vq; /* NULL: the device has none, or it was not negotiated */
	uint8_t *va;	      /* NOTIFY_BUFFERS of `bytes` each */
	uint64_t iova;
	uint32_t bytes;
};

struct fs_session {
	struct transport *t;
	struct fs_params params;
	uint64_t features;
	char tag[VIRTIO_FS_TAG_LEN + 1];
	struct fs_limits limits;
	struct fuse_attr root;
	_Atomic uint64_t next_unique;
	_Atomic uint64_t look_ns; /* when fs_session_look() does something */
	struct fs_arena arena;
	bool started;
	struct fs_hiprio hiprio;
	struct fs_notify notify;
	unsigned n_channels;
	struct fs_channel *channels;
	/* Rings of queues that the device has and we do not use: set up, never filled. */
	unsigned n_idle;
	struct virtqueue **idle;
};

/* session.c: how many of the device's queues are for requests, by its configuration, whose tag is
 * kept. 0 or -errno after a log line. */
int fs_config_read(struct fs_session *s, unsigned n_queues, unsigned *n_request);

/* ---- queues.c */

/* `align` is a power of two. The arena was sized with the same sums, so it never runs out. */
uint8_t *fs_arena_take(struct fs_arena *arena, size_t len, size_t align, uint64_t *iova);

#define FS_QUEUES_MAX 256

struct fs_queue_plan {
	uint16_t size[FS_QUEUES_MAX];
	unsigned n_queues;   /* of the device */
	unsigned n_channels; /* request queues that we use */
	size_t arena_bytes;
};
/* Which queues there are, how long their rings get, and how much DMA memory all of it takes.
 * 0 or -errno after a log line. */
int fs_queues_plan(struct fs_session *s, struct fs_queue_plan *plan);
/* The arena is there. 0 or -errno; fs_queues_close() also after that. */
int fs_queues_open(struct fs_session *s, const struct fs_queue_plan *plan);
void fs_queues_close(struct fs_session *s, int err);

/* The bytes of arena that a channel needs besides its ring. */
size_t fs_channel_bytes(const struct fs_params *params);
int fs_channel_open(struct fs_session *s, struct fs_channel *ch, uint16_t queue,
		    struct virtqueue *vq);
/* 0, or -EPROTO and the device is given up: the answer is no FUSE answer to this request. */
int fs_take_answer(struct fs_req *req);
/* The answer to an abandoned request, whose user has put it: done() in state LATE, then free. */
void fs_late_answer(struct fs_req *req, void *ctx);
/* The slot, whatever its state was, and its payload buffer are free. */
void fs_req_free(struct fs_req *req, void *ctx);
/* Called with the channel's lock held. */
struct fs_req *fs_first_to_expire(struct fs_channel *ch);
/* Called with the channel's lock held, of one on the ring. Keeps in_flight in the order of
 * deadlines. */
void fs_queue_by_deadline(struct fs_channel *ch, struct fs_req *req);
/* The same: when the device has kept for too long what others wait for; UINT64_MAX: never. */
uint64_t fs_starved_ns(struct fs_channel *ch);

/* give_up.c. The device has failed: every request is done() with err, every slot is free then. */
unsigned fs_channel_fail(struct fs_channel *ch, void *ctx, int err);
/* Those whose time has passed. */
unsigned fs_channel_expire(struct fs_channel *ch, void *ctx);
/* See fs_session_abandon(). */
void fs_channel_abandon(struct fs_channel *ch, void *ctx, int err);
/* The device is stopped: every unfinished request is done() with err. */
void fs_channel_close(struct fs_channel *ch, int err);

size_t fs_hiprio_bytes(void);
int fs_hiprio_open(struct fs_session *s, struct virtqueue *vq);
void fs_hiprio_close(struct fs_session *s);
/* notify.c: whether to negotiate them, where the device offers them. */
bool fs_notify_wanted(struct fs_session *s);
/* The bytes of its buffers, 0 without them. */
size_t fs_notify_bytes(const struct fs_session *s);
int fs_notify_open(struct fs_session *s, struct virtqueue *vq);
void fs_notify_close(struct fs_session *s);
/* The device runs: it gets the buffers. */
void fs_notify_start(struct fs_session *s);
/* How many times in a row it found messages on the ring and nothing returned. Sends one that means
 * nothing, where there is none and `ask`. */
unsigned fs_hiprio_look(struct fs_session *s, bool ask);
/* alive.c: the device is given up as one that is gone. */
void fs_session_lost(struct fs_session *s);
/* The last message of a session; where it finds that nobody is there it says so. */
void fs_session_destroy(struct fs_session *s);

#endif
