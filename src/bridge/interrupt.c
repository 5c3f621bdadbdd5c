/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/interrupt: callers that are to be killed while the device is silent. The kernel says that
 * a signal came (INTERRUPT) and then waits for the request's answer, whatever happens. The device
 * hears of it first, for it may end a wait for a lock properly; when the request has still not
 * ended after INTERRUPT_NS, its caller is answered with EINTR.
 *
 * The INTERRUPT itself is the timer: its op is kept, and outstanding, until then.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "bridge/internal.h"
#include "fuse/reply.h"

#define INTERRUPT_NS NS_PER_S

void start_interrupt(struct op *op)
{
	struct bridge *b = op->bridge;
	struct fuse_interrupt_in in;

	memcpy(&in, op_args(op), sizeof(in));
	fs_interrupt(b->session, in.unique);
	op->arg_off = in.unique;
	op->due_ns = clock_now_ns() + INTERRUPT_NS;
	pthread_mutex_lock(&b->interrupt_lock);
	if (list_empty(&b->interrupts))
		atomic_store(&b->interrupt_ns, op->due_ns);
	list_push_back(&b->interrupts, &op->link);
	pthread_mutex_unlock(&b->interrupt_lock);
}

/* An op that waits for the window: its caller is answered, the op itself ends with its wait. */
static bool answer_parked(struct bridge *b, uint64_t unique)
{
	for (unsigned c = 0; c < fs_channel_count(b->session); c++) {
		unsigned n;
		struct fs_req *slots = fs_channel_slots(fs_channel(b->session, c), &n);

		for (unsigned i = 0; i < n; i++) {
			struct op *op = slots[i].user;
			uint64_t parked = unique;
			int fd;

			if (atomic_load(&op->parked_unique) != unique)
				continue;
			/* Before the claim: after it the op may end. Unique numbers do not come
			 * again, so where the claim succeeds it is this op's. */
			fd = atomic_load(&op->parked_fd);
			if (!atomic_compare_exchange_strong(&op->parked_unique, &parked,
							    unique | FUSE_UNIQUE_INTERRUPT))
				return false;
			fuse_reply_error(fd, unique, -EINTR);
			return true;
		}
	}
	return false;
}

static struct op *take_due(struct bridge *b, uint64_t now)
{
	struct op *op = NULL;

	pthread_mutex_lock(&b->interrupt_lock);
	if (!list_empty(&b->interrupts)) {
		op = container_of(b->interrupts.next, struct op, link);
		if (op->due_ns <= now)
			list_del(&op->link);
		else
			op = NULL;
	}
	atomic_store(&b->interrupt_ns,
		     list_empty(&b->interrupts)
			     ? UINT64_MAX
			     : container_of(b->interrupts.next, struct op, link)->due_ns);
	pthread_mutex_unlock(&b->interrupt_lock);
	return op;
}

uint64_t interrupts_expire(struct bridge_worker *here, bool all)
{
	struct bridge *b = here->bridge;
	uint64_t next = atomic_load_explicit(&b->interrupt_ns, memory_order_relaxed);
	struct op *op;

	if (next == UINT64_MAX || (!all && next > clock_now_ns()))
		return next;
	while ((op = take_due(b, all ? UINT64_MAX : clock_now_ns()))) {
		op->here = here;
		if (fs_cancel(b->session, op->arg_off, here, -EINTR) ||
		    answer_parked(b, op->arg_off) ||
		    fuse_held_interrupt(b->kept->held, op->arg_off))
			stats_add(&here->stats.interrupts, 1);
		op_free(op);
	}
	return atomic_load(&b->interrupt_ns);
}
