/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/queue_reap: results of a queue, and what is to be sent after an answer.
 */
#include <errno.h>

#include "base/clock.h"
#include "lib/queue.h"

/* Where the results go: any form of struct vfsdax_completion, of which struct vfsdax_result is the
 * beginning. */
struct sink {
	uint8_t *at;
	size_t bytes; /* of each */
	unsigned max;
};

static void put_result(struct sink *sink, const struct queue_entry *e)
{
	struct vfsdax_completion c = {
		.user_data = e->user_data,
		.result = e->result,
		.flags = e->asked ? 0 : VFSDAX_COMPLETION_COPIED,
	};

	/* A newer program's is longer: fields unknown here are 0. */
	if (sink->bytes > sizeof(c))
		memset(sink->at + sizeof(c), 0, sink->bytes - sizeof(c));
	memcpy(sink->at, &c, MIN(sink->bytes, sizeof(c)));
	sink->at += sink->bytes;
	sink->max--;
}

/* Takes results; entries with more messages are queued for sending. */
static unsigned take_results(struct vfsdax_queue *q, struct sink *sink)
{
	unsigned before = sink->max;
	struct list *l;

	pthread_mutex_lock(&q->lock);
	list_splice_back(&q->taken, &q->done);
	q->n_done = 0;
	pthread_mutex_unlock(&q->lock);
	while (sink->max && (l = list_pop_front(&q->taken))) {
		struct queue_entry *e = container_of(l, struct queue_entry, link);

		if (e->more && !(e->walk && queue_stat_take(e))) {
			queue_await_buffer(q, e);
			continue;
		}
		put_result(sink, e);
		q->n_open--;
		list_push_front(&q->free, &e->link);
	}
	return before - sink->max;
}

/* Arms the waiter for the next result. False: one is there already. */
static bool expect_result(struct vfsdax_queue *q)
{
	bool none;

	pthread_mutex_lock(&q->lock);
	none = q->n_done == 0;
	if (none)
		atomic_store(&q->waiter.state, WAITER_RUNS);
	pthread_mutex_unlock(&q->lock);
	return none;
}

static unsigned reap_queue(struct vfsdax_queue *q, struct sink *sink, unsigned min,
			   uint64_t until_ns)
{
	unsigned n = take_results(q, sink);

	/* Also where enough is there, for the next call. Without a wait there is no leader, and a
	 * mapping that an entry needs may be on another lane: then all are reaped. */
	if (sink->max && (!until_ns || queue_has_fd(q)))
		share_reap(q->share);
	else
		lane_reap(q->lane);
	for (;;) {
		n += take_results(q, sink);
		queue_send(q);
		if (n >= MIN(min, n + q->n_open) || !sink->max)
			return n;
		if (clock_now_ns() >= until_ns)
			return n;
		if (expect_result(q))
			share_wait(q->share, &q->waiter, q->lane,
				   list_empty(&q->to_send)
					   ? until_ns
					   : MIN(until_ns, clock_now_ns() + NS_PER_MS));
	}
}

int vfsdax_reap_completions(struct vfsdax_queue *q, struct vfsdax_completion *completions,
			    size_t struct_bytes, unsigned max, unsigned min, int timeout_ms)
{
	struct sink sink = {(uint8_t *)completions, struct_bytes, max};
	struct vfsdax *s = q->share;
	uint64_t wait_ms = timeout_ms < 0 ? s->timeout_ms + 1000u : (unsigned)timeout_ms;
	uint64_t until = wait_ms ? clock_now_ns() + wait_ms * NS_PER_MS : 0;
	unsigned n;

	if (struct_bytes < sizeof(struct vfsdax_result) || struct_bytes % sizeof(uint64_t))
		return -EINVAL;
	IN_SCOPE_OF(s);
	queue_fd_enter(q, true);
	n = reap_queue(q, &sink, min, until);
	queue_fd_leave(q);
	share_report_loss(s);
	return (int)n;
}

int vfsdax_reap(struct vfsdax_queue *q, struct vfsdax_result *results, unsigned max, unsigned min,
		int timeout_ms)
{
	_Static_assert(offsetof(struct vfsdax_completion, flags) == sizeof(*results),
		       "a result is the beginning of a completion");
	return vfsdax_reap_completions(q, (struct vfsdax_completion *)results, sizeof(*results),
				       max, min, timeout_ms);
}
