/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stats: the counters of the bridge and of what it stands on; which there are says counters.def. */
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "bridge/backing.h"
#include "bridge/bridge.h"
#include "bridge/internal.h"

struct snapshot {
	struct bridge *b;
	struct worker_stats stats; /* of all workers */
	struct window_stats window;
	struct fs_stats fs;
	struct fuse_worker_stats workers;
	struct notice_stats notices;
};

typedef void (*emit_fn)(void *ctx, const char *name, uint64_t value);

static void stats_sum(struct worker_stats *sum, const struct worker_stats *one)
{
	_Atomic uint64_t *to = (_Atomic uint64_t *)sum;
	const _Atomic uint64_t *from = (const _Atomic uint64_t *)one;

	for (size_t i = 0; i < sizeof(*sum) / sizeof(*to); i++)
		stats_add(&to[i], atomic_load_explicit(&from[i], memory_order_relaxed));
}

static void snapshot_take(struct snapshot *s, struct bridge *b)
{
	memset(s, 0, sizeof(*s));
	s->b = b;
	if (b->window)
		window_get_stats(b->window, &s->window);
	fs_get_stats(b->session, &s->fs);
	notice_get_stats(b, &s->notices);
	stats_sum(&s->stats, &b->aside->stats);
	for (unsigned i = 0; i < b->n_workers; i++) {
		struct fuse_worker_stats one;

		stats_sum(&s->stats, &b->workers[i]->stats);
		if (!b->pool)
			continue;
		fuse_worker_get_stats(b->workers[i]->thread, &one);
		s->workers.requests += one.requests;
		s->workers.calls += one.calls;
		s->workers.sleeps += one.sleeps;
		s->workers.spins += one.spins;
	}
}

/* ------------------------------------------------------------------ families of counters */

static void emit_refusals(const struct snapshot *s, emit_fn emit, void *ctx)
{
	char name[64];

	for (unsigned i = 0; i < WINDOW_REFUSAL_ERRNOS; i++) {
		const char *err = strerrorname_np(s->window.refusals[i].err);

		if (!s->window.refusals[i].count)
			continue;
		snprintf(name, sizeof(name), "window.refusals.%s",
			 s->window.refusals[i].err && err ? err : "other");
		emit(ctx, name, s->window.refusals[i].count);
	}
}

static void emit_requests(const struct snapshot *s, emit_fn emit, void *ctx)
{
	uint64_t others = 0;
	char name[64];

	for (unsigned i = 0; i < OPCODES_COUNTED; i++) {
		uint64_t n = s->stats.queue_requests[i];

		if (route_find(i)->opcode != i) {
			others += n;
		} else if (n) {
			snprintf(name, sizeof(name), "queue.requests.%s", route_find(i)->name);
			emit(ctx, name, n);
		}
	}
	if (others)
		emit(ctx, "queue.requests.OTHER", others);
}

static void emit_means(const char *what, const struct router_mean means[ROUTER_CLASSES],
		       emit_fn emit, void *ctx)
{
	char name[64];

	for (unsigned c = 0; c < ROUTER_CLASSES; c++) {
		if (!means[c].samples)
			continue;
		snprintf(name, sizeof(name), "router.%s_%uk_ns", what, 4u << c);
		emit(ctx, name, means[c].ns);
	}
}

static void emit_queue_costs(const struct snapshot *s, emit_fn emit, void *ctx)
{
	emit_means("queue_read", s->b->router.queue[ROUTER_READ], emit, ctx);
	emit_means("queue_write", s->b->router.queue[ROUTER_WRITE], emit, ctx);
}

static void emit_copy_costs(const struct snapshot *s, emit_fn emit, void *ctx)
{
	emit_means("window_read", s->b->router.copy[ROUTER_READ], emit, ctx);
	emit_means("window_write", s->b->router.copy[ROUTER_WRITE], emit, ctx);
}

static const char *const latency_names[] = {
#define X(name) #name,
	LATENCY_KINDS(X)
#undef X
};

static void emit_latencies(const struct snapshot *s, emit_fn emit, void *ctx)
{
	char name[64];

	for (unsigned kind = 0; kind < LATENCY_KIND_COUNT; kind++)
		for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
			if (!s->stats.latency[kind][i])
				continue;
			snprintf(name, sizeof(name), "latency.%s.%llu", latency_names[kind],
				 (unsigned long long)latency_from_ns(i));
			emit(ctx, name, s->stats.latency[kind][i]);
		}
}

static void emit_latency_sums(const struct snapshot *s, emit_fn emit, void *ctx)
{
	char name[64];

	for (unsigned kind = 0; kind < LATENCY_KIND_COUNT; kind++) {
		if (!s->stats.latency_ns[kind])
			continue;
		snprintf(name, sizeof(name), "latency_sum.%s_ns", latency_names[kind]);
		emit(ctx, name, s->stats.latency_ns[kind]);
	}
}

void bridge_emit_stats(struct bridge *b, emit_fn emit, void *ctx)
{
	struct snapshot snapshot, *s = &snapshot;

	snapshot_take(s, b);
#define COUNTER(when, name, kind, value, help) \
	if (when)                              \
		emit(ctx, name, value);
#define FAMILY(when, name, kind, emit_all, help) \
	if (when)                                \
		emit_all(s, emit, ctx);
#include "bridge/counters.def"
#undef COUNTER
#undef FAMILY
}
