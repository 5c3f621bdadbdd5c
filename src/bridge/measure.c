/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/measure: where the router's figures come from. At mount a few round trips and a copy in
 * memory; afterwards a sample of the requests that are served anyway. It owns when a request is
 * timed; what follows from the figures is decided in window/router.c and window/admission.c.
 *
 * Each worker takes one request of SAMPLE_EVERY, and every one of a kind of which little is known.
 */
#include <stdio.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "bridge/internal.h"

#define SAMPLE_EVERY 16u /* a power of two */
#define TRY_EVERY    256u /* how often what seems slower is tried all the same */

#define CALIBRATION_CALLS 8
#define CALIBRATION_NS	  (10 * NS_PER_MS) /* no further call after this; see measure_start() */

static bool every(struct bridge_worker *here, unsigned n)
{
	/* `aside` is not one thread's alone, so it takes no samples. */
	return here != here->bridge->aside && !(here->sample++ & (n - 1));
}

/* ------------------------------------------------------------------ at mount */

/*
 * Nothing of the share is touched: GETATTR of the root. The fastest of a few, since the first ones
 * wake the device up. One answer of 40 ms at the worst, where the calls end after 10.
 */
void measure_start(struct bridge *b)
{
	struct fuse_getattr_in in = {0};
	struct fuse_attr_out out;
	uint64_t start = clock_now_ns(), at = start, best = UINT32_MAX;

	for (int i = 0; i < CALIBRATION_CALLS && at - start < CALIBRATION_NS; i++) {
		uint64_t before = at;

		if (fs_call(b->session, FUSE_GETATTR, FUSE_ROOT_ID, &in, sizeof(in), &out, sizeof(out)) < 0)
			break;
		at = clock_now_ns();
		best = MIN(best, at - before);
	}
	router_init(&b->router, best == UINT32_MAX ? 0 : (uint32_t)best, router_memory_ns_per_kib());
	b->calibration_ns = clock_now_ns() - start;
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

	if (!b->window || (op->h.opcode != FUSE_READ && op->h.opcode != FUSE_WRITE))
		return;
	if (!router_wants_queue(&b->router, dir_of(op), queue_len(op)) && !every(op->here, SAMPLE_EVERY))
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

struct copy_sample measure_copy(struct bridge_worker *here, enum router_dir dir, uint64_t len)
{
	const struct router *r = &here->bridge->router;
	struct copy_sample s = {.len = len, .dir = dir};

	s.how = router_copy_for(r, dir, len);
	s.timed = true;
	if (router_wants_copy(r, dir, ROUTER_COPY_PLAIN, len))
		s.how = ROUTER_COPY_PLAIN;
	else if (router_wants_copy(r, dir, ROUTER_COPY_WIDE, len))
		s.how = ROUTER_COPY_WIDE;
	else if (every(here, TRY_EVERY))
		s.how = s.how == ROUTER_COPY_WIDE ? ROUTER_COPY_PLAIN : ROUTER_COPY_WIDE;
	else
		s.timed = every(here, SAMPLE_EVERY);
	if (s.timed)
		s.start_ns = clock_now_ns();
	return s;
}

void measure_copied(struct bridge *b, const struct copy_sample *s, bool first)
{
	if (s->timed)
		router_note_copy(&b->router, s->dir, s->how, s->len, clock_now_ns() - s->start_ns, first);
}
