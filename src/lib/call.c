/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/call: one message to the device and its answer, waited for or not.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "lib/internal.h"

/* A device that says that it was interrupted is asked again, but not for ever. */
#define INTERRUPTED_MAX 8


/* ------------------------------------------------------------------ writing it */

static size_t message_len(const struct request *r)
{
	size_t len = sizeof(struct fuse_in_header);

	for (int i = 0; i < REQUEST_PIECES; i++)
		len += r->in[i].len;
	return len;
}

/* Copies behind what is there already, into the next buffer when the first is full. */
static void put(struct iovec iov[2], size_t *at, const void *p, size_t len)
{
	size_t first = *at < iov[0].iov_len ? MIN(len, iov[0].iov_len - *at) : 0;

	if (first)
		memcpy((uint8_t *)iov[0].iov_base + *at, p, first);
	if (first < len)
		memcpy((uint8_t *)iov[1].iov_base + (*at + first - iov[0].iov_len),
		       (const uint8_t *)p + first, len - first);
	*at += len;
}

bool lane_write(struct vfsdax *s, struct lane *lane, const struct request *r,
		struct fuse_in_header *h)
{
	struct iovec iov[2];
	size_t at = sizeof(*h);

	*h = (struct fuse_in_header){
		.len = (uint32_t)message_len(r),
		.opcode = r->opcode,
		.unique = bridge_unique(s->bridge),
		.nodeid = r->nodeid,
		.uid = s->uid,
		.gid = s->gid,
		.pid = s->pid,
	};
	if (!bridge_lane_buffer(lane->bridge, h->len > FS_IN_BYTES, iov))
		return false;
	for (int i = 0; i < REQUEST_PIECES; i++)
		if (r->in[i].len)
			put(iov, &at, r->in[i].p, r->in[i].len);
	return true;
}

int caller_error(int err)
{
	/* A program that is told EINTR believes in a signal of its own. */
	return err == -EINTR ? -EIO : err;
}

/* ------------------------------------------------------------------ waiting for it */

struct waited {
	struct bridge_call call;
	struct vfsdax *share;
	const struct request *request;
	ssize_t result;
	struct waiter waiter;
};

static ssize_t take_answer(const struct request *r, int err, const uint8_t *payload, size_t len)
{
	if (err)
		return err;
	if (r->data)
		return len <= r->data_len ? (ssize_t)len : -EIO;
	if (len < r->out_min || len > r->out_max)
		return -EIO;
	if (len)
		memcpy(r->out, payload, len);
	return (ssize_t)len;
}

static void waited_done(struct bridge_call *call, int err, const uint8_t *payload, size_t len)
{
	struct waited *c = container_of(call, struct waited, call);

	c->result = take_answer(c->request, err, payload, len);
	waiter_wake(c->share, &c->waiter); /* `c` is the other thread's from here on */
}

/* All buffers are with the device: waits until some may have come back. False: too long. */
static bool wait_for_buffer(struct vfsdax *s, struct lane *lane, uint64_t until_ns)
{
	uint64_t now = clock_now_ns();
	struct waiter nobody;

	if (now >= until_ns)
		return false;
	waiter_init(&nobody);
	share_wait(s, &nobody, lane, MIN(now + NS_PER_MS, until_ns));
	return true;
}

static ssize_t call_once(struct vfsdax *s, const struct request *r)
{
	uint64_t until = clock_now_ns() + s->timeout_ms * NS_PER_MS;
	struct lane *lane = share_lane(s);
	struct waited c = {
		.call = {.done = waited_done, .data = r->data, .data_len = r->data_len},
		.share = s,
		.request = r,
	};
	struct fuse_in_header h;

	waiter_init(&c.waiter);
	pthread_mutex_lock(&lane->lock);
	while (!lane_write(s, lane, r, &h)) {
		lane_reap_locked(lane);
		if (lane_write(s, lane, r, &h))
			break;
		pthread_mutex_unlock(&lane->lock);
		if (!wait_for_buffer(s, lane, until))
			return fs_caller_error(-ETIMEDOUT);
		pthread_mutex_lock(&lane->lock);
	}
	bridge_lane_request(lane->bridge, &h, &c.call);
	bridge_lane_flush(lane->bridge);
	pthread_mutex_unlock(&lane->lock);
	/* The time-out is that of the request below: it always ends in done(). */
	share_wait(s, &c.waiter, lane, UINT64_MAX);
	return c.result;
}

ssize_t share_call(struct vfsdax *s, const struct request *r)
{
	ssize_t result = -EINTR;

	for (int i = 0; i < INTERRUPTED_MAX && result == -EINTR; i++)
		result = call_once(s, r);
	share_tend(s);
	return result < 0 ? caller_error((int)result) : result;
}

/* ------------------------------------------------------------------ not waiting for it */

struct posted {
	struct bridge_call call;
	struct vfsdax *share;
};

static void posted_done(struct bridge_call *call, int err, const uint8_t *payload, size_t len)
{
	struct posted *c = container_of(call, struct posted, call);
	struct vfsdax *s = c->share;

	(void)err;
	(void)payload;
	(void)len;
	free(c);
	atomic_fetch_sub(&s->posted, 1);
}

int share_post(struct vfsdax *s, const struct request *r)
{
	struct lane *lane = share_lane(s);
	struct posted *c = malloc(sizeof(*c));
	struct fuse_in_header h;
	bool sent;

	if (!c)
		return -ENOMEM;
	*c = (struct posted){.call.done = posted_done, .share = s};
	pthread_mutex_lock(&lane->lock);
	sent = lane_write(s, lane, r, &h);
	if (sent) {
		atomic_fetch_add(&s->posted, 1);
		bridge_lane_request(lane->bridge, &h, &c->call);
		bridge_lane_flush(lane->bridge);
	}
	pthread_mutex_unlock(&lane->lock);
	if (!sent)
		free(c);
	return sent ? 0 : -EAGAIN;
}
