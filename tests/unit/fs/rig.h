/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rig: a session over the fake device, driven by the test's own thread. */
#ifndef VFSDAX_TESTS_FS_RIG_H
#define VFSDAX_TESTS_FS_RIG_H

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "capture.h"
#include "fake/fake.h"
#include "fs/fs.h"

#define WAIT_MS 20000

struct rig {
	struct transport *t;
	struct fake_device *dev;
	struct fs_session *s;
	struct fs_channel *ch;
};

/* What became of a request; lives in its user area. */
struct fate {
	unsigned done, late; /* how often */
	int err;
	bool keep; /* the test puts the slot itself */
};

static inline struct fate *fate_of(struct fs_req *req)
{
	return req->user;
}

static inline void on_done(struct fs_req *req, void *ctx, int err)
{
	struct fate *fate = fate_of(req);

	(void)ctx;
	if (req->state == FS_REQ_LATE) {
		fate->late++;
		return;
	}
	fate->done++;
	fate->err = err;
	if (!fate->keep)
		fs_req_put(req, NULL);
}

static inline void rig_open(struct rig *rig, const struct fake_params *device,
			    struct fs_params params)
{
	capture_begin();
	assert_int_equal(fake_create(device, &rig->t, &rig->dev), 0);
	if (!params.user_bytes)
		params.user_bytes = 64;
	if (!params.payloads)
		params.payloads = 2;
	assert_int_equal(fs_session_open(rig->t, &params, &rig->s), 0);
	rig->ch = fs_channel(rig->s, 0);
}

static inline void rig_close(struct rig *rig)
{
	fs_session_close(rig->s);
	rig->t->ops->close(rig->t);
}

/* A request of the driver's own with room for `room` bytes of payload. Not submitted. */
static inline struct fs_req *request(struct rig *rig, uint32_t opcode, uint32_t room)
{
	struct fs_req *req = fs_req_get(rig->ch, 0);

	assert_non_null(req);
	memset(req->user, 0, sizeof(struct fate));
	fs_req_header(req, opcode, 1, 0);
	req->out_len = (uint32_t)sizeof(struct fuse_out_header) + room;
	req->done = on_done;
	return req;
}

static inline struct fs_req *submitted(struct rig *rig, uint32_t opcode, uint32_t room)
{
	struct fs_req *req = request(rig, opcode, room);

	fate_of(req)->keep = true;
	fs_req_submit(req);
	fs_channel_flush(rig->ch);
	return req;
}

static inline struct fuse_in_header header_of(const struct fake_request *r)
{
	struct fuse_in_header h;

	assert_true(r->readable_bytes >= sizeof(h));
	memcpy(&h, r->readable, sizeof(h));
	return h;
}

static inline struct fake_request *device_gets(struct rig *rig, uint16_t queue, uint32_t opcode)
{
	struct fake_request *r = fake_device_wait(rig->dev, queue, WAIT_MS);

	if (!r)
		fail_msg("nothing came on queue %u, opcode %u was expected", queue, opcode);
	assert_int_equal(header_of(r).opcode, opcode);
	assert_int_equal(header_of(r).len, r->readable_bytes);
	return r;
}

/* Answers properly. */
static inline void device_answers(struct rig *rig, struct fake_request *r, int error,
				  const void *payload, size_t len)
{
	uint8_t *bytes = malloc(sizeof(struct fuse_out_header) + len);
	struct fuse_out_header h = {
		.len = (uint32_t)(sizeof(h) + len),
		.error = error,
		.unique = header_of(r).unique,
	};

	memcpy(bytes, &h, sizeof(h));
	if (len)
		memcpy(bytes + sizeof(h), payload, len);
	fake_device_push(rig->dev, r, bytes, h.len);
	free(bytes);
}

/* Reaps until `n` requests have been finished, or the time is over. */
static inline void reap_until(struct rig *rig, unsigned n)
{
	uint64_t end = clock_now_ns() + WAIT_MS * NS_PER_MS;
	unsigned got = 0;

	while (got < n) {
		got += fs_channel_reap(rig->ch, NULL);
		if (clock_now_ns() > end)
			fail_msg("%u of %u requests finished", got, n);
		if (got < n)
			nanosleep(&(struct timespec){0, 100000}, NULL);
	}
}

#endif
