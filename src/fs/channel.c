/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fs/channel: one request queue with its slots and buffers. It puts requests on the ring, takes
 * answers off, checks their headers, and gives up on those that come too late.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "fs/internal.h"

#define SLOT_BYTES (FS_IN_BYTES + FS_OUT_BYTES)
#define REAP_BATCH 32

size_t fs_channel_bytes(const struct fs_params *params)
{
	return (size_t)params->slots * SLOT_BYTES + (size_t)params->bigs * FS_BIG_BYTES + 2 * 4096;
}

static void requests_lay_out(struct fs_channel *ch, struct fs_arena *arena, uint8_t *users)
{
	const struct fs_params *params = &ch->session->params;

	for (unsigned i = 0; i < ch->n_reqs; i++) {
		struct fs_req *req = &ch->reqs[i];

		req->channel = ch;
		req->in = fs_arena_take(arena, SLOT_BYTES, 64, &req->in_iova);
		req->out = req->in + FS_IN_BYTES;
		req->out_iova = req->in_iova + FS_IN_BYTES;
		req->user = users ? users + i * params->user_bytes : NULL;
		list_push_back(&ch->free_reqs, &req->link);
	}
	ch->n_free_reqs = ch->n_reqs;
	for (unsigned i = 0; i < ch->n_bigs; i++) {
		struct fs_big *big = &ch->bigs[i];

		big->va = fs_arena_take(arena, FS_BIG_BYTES, 4096, &big->iova);
		list_push_back(&ch->free_bigs, &big->link);
	}
}

int fs_channel_open(struct fs_session *s, struct fs_channel *ch, uint16_t queue,
		    struct virtqueue *vq)
{
	uint8_t *users = NULL;

	memset(ch, 0, sizeof(*ch));
	ch->session = s;
	ch->queue = queue;
	ch->vq = vq;
	ch->call_fd = s->t->ops->call_fd(s->t, queue);
	ch->n_reqs = s->params.slots;
	ch->n_bigs = s->params.bigs;
	list_init(&ch->free_reqs);
	list_init(&ch->free_bigs);
	list_init(&ch->waiting);
	list_init(&ch->in_flight);
	list_init(&ch->untimed);
	ch->reqs = calloc(ch->n_reqs, sizeof(*ch->reqs));
	ch->bigs = calloc(ch->n_bigs, sizeof(*ch->bigs));
	if (s->params.user_bytes)
		users = calloc(ch->n_reqs, s->params.user_bytes);
	if (!ch->reqs || !ch->bigs || (s->params.user_bytes && !users)) {
		free(ch->reqs);
		free(ch->bigs);
		free(users);
		return -ENOMEM;
	}
	pthread_mutex_init(&ch->lock, NULL);
	requests_lay_out(ch, &s->arena, users);
	vq_disable_calls(vq);
	return 0;
}

/* ------------------------------------------------------------------ slots */

struct fs_req *fs_req_get(struct fs_channel *ch, unsigned leave)
{
	struct fs_req *req = NULL;

	pthread_mutex_lock(&ch->lock);
	if (ch->n_free_reqs > leave) {
		req = container_of(list_pop_front(&ch->free_reqs), struct fs_req, link);
		ch->n_free_reqs--;
		req->state = FS_REQ_OWNED;
	}
	pthread_mutex_unlock(&ch->lock);
	return req;
}

/* Called with the lock held. */
static void req_free(struct fs_req *req)
{
	struct fs_channel *ch = req->channel;

	if (req->big)
		list_push_front(&ch->free_bigs, &req->big->link);
	req->big = NULL;
	req->in_len = req->in_big_len = req->out_len = req->out_big_off = req->out_big_len = 0;
	req->untimed = req->vital = req->put_when_back = false;
	req->done = NULL;
	req->late = NULL;
	req->state = FS_REQ_FREE;
	/* The slot used last is the one that is still in the cache. */
	list_push_front(&ch->free_reqs, &req->link);
	ch->n_free_reqs++;
}

void fs_req_put(struct fs_req *req)
{
	struct fs_channel *ch = req->channel;

	pthread_mutex_lock(&ch->lock);
	if (req->state == FS_REQ_ABANDONED)
		req->put_when_back = true; /* the device may still write into it */
	else
		req_free(req);
	pthread_mutex_unlock(&ch->lock);
}

struct fs_big *fs_big_get(struct fs_channel *ch)
{
	struct list *l;

	pthread_mutex_lock(&ch->lock);
	l = list_pop_front(&ch->free_bigs);
	pthread_mutex_unlock(&ch->lock);
	return l ? container_of(l, struct fs_big, link) : NULL;
}

void fs_big_put(struct fs_channel *ch, struct fs_big *big)
{
	if (!big)
		return;
	pthread_mutex_lock(&ch->lock);
	list_push_front(&ch->free_bigs, &big->link);
	pthread_mutex_unlock(&ch->lock);
}

/* ------------------------------------------------------------------ submission */

/* Called with the lock held. Keeps in_flight in the order of deadlines, which is that of submission
 * unless the time-out was changed (the end of a session shortens it). */
static void queue_by_deadline(struct fs_channel *ch, struct fs_req *req)
{
	struct list *after = ch->in_flight.prev;

	while (after != &ch->in_flight &&
	       container_of(after, struct fs_req, link)->deadline_ns > req->deadline_ns)
		after = after->prev;
	list_insert_between(&req->link, after, after->next);
}

/* Called with the lock held. 0, or -ENOSPC when the ring is full. */
static int put_on_ring(struct fs_channel *ch, struct fs_req *req)
{
	struct vq_segment readable[2], writable[2];
	unsigned n_readable = 0, n_writable = 0;
	int err;

	readable[n_readable++] = (struct vq_segment){req->in_iova, req->in_len};
	if (req->in_big_len)
		readable[n_readable++] = (struct vq_segment){req->big->iova, req->in_big_len};
	if (req->out_len)
		writable[n_writable++] = (struct vq_segment){req->out_iova, req->out_len};
	if (req->out_big_len)
		writable[n_writable++] = (struct vq_segment){req->big->iova + req->out_big_off,
							     req->out_big_len};
	err = vq_add(ch->vq, readable, n_readable, writable, n_writable, req);
	if (err)
		return err;
	req->state = FS_REQ_IN_FLIGHT;
	if (req->untimed)
		list_push_back(&ch->untimed, &req->link);
	else
		queue_by_deadline(ch, req);
	ch->unpublished = true;
	return 0;
}

void fs_req_submit(struct fs_req *req)
{
	struct fs_channel *ch = req->channel;
	int failed;
	int err = 0;

	memcpy(&req->unique, req->in + offsetof(struct fuse_in_header, unique), 8);
	pthread_mutex_lock(&ch->lock);
	/* Looked at under the lock: fail_all() drains these lists after the failure was set, so
	 * either it finds this request there, or this look finds the failure. */
	failed = transport_failed(ch->session->t);
	if (!failed) {
		req->deadline_ns =
			clock_now_ns() + (uint64_t)ch->session->params.timeout_ms * NS_PER_MS;
		ch->n_busy++;
		ch->n_untimed += req->untimed;
		ch->submitted++;
		if (!list_empty(&ch->waiting))
			err = -ENOSPC;
		else
			err = put_on_ring(ch, req);
		if (err) {
			req->state = FS_REQ_WAITING;
			list_push_back(&ch->waiting, &req->link);
		}
	}
	pthread_mutex_unlock(&ch->lock);
	if (failed)
		req->done(req, failed);
}

bool fs_channel_may_wait(struct fs_channel *ch)
{
	bool may;

	pthread_mutex_lock(&ch->lock);
	may = ch->n_untimed < ch->n_reqs / 2;
	pthread_mutex_unlock(&ch->lock);
	return may;
}

/* Called with the lock held; true: kick after unlocking. */
static bool publish(struct fs_channel *ch)
{
	bool kick = ch->kick_owed;

	ch->kick_owed = false;
	if (ch->unpublished) {
		ch->unpublished = false;
		kick |= vq_publish(ch->vq);
	}
	ch->kicks += kick;
	return kick;
}

void fs_channel_publish(struct fs_channel *ch)
{
	pthread_mutex_lock(&ch->lock);
	if (ch->unpublished) {
		/* Still set: the flush is to come. */
		ch->kick_owed |= vq_publish(ch->vq);
	}
	pthread_mutex_unlock(&ch->lock);
}

void fs_channel_flush(struct fs_channel *ch)
{
	struct transport *t = ch->session->t;
	bool kick;

	if (!atomic_load_explicit(&ch->unpublished, memory_order_relaxed))
		return;
	pthread_mutex_lock(&ch->lock);
	kick = publish(ch);
	pthread_mutex_unlock(&ch->lock);
	if (kick)
		t->ops->kick(t, ch->queue);
}

/* ------------------------------------------------------------------ answers */

/*
 * Copies the header out of shared memory and checks the copy. FUSE bounds an error to
 * (-512, 0]; an error has no payload.
 */
static int answer_check(struct fs_req *req, uint32_t written, char why[128])
{
	struct fuse_out_header *a = &req->answer;

	if (written < sizeof(*a)) {
		snprintf(why, 128, "%u bytes of answer; a header has 16", written);
		return -EPROTO;
	}
	memcpy(a, req->out, sizeof(*a));
	if (a->unique != req->unique) {
		snprintf(why, 128, "answered unique number %#" PRIx64 " to request %#" PRIx64,
			 (uint64_t)a->unique, req->unique);
		return -EPROTO;
	}
	if (a->len < sizeof(*a) || a->len > written) {
		snprintf(why, 128, "an answer of %u bytes says that it has %u", written, a->len);
		return -EPROTO;
	}
	if (a->error > 0 || a->error <= -512 || (a->error && a->len != sizeof(*a))) {
		snprintf(why, 128, "error %d in an answer of %u bytes", a->error, a->len);
		return -EPROTO;
	}
	return 0;
}

static void deliver(struct fs_channel *ch, struct fs_req *req, bool was_abandoned)
{
	if (!was_abandoned) {
		req->done(req, 0);
		return;
	}
	if (req->late)
		req->late(req);
	pthread_mutex_lock(&ch->lock);
	if (req->put_when_back)
		req_free(req);
	else
		req->state = FS_REQ_OWNED; /* done() has not put it yet: it will */
	pthread_mutex_unlock(&ch->lock);
}

/* The device is given up: everything that waits for it ends now. */
static unsigned fail_all(struct fs_channel *ch, int err)
{
	struct list failed;
	struct list *l;
	unsigned n = 0;

	list_init(&failed);
	pthread_mutex_lock(&ch->lock);
	list_splice_back(&failed, &ch->in_flight);
	list_splice_back(&failed, &ch->untimed);
	list_splice_back(&failed, &ch->waiting);
	ch->n_busy = ch->n_untimed = 0;
	list_for_each(pos, &failed)
		container_of(pos, struct fs_req, link)->state = FS_REQ_OWNED;
	pthread_mutex_unlock(&ch->lock);
	while ((l = list_pop_front(&failed))) {
		struct fs_req *req = container_of(l, struct fs_req, link);

		req->done(req, err);
		n++;
	}
	return n;
}

/* Slots that the device kept too long: it returns them no more, and whoever comes now needs one to
 * be told so. Nothing is taken off the ring any more, so no answer can find the next owner. */
static void take_back_abandoned(struct fs_channel *ch)
{
	pthread_mutex_lock(&ch->lock);
	for (unsigned i = 0; i < ch->n_reqs; i++) {
		struct fs_req *req = &ch->reqs[i];

		if (req->state != FS_REQ_ABANDONED)
			continue;
		if (req->put_when_back)
			req_free(req);
		else
			req->state = FS_REQ_OWNED; /* done() has not put it yet: it will */
	}
	ch->drained = true;
	pthread_mutex_unlock(&ch->lock);
}

/* Called with the lock held. The request that runs out of time first, or NULL. Those that wait for
 * the ring are few and seldom: they are searched. */
static struct fs_req *first_to_expire(struct fs_channel *ch)
{
	struct fs_req *first = NULL;

	if (!list_empty(&ch->in_flight))
		first = container_of(ch->in_flight.next, struct fs_req, link);
	list_for_each(pos, &ch->waiting) {
		struct fs_req *req = container_of(pos, struct fs_req, link);

		if (!req->untimed && (!first || req->deadline_ns < first->deadline_ns))
			first = req;
	}
	return first;
}

/* Gives up on requests whose time has passed. They stay the device's until it returns them. */
static unsigned expire(struct fs_channel *ch)
{
	struct fs_session *s = ch->session;
	uint64_t now = clock_now_ns();
	unsigned n = 0;

	for (;;) {
		struct fs_req *req;
		struct fuse_in_header h;
		bool vital;

		pthread_mutex_lock(&ch->lock);
		req = first_to_expire(ch);
		if (!req || req->deadline_ns > now) {
			pthread_mutex_unlock(&ch->lock);
			return n;
		}
		/* After unlocking another thread may deliver its answer, and the slot be reused. */
		vital = req->vital;
		memcpy(&h, req->in, sizeof(h));
		if (!vital) {
			list_del(&req->link);
			req->state = req->state == FS_REQ_IN_FLIGHT ? FS_REQ_ABANDONED
								    : FS_REQ_OWNED;
			ch->n_busy--;
			ch->timeouts++;
		}
		pthread_mutex_unlock(&ch->lock);
		if (vital) {
			transport_fail(s->t, -ETIMEDOUT,
				       "the device did not answer a mapping request (opcode %u) "
				       "within %u ms",
				       h.opcode, s->params.timeout_ms);
			return n + fail_all(ch, -ETIMEDOUT);
		}
		req->done(req, -ETIMEDOUT);
		n++;
	}
}

unsigned fs_channel_reap(struct fs_channel *ch)
{
	struct transport *t = ch->session->t;
	struct vq_done done[REAP_BATCH];
	bool abandoned[REAP_BATCH];
	char why[128] = "";
	bool kick, overdue;
	int n, failed;
	unsigned total = 0;

	do {
		pthread_mutex_lock(&ch->lock);
		/* Looked at under the lock: after a failure fail_all() gives requests back that the
		 * ring still names, so the ring must not be believed any more. */
		n = transport_failed(t) ? 0 : vq_reap(ch->vq, done, REAP_BATCH, why);
		for (int i = 0; i < n; i++) {
			struct fs_req *req = done[i].token;

			abandoned[i] = req->state == FS_REQ_ABANDONED;
			if (abandoned[i])
				continue;
			list_del(&req->link);
			req->state = FS_REQ_OWNED;
			ch->n_busy--;
			ch->n_untimed -= req->untimed;
			ch->answered++;
		}
		while (!list_empty(&ch->waiting)) {
			struct fs_req *req = container_of(ch->waiting.next, struct fs_req, link);

			list_del(&req->link);
			if (put_on_ring(ch, req)) {
				list_push_front(&ch->waiting, &req->link);
				break;
			}
		}
		kick = publish(ch);
		/* The clock is read only where something has been in flight for a while. */
		overdue = n <= 0 && ch->n_busy > 0;
		pthread_mutex_unlock(&ch->lock);
		if (kick)
			t->ops->kick(t, ch->queue);
		for (int i = 0; i < n; i++) {
			struct fs_req *req = done[i].token;

			if (answer_check(req, done[i].written_bytes, why)) {
				transport_fail(t, -EPROTO, "the device broke the protocol on queue %u: %s",
					       ch->queue, why);
				if (!abandoned[i])
					req->done(req, -EPROTO);
				continue;
			}
			deliver(ch, req, abandoned[i]);
		}
		if (n > 0)
			total += (unsigned)n;
	} while (n == REAP_BATCH);
	if (n < 0)
		transport_fail(t, n, "the device broke queue %u: %s", ch->queue, why);
	failed = transport_failed(t);
	if (failed) {
		total += fail_all(ch, failed);
		take_back_abandoned(ch);
		return total;
	}
	return overdue ? total + expire(ch) : total;
}

unsigned fs_channel_busy(struct fs_channel *ch, uint64_t *deadline_ns)
{
	struct fs_req *first;
	unsigned n;

	*deadline_ns = UINT64_MAX;
	if (!atomic_load_explicit(&ch->n_busy, memory_order_relaxed))
		return 0;
	pthread_mutex_lock(&ch->lock);
	n = ch->n_busy;
	first = first_to_expire(ch);
	*deadline_ns = first ? first->deadline_ns : UINT64_MAX;
	pthread_mutex_unlock(&ch->lock);
	return n;
}

bool fs_channel_pending(struct fs_channel *ch)
{
	bool pending;

	pthread_mutex_lock(&ch->lock);
	pending = vq_pending(ch->vq);
	pthread_mutex_unlock(&ch->lock);
	return pending;
}

bool fs_channel_enable_calls(struct fs_channel *ch)
{
	bool pending;

	pthread_mutex_lock(&ch->lock);
	pending = vq_enable_calls(ch->vq);
	ch->calls_wanted = true;
	if (transport_failed(ch->session->t))
		pending = !ch->drained;
	pthread_mutex_unlock(&ch->lock);
	return pending;
}

void fs_channel_disable_calls(struct fs_channel *ch)
{
	pthread_mutex_lock(&ch->lock);
	if (ch->calls_wanted)
		vq_disable_calls(ch->vq);
	ch->calls_wanted = false;
	pthread_mutex_unlock(&ch->lock);
}

int fs_channel_call_fd(struct fs_channel *ch)
{
	return ch->call_fd;
}

void fs_channel_abandon(struct fs_channel *ch, int err)
{
	struct list given_up;
	struct list *l;

	list_init(&given_up);
	pthread_mutex_lock(&ch->lock);
	list_splice_back(&given_up, &ch->in_flight);
	list_splice_back(&given_up, &ch->untimed);
	list_splice_back(&given_up, &ch->waiting);
	ch->n_busy = ch->n_untimed = 0;
	list_for_each(pos, &given_up) {
		struct fs_req *req = container_of(pos, struct fs_req, link);

		req->state = req->state == FS_REQ_IN_FLIGHT ? FS_REQ_ABANDONED : FS_REQ_OWNED;
	}
	pthread_mutex_unlock(&ch->lock);
	while ((l = list_pop_front(&given_up))) {
		struct fs_req *req = container_of(l, struct fs_req, link);

		req->done(req, err);
	}
	pthread_mutex_lock(&ch->lock);
	for (unsigned i = 0; i < ch->n_reqs; i++)
		if (ch->reqs[i].state == FS_REQ_ABANDONED)
			ch->reqs[i].late = NULL;
	pthread_mutex_unlock(&ch->lock);
}

void fs_channel_close(struct fs_channel *ch, int err)
{
	fail_all(ch, err);
	while (vq_take_unfinished(ch->vq))
		; /* abandoned ones: their callers have long been answered */
	vq_destroy(ch->vq);
	free(ch->n_reqs ? ch->reqs[0].user : NULL);
	free(ch->reqs);
	free(ch->bigs);
	pthread_mutex_destroy(&ch->lock);
}
