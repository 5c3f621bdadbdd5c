/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/map: pointers into the window: holds of the bridge, with a budget, a lifetime of their own,
 * and a program's callback for the end of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "lib/internal.h"

#define FLAGS_KNOWN (VFSDAX_MAP_WRITE | VFSDAX_MAP_WHOLE | VFSDAX_MAP_NOWAIT)
/* A truncation is under way: until the next look. */
#define AGAIN_NS    (1 * NS_PER_MS)

struct vfsdax_map {
	struct bridge_hold hold;
	struct vfsdax_file *file;
	size_t budget_bytes;
	pthread_mutex_t lock; /* of the two below */
	void (*stale)(void *ctx, struct vfsdax_map *map, int err);
	void *stale_ctx;
};

/* Is this thread inside a program's stale()? Then messages cannot be sent: a lane's lock may be
 * held. */
static _Thread_local unsigned in_stale;

/* From whatever thread noticed; the program may unmap in here, and the map be gone then. */
static void revoke(struct bridge_hold *hold, int err)
{
	struct vfsdax_map *m = container_of(hold, struct vfsdax_map, hold);
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
			return -ENOSPC;
	} while (!atomic_compare_exchange_weak(&s->mapped_bytes, &held, held + take));
	*len = (size_t)take;
	return 0;
}

static void budget_give(struct vfsdax *s, size_t len)
{
	atomic_fetch_sub(&s->mapped_bytes, len);
}

/* ------------------------------------------------------------------ map */

struct waiting_hold {
	struct window_waiter window;
	struct vfsdax *share;
	struct waiter waiter;
	int err;
};

static void on_window(struct window_waiter *w, int err)
{
	struct waiting_hold *h = container_of(w, struct waiting_hold, window);

	h->err = err;
	waiter_wake(h->share, &h->waiter);
}

/* What the window said to somebody who waited for it. */
static int window_error(int err)
{
	/* No room came free in the time that one waits for it. */
	return err == -ETIMEDOUT ? -ENOSPC : err;
}

/* One attempt, of which there were `n`: 0, -errno, or 1: again. */
static int try_hold(struct vfsdax_map *m, uint64_t off, size_t len, unsigned flags, unsigned n)
{
	struct vfsdax_file *f = m->file;
	struct vfsdax *s = f->share;
	struct waiting_hold h = {.window.wake = on_window, .share = s};
	struct fuse_attr attr;
	int err;

	waiter_init(&h.waiter);
	err = bridge_hold(s->bridge, f->node, off, len, flags, &m->hold, &h.window);
	switch (err) {
	case -EINPROGRESS:
		/* Ends with the device's answer, or with its time-out. */
		share_wait(s, &h.waiter, share_lane(s), UINT64_MAX);
		/* The reason may have gone: it is the next attempt that counts. */
		if (h.err)
			return n ? window_error(h.err) : 1;
		return 1;
	case -ESTALE:
		err = node_getattr(s, f->nodeid, &attr);
		return err ? err : 1;
	case -EAGAIN:
		share_wait(s, &h.waiter, share_lane(s), clock_now_ns() + AGAIN_NS);
		/* If it is not a truncation that keeps the file out, then what is known of it. */
		err = n % 16 == 15 ? node_getattr(s, f->nodeid, &attr) : 0;
		return err ? err : 1;
	default:
		return err;
	}
}

static int hold(struct vfsdax_map *m, uint64_t off, size_t len, unsigned flags)
{
	struct vfsdax *s = m->file->share;
	uint64_t until = clock_now_ns() + s->timeout_ms * NS_PER_MS;
	unsigned n = 0;
	int r;

	while ((r = try_hold(m, off, len, flags, n++)) == 1)
		if (clock_now_ns() >= until)
			return -ETIMEDOUT;
	return r;
}

/* Nothing is waited for: what is needed is asked for, and found by the next call. */
static int hold_nowait(struct vfsdax_map *m, uint64_t off, size_t len, unsigned flags)
{
	struct vfsdax_file *f = m->file;
	struct fuse_getattr_in in = {0};
	struct request getattr = {
		.opcode = FUSE_GETATTR,
		.nodeid = f->nodeid,
		.in = {{&in, sizeof(in)}},
		.out_max = sizeof(struct fuse_attr_out),
	};
	int err;

	/* What an earlier one started, on whichever lane. */
	share_reap(f->share);
	err = bridge_hold(f->share->bridge, f->node, off, len, flags | BRIDGE_HOLD_NOWAIT, &m->hold,
			  NULL);
	if (err == -ESTALE) {
		share_post(f->share, &getattr);
		return -EAGAIN;
	}
	return err == -EINPROGRESS ? -EAGAIN : err;
}

static int check_map(const struct vfsdax_file *f, uint64_t off, size_t len, unsigned flags)
{
	if (flags & ~FLAGS_KNOWN || !len || off > INT64_MAX || len > INT64_MAX - off)
		return -EINVAL;
	if (f->dir)
		return -EOPNOTSUPP;
	if (!file_reads(f) || (flags & VFSDAX_MAP_WRITE && !file_writes(f)))
		return -EACCES;
	/* The window of a share that has none, or of which nothing may be held. */
	return f->share->map_budget_bytes && f->node ? 0 : -ENODEV;
}

static int new_map(struct vfsdax_file *f, struct vfsdax_map **out)
{
	struct vfsdax_map *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->hold.revoke = revoke;
	m->file = f;
	pthread_mutex_init(&m->lock, NULL);
	*out = m;
	return 0;
}

static void free_map(struct vfsdax_map *m)
{
	pthread_mutex_destroy(&m->lock);
	free(m);
}

int vfsdax_map(struct vfsdax_file *f, uint64_t off, size_t len, unsigned flags,
	       struct vfsdax_map **map)
{
	struct vfsdax *s = f->share;
	unsigned how = (flags & VFSDAX_MAP_WRITE ? BRIDGE_HOLD_WRITE : 0) |
		       (flags & VFSDAX_MAP_WHOLE ? BRIDGE_HOLD_WHOLE : 0);
	struct vfsdax_map *m;
	int err = check_map(f, off, len, flags);

	if (err)
		return err;
	IN_SCOPE_OF(s);
	share_tell_loss(s);
	err = budget_take(s, &len, flags & VFSDAX_MAP_WHOLE);
	if (err)
		return err;
	err = new_map(f, &m);
	if (err)
		goto no_map;
	err = flags & VFSDAX_MAP_NOWAIT ? hold_nowait(m, off, len, how) : hold(m, off, len, how);
	if (err)
		goto no_hold;
	m->budget_bytes = (size_t)m->hold.len;
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

void vfsdax_unmap(struct vfsdax_map *m)
{
	struct vfsdax_file *f;
	struct vfsdax *s;

	if (!m)
		return;
	f = m->file;
	s = f->share;
	IN_SCOPE_OF(s);
	/* Not before another thread is out of the map's stale(). */
	bridge_unhold(&m->hold);
	budget_give(s, m->budget_bytes);
	free_map(m);
	file_put(f, !in_stale);
	atomic_fetch_sub(&s->objects, 1);
}

/* ------------------------------------------------------------------ a map */

void *vfsdax_map_addr(const struct vfsdax_map *m)
{
	return m->hold.va;
}

size_t vfsdax_map_len(const struct vfsdax_map *m)
{
	return (size_t)m->hold.len;
}

uint64_t vfsdax_map_offset(const struct vfsdax_map *m)
{
	return m->hold.file_off;
}

int vfsdax_map_check(const struct vfsdax_map *m)
{
	int stale = atomic_load(&m->hold.stale);

	if (stale)
		return stale;
	/* What the transport's thread has noticed, and nobody been told yet. */
	return transport_failed(m->file->share->transport) ? -ENODEV : 0;
}

void vfsdax_map_on_stale(struct vfsdax_map *m,
			 void (*stale)(void *ctx, struct vfsdax_map *map, int err), void *ctx)
{
	pthread_mutex_lock(&m->lock);
	m->stale = stale;
	m->stale_ctx = ctx;
	pthread_mutex_unlock(&m->lock);
}

int vfsdax_prefetch(struct vfsdax_file *f, uint64_t off, uint64_t len)
{
	struct vfsdax *s = f->share;
	struct fuse_attr attr;
	int err = check_map(f, off, len ? len : 1, 0);

	if (err || !len)
		return err;
	IN_SCOPE_OF(s);
	err = bridge_prefetch(s->bridge, f->node, off, len);
	if (err == -ESTALE) {
		err = node_getattr(s, f->nodeid, &attr);
		if (!err)
			err = bridge_prefetch(s->bridge, f->node, off, len);
	}
	/* Where there is nothing to bring, or not now, the wish is as good as done. */
	return err == -ENODATA || err == -EAGAIN || err == -ESTALE ? 0 : err;
}
