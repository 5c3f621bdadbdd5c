/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fs/call: requests of the driver's own: their headers, and those that are waited for. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "fs/internal.h"

uint64_t fs_unique(struct fs_session *s)
{
	return FUSE_UNIQUE_OWN_BIT |
	       2 * atomic_fetch_add_explicit(&s->next_unique, 1, memory_order_relaxed);
}

void fs_req_header(struct fs_req *req, uint32_t opcode, uint64_t nodeid, uint32_t arg_len)
{
	struct fuse_in_header h = {
		.len = (uint32_t)sizeof(h) + arg_len,
		.opcode = opcode,
		.unique = fs_unique(req->channel->session),
		.nodeid = nodeid,
	};

	memcpy(req->in, &h, sizeof(h));
	req->in_off = 0;
	req->in_len = h.len;
}

void fs_req_ask(struct fs_req *req, uint32_t opcode, uint64_t nodeid, uint64_t unique,
		const void *arg, uint32_t arg_len, uint32_t room)
{
	struct fuse_in_header h = {
		.len = (uint32_t)sizeof(h) + arg_len,
		.opcode = opcode,
		.unique = unique | FUSE_UNIQUE_ASK_BIT,
		.nodeid = nodeid,
	};

	assert(h.len <= FS_OWN_BYTES);
	req->in_off = FS_IN_BYTES;
	memcpy(req->in + req->in_off, &h, sizeof(h));
	memcpy(req->in + req->in_off + sizeof(h), arg, arg_len);
	req->in_len = h.len;
	req->in_payload_len = req->out_payload_len = 0;
	req->out_len = (uint32_t)sizeof(struct fuse_out_header) + room;
}

struct call_state {
	bool done;
	int err;
};

static void call_done(struct fs_req *req, void *ctx, int err)
{
	struct call_state *state = *(struct call_state **)req->user;

	(void)ctx;
	if (req->state == FS_REQ_LATE)
		return; /* fs_call() has returned */
	state->done = true;
	state->err = err;
}

int fs_call(struct fs_session *s, uint32_t opcode, uint64_t nodeid, const void *arg,
	    uint32_t arg_len, void *out, uint32_t out_len)
{
	struct fs_channel *ch = &s->channels[0];
	struct fs_req *req = fs_req_get(ch, 0);
	struct call_state state = {0}, *where = &state;
	struct timespec pause = {0, 20000};
	int got;

	if (!req || s->params.user_bytes < sizeof(where)) {
		if (req)
			fs_req_put(req, NULL);
		return -EBUSY;
	}
	memcpy(req->user, &where, sizeof(where));
	fs_req_header(req, opcode, nodeid, arg_len);
	if (arg_len)
		memcpy(req->in + sizeof(struct fuse_in_header), arg, arg_len);
	req->out_len = (uint32_t)sizeof(struct fuse_out_header) + out_len;
	req->done = call_done;
	state.err = fs_req_submit(req);
	state.done = state.err != 0;
	fs_channel_flush(ch);
	while (!state.done) {
		if (fs_channel_reap(ch, NULL) == 0)
			nanosleep(&pause, NULL);
	}
	if (state.err) {
		got = state.err;
	} else if (req->answer.error) {
		got = req->answer.error;
	} else {
		got = (int)(req->answer.len - sizeof(struct fuse_out_header));
		if (got) /* else `out` may be NULL, which memcpy may not be given */
			memcpy(out, req->out + sizeof(struct fuse_out_header), (size_t)got);
	}
	fs_req_put(req, NULL);
	return got;
}

int fs_caller_error(int err)
{
	return err == -ENODEV || err == -ENOTCONN || err == -EINTR ? err : -EIO;
}
