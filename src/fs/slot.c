/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fs/slot: the slots and payload buffers of a channel, from fs_req_get() to the last owner's put;
 * and what the device wrote into them, checked. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "fs/internal.h"

/*
 * Copies the header out of shared memory and checks the copy. FUSE bounds an error to
 * (-512, 0]; an error has no payload.
 */
static int answer_check(struct fs_req *req, char why[128])
{
	struct fuse_out_header *a = &req->answer;
	uint32_t written = req->written_bytes;

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

/* 0, or -EPROTO and the device is given up. */
int fs_take_answer(struct fs_req *req)
{
	struct fs_channel *ch = req->channel;
	char why[128];

	if (!answer_check(req, why))
		return 0;
	transport_fail(ch->session->t, -EPROTO, "the device broke the protocol on queue %u: %s",
		       ch->queue, why);
	return -EPROTO;
}

/* ------------------------------------------------------------------ slots */

static void note_missing(uint64_t *since_ns)
{
	if (!*since_ns)
		*since_ns = clock_now_ns();
}

struct fs_req *fs_req_get(struct fs_channel *ch, unsigned leave)
{
	struct fs_req *req = NULL;

	pthread_mutex_lock(&ch->lock);
	if (ch->n_free_reqs > leave) {
		req = container_of(list_pop_front(&ch->free_reqs), struct fs_req, link);
		ch->n_free_reqs--;
		req->state = FS_REQ_OWNED;
	} else {
		note_missing(&ch->slot_missing_ns);
	}
	pthread_mutex_unlock(&ch->lock);
	return req;
}

/* Called with the lock held. Who waited for it, has it now, and is to be called without the lock.
 */
static struct fs_payload_waiter *give_payload(struct fs_channel *ch, struct fs_payload *payload)
{
	struct list *l = list_pop_front(&ch->payload_waiters);

	ch->payload_missing_ns = list_empty(&ch->payload_waiters) ? 0 : clock_now_ns();
	if (l)
		return container_of(l, struct fs_payload_waiter, link);
	list_push_front(&ch->free_payloads, &payload->link);
	ch->n_free_payloads++;
	return NULL;
}

/* Called with the lock held; the slot has no payload buffer any more. */
static void free_slot(struct fs_req *req)
{
	struct fs_channel *ch = req->channel;

	req->in_off = req->in_len = req->in_payload_len = req->timeout_ms = 0;
	req->out_len = req->out_payload_off = req->out_payload_len = 0;
	req->untimed = req->fatal_on_timeout = req->put = req->returned = false;
	req->done = NULL;
	req->awaited_ns = NULL;
	req->state = FS_REQ_FREE;
	ch->slot_missing_ns = 0;
	/* The slot used last is the one that is still in the cache. */
	list_push_front(&ch->free_reqs, &req->link);
	ch->n_free_reqs++;
}

void fs_req_free(struct fs_req *req, void *ctx)
{
	struct fs_channel *ch = req->channel;
	struct fs_payload *payload = req->payload;
	struct fs_payload_waiter *waiter = NULL;

	pthread_mutex_lock(&ch->lock);
	req->payload = NULL;
	if (payload)
		waiter = give_payload(ch, payload);
	free_slot(req);
	pthread_mutex_unlock(&ch->lock);
	if (waiter)
		waiter->got(waiter, ctx, payload);
}

/* The answer to an abandoned request, whose user has put it. */
void fs_late_answer(struct fs_req *req, void *ctx)
{
	req->state = FS_REQ_LATE;
	if (!fs_take_answer(req) && req->done)
		req->done(req, ctx, 0);
	fs_req_free(req, ctx);
}

void fs_req_put(struct fs_req *req, void *ctx)
{
	struct fs_channel *ch = req->channel;
	bool abandoned, returned;

	pthread_mutex_lock(&ch->lock);
	abandoned = req->state == FS_REQ_ABANDONED;
	returned = req->returned;
	req->put = abandoned; /* the device may still write into it */
	pthread_mutex_unlock(&ch->lock);
	if (!abandoned)
		fs_req_free(req, ctx);
	else if (returned)
		fs_late_answer(req, ctx);
}

struct fs_payload *fs_payload_get(struct fs_channel *ch, unsigned leave)
{
	struct list *l = NULL;

	pthread_mutex_lock(&ch->lock);
	if (ch->n_free_payloads > leave) {
		l = list_pop_front(&ch->free_payloads);
		ch->n_free_payloads--;
	} else if (!leave) {
		note_missing(&ch->payload_missing_ns);
	}
	pthread_mutex_unlock(&ch->lock);
	return l ? container_of(l, struct fs_payload, link) : NULL;
}

unsigned fs_payloads_free(struct fs_channel *ch)
{
	unsigned n;

	pthread_mutex_lock(&ch->lock);
	n = ch->n_free_payloads;
	pthread_mutex_unlock(&ch->lock);
	return n;
}

struct fs_payload *fs_payload_get_or_wait(struct fs_channel *ch, struct fs_payload_waiter *waiter)
{
	struct list *l = NULL;

	pthread_mutex_lock(&ch->lock);
	if (ch->n_free_payloads) {
		l = list_pop_front(&ch->free_payloads);
		ch->n_free_payloads--;
	} else {
		list_push_back(&ch->payload_waiters, &waiter->link);
		note_missing(&ch->payload_missing_ns);
	}
	pthread_mutex_unlock(&ch->lock);
	return l ? container_of(l, struct fs_payload, link) : NULL;
}
