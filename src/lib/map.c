/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/map: pointers into the window: maps of the bridge with a budget and a callback of the
 * program.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/barrier.h"
#include "base/clock.h"
#include "lib/internal.h"

#define FLAGS_KNOWN (VFSDAX_MAP_WRITE | VFSDAX_MAP_WHOLE | VFSDAX_MAP_NOWAIT)
/* Between attempts during a truncation. */
#define RETRY_NS    (1 * NS_PER_MS)

struct vfsdax_map {
	struct bridge_map map;
	struct vfsdax_file *file;
	struct device *device; /* whose memory it is */
	size_t budget_bytes;
	pthread_mutex_t lock; /* of the two below */
	void (*stale)(void *ctx, struct vfsdax_map *map, int err);
	void *stale_ctx;
};

/* This thread is inside a program's stale(), where messages cannot be sent: a lane's lock may be
 * held. */
static _Thread_local unsigned in_stale;

/* On any thread. The program may unmap in here: then the map is gone. */
static void map_revoked(struct bridge_map *map, int err)
{
	struct vfsdax_map *m = container_of(map, struct vfsdax_map, map);
	void (*stale)(void *ctx, struct vfsdax_map *map, int err);
	void *ctx;

	pthread_mutex_lock(&m->lock);
	stale = m->stale;
	ctx = m->stale_ctx;
	pthread_mutex_unlock(&m->lock);
	if (!stale)
		return;
	in_stale++;
	stale(ctx, m, err);
	in_stale--;
}

/* ------------------------------------------------------------------ budget */

/* Takes up to *len of what is left, all of it with `whole`. -ENOSPC. */
static int budget_take(struct vfsdax *s, size_t *len, bool whole)
{
	uint64_t held = atomic_load(&s->mapped_bytes), take;

	do {
		uint64_t left = s->map_budget_bytes - MIN(held, s->map_budget_bytes);

		take = MIN(*len, left);
		if (!take || (whole && take < *len))
			return because(-ENOSPC, "map_budget_bytes are mapped");
	} while (!atomic_compare_exchange_weak(&s->mapped_bytes, &held, held + take));
	*len = (size_t)take;
	return 0;
}

static void budget_give(struct vfsdax *s, size_t len)
{
	atomic_fetch_sub(&s->mapped_bytes, len);
}

/* ------------------------------------------------------------------ map */

struct window_wait {
	struct window_waiter window;
	struct vfsdax *share;
	struct waiter waiter;
	int err;
};

static void window_wait_done(struct window_waiter *w, void *by, int err)
{
	struct window_wait *wait = container_of(w, struct window_wait, window);

	(void)by;
	wait->err = err;
	waiter_wake(wait->share, &wait->waiter);
}

/* bridge_map(); also -ESTALE where the device is away: a GETATTR waits until it is back. */
static int map_here(struct vfsdax_map *m, uint64_t off, size_t len, unsigned flags,
		    struct window_waiter *waiter)
{
	struct vfsdax_file *f = m->file;
	struct vfsdax *s = f->share;
	struct lane *lane = share_enter(s);
	int err;

	if (!lane)
		return -ESTALE;
	err = bridge_map(s->bridge, f->node, off, len, flags, &m->map, waiter);
	if (!err)
		m->device = device_get(s->device);
	else if (err != -EINPROGRESS && device_may_return(s))
		err = -ESTALE;
	gate_unlock(s, lane);
	return err;
}

/* Attempt number `n`: 0, -errno, or 1: to be repeated. */
static int try_map(struct vfsdax_map *m, uint64_t off, size_t len, unsigned flags, unsigned n)
{
	struct vfsdax_file *f = m->file;
	struct vfsdax *s = f->share;
	struct window_wait wait = {.window.wake = window_wait_done, .share = s};
	struct fuse_attr attr;
	int err;

	waiter_init(&wait.waiter);
	err = map_here(m, off, len, flags, &wait.window);
	switch (err) {
	case -EINPROGRESS:
		/* Ends with the device's answer, or with its time-out. */
		share_wait(s, &wait.waiter, share_lane(s), UINT64_MAX);
		/* The reason of the first failure may be gone by now: it is tried once more. */
		if (!wait.err || !n || share_is_away(s))
			return 1;
		/* No space was freed in the time that the window waits for it. */
		return wait.err == -ETIMEDOUT ? -ENOSPC : wait.err;
	case -ESTALE:
		return node_getattr(s, f->nodeid, &attr) ?: 1;
	case -EAGAIN:
		share_pause(s, share_lane(s), clock_now_ns() + RETRY_NS);
		/* The cause may be outdated attributes instead of a truncation. */
		return (n % 16 == 15 ? node_getattr(s, f->nodeid, &attr) : 0) ?: 1;
	default:
		return err;
	}
}

static int map_waiting(struct vfsdax_map *m, uint64_t off, size_t len, unsigned flags)
{
	struct vfsdax *s = m->file->share;
	uint64_t until = clock_now_ns() + s->timeout_ms * NS_PER_MS;
	struct fuse_attr attr;
	bool asked = false;
	unsigned n = 0;
	int r;

	do {
		r = try_map(m, off, len, flags, n++);
		/* The device maps nothing behind the end; the host may have made it shorter. */
		if (r == -ENOSPC && !asked) {
			asked = true;
			r = node_getattr(s, m->file->nodeid, &attr) ?: 1;
		}
		if (r != 1)
			return r;
	} while (clock_now_ns() < until);
	return -ETIMEDOUT;
}

/* Does not wait: what is missing is requested, for the next call. */
static int map_nowait(struct vfsdax_map *m, uint64_t off, size_t len, unsigned flags)
{
	struct vfsdax_file *f = m->file;
	struct fuse_getattr_in in = {0};
	struct fuse_args getattr = {
		.opcode = FUSE_GETATTR, .nodeid = f->nodeid, .in = {ARG_OF(in)}};
	int err;

	/* Answers to what an earlier call started, on any lane. */
	share_reap(f->share);
	err = map_here(m, off, len, flags | BRIDGE_MAP_NOWAIT, NULL);
	if (err == -ESTALE)
		share_post(f->share, &getattr);
	return err == -ESTALE || err == -EINPROGRESS ? -EAGAIN : err;
}

static int check_map(const struct vfsdax_file *f, uint64_t off, size_t len, unsigned flags)
{
	if (flags & ~FLAGS_KNOWN || !len || off > INT64_MAX || len > INT64_MAX - off)
		return -EINVAL;
	if (f->dir)
		return because(-EOPNOTSUPP, "it is a directory");
	if (!file_reads(f) || (flags & VFSDAX_MAP_WRITE && !file_writes(f)))
		return because(-EACCES, "it is not open for that");
	return f->share->map_budget_bytes && f->node
		       ? 0
		       : because(-ENODEV, "no window; see vfsdax_info.no_dax_reason");
}

static void free_map(struct vfsdax_map *m)
{
	pthread_mutex_destroy(&m->lock);
	free(m);
}

int map_file(struct vfsdax_file *f, uint64_t off, size_t len, unsigned flags,
	     struct vfsdax_map **map)
{
	struct vfsdax *s = f->share;
	unsigned how = (flags & VFSDAX_MAP_WRITE ? BRIDGE_MAP_WRITE : 0) |
		       (flags & VFSDAX_MAP_WHOLE ? BRIDGE_MAP_WHOLE : 0);
	struct vfsdax_map *m;
	int err = check_map(f, off, len, flags);

	if (err)
		return err;
	IN_SCOPE_OF(s);
	share_report_loss(s);
	err = budget_take(s, &len, flags & VFSDAX_MAP_WHOLE);
	if (err)
		return err;
	m = calloc(1, sizeof(*m));
	if (!m) {
		err = -ENOMEM;
		goto no_map;
	}
	m->map.revoke = map_revoked;
	m->file = f;
	pthread_mutex_init(&m->lock, NULL);
	err = flags & VFSDAX_MAP_NOWAIT ? map_nowait(m, off, len, how)
					: map_waiting(m, off, len, how);
	if (err)
		goto no_hold;
	m->budget_bytes = (size_t)m->map.len;
	budget_give(s, len - m->budget_bytes);
	atomic_fetch_add(&f->refs, 1);
	atomic_fetch_add(&s->objects, 1);
	*map = m;
	return 0;

no_hold:
	free_map(m);
no_map:
	budget_give(s, len);
	return err;
}

int vfsdax_map(struct vfsdax_file *f, uint64_t off, size_t len, unsigned flags,
	       struct vfsdax_map **map)
{
	return (int)NOTED(map_file(f, off, len, flags, map), f->path);
}

void vfsdax_unmap(struct vfsdax_map *m)
{
	struct vfsdax_file *f;
	struct device *device;
	struct vfsdax *s;
	struct lane *lane;

	if (!m)
		return;
	f = m->file;
	s = f->share;
	device = m->device;
	IN_SCOPE_OF(s);
	lane = gate_lock(s);
	/* Waits for the map's stale() on another thread. (Of a device that was left only the memory
	 * is there.) */
	if (device == s->device)
		bridge_unmap(&m->map);
	gate_unlock(s, lane);
	budget_give(s, m->budget_bytes);
	free_map(m);
	device_put(device);
	file_put(f, !in_stale);
	atomic_fetch_sub(&s->objects, 1);
}

/* ------------------------------------------------------------------ a map */

void *vfsdax_map_addr(const struct vfsdax_map *m)
{
	return m->map.va;
}

size_t vfsdax_map_len(const struct vfsdax_map *m)
{
	return (size_t)m->map.len;
}

uint64_t vfsdax_map_offset(const struct vfsdax_map *m)
{
	return m->map.file_off;
}

int vfsdax_map_check(const struct vfsdax_map *m)
{
	int stale = atomic_load(&m->map.stale);

	if (stale)
		return stale;
	/* Of what was loaded before. The transport may know it before it is reported. */
	barrier_loads();
	return transport_failed_meanwhile(m->device->transport) ? -ENODEV : 0;
}

void vfsdax_map_on_stale(struct vfsdax_map *m,
			 void (*stale)(void *ctx, struct vfsdax_map *map, int err), void *ctx)
{
	pthread_mutex_lock(&m->lock);
	m->stale = stale;
	m->stale_ctx = ctx;
	pthread_mutex_unlock(&m->lock);
}

/* As map_here(). */
static int prefetch_here(struct vfsdax_file *f, uint64_t off, uint64_t len)
{
	struct vfsdax *s = f->share;
	struct lane *lane = share_enter(s);
	int err;

	if (!lane)
		return -ESTALE;
	err = bridge_prefetch(s->bridge, f->node, off, len);
	if (err && device_may_return(s))
		err = -ESTALE;
	gate_unlock(s, lane);
	return err;
}

int prefetch_file(struct vfsdax_file *f, uint64_t off, uint64_t len)
{
	struct vfsdax *s = f->share;
	struct fuse_attr attr;
	int err = check_map(f, off, len ? len : 1, 0);

	if (err || !len)
		return err;
	IN_SCOPE_OF(s);
	err = prefetch_here(f, off, len);
	if (err == -ESTALE)
		err = node_getattr(s, f->nodeid, &attr) ?: prefetch_here(f, off, len);
	/* Nothing to prefetch, or not now, is no failure. */
	return err == -ENODATA || err == -EAGAIN || err == -ESTALE ? 0 : err;
}

int vfsdax_prefetch(struct vfsdax_file *f, uint64_t off, uint64_t len)
{
	return (int)NOTED(prefetch_file(f, off, len), f->path);
}
