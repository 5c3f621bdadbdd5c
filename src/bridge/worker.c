/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/worker: what a thread needs to serve requests (struct bridge_worker), and what the loop of
 * a mount's worker (fuse/worker.c) asks of the bridge.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "bridge/rebuild.h"
#include "fuse/reply.h"

/* How often a worker whose requests wait for the window looks for the window's time-outs. */
#define WINDOW_LOOK_NS (20 * NS_PER_MS)

bool bridge_worker_buffer(struct bridge_worker *w, bool long_message)
{
	if (!w->slot)
		w->slot = fs_req_get(w->channel, SLOTS_RESERVED);
	if (long_message && !w->payload)
		w->payload = fs_payload_get(w->channel, 0);
	return w->slot && (w->payload || !long_message);
}

void bridge_worker_flush(struct bridge_worker *w)
{
	fs_channel_flush(w->channel);
	atomic_store_explicit(&w->bridge->hiprio_waits, fs_hiprio_progress(w->bridge->session),
			      memory_order_relaxed);
}

void bridge_note_failure(struct bridge_worker *here)
{
	struct bridge *b = here->bridge;
	int err = transport_failed(b->transport);

	if (!err || atomic_exchange(&b->failed, true))
		return;
	if (b->window)
		window_fail(here, b->window, err);
}

unsigned bridge_worker_reap(struct bridge_worker *w)
{
	struct bridge *b = w->bridge;

	bridge_note_failure(w);
	if (b->window)
		window_expire(w, b->window, clock_now_ns());
	interrupts_expire(w, false);
	return fs_channel_reap(w->channel, w);
}

unsigned bridge_worker_busy(struct bridge_worker *w, uint64_t *deadline_ns)
{
	struct bridge *b = w->bridge;
	unsigned n = atomic_load(&w->outstanding->n) + fs_channel_abandoned(w->channel);

	*deadline_ns = UINT64_MAX;
	/* The hiprio queue has no caller that waits for it: somebody comes back while it is full.
	 */
	if (atomic_load_explicit(&b->hiprio_waits, memory_order_relaxed))
		n++;
	if (!n)
		return 0;
	fs_channel_busy(w->channel, deadline_ns);
	*deadline_ns =
		MIN(*deadline_ns, atomic_load_explicit(&b->interrupt_ns, memory_order_relaxed));
	if (b->window)
		*deadline_ns = MIN(*deadline_ns, window_expire(w, b->window, clock_now_ns()));
	if (atomic_load_explicit(&b->hiprio_waits, memory_order_relaxed))
		*deadline_ns = MIN(*deadline_ns, clock_now_ns() + WINDOW_LOOK_NS);
	return n;
}

/* ------------------------------------------------------------------ what a worker asks */

static bool worker_buffer(void *ctx, struct iovec iov[FUSE_WORKER_IOV])
{
	struct bridge_worker *w = ctx;

	iov[0] = (struct iovec){&w->head, sizeof(w->head)};
	if (bridge_failure(w->bridge)) {
		/* Nothing of the device's is used any more, not even to read what is refused. */
		iov[1] = (struct iovec){w->scratch, FS_PAYLOAD_BYTES};
		iov[2] = (struct iovec){NULL, 0};
		return true;
	}
	if (!bridge_worker_buffer(w, true))
		return false;
	iov[1] = (struct iovec){w->slot->in + sizeof(w->head), FS_IN_BYTES - sizeof(w->head)};
	iov[2] = (struct iovec){w->payload->va, FS_PAYLOAD_BYTES};
	return true;
}

/* A message that was read after the failure: it waits for another device, or is refused. */
static void refuse(struct bridge_worker *w, int fd, const struct iovec *iov, size_t len)
{
	int err = bridge_failure(w->bridge);
	struct bridge_kept *kept = w->bridge->kept;
	struct fuse_interrupt_in in;

	bridge_note_failure(w);
	if (w->head.opcode == FUSE_INTERRUPT && len >= sizeof(w->head) + sizeof(in)) {
		memcpy(&in, iov[1].iov_base, sizeof(in));
		/* Else what it is about may be on its way there. */
		if (fuse_held_interrupt(kept->held, in.unique))
			return;
	}
	if (bridge_goes_on(w->bridge)) {
		fuse_held_add(kept->held, fd, iov, FUSE_WORKER_IOV, len);
		return;
	}
	if (fuse_wants_answer(w->head.opcode))
		fuse_reply_error(fd, w->head.unique, err);
}

static void worker_request(void *ctx, int fd, const struct iovec *iov, size_t len)
{
	struct bridge_worker *w = ctx;

	if (iov[1].iov_base == w->scratch) {
		refuse(w, fd, iov, len);
		return;
	}
	op_begin(w, &w->head, fd, NULL, len);
}

static unsigned worker_reap(void *ctx)
{
	return bridge_worker_reap(ctx);
}

static void worker_flush(void *ctx)
{
	bridge_worker_flush(ctx);
}

static unsigned worker_busy(void *ctx, uint64_t *deadline_ns)
{
	return bridge_worker_busy(ctx, deadline_ns);
}

static bool worker_calls_on(void *ctx)
{
	struct bridge_worker *w = ctx;

	return fs_channel_enable_calls(w->channel);
}

static void worker_calls_off(void *ctx)
{
	struct bridge_worker *w = ctx;

	fs_channel_disable_calls(w->channel);
}

static const struct fuse_worker_ops worker_ops = {
	.buffer = worker_buffer,
	.request = worker_request,
	.reap = worker_reap,
	.flush = worker_flush,
	.busy = worker_busy,
	.calls_on = worker_calls_on,
	.calls_off = worker_calls_off,
};

/* ------------------------------------------------------------------ making one */

struct bridge_worker *bridge_worker_new(struct bridge *b, unsigned channel)
{
	struct bridge_worker *w = aligned_alloc(64, round_up(sizeof(*w), 64));

	if (!w)
		return NULL;
	memset(w, 0, sizeof(*w));
	w->bridge = b;
	w->channel = fs_channel(b->session, channel);
	w->outstanding = &b->outstanding[channel % fs_channel_count(b->session)];
	w->scratch = aligned_alloc(4096, FS_PAYLOAD_BYTES);
	w->remover = fs_req_get(w->channel, 0);
	if (w->scratch && w->remover)
		return w;
	bridge_worker_free(w);
	return NULL;
}

void bridge_worker_free(struct bridge_worker *w)
{
	fuse_worker_free(w->thread);
	if (w->slot) {
		w->slot->payload = w->payload;
		fs_req_put(w->slot, w);
	}
	if (w->remover)
		fs_req_put(w->remover, w);
	free(w->scratch);
	free(w);
}

int bridge_start_worker(struct bridge *b, int fuse_fd)
{
	struct bridge_worker *w = bridge_worker_new(b, b->n_workers);
	struct fuse_worker_params params = {
		.ops = &worker_ops,
		.fd = fuse_fd,
		.ended_fd = b->params.ended_fd,
		.cpu = b->cpus[b->n_workers],
		.pool = b->pool,
		.place = b->n_workers,
		.polling = b->params.polling,
		.held = b->kept->held,
	};
	int err;

	if (!w) {
		log_error("a worker cannot be started: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	params.ctx = w;
	params.call_fds[0] = fs_channel_call_fd(w->channel);
	params.call_fds[1] = -1;
	err = fuse_worker_start(&params, &w->thread);
	if (err) {
		bridge_worker_free(w);
		return err;
	}
	b->workers[b->n_workers++] = w;
	return 0;
}
