/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost_user_internal: what the files of the vhost-user transport share.
 *
 *   vhost_user.c           the table of functions, open and close
 *   vhost_user_connect.c   socket and handshake: everything before the driver picks features
 *   vhost_user_rings.c     memory and rings, as they are sent to the back end
 *   vhost_user_request.c   one request and its answer on the main socket
 *   vhost_user_channel.c   the thread: the back end's requests, hang-up, errors
 *   vhost_user_window.c    what the back end mapped      base/shared_memory.c  DMA memory
 *   vhost_user_share.c     the same for other processes
 *   vhost_user_files.c     open files that it sent
 *   vhost_user_message.c   a message with a time limit; wire/vhost_user_frame.c is its frame
 *
 *   driver (any thread)                         transport's thread
 *     request_lock: one request, one answer       polls: quit, hang-up of sock, err, channel
 *     send_lock: one message at a time   <------  IOTLB updates, also while a request waits
 *          \________ sock ________/               answers on channel
 */
#ifndef VFSDAX_TRANSPORT_VHOST_USER_INTERNAL_H
#define VFSDAX_TRANSPORT_VHOST_USER_INTERNAL_H

#include <pthread.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "transport/transport.h"
#include "transport/vhost_user.h"
#include "base/shared_memory.h"
#include "transport/vhost_user_files.h"
#include "transport/vhost_user_message.h"
#include "transport/vhost_user_window.h"
#include "wire/virtio.h"

/* SET_VRING_KICK and its like have 8 bits for the queue's index. */
#define VU_QUEUES_MAX	  256
/* vhost-user has no question for it; what QEMU's vhost-user-fs and virtiofsd take at most. */
#define VU_QUEUE_SIZE_MAX 1024

/*
 * Three addresses of the same byte of the arena, all different, so that using one for another
 * shows at once: our virtual address, the guest address in the memory table, and (with
 * ACCESS_PLATFORM) the IOVA. Without ACCESS_PLATFORM the device takes guest addresses.
 */
#define VU_GUEST_BASE (4 * GIB)
#define VU_IOVA_BASE  (64 * GIB)
/* As a vIOMMU has it: one translation a page. */
#define VU_IOTLB_PAGE 4096u

struct vu_queue {
	bool set_up;
	struct queue_addr addr;
	int kick;
	_Atomic int call; /* -1 until queue_setup; wake_all() may look at any time */
};

struct vhost_user {
	struct transport base; /* first: a struct transport * is a struct vhost_user * */

	int sock;
	unsigned timeout_ms;
	pthread_mutex_t request_lock;
	pthread_mutex_t send_lock;
	_Atomic unsigned iotlb_answers_due;

	/* Constant after open() */
	uint64_t mask_features;
	uint64_t offered;  /* all bits that the back end offers */
	uint64_t protocol; /* negotiated VHOST_USER_PROTOCOL_F_* bits */
	bool iommu_wanted, files_wanted;
	unsigned n_queues;

	/* Set before start() */
	bool iommu; /* ACCESS_PLATFORM was accepted */
	struct shared_memory arena;
	struct vu_queue queues[VU_QUEUES_MAX];
	bool started;
	bool refusal_logged;
	/* iommu, between start() and stop(). While it is set, the thread may read `arena`. */
	_Atomic bool translating;

	struct vu_files files;
	struct vu_window window;
	char window_reason[FRAME_WHY_BYTES];

	int channel; /* our end of the back-end channel, or -1 */
	int quit_fd, err_fd;
	pthread_t thread;
	bool thread_runs;
	const struct log_sink *log; /* of the thread that opened us, for ours */
};

static inline struct vhost_user *vu_of(struct transport *t)
{
	return (struct vhost_user *)t;
}

static inline bool vu_has(const struct vhost_user *v, unsigned protocol_bit)
{
	return v->protocol & VIRTIO_F_BIT(protocol_bit);
}

/* The arena's address as the device has it. */
static inline uint64_t vu_iova_base(const struct vhost_user *v)
{
	return v->iommu ? VU_IOVA_BASE : VU_GUEST_BASE;
}

static inline uint64_t vu_deadline(const struct vhost_user *v)
{
	return clock_now_ns() + v->timeout_ms * NS_PER_MS;
}

/* ------------------------------------------------------------------------- vhost_user_connect.c */

/* A connected stream socket, or -errno after one line of log. */
int vu_connect(const char *path, unsigned timeout_ms);
/* Everything between the connection and open()'s return. 0, or -errno after one line of log. */
int vu_handshake(struct vhost_user *v);

/* ------------------------------------------------------------------------- vhost_user_request.c */

/* An empty message to be filled in and sent. */
void vu_prepare(struct vhost_user_message *m, uint32_t request, uint32_t size);

/*
 * Sends *m and receives its answer, of size_min to size_max bytes, into *m. 0, or -errno: the
 * back end has then been given up, with the reason logged. From any thread.
 */
int vu_call(struct vhost_user *v, struct vhost_user_message *m, uint32_t size_min,
	    uint32_t size_max);
/* The same for requests with no payload whose answer is a number. */
int vu_get_u64(struct vhost_user *v, uint32_t request, uint64_t *value);

/*
 * Sends a request that has no answer of its own; with REPLY_ACK waits for the acknowledgement.
 * 0, or -errno: the back end is given up, or (-EREMOTEIO) it refused. Both are logged.
 */
int vu_set(struct vhost_user *v, struct vhost_user_message *m);
int vu_set_u64(struct vhost_user *v, uint32_t request, uint64_t value);
int vu_set_state(struct vhost_user *v, uint32_t request, uint32_t index, uint32_t num);

/* transport_ops.config_read */
int vu_config_read(struct transport *t, uint32_t off, void *buf, uint32_t len);

/* IOTLB messages go out at any time, in the middle of a request, too. Their answers are dropped:
 * by vu_call when one comes before its own answer, else by vu_iotlb_drain. */
int vu_send_iotlb(struct vhost_user *v, const struct vhost_user_iotlb *iotlb);
/* False: a request is under way; it will drain. */
bool vu_iotlb_drain(struct vhost_user *v);

/* ------------------------------------------------------------------------- vhost_user_rings.c */

/* Tells the memory table and every ring that is set up, and enables them. 0 or -errno, logged. */
int vu_rings_start(struct vhost_user *v);
/* When it returns 0 the back end touches no ring any more. Bounded. */
int vu_rings_stop(struct vhost_user *v);

/* ------------------------------------------------------------------------- vhost_user_channel.c */

/* Starts the thread. -errno. */
int vu_thread_start(struct vhost_user *v);
/* Ends it, if it runs. Bounded. */
void vu_thread_stop(struct vhost_user *v);
/*
 * Takes one message of the back end off the channel and answers it. 0; -ENOTCONN: the back end
 * closed the channel (it may, when it has no use for it); another -errno: given up.
 */
int vu_channel_serve(struct vhost_user *v);

#endif
