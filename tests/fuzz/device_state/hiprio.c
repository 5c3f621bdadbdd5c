/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hiprio.h"

#include <sched.h>
#include <string.h>

#include "base/clock.h"
#include "fs/internal.h"

#include "../require.h"
#include "known.h"
#include "state.h"

void hiprio_settle(struct fs_session *session)
{
	uint64_t begun = clock_now_ns();

	while (fs_hiprio_progress(session) || vq_in_flight(session->hiprio.vq)) {
		atomic_store(&session->hiprio.active, true);
		REQUIRE(clock_now_ns() - begun < STATE_PATIENCE_MS * NS_PER_MS);
		sched_yield();
	}
}

/* A message that has no answer, as it is: what fs_forget() and fs_interrupt() do not send. */
static void send_hiprio(struct fs_session *session, const struct record *r, uint32_t opcode,
			const void *arg, size_t len)
{
	struct virtqueue *vq = session->hiprio.vq;
	struct fs_req *req = fs_req_get(fs_channel(session, 0), 0);
	struct fuse_in_header h = {.opcode = opcode, .nodeid = known_node(r->node2)};
	uint64_t begun = clock_now_ns();
	struct vq_segment in, out;
	struct vq_done done;
	int n;

	REQUIRE(req);
	len = r->flags & REC_SHORT ? r->value % (len + 1) : len;
	h.len = (uint32_t)(sizeof(h) + len);
	h.unique = fs_unique(session);
	memcpy(req->in, &h, sizeof(h));
	memcpy(req->in + sizeof(h), arg, len);
	in = (struct vq_segment){req->in_iova, h.len};
	out = (struct vq_segment){req->out_iova, 16u + r->arg};
	REQUIRE(vq_add(vq, &in, 1, &out, r->flags & REC_ROOM ? 1 : 0, req) == 0);
	if (vq_publish(vq))
		session->t->ops->kick(session->t, VIRTIO_FS_QUEUE_HIPRIO);
	while ((n = vq_reap(vq, &done, 1, NULL)) == 0) {
		REQUIRE(clock_now_ns() - begun < STATE_PATIENCE_MS * NS_PER_MS);
		sched_yield();
	}
	REQUIRE(n == 1 && done.token == req);
	fs_req_put(req, NULL);
}

void hiprio_batch_forget(struct fs_session *session, const struct record *r)
{
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one[16];
	} m = {.in = {.count = r->arg % 17u}};
	bool lies = r->flags & (REC_CORRUPT | REC_SHORT | REC_LIE);

	for (unsigned i = 0; i < m.in.count; i++) {
		if (lies || i % 4 == 3) {
			m.one[i].nodeid = known_node((uint8_t)(r->node + i + (lies ? 0 : 248)));
			m.one[i].nlookup = r->flags & REC_CORRUPT ? UINT64_MAX : i % 2;
		} else {
			m.one[i].nlookup = known_forget((uint8_t)(r->node + i), &m.one[i].nodeid);
		}
	}
	if (r->flags & REC_LIE)
		m.in.count = r->value;
	send_hiprio(session, r, FUSE_BATCH_FORGET, &m,
		    sizeof(m.in) + r->arg % 17u * sizeof(m.one[0]));
}

void hiprio_interrupt(struct fs_session *session, const struct record *r, uint64_t unique)
{
	struct fuse_interrupt_in in = {.unique = unique};

	send_hiprio(session, r, FUSE_INTERRUPT, &in, sizeof(in));
}
