/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fs/channel: one request queue with its slots and payload buffers. It puts requests on the ring,
 * takes answers off and checks their headers. What is not answered in time is for give_up.c.
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

#define SLOT_BYTES (FS_IN_BYTES + FS_OWN_BYTES + FS_OUT_BYTES)
#define REAP_BATCH 32

size_t fs_channel_bytes(const struct fs_params *params)
{
	return (size_t)params->slots * SLOT_BYTES + (size_t)params->payloads * FS_PAYLOAD_BYTES +
	       2 * 4096;
}

static void requests_lay_out(struct fs_channel *ch, struct fs_arena *arena, uint8_t *users)
{
	const struct fs_params *params = &ch->session->params;

	for (unsigned i = 0; i < ch->n_reqs; i++) {
		struct fs_req *req = &ch->reqs[i];

		req->channel = ch;
		req->in = fs_arena_take(arena, SLOT_BYTES, 64, &req->in_iova);
		req->out = req->in + FS_IN_BYTES + FS_OWN_BYTES;
		req->out_iova = req->in_iova + FS_IN_BYTES + FS_OWN_BYTES;
		req->user = users ? users + i * params->user_bytes : NULL;
		list_push_back(&ch->free_reqs, &req->link);
	}
	ch->n_free_reqs = ch->n_reqs;
	for (unsigned i = 0; i < ch->n_payloads; i++) {
		struct fs_payload *payload = &ch->payloads[i];

		payload->va = fs_arena_take(arena, FS_PAYLOAD_BYTES, 4096, &payload->iova);
		list_push_back(&ch->free_payloads, &payload->link);
	}
	ch->n_free_payloads = ch->n_payloads;
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
	ch->n_payloads = s->params.payloads;
	list_init(&ch->free_reqs);
	list_init(&ch->free_payloads);
	list_init(&ch->payload_waiters);
	list_init(&ch->waiting);
	list_init(&ch->in_flight);
	list_init(&ch->untimed);
	ch->reqs = calloc(ch->n_reqs, sizeof(*ch->reqs));
	ch->payloads = calloc(ch->n_payloads, sizeof(*ch->payloads));
	if (s->params.user_bytes)
		users = calloc(ch->n_reqs, s->params.user_bytes);
	if (!ch->reqs || !ch->payloads || (s->params.user_bytes && !users)) {
		free(ch->reqs);
		free(ch->payloads);
		free(users);
		return -ENOMEM;
	}
	pthread_mutex_init(&ch->lock, NULL);
	requests_lay_out(ch, &s->arena, users);
	vq_disable_calls(vq);
	return 0;
}

/* ------------------------------------------------------------------ submission */

/* Deadlines are in the order of submission, unless the time-out was changed (the end of a session
 * shortens it) or nobody waits. */
void fs_queue_by_deadline(struct fs_channel *ch, struct fs_req *req)
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

	readable[n_readable++] = (struct vq_segment){req->in_iova + req->in_off, req->in_len};
	if (req->in_payload_len)
		readable[n_readable++] =
			(struct vq_segment){req->payload->iova, req->in_payload_len};
	if (req->out_len)
		writable[n_writable++] = (struct vq_segment){req->out_iova, req->out_len};
	if (req->out_payload_len)
		writable[n_writable++] = (struct vq_segment){
			req->payload->iova + req->out_payload_off, req->out_payload_len};
	err = vq_add(ch->vq, readable, n_readable, writable, n_writable, req);
	if (err)
		return err;
	req->state = FS_REQ_IN_FLIGHT;
	if (req->untimed)
		list_push_back(&ch->untimed, &req->link);
	else
		fs_queue_by_deadline(ch, req);
	ch->unpublished = true;
	return 0;
}

int fs_req_submit(struct fs_req *req)
{
	struct fs_channel *ch = req->channel;
	uint64_t timeout_ms = ch->session->params.timeout_ms;
	int failed;

	if (req->timeout_ms)
		timeout_ms = MIN(timeout_ms, req->timeout_ms);
	memcpy(&req->unique, req->in + req->in_off + offsetof(struct fuse_in_header, unique),
	       sizeof(req->unique));
	pthread_mutex_lock(&ch->lock);
	/* Under the lock: fs_channel_fail() drains these lists after the failure was set, so either
	 * it finds this request there, or this load finds the failure. */
	failed = transport_failed(ch->session->t);
	if (!failed) {
		req->deadline_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
		ch->n_busy++;
		ch->n_untimed += req->untimed;
		ch->submitted++;
		if (!list_empty(&ch->waiting) || put_on_ring(ch, req)) {
			req->state = FS_REQ_WAITING;
			list_push_back(&ch->waiting, &req->link);
		}
	}
	pthread_mutex_unlock(&ch->lock);
	return failed;
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

/* What is to be done with a chain that came back, decided under the lock. */
enum delivery {
	DELIVER_ANSWER,
	DELIVER_LATE,
	DELIVER_BY_PUT, /* late, and its user has not put it yet: fs_req_put() goes on */
};

static enum delivery note_returned(struct fs_channel *ch, const struct vq_done *done)
{
	struct fs_req *req = done->token;

	req->written_bytes = done->written_bytes;
	if (req->state == FS_REQ_ABANDONED) {
		req->returned = true;
		ch->n_abandoned--;
		return req->put ? DELIVER_LATE : DELIVER_BY_PUT;
	}
	list_del(&req->link);
	req->state = FS_REQ_OWNED;
	ch->n_busy--;
	ch->n_untimed -= req->untimed;
	ch->answered++;
	return DELIVER_ANSWER;
}

/* Called with the lock held. */
static void fill_ring(struct fs_channel *ch)
{
	while (!list_empty(&ch->waiting)) {
		struct fs_req *req = container_of(ch->waiting.next, struct fs_req, link);

		list_del(&req->link);
		if (put_on_ring(ch, req)) {
			list_push_front(&ch->waiting, &req->link);
			return;
		}
	}
}

static void deliver(struct fs_req *req, enum delivery how, void *ctx)
{
	if (how == DELIVER_ANSWER)
		req->done(req, ctx, fs_take_answer(req));
	else if (how == DELIVER_LATE)
		fs_late_answer(req, ctx);
}

unsigned fs_channel_reap(struct fs_channel *ch, void *ctx)
{
	struct transport *t = ch->session->t;
	struct vq_done done[REAP_BATCH];
	enum delivery how[REAP_BATCH];
	char why[128] = "";
	unsigned total = 0;
	bool kick, overdue;
	int n;

	do {
		pthread_mutex_lock(&ch->lock);
		/* Under the lock: after a failure fs_channel_fail() ends requests that the ring
		 * still names, so the ring must not be believed any more. */
		n = transport_failed(t) ? 0 : vq_reap(ch->vq, done, REAP_BATCH, why);
		for (int i = 0; i < n; i++)
			how[i] = note_returned(ch, &done[i]);
		fill_ring(ch);
		kick = publish(ch);
		/* The clock is read only where something has been in flight for a while. */
		overdue = n <= 0 && (ch->n_busy || ch->n_abandoned);
		pthread_mutex_unlock(&ch->lock);
		if (kick)
			t->ops->kick(t, ch->queue);
		for (int i = 0; i < n; i++)
			deliver(done[i].token, how[i], ctx);
		total += (unsigned)MAX(n, 0);
	} while (n == REAP_BATCH);
	if (n < 0)
		transport_fail(t, n, "the device broke queue %u: %s", ch->queue, why);
	if (transport_failed(t))
		return total + fs_channel_fail(ch, ctx, transport_failed(t));
	return overdue ? total + fs_channel_expire(ch, ctx) : total;
}

unsigned fs_channel_busy(struct fs_channel *ch, uint64_t *deadline_ns)
{
	struct fs_req *first;
	unsigned n;

	*deadline_ns = UINT64_MAX;
	if (!atomic_load_explicit(&ch->n_busy, memory_order_relaxed) && !fs_channel_abandoned(ch))
		return 0;
	pthread_mutex_lock(&ch->lock);
	n = ch->n_busy;
	first = fs_first_to_expire(ch);
	*deadline_ns = fs_starved_ns(ch);
	if (first)
		*deadline_ns = MIN(*deadline_ns, first->deadline_ns);
	pthread_mutex_unlock(&ch->lock);
	return n;
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

unsigned fs_channel_abandoned(struct fs_channel *ch)
{
	return atomic_load_explicit(&ch->n_abandoned, memory_order_relaxed);
}

struct fs_req *fs_channel_slots(struct fs_channel *ch, unsigned *n)
{
	*n = ch->n_reqs;
	return ch->reqs;
}

int fs_channel_call_fd(struct fs_channel *ch)
{
	return ch->call_fd;
}

void fs_channel_close(struct fs_channel *ch, int err)
{
	fs_channel_fail(ch, NULL, err);
	while (vq_take_unfinished(ch->vq))
		; /* abandoned ones: their callers have long been answered */
	vq_destroy(ch->vq);
	free(ch->n_reqs ? ch->reqs[0].user : NULL);
	free(ch->reqs);
	free(ch->payloads);
	pthread_mutex_destroy(&ch->lock);
}
