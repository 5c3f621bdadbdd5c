/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bridge/caller: lanes, which are workers without a thread: the calling thread takes that part.
 */
#include "bridge/caller.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "bridge/rebuild.h"

/* What a program wants of the device. Without the rest: a file is always opened, the umask is the
 * library's, and rights are the host's to judge. */
#define CALLER_FLAGS (FUSE_ATOMIC_O_TRUNC | FUSE_HANDLE_KILLPRIV_V2)

static struct bridge_lane *as_lane(struct bridge_worker *w)
{
	return (struct bridge_lane *)w;
}

static struct bridge_worker *as_worker(struct bridge_lane *lane)
{
	return (struct bridge_worker *)lane;
}

static int open_lanes(struct bridge *b)
{
	unsigned n = b->params.workers;

	/* Another device may have fewer: then lanes share them. */
	if (!b->kept->bridges)
		n = MIN(n, fs_channel_count(b->session));

	b->workers = calloc(n, sizeof(struct bridge_worker *));
	if (!b->workers)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		struct bridge_worker *w = bridge_worker_new(b, i);

		if (!w)
			return -ENOMEM;
		b->workers[b->n_workers++] = w;
	}
	return 0;
}

int bridge_open_caller(struct fs_session *s, const struct bridge_params *params,
		       struct bridge **out)
{
	struct bridge *b = bridge_new(s, params);
	int err = b ? open_lanes(b) : -ENOMEM;

	if (!err && !b->kept->bridges) {
		rights_take_own_groups(b->kept);
		b->kept->state->offered.flags = CALLER_FLAGS;
	}
	if (!err)
		err = bridge_begin(b, -1);
	if (err == -ENOMEM)
		log_error("there is not enough memory for the share");
	if (!err) {
		*out = b;
		return 0;
	}
	if (b) {
		for (unsigned i = 0; i < b->n_workers; i++)
			bridge_worker_free(b->workers[i]);
		bridge_free(b);
	}
	return err;
}

unsigned bridge_lane_count(struct bridge *b)
{
	return b->n_workers;
}

struct bridge_lane *bridge_lane(struct bridge *b, unsigned i)
{
	return as_lane(b->workers[i]);
}

struct bridge *bridge_of_lane(struct bridge_lane *lane)
{
	return as_worker(lane)->bridge;
}

/* ------------------------------------------------------------------ messages */

bool bridge_lane_buffer(struct bridge_lane *lane, bool long_message, struct iovec iov[2])
{
	struct bridge_worker *w = as_worker(lane);

	if (!bridge_worker_buffer(w, long_message))
		return false;
	iov[0] = (struct iovec){w->slot->in, FS_IN_BYTES};
	iov[1] = long_message ? (struct iovec){w->payload->va, FS_PAYLOAD_BYTES}
			      : (struct iovec){NULL, 0};
	return true;
}

void bridge_lane_request(struct bridge_lane *lane, const struct fuse_in_header *h,
			 struct bridge_call *call)
{
	struct bridge_worker *w = as_worker(lane);

	struct fuse_in_header head = *h;

	assert(w->slot && h->len >= sizeof(*h));
	assert(h->len + note_of_call(call) <= FS_IN_BYTES + (w->payload ? FS_PAYLOAD_BYTES : 0));
	if (note_of_call(call))
		note_bring(w, &head, &call->note);
	op_begin(w, &head, -1, call, head.len);
}

void bridge_lane_publish(struct bridge_lane *lane)
{
	fs_channel_publish(as_worker(lane)->channel);
}

void bridge_lane_flush(struct bridge_lane *lane)
{
	bridge_worker_flush(as_worker(lane));
}

unsigned bridge_lane_reap(struct bridge_lane *lane)
{
	return bridge_worker_reap(as_worker(lane));
}

unsigned bridge_lane_busy(struct bridge_lane *lane, uint64_t *deadline_ns)
{
	return bridge_worker_busy(as_worker(lane), deadline_ns);
}

bool bridge_lane_calls_on(struct bridge_lane *lane)
{
	return fs_channel_enable_calls(as_worker(lane)->channel);
}

void bridge_lane_calls_off(struct bridge_lane *lane)
{
	fs_channel_disable_calls(as_worker(lane)->channel);
}

int bridge_lane_call_fd(struct bridge_lane *lane)
{
	return fs_channel_call_fd(as_worker(lane)->channel);
}

unsigned bridge_reap(struct bridge *b)
{
	unsigned n;

	pthread_mutex_lock(&b->reap_lock);
	n = bridge_worker_reap(b->aside);
	bridge_worker_flush(b->aside);
	pthread_mutex_unlock(&b->reap_lock);
	return n;
}

uint64_t bridge_unique(struct bridge *b)
{
	return fs_unique(b->session);
}

struct node *bridge_kept_node(struct bridge_kept *kept, uint64_t nodeid)
{
	return node_find(kept->nodes, nodeid);
}

static void forget_now(void *ctx, uint64_t nodeid, uint64_t nlookup)
{
	fs_forget(ctx, nodeid, nlookup);
}

void forget_lookups(struct bridge_worker *here, uint64_t nodeid, uint64_t nlookup)
{
	struct bridge *b = here->bridge;

	node_forget(b->nodes, here, nodeid, nlookup, forget_now, b->session);
	while ((nodeid = numbers_idle(b->numbers)))
		node_forget(b->nodes, here, nodeid, 0, forget_now, b->session);
}

void bridge_forget(struct bridge *b, uint64_t nodeid, uint64_t nlookup)
{
	forget_lookups(b->aside, nodeid, nlookup);
}

bool bridge_forgets(struct bridge_kept *kept, uint64_t nodeid)
{
	return node_is_closing(kept->nodes, nodeid);
}

bool bridge_hold_mapped(struct bridge_kept *kept, uint64_t nodeid)
{
	return node_hold_mapped(kept->nodes, nodeid);
}

uint64_t bridge_window_bytes(struct bridge *b)
{
	struct window_stats stats = {0};

	if (b->window)
		window_get_stats(b->window, &stats);
	return stats.bytes_total;
}

uint64_t bridge_flags(struct bridge *b)
{
	return b->kernel_flags;
}
