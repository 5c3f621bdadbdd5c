/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ask.h"

#include <sched.h>
#include <string.h>

#include "base/bytes.h"
#include "fs/fs.h"
#include "transport/vhost_user.h"
#include "wire/fuse.h"

#define TIMEOUT_MS 30000

uint32_t ask_uid;
uint8_t ask_answer[8192];
size_t ask_answer_len;

static struct transport *transport;
static struct fs_session *session;

struct fs_session *ask_connect(const char *socket, uint32_t agree)
{
	struct fs_params params = {.queues = 1,
				   .workers = 1,
				   .timeout_ms = TIMEOUT_MS,
				   .user_bytes = sizeof(int *),
				   .ask = agree};

	if (transport_vhost_user_open(socket, &(struct vhost_user_params){.timeout_ms = TIMEOUT_MS},
				      &transport) ||
	    fs_session_open(transport, &params, &session) ||
	    fs_session_init(session, UINT64_MAX, 0))
		return NULL;
	return session;
}

void ask_disconnect(void)
{
	fs_session_close(session);
	transport->ops->close(transport);
}

static void on_done(struct fs_req *req, void *ctx, int err)
{
	int *state = *(int **)req->user;

	(void)ctx;
	if (req->state == FS_REQ_LATE)
		return;
	if (!err && !req->answer.error) {
		ask_answer_len =
			MIN(req->answer.len - sizeof(struct fuse_out_header), sizeof(ask_answer));
		memcpy(ask_answer, req->out + sizeof(struct fuse_out_header), ask_answer_len);
	}
	*state = err ? err : req->answer.error ? req->answer.error : 1;
	fs_req_put(req, NULL);
}

int ask_later(uint32_t opcode, uint64_t nodeid, const void *arg, size_t len, int *state)
{
	struct fs_channel *ch = fs_channel(session, 0);
	struct fs_req *req = fs_req_get(ch, 0);
	struct fuse_in_header h;

	*state = 0;
	fs_req_header(req, opcode, nodeid, (uint32_t)len);
	memcpy(&h, req->in, sizeof(h));
	h.uid = h.gid = ask_uid;
	memcpy(req->in, &h, sizeof(h));
	memcpy(req->in + sizeof(h), arg, len);
	/* What may block gets no more room than it needs, as the kernel does it. */
	req->out_len = opcode == FUSE_SETLKW ? sizeof(struct fuse_out_header) : FS_OUT_BYTES;
	req->untimed = opcode == FUSE_SETLKW;
	req->done = on_done;
	*(int **)req->user = state;
	return fs_req_submit(req);
}

void ask_progress(void)
{
	struct fs_channel *ch = fs_channel(session, 0);

	fs_channel_flush(ch);
	fs_channel_reap(ch, NULL);
}

int ask(uint32_t opcode, uint64_t nodeid, const void *arg, size_t len)
{
	int state, rc;

	ask_answer_len = 0;
	rc = ask_later(opcode, nodeid, arg, len, &state);
	while (!rc && !state) {
		ask_progress();
		sched_yield();
	}
	return rc ? rc : state == 1 ? 0 : state;
}
