/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fs/give_up: requests that end without an answer: their time has passed, their caller was killed,
 * or the device has failed. What the device still has stays its own (FS_REQ_ABANDONED) until it
 * returns it, or can no longer write.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/delay.h"
#include "fs/internal.h"

/* Called with the lock held: all that were submitted and are not answered, in one list. */
static void take_all(struct fs_channel *ch, struct list *all)
{
	list_init(all);
	list_splice_back(all, &ch->in_flight);
	list_splice_back(all, &ch->untimed);
	list_splice_back(all, &ch->waiting);
	ch->n_busy = ch->n_untimed = 0;
}

static unsigned end_all(struct list *all, void *ctx, int err)
{
	struct list *l;
	unsigned n = 0;

	while ((l = list_pop_front(all))) {
		struct fs_req *req = container_of(l, struct fs_req, link);

		req->done(req, ctx, err);
		n++;
	}
	return n;
}

/* Slots that were abandoned before the failure: the device returns them no more. Nothing is taken
 * off the ring any more, so no answer can find the next owner. */
static void take_back_abandoned(struct fs_channel *ch, void *ctx)
{
	for (unsigned i = 0; i < ch->n_reqs; i++) {
		struct fs_req *req = &ch->reqs[i];
		bool put;

		pthread_mutex_lock(&ch->lock);
		put = req->state == FS_REQ_ABANDONED && req->put && !req->returned;
		if (req->state == FS_REQ_ABANDONED && !req->returned) {
			req->state = FS_REQ_OWNED; /* where it is not put, its user will */
			ch->n_abandoned--;
		}
		pthread_mutex_unlock(&ch->lock);
		if (put)
			fs_req_free(req, ctx);
	}
}

static void end_payload_waits(struct fs_channel *ch, void *ctx)
{
	struct list *l;

	do {
		pthread_mutex_lock(&ch->lock);
		l = list_pop_front(&ch->payload_waiters);
		pthread_mutex_unlock(&ch->lock);
		if (l) {
			struct fs_payload_waiter *w =
				container_of(l, struct fs_payload_waiter, link);

			w->got(w, ctx, NULL);
		}
	} while (l);
}

unsigned fs_channel_fail(struct fs_channel *ch, void *ctx, int err)
{
	struct list all;
	unsigned n;
	bool drained;

	/* Before that the device may still write to the slots. */
	transport_wait_cut_off(ch->session->t);
	pthread_mutex_lock(&ch->lock);
	drained = ch->drained;
	take_all(ch, &all);
	list_for_each (pos, &all)
		container_of(pos, struct fs_req, link)->state = FS_REQ_OWNED;
	pthread_mutex_unlock(&ch->lock);
	n = end_all(&all, ctx, err);
	end_payload_waits(ch, ctx);
	if (drained)
		return n;
	take_back_abandoned(ch, ctx);
	pthread_mutex_lock(&ch->lock);
	ch->drained = true;
	pthread_mutex_unlock(&ch->lock);
	return n;
}

/* Called with the lock held: nobody waits for it any more. What waited for the ring never was
 * there. */
static void give_to_device(struct fs_channel *ch, struct fs_req *req)
{
	bool there = req->state == FS_REQ_IN_FLIGHT;

	req->state = there ? FS_REQ_ABANDONED : FS_REQ_OWNED;
	ch->n_abandoned += there;
}

void fs_channel_abandon(struct fs_channel *ch, void *ctx, int err)
{
	struct list all;

	pthread_mutex_lock(&ch->lock);
	take_all(ch, &all);
	list_for_each (pos, &all)
		give_to_device(ch, container_of(pos, struct fs_req, link));
	pthread_mutex_unlock(&ch->lock);
	end_all(&all, ctx, err);
	pthread_mutex_lock(&ch->lock);
	for (unsigned i = 0; i < ch->n_reqs; i++)
		if (ch->reqs[i].state == FS_REQ_ABANDONED)
			ch->reqs[i].done = NULL;
	pthread_mutex_unlock(&ch->lock);
}

/* ------------------------------------------------------------------ one request */

struct fs_req *fs_first_to_expire(struct fs_channel *ch)
{
	struct fs_req *first = NULL;

	if (!list_empty(&ch->in_flight))
		first = container_of(ch->in_flight.next, struct fs_req, link);
	/* Those that wait for the ring are few and seldom: they are searched. */
	list_for_each (pos, &ch->waiting) {
		struct fs_req *req = container_of(pos, struct fs_req, link);

		if (!req->untimed && (!first || req->deadline_ns < first->deadline_ns))
			first = req;
	}
	return first;
}

uint64_t fs_starved_ns(struct fs_channel *ch)
{
	uint64_t since_ns = ch->slot_missing_ns;

	if (ch->payload_missing_ns && (!since_ns || ch->payload_missing_ns < since_ns))
		since_ns = ch->payload_missing_ns;
	return since_ns && ch->n_abandoned ? since_ns + ch->session->params.timeout_ms * NS_PER_MS
					   : UINT64_MAX;
}

/* Called with the lock held. */
static void abandon(struct fs_channel *ch, struct fs_req *req)
{
	list_del(&req->link);
	ch->n_busy--;
	ch->n_untimed -= req->untimed;
	give_to_device(ch, req);
}

/* Requests that were given up have what others wait for, and nothing of it came back in time: one
 * that waits would wait for ever. */
static unsigned give_starving_up(struct fs_channel *ch, void *ctx)
{
	struct fs_session *s = ch->session;

	transport_fail(s->t, -ETIMEDOUT,
		       "the device keeps %u requests of queue %u that were given up, and has "
		       "returned none for %u ms",
		       fs_channel_abandoned(ch), ch->queue, s->params.timeout_ms);
	return fs_channel_fail(ch, ctx, transport_failed(s->t));
}

/* Called with the lock held. True: nobody has waited for it for that long. */
static bool put_off(struct fs_channel *ch, struct fs_req *req, uint64_t now)
{
	uint64_t since;

	if (!req->awaited_ns)
		return false;
	since = req->awaited_ns(req);
	req->deadline_ns = (since ? since : now) + ch->session->params.timeout_ms * NS_PER_MS;
	if (req->state == FS_REQ_IN_FLIGHT) {
		list_del(&req->link);
		fs_queue_by_deadline(ch, req);
	}
	return req->deadline_ns > now;
}

unsigned fs_channel_expire(struct fs_channel *ch, void *ctx)
{
	struct fs_session *s = ch->session;
	uint64_t now = clock_now_ns();
	unsigned n = 0;

	for (;;) {
		struct fuse_in_header h;
		struct fs_req *req;
		bool fatal, starved;

		pthread_mutex_lock(&ch->lock);
		req = fs_first_to_expire(ch);
		if (!req || req->deadline_ns > now) {
			starved = fs_starved_ns(ch) <= now;
			pthread_mutex_unlock(&ch->lock);
			return starved ? n + give_starving_up(ch, ctx) : n;
		}
		if (req->fatal_on_timeout && put_off(ch, req, now)) {
			pthread_mutex_unlock(&ch->lock);
			continue;
		}
		/* After unlocking another thread may deliver its answer, and the slot be reused. */
		fatal = req->fatal_on_timeout;
		memcpy(&h, req->in + req->in_off, sizeof(h));
		if (!fatal) {
			abandon(ch, req);
			ch->timeouts++;
		}
		pthread_mutex_unlock(&ch->lock);
		if (fatal) {
			transport_fail(s->t, -ETIMEDOUT,
				       "the device did not answer a mapping request (opcode %u) "
				       "within %u ms",
				       h.opcode, s->params.timeout_ms);
			return n + fs_channel_fail(ch, ctx, transport_failed(s->t));
		}
		DELAY_POINT("fs.expired");
		req->done(req, ctx, -ETIMEDOUT);
		n++;
	}
}

/* Called with the lock held. */
static struct fs_req *find_in(struct list *list, uint64_t unique)
{
	list_for_each (pos, list) {
		struct fs_req *req = container_of(pos, struct fs_req, link);

		if ((req->unique & ~FUSE_UNIQUE_ASK_BIT) == unique)
			return req;
	}
	return NULL;
}

static bool cancel_in(struct fs_channel *ch, uint64_t unique, void *ctx, int err)
{
	struct fs_req *req;

	pthread_mutex_lock(&ch->lock);
	req = find_in(&ch->in_flight, unique);
	req = req ? req : find_in(&ch->untimed, unique);
	req = req ? req : find_in(&ch->waiting, unique);
	if (req)
		abandon(ch, req);
	pthread_mutex_unlock(&ch->lock);
	if (req)
		req->done(req, ctx, err);
	return req;
}

bool fs_cancel(struct fs_session *s, uint64_t unique, void *ctx, int err)
{
	for (unsigned i = 0; i < s->n_channels; i++)
		if (cancel_in(&s->channels[i], unique, ctx, err))
			return true;
	return false;
}
