/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel: the back-end channel, on which this side asks and the front end answers
 * (vhost-user.rst, "Back-end communication").
 *
 * It owns the descriptor and keeps questions and answers in step; it does not know what they mean.
 * The main thread never waits here: queue threads do, and channel_interrupt() ends their waiting,
 * so that the main thread, which answers the other socket, can always take the channel back.
 */
#ifndef VFSDAX_DEVICE_VHOST_CHANNEL_H
#define VFSDAX_DEVICE_VHOST_CHANNEL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct channel {
	/* Guards `fd` against replacement and keeps messages whole. Taken after call_lock. */
	pthread_mutex_t send_lock;
	/* Held for one question and its answer. Guards `stale`. */
	pthread_mutex_t call_lock;
	int fd;		/* -1: the front end gave none */
	int wake_fd;	/* eventfd: readable while interrupted */
	unsigned stale; /* answers still to come to questions that were given up */
	_Atomic bool interrupted;
	/* The front end answers NEED_REPLY (REPLY_ACK). Without it there is nothing to call. */
	_Atomic bool replies;
};

int channel_init(struct channel *c);
void channel_fini(struct channel *c);

/* Takes `fd` (-1: none) in place of the one so far. Main thread; ends what waits first. */
void channel_set(struct channel *c, int fd);

/* From now on waiting and sending fail with -ECANCELED, until channel_resume(). */
void channel_interrupt(struct channel *c);
void channel_resume(struct channel *c);

/* Sends a message that has no answer. -ENOTCONN, -ECANCELED, -ETIMEDOUT or what sendmsg() said. */
int channel_send(struct channel *c, uint32_t request, const void *payload, uint32_t size,
		 unsigned timeout_ms);

/*
 * Sends a message with NEED_REPLY, with `fd` unless it is -1, and waits for the answer's u64.
 * Errors as channel_send(); -EPROTO for an answer that is none, -EOPNOTSUPP where there are none.
 */
int channel_call(struct channel *c, uint32_t request, const void *payload, uint32_t size, int fd,
		 unsigned timeout_ms, uint64_t *answer);

#endif
