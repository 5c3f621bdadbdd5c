/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/measure: where latencies and the router's figures come from: a sample of the requests that
 * are served anyway. It owns when a request is timed; what follows from the router's figures is
 * decided in window/router.c and window/policy_auto.c.
 *
 * For the router each worker takes one request of SAMPLE_EVERY, and every one of a kind of which
 * little is known. Of long reads that the window could serve, a few go through the queue for the
 * sake of its figure. Not so of writes: stores are slow while the pages of a range are made
 * writable, and would be judged by that for ever.
 */

#include "base/bytes.h"
#include "base/clock.h"
#include "bridge/internal.h"

#define SAMPLE_EVERY 16u  /* a power of two */
#define TRY_EVERY    256u /* how often the way that seems slower is tried all the same */

static bool every(struct bridge_worker *here, unsigned n)
{
	/* `aside` is not one thread's alone, so it takes no samples. */
	return here != here->bridge->aside && !(here->sample++ & (n - 1));
}

/* ------------------------------------------------------------------ latencies */

/* Of READs and WRITEs, which the window makes short: then two looks at the clock are a percent or
 * two. */
#define LATENCY_EVERY 8u /* a power of two */

static bool moves_data(const struct op *op)
{
	return op->h.opcode == FUSE_READ || op->h.opcode == FUSE_WRITE;
}

void measure_begun(struct op *op)
{
	if (!moves_data(op) || !(op->worker->latency_sample++ & (LATENCY_EVERY - 1)))
		op->begun_ns = clock_now_ns();
}

static enum latency_kind latency_kind(const struct op *op)
{
	if (!moves_data(op))
		return LATENCY_other;
	if (op->h.opcode == FUSE_READ)
		return op->forwarded ? LATENCY_queue_read : LATENCY_window_read;
	return op->forwarded ? LATENCY_queue_write : LATENCY_window_write;
}

void measure_ended(struct op *op)
{
	struct worker_stats *stats = &op->here->stats;
	enum latency_kind kind;
	uint64_t ns;

	/* Who waits for a lock waits for its holder. */
	if (!op->begun_ns || op->req->untimed)
		return;
	kind = latency_kind(op);
	ns = clock_now_ns() - op->begun_ns;
	stats_add(&stats->latency[kind][latency_bucket(ns)], 1);
	stats_add(&stats->latency_ns[kind], ns);
}

/* ------------------------------------------------------------------ the queue */

static enum router_dir dir_of(const struct op *op)
{
	return op->h.opcode == FUSE_WRITE ? ROUTER_WRITE : ROUTER_READ;
}

static uint64_t queue_len(const struct op *op)
{
	return op->arg_len - op->head_len;
}

void measure_sent(struct op *op)
{
	struct bridge *b = op->bridge;
	uint64_t deadline;

	if (!b->window || !moves_data(op))
		return;
	if (!router_wants_queue(&b->router, dir_of(op), queue_len(op)) &&
	    !every(op->here, SAMPLE_EVERY))
		return;
	op->sent_ns = clock_now_ns();
	/* Those before it are in its time as well. */
	op->sent_among = 1 + fs_channel_busy(op->req->channel, &deadline);
}

void measure_answered(struct op *op)
{
	if (!op->sent_ns)
		return;
	router_note_queue(&op->bridge->router, dir_of(op), queue_len(op),
			  (clock_now_ns() - op->sent_ns) / op->sent_among);
}

/* ------------------------------------------------------------------ the window */

bool measure_avoids(struct bridge_worker *here, enum router_dir dir, uint64_t len)
{
	struct bridge *b = here->bridge;

	if (b->params.window_admit == WINDOW_ADMIT_ALWAYS || !router_avoids(&b->router, dir, len) ||
	    every(here, TRY_EVERY))
		return false;
	atomic_fetch_add_explicit(&b->router.by_queue, 1, memory_order_relaxed);
	return true;
}

bool measure_tries_queue(struct op *op, uint64_t len)
{
	const struct router *r = &op->bridge->router;

	/* A program's call copies once by the window and twice by the queue; the figures say
	 * nothing of the second. */
	if (op->call || op->attempts || op->bridge->params.window_admit == WINDOW_ADMIT_ALWAYS ||
	    !router_doubts(r, ROUTER_READ, len))
		return false;
	return router_wants_queue(r, ROUTER_READ, len) || every(op->here, TRY_EVERY);
}

struct copy_sample measure_copy(struct bridge_worker *here, enum router_dir dir, uint64_t len)
{
	struct copy_sample s = {.len = len, .dir = dir};

	s.timed = router_wants_copy(&here->bridge->router, dir, len) || every(here, SAMPLE_EVERY);
	if (s.timed)
		s.start_ns = clock_now_ns();
	return s;
}

void measure_copied(struct bridge *b, const struct copy_sample *s)
{
	if (s->timed)
		router_note_copy(&b->router, s->dir, s->len, clock_now_ns() - s->start_ns);
}
