/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bridge/close: the end of a mount, bounded whatever the device does. */
#include <assert.h>
#include <errno.h>
#include <time.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "bridge/internal.h"

/* The time that an unmount waits for a device that does not answer. */
#define CLOSE_MS 3000u

/* Reaps everything once; for the end, when no worker does it. */
static int reap_all(void *ctx)
{
	struct bridge *b = ctx;

	bridge_note_failure(b->aside);
	if (b->window)
		window_expire(b->aside, b->window, clock_now_ns());
	interrupts_expire(b->aside, true);
	for (unsigned i = 0; i < fs_channel_count(b->session); i++) {
		fs_channel_reap(fs_channel(b->session, i), b->aside);
		fs_channel_flush(fs_channel(b->session, i));
	}
	fs_hiprio_progress(b->session);
	return transport_failed(b->transport);
}

static bool all_quiet(struct bridge *b)
{
	for (unsigned i = 0; i <= fs_channel_count(b->session); i++)
		if (atomic_load(&b->outstanding[i].n))
			return false;
	return true;
}

/* Waits for what is under way; what blocks for ever (SETLKW) is called off by the device's end. */
static void drain(struct bridge *b, unsigned timeout_ms)
{
	uint64_t end = clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	struct timespec pause = {0, 50000};

	do {
		reap_all(b);
		if (all_quiet(b))
			return;
		nanosleep(&pause, NULL);
	} while (clock_now_ns() < end);
}

static void forget_at_end(void *ctx, uint64_t nodeid, uint64_t nlookup)
{
	if (nodeid != FUSE_ROOT_ID)
		fs_forget(ctx, nodeid, nlookup);
}

/* Takes everything out of the window. A device that does not confirm that has it mapped for all we
 * know, and our requests under way: it is given up, which ends them. */
static void close_window(struct bridge *b)
{
	struct transport *t = b->transport;

	if (!transport_failed(t) &&
	    window_drain(b->aside, b->window, reap_all, b, MIN(b->params.timeout_ms, CLOSE_MS)))
		transport_fail(t, -ETIMEDOUT, "the device did not unmap its window in time");
	if (!transport_failed(t))
		return;
	reap_all(b);
}

/* FORGETs that find no room: a device that does not take them gets the DESTROY. */
static void send_forgets(struct bridge *b, unsigned timeout_ms)
{
	uint64_t end = clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;

	while (fs_hiprio_progress(b->session) && clock_now_ns() < end)
		nanosleep(&(struct timespec){0, 50000}, NULL);
}

/* Nobody asks for anything any more, and nothing is under way. */
static void stop(struct bridge *b)
{
	notice_stop(b); /* while there is somebody for whom it may wait */
	for (unsigned i = 0; b->pool && i < b->n_workers; i++)
		fuse_worker_stop(b->workers[i]->thread);
	for (unsigned i = 0; b->pool && i < b->n_workers; i++)
		fuse_worker_join(b->workers[i]->thread);
	assert(list_empty(&b->maps));
	drain(b, MIN(b->params.timeout_ms, CLOSE_MS));
	if (b->window)
		close_window(b);
	/* Answers to what is still under way would come to memory that is not ours any more. */
	fs_session_abandon(b->session, b->aside, -ENODEV);
}

static void end(struct bridge *b)
{
	for (unsigned i = 0; i < b->n_workers; i++)
		bridge_worker_free(b->workers[i]);
	bridge_free(b);
}

void bridge_leave(struct bridge *b)
{
	stop(b);
	bridge_unbind(b);
	end(b);
}

void bridge_close(struct bridge *b)
{
	if (!b)
		return;
	bridge_kept_end(b->kept);
	stop(b);
	node_forget_all(b->nodes, b->aside, forget_at_end, b->session);
	send_forgets(b, MIN(b->params.timeout_ms, 2000u));
	end(b);
}
