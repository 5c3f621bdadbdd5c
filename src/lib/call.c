/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/call: one message to the device and its answer, waited for or not.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "lib/internal.h"

/* How often a message is sent when the device answers EINTR. */
#define INTERRUPTED_MAX 8

/* ------------------------------------------------------------------ sending */

static bool send_now(struct lane *lane, struct share_call *c)
{
	struct bridge *b = bridge_of_lane(lane->bridge);
	const struct vfsdax *s = c->share;
	const struct fuse_args *args = c->args;
	struct fuse_in_header h = {
		.len = sizeof(h),
		.opcode = args->opcode,
		.unique = bridge_unique(b),
		.nodeid = args->nodeid,
		.uid = s->uid,
		.gid = s->gid,
		.pid = s->pid,
	};
	size_t at = sizeof(h), room = bridge_extension_room(b) + note_of_call(&c->call);
	struct iovec iov[2];

	for (size_t i = 0; i < ARRAY_SIZE(args->in); i++)
		h.len += (uint32_t)args->in[i].len;
	if (!bridge_lane_buffer(lane->bridge, h.len + room > FS_IN_BYTES, iov))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(args->in); i++) {
		bytes_put(iov, at, args->in[i].p, args->in[i].len);
		at += args->in[i].len;
	}
	if (args->in_place) {
		c->call.data = args->out;
		c->call.data_len = args->out_len;
	}
	bridge_lane_request(lane->bridge, &h, &c->call);
	return true;
}

bool lane_send(struct lane *lane, struct share_call *c)
{
	struct vfsdax *s = c->share;

	if (s->goes_on && !c->order)
		c->order = atomic_fetch_add(&s->away.order, 1) + 1;
	if (lane->bridge)
		return send_now(lane, c);
	c->call.held(&c->call);
	return true;
}

int args_take_answer(const struct fuse_args *args, int err, const uint8_t *payload, size_t len)
{
	if (err)
		return err;
	if (len > args->out_len || (len < args->out_len && !args->out_var))
		return -EIO;
	if (len && payload != args->out)
		memcpy(args->out, payload, len);
	return args->out_var ? (int)len : 0;
}

/* ------------------------------------------------------------------ with a waiter */

struct waited_call {
	struct share_call sent;
	int result;
	struct waiter waiter;
};

static void waited_call_done(struct bridge_call *call, int err, const uint8_t *payload, size_t len)
{
	struct waited_call *c = container_of(call, struct waited_call, sent.call);

	c->result = args_take_answer(c->sent.args, err, payload, len);
	waiter_wake(c->sent.share, &c->waiter); /* `c` is the other thread's from here on */
}

/* Waits for a buffer where all are at the device. */
static int send_when_possible(struct vfsdax *s, struct lane *lane, struct waited_call *c)
{
	uint64_t now = clock_now_ns(), until = now + s->timeout_ms * NS_PER_MS;

	pthread_mutex_lock(&lane->lock);
	while (!lane_send(lane, &c->sent)) {
		if (lane_reap_locked(lane))
			continue;
		pthread_mutex_unlock(&lane->lock);
		now = clock_now_ns();
		if (now >= until)
			return fs_caller_error(-ETIMEDOUT);
		share_pause(s, lane, MIN(now + NS_PER_MS, until));
		pthread_mutex_lock(&lane->lock);
	}
	lane_flush(lane);
	pthread_mutex_unlock(&lane->lock);
	return 0;
}

static void waited_call_held(struct bridge_call *call)
{
	waited_call_done(call, -EIO, NULL, 0);
}

static int call_and_wait(struct vfsdax *s, const struct fuse_args *args,
			 void (*held)(struct bridge_call *call))
{
	struct lane *lane = share_lane(s);
	struct waited_call c;
	int err;

	share_call_init(&c.sent, s, args, waited_call_done);
	c.sent.call.held = held;
	waiter_init(&c.waiter);
	err = send_when_possible(s, lane, &c);
	if (err)
		return err;
	/* The floors below end it with its time-out; if it is held, away.c. */
	share_wait(s, &c.waiter, lane, UINT64_MAX);
	return c.result;
}

int share_call(struct vfsdax *s, const struct fuse_args *args)
{
	int result = -EINTR;

	for (int i = 0; i < INTERRUPTED_MAX && result == -EINTR; i++)
		result = call_and_wait(s, args, share_hold);
	share_tend(s);
	return caller_error(result);
}

int share_ask(struct vfsdax *s, const struct fuse_args *args)
{
	return call_and_wait(s, args, waited_call_held);
}

int call_if_known(struct vfsdax *s, const struct fuse_args *args, atomic_bool *unknown)
{
	int err;

	if (atomic_load(unknown))
		return 0;
	IN_SCOPE_OF(s);
	err = share_call(s, args);
	if (err == -ENOSYS)
		atomic_store(unknown, true);
	return err == -ENOSYS ? 0 : err;
}

/* ------------------------------------------------------------------ without a waiter */

struct posted_call {
	struct share_call sent;
};

static void posted_call_done(struct bridge_call *call, int err, const uint8_t *payload, size_t len)
{
	struct posted_call *c = container_of(call, struct posted_call, sent.call);
	struct vfsdax *s = c->sent.share;

	(void)err;
	(void)payload;
	(void)len;
	free(c);
	atomic_fetch_sub(&s->posted, 1);
}

/* The arguments were its caller's: it is not repeated. */
static void posted_call_held(struct bridge_call *call)
{
	posted_call_done(call, -EIO, NULL, 0);
}

int share_post(struct vfsdax *s, const struct fuse_args *args)
{
	struct lane *lane = share_lane(s);
	struct posted_call *c = malloc(sizeof(*c));
	bool sent;

	if (!c)
		return -ENOMEM;
	share_call_init(&c->sent, s, args, posted_call_done);
	c->sent.call.held = posted_call_held;
	atomic_fetch_add(&s->posted, 1);
	pthread_mutex_lock(&lane->lock);
	sent = lane_send(lane, &c->sent);
	if (sent)
		lane_flush(lane);
	pthread_mutex_unlock(&lane->lock);
	if (sent)
		return 0;
	posted_call_done(&c->sent.call, 0, NULL, 0);
	return -EAGAIN;
}
