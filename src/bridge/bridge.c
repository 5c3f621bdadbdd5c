/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge: its life, and what a worker asks of it. INIT is where both sides are tied together.
 */
#include "bridge/bridge.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "bridge/internal.h"
#include "fuse/reply.h"

/* How often a worker whose requests wait for the window looks for the window's time-outs. */
#define WINDOW_LOOK_NS (20 * NS_PER_MS)
/* The time that an unmount waits for a device that does not answer. */
#define CLOSE_MS       3000u
#define INIT_WAIT_NS   (10 * NS_PER_S)

size_t bridge_user_bytes(void)
{
	return round_up(sizeof(struct op), 64);
}

/* ------------------------------------------------------------------ workers, and lanes */

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

void bridge_note_failure(struct bridge *b)
{
	int err = transport_failed(b->transport);

	if (!err || atomic_exchange(&b->failed, true))
		return;
	if (b->window)
		window_fail(b->window, err);
}

unsigned bridge_worker_reap(struct bridge_worker *w)
{
	struct bridge *b = w->bridge;
	struct bridge_worker *before = mapping_enter(w);
	unsigned n;

	bridge_note_failure(b);
	if (b->window)
		window_expire(b->window, clock_now_ns());
	interrupts_expire(w, false);
	n = fs_channel_reap(w->channel, w);
	mapping_enter(before);
	return n;
}

unsigned bridge_worker_busy(struct bridge_worker *w, uint64_t *deadline_ns)
{
	struct bridge *b = w->bridge;
	unsigned n = atomic_load(&w->outstanding->n) + fs_channel_abandoned(w->channel);

	*deadline_ns = UINT64_MAX;
	/* The hiprio queue has no caller that waits for it: somebody comes back while it is full. */
	if (atomic_load_explicit(&b->hiprio_waits, memory_order_relaxed))
		n++;
	if (!n)
		return 0;
	fs_channel_busy(w->channel, deadline_ns);
	*deadline_ns = MIN(*deadline_ns, atomic_load_explicit(&b->interrupt_ns, memory_order_relaxed));
	if (b->window)
		*deadline_ns = MIN(*deadline_ns, window_expire(b->window, clock_now_ns()));
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

/* A message that was read after the failure. */
static void refuse(struct bridge_worker *w, int fd)
{
	int err = bridge_failure(w->bridge);

	bridge_note_failure(w->bridge);
	if (w->head.opcode != FUSE_FORGET && w->head.opcode != FUSE_BATCH_FORGET &&
	    w->head.opcode != FUSE_INTERRUPT)
		fuse_reply_error(fd, w->head.unique, err);
}

static void worker_request(void *ctx, int fd, const struct iovec *iov, size_t len)
{
	struct bridge_worker *w = ctx;
	struct bridge_worker *before;

	if (iov[1].iov_base == w->scratch) {
		refuse(w, fd);
		return;
	}
	before = mapping_enter(w);
	op_begin(w, &w->head, fd, NULL, len);
	mapping_enter(before);
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

/* ------------------------------------------------------------------ INIT */

/* Signals do not shorten the time, nor make it longer. */
static bool wait_readable(int fd, uint64_t time_ns)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t now = clock_now_ns(), end = now + time_ns;
	int n;

	do {
		n = poll(&p, 1, (int)((end - now + NS_PER_MS - 1) / NS_PER_MS));
		now = clock_now_ns();
	} while (n < 0 && errno == EINTR && now < end);
	return n == 1;
}

/* The kernel sends INIT by itself, right after the mount. */
static int read_init(int fd, struct fuse_in_header *h, struct fuse_init_in *in)
{
	size_t cap = FS_IN_BYTES + FS_PAYLOAD_BYTES; /* the kernel refuses a shorter buffer */
	uint8_t *buf = malloc(cap);
	ssize_t n = -1;
	int err = 0;

	if (!buf)
		return -ENOMEM;
	if (wait_readable(fd, INIT_WAIT_NS))
		n = read(fd, buf, cap);
	if (n < (ssize_t)(sizeof(*h) + FUSE_COMPAT_INIT_OUT_SIZE)) {
		log_error("the kernel sent no FUSE INIT: was it unmounted meanwhile?");
		err = -EIO;
	} else {
		memcpy(h, buf, sizeof(*h));
		memset(in, 0, sizeof(*in));
		memcpy(in, buf + sizeof(*h), MIN((size_t)n - sizeof(*h), sizeof(*in)));
		if (h->opcode != FUSE_INIT || in->major != FUSE_KERNEL_VERSION || in->minor < 31) {
			log_error("the kernel speaks FUSE %u.%u; 7.31 (Linux 5.4) is the oldest that will do",
				  in->major, in->minor);
			err = -EPROTO;
		}
	}
	free(buf);
	return err;
}

static int negotiate(struct bridge *b, int fuse_fd)
{
	struct fuse_in_header h;
	struct fuse_init_in in;
	struct fuse_init_out out;
	int err = read_init(fuse_fd, &h, &in);

	if (err)
		return err;
	err = fs_session_init(b->session, fs_init_in_flags(&in), in.max_readahead);
	if (err) {
		fuse_reply_error(fuse_fd, h.unique, -EIO);
		return err;
	}
	fs_init_reply(&in, fs_limits(b->session), &out);
	b->kernel_flags = fs_init_out_flags(&out);
	err = fuse_reply_data(fuse_fd, h.unique, &out, sizeof(out));
	if (err)
		log_error("the kernel did not take the answer to INIT: %s", strerror(-err));
	return err;
}

/* ------------------------------------------------------------------ the window */

static int open_window(struct bridge *b)
{
	const struct fs_limits *limits = fs_limits(b->session);
	struct shm_window shm = {0};
	const char *reason = "the device has no window";
	struct window_params params = {
		.map_alignment = limits->map_alignment,
		.ranges_max = b->params.window_ranges_max,
		.admit = b->params.window_admit,
		.router = &b->router,
		.ops = &bridge_window_ops,
		.ctx = b,
	};
	int err;

	b->per_inode_dax = limits->flags & FUSE_HAS_INODE_DAX;
	if (b->params.dax == BRIDGE_DAX_NEVER) {
		b->no_window_reason = "mounted with dax=never";
		return 0;
	}
	if (b->params.dax == BRIDGE_DAX_ALWAYS)
		b->per_inode_dax = false;
	if (b->params.dax == BRIDGE_DAX_INODE && !b->per_inode_dax) {
		b->no_window_reason = "dax=inode, but the device does not say which files (no HAS_INODE_DAX)";
		return 0;
	}
	err = b->transport->ops->window(b->transport, &shm, &reason);
	if (err)
		return err;
	if (!shm.len_bytes) {
		b->no_window_reason = reason ? reason : "the device has no window";
		return 0;
	}
	if (!(limits->flags & FUSE_MAP_ALIGNMENT)) {
		b->no_window_reason = "the device has a window, but did not accept FUSE_MAP_ALIGNMENT";
		return 0;
	}
	params.va = b->window_va = shm.va;
	params.len_bytes = shm.len_bytes;
	params.remove_batch_max = (FS_IN_BYTES - 128) / sizeof(struct fuse_removemapping_one);
	err = window_copy_init();
	if (!err)
		err = window_create(&params, &b->window);
	if (err == -EINVAL) {
		b->no_window_reason = "the device's window is too small to be used";
		return 0;
	}
	if (err)
		log_error("the window cannot be used: %s", strerror(-err));
	return err;
}

const char *bridge_no_dax_reason(struct bridge *b)
{
	struct window_stats stats;

	if (!b->window)
		return b->no_window_reason;
	window_get_stats(b->window, &stats);
	if (stats.hits)
		return NULL;
	for (unsigned i = 0; i < WINDOW_REFUSAL_ERRNOS; i++)
		if (stats.refusals[i].count && stats.refusals[i].err) {
			snprintf(b->refusal_reason, sizeof(b->refusal_reason), "map refused: %s",
				 strerrorname_np(stats.refusals[i].err));
			return b->refusal_reason;
		}
	/* A device that marks inodes, but none of those that anybody has looked at. */
	if (b->per_inode_dax && !atomic_load(&b->dax_seen) && node_count(b->nodes) > 1)
		return "policy none: the device marks no file for DAX";
	return NULL;
}

/* ------------------------------------------------------------------ open, close */

/* Workers, if there were any, have been freed. Anything may not be there. */
void bridge_free(struct bridge *b)
{
	if (b->window)
		window_destroy(b->window);
	if (b->aside)
		bridge_worker_free(b->aside);
	node_table_destroy(b->nodes);
	fuse_pool_destroy(b->pool);
	free(b->cpus);
	free(b->outstanding);
	free(b->workers);
	free(b);
}

struct bridge *bridge_new(struct fs_session *s, const struct bridge_params *params)
{
	struct bridge *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->session = s;
	b->transport = fs_transport(s);
	b->params = *params;
	pthread_mutex_init(&b->reap_lock, NULL);
	pthread_mutex_init(&b->interrupt_lock, NULL);
	pthread_mutex_init(&b->hold_lock, NULL);
	pthread_cond_init(&b->hold_told, NULL);
	list_init(&b->holds);
	list_init(&b->interrupts);
	atomic_init(&b->interrupt_ns, UINT64_MAX);
	b->outstanding = aligned_alloc(64, (fs_channel_count(s) + 1) * sizeof(*b->outstanding));
	if (b->outstanding)
		memset(b->outstanding, 0, (fs_channel_count(s) + 1) * sizeof(*b->outstanding));
	b->aside = b->outstanding ? bridge_worker_new(b, 0) : NULL;
	if (b->aside)
		b->aside->outstanding = &b->outstanding[fs_channel_count(s)];
	if (!b->aside || node_table_create(&b->nodes)) {
		bridge_free(b);
		return NULL;
	}
	return b;
}

int bridge_ready(struct bridge *b)
{
	struct node *root = node_lookup(b->nodes, FUSE_ROOT_ID);

	if (!root)
		return -ENOMEM;
	node_note_attr(b->nodes, root, fs_root_attr(b->session), false, 0);
	b->root_attr = *fs_root_attr(b->session);
	return open_window(b);
}

int bridge_open(struct fs_session *s, int fuse_fd, const struct bridge_params *params,
		struct bridge **out)
{
	struct bridge *b = bridge_new(s, params);
	int err = -ENOMEM;

	if (!b)
		return err;
	b->workers = calloc(params->workers, sizeof(struct bridge_worker *));
	b->cpus = malloc(params->workers * sizeof(int));
	if (!b->workers || !b->cpus)
		goto failed;
	for (unsigned i = 0; i < params->workers; i++)
		b->cpus[i] = params->cpus ? params->cpus[i] : -1;
	if (fuse_pool_create(params->polling, b->cpus, params->workers, &b->pool))
		goto failed;
	err = negotiate(b, fuse_fd);
	if (err)
		goto failed;
	err = bridge_ready(b);
	if (err)
		goto failed;
	*out = b;
	return 0;

failed:
	bridge_free(b);
	return err;
}

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
	};
	int err;

	if (!w) {
		log_error("a worker cannot be started: %s", strerror(ENOMEM));
		close(fuse_fd);
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

bool bridge_ended(struct bridge *b)
{
	for (unsigned i = 0; i < b->n_workers; i++)
		if (!fuse_worker_ended(b->workers[i]->thread))
			return false;
	return true;
}

/* Reaps everything once; for the end, when no worker does it. */
static int reap_all(void *ctx)
{
	struct bridge *b = ctx;
	struct bridge_worker *before = mapping_enter(b->aside);

	bridge_note_failure(b);
	if (b->window)
		window_expire(b->window, clock_now_ns());
	interrupts_expire(b->aside, true);
	for (unsigned i = 0; i < fs_channel_count(b->session); i++) {
		fs_channel_reap(fs_channel(b->session, i), b->aside);
		fs_channel_flush(fs_channel(b->session, i));
	}
	fs_hiprio_progress(b->session);
	mapping_enter(before);
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
	    window_drain(b->window, reap_all, b, MIN(b->params.timeout_ms, CLOSE_MS)))
		transport_fail(t, -ETIMEDOUT, "the device did not unmap its window in time");
	if (!transport_failed(t))
		return;
	reap_all(b);
}

/* FORGETs that find no room: a device that does not take them is told enough by the DESTROY. */
static void send_forgets(struct bridge *b, unsigned timeout_ms)
{
	uint64_t end = clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;

	while (fs_hiprio_progress(b->session) && clock_now_ns() < end)
		nanosleep(&(struct timespec){0, 50000}, NULL);
}

void bridge_close(struct bridge *b)
{
	if (!b)
		return;
	for (unsigned i = 0; b->pool && i < b->n_workers; i++)
		fuse_worker_stop(b->workers[i]->thread);
	for (unsigned i = 0; b->pool && i < b->n_workers; i++)
		fuse_worker_join(b->workers[i]->thread);
	assert(list_empty(&b->holds));
	drain(b, MIN(b->params.timeout_ms, CLOSE_MS));
	if (b->window)
		close_window(b);
	/* Answers to what is still under way would come to memory that is not ours any more. */
	fs_session_abandon(b->session, b->aside, -ENODEV);
	node_forget_all(b->nodes, forget_at_end, b->session);
	send_forgets(b, MIN(b->params.timeout_ms, 2000u));
	for (unsigned i = 0; i < b->n_workers; i++)
		bridge_worker_free(b->workers[i]);
	bridge_free(b);
}
