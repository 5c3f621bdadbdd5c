/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stats: the counters of the bridge and of what it stands on, as vfsdax-stat(1) shows them. */
#include <stdio.h>
#include <string.h>

#include "bridge/bridge.h"
#include "bridge/internal.h"

struct sums {
	uint64_t window_read_bytes, window_write_bytes, queue_read_bytes, queue_write_bytes;
	uint64_t copy_faults, mtime_updates, interrupts;
	uint64_t requests[OPCODES_COUNTED];
};

static void add_tally(struct sums *s, const struct tally *t)
{
	s->window_read_bytes += atomic_load_explicit(&t->window_read_bytes, memory_order_relaxed);
	s->window_write_bytes += atomic_load_explicit(&t->window_write_bytes, memory_order_relaxed);
	s->queue_read_bytes += atomic_load_explicit(&t->queue_read_bytes, memory_order_relaxed);
	s->queue_write_bytes += atomic_load_explicit(&t->queue_write_bytes, memory_order_relaxed);
	s->copy_faults += atomic_load_explicit(&t->copy_faults, memory_order_relaxed);
	s->mtime_updates += atomic_load_explicit(&t->mtime_updates, memory_order_relaxed);
	s->interrupts += atomic_load_explicit(&t->interrupts, memory_order_relaxed);
	for (unsigned i = 0; i < OPCODES_COUNTED; i++)
		s->requests[i] += atomic_load_explicit(&t->queue_requests[i], memory_order_relaxed);
}

typedef void (*emit_fn)(void *ctx, const char *name, uint64_t value);

static void emit_window(struct bridge *b, const struct sums *s, emit_fn emit, void *ctx)
{
	struct window_stats w = {0};
	char name[64];

	if (b->window)
		window_get_stats(b->window, &w);
	emit(ctx, "window.read_bytes", s->window_read_bytes);
	emit(ctx, "window.write_bytes", s->window_write_bytes);
	emit(ctx, "window.bytes_total", w.bytes_total);
	emit(ctx, "window.bytes_mapped", w.bytes_mapped);
	emit(ctx, "window.bytes_pinned", w.bytes_pinned);
	emit(ctx, "window.bytes_lost", w.bytes_lost);
	emit(ctx, "window.ranges_live", w.ranges_live);
	emit(ctx, "window.hits", w.hits);
	emit(ctx, "window.misses", w.misses);
	emit(ctx, "window.waits", w.waits);
	emit(ctx, "window.blocked", w.blocked);
	emit(ctx, "window.setups", w.setups);
	emit(ctx, "window.removals", w.removals);
	emit(ctx, "window.evictions", w.evictions);
	emit(ctx, "window.upgrades", w.upgrades);
	emit(ctx, "window.copy_faults", s->copy_faults);
	emit(ctx, "window.mtime_updates", s->mtime_updates);
	emit(ctx, "window.refused", w.refused_total);
	for (unsigned i = 0; i < WINDOW_REFUSAL_ERRNOS; i++) {
		const char *err = strerrorname_np(w.refusals[i].err);

		if (!w.refusals[i].count)
			continue;
		snprintf(name, sizeof(name), "window.refusals.%s",
			 w.refusals[i].err && err ? err : "other");
		emit(ctx, name, w.refusals[i].count);
	}
	measure_emit(b, &w, emit, ctx);
}

static void emit_queue(struct bridge *b, const struct sums *s, emit_fn emit, void *ctx)
{
	struct fs_stats f;
	uint64_t others = 0;
	char name[64];

	fs_get_stats(b->session, &f);
	emit(ctx, "queue.read_bytes", s->queue_read_bytes);
	emit(ctx, "queue.write_bytes", s->queue_write_bytes);
	emit(ctx, "queue.submitted", f.submitted);
	emit(ctx, "queue.answered", f.answered);
	emit(ctx, "queue.timeouts", f.timeouts);
	emit(ctx, "queue.interrupts", s->interrupts);
	emit(ctx, "queue.forgets", f.forgets);
	for (unsigned i = 0; i < OPCODES_COUNTED; i++) {
		if (route_find(i)->opcode != i) {
			others += s->requests[i];
			continue;
		}
		if (!s->requests[i])
			continue;
		snprintf(name, sizeof(name), "queue.requests.%s", route_find(i)->name);
		emit(ctx, name, s->requests[i]);
	}
	if (others)
		emit(ctx, "queue.requests.OTHER", others);
	emit(ctx, "kicks", f.kicks);
}

static void emit_pool(struct bridge *b, const struct fuse_worker_stats *all, emit_fn emit, void *ctx)
{
	emit(ctx, "calls", all->calls);
	emit(ctx, "spins", all->spins);
	emit(ctx, "sleeps", all->sleeps);
	emit(ctx, "requests", all->requests);
	emit(ctx, "looks", fuse_pool_mode(b->pool) == FUSE_POOL_POLL);
}

void bridge_emit_stats(struct bridge *b, emit_fn emit, void *ctx)
{
	struct fuse_worker_stats all = {0};
	struct sums sums = {0};

	add_tally(&sums, &b->aside->tally);
	for (unsigned i = 0; i < b->n_workers; i++) {
		struct fuse_worker_stats one;

		add_tally(&sums, &b->workers[i]->tally);
		if (!b->pool)
			continue;
		fuse_worker_get_stats(b->workers[i]->thread, &one);
		all.requests += one.requests;
		all.calls += one.calls;
		all.sleeps += one.sleeps;
		all.spins += one.spins;
	}
	emit_window(b, &sums, emit, ctx);
	emit_queue(b, &sums, emit, ctx);
	if (b->pool)
		emit_pool(b, &all, emit, ctx);
	emit(ctx, "nodes", node_count(b->nodes));
	emit(ctx, b->pool ? "workers" : "lanes", b->n_workers);
}
