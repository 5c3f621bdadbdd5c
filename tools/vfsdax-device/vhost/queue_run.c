/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* queue_run: from the ring to fs_handle(), and back with request_complete(). See queue.h. */
#include "queue.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/delay.h"
#include "base/log.h"
#include "slot.h"

void queue_enter(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	space_read_lock(q->space);
}

void queue_leave(struct queue *q)
{
	space_read_unlock(q->space);
	pthread_mutex_unlock(&q->lock);
}

/* Waits for the front end's translations; without locks. */
static int queue_resolve(struct queue *q, const struct misses *misses)
{
	return space_resolve(q->space, misses, &q->stopping);
}

/* ------------------------------------------------------------------ giving back */

void queue_changed(struct queue *q)
{
	/* Only queue_stop() waits, and it sets the flag before it takes the lock. */
	if (atomic_load_explicit(&q->stopping, memory_order_relaxed))
		pthread_cond_broadcast(&q->changed);
}

void slot_retire(struct queue *q, struct queue_slot *slot)
{
	q->in_flight--;
	list_push_front(&q->pool, &slot->link);
	queue_changed(q);
}

/* With the lock; the ring is running. 1: and the driver wants a call. */
static int slot_push(struct queue *q, struct queue_slot *slot, struct misses *misses)
{
	int rc;

	space_read_lock(q->space);
	rc = slot_copy_out(slot, q->space, misses);
	if (rc == -EFAULT) {
		/* The buffer is gone: the driver took it back while we had it. */
		slot->written = 0;
		rc = 0;
	}
	DELAY_POINT("device.before_push");
	if (!rc)
		rc = ring_push(&q->ring, slot->head, slot->written, misses);
	DELAY_POINT("device.after_push");
	if (!rc && ring_wants_call(&q->ring))
		rc = 1;
	space_read_unlock(q->space);
	return rc;
}

/* With the lock, which is given up while it waits. 1: as slot_push(); -ECANCELED: the queue stands
 * still, or will. */
static int slot_deliver(struct queue *q, struct queue_slot *slot)
{
	for (;;) {
		struct misses misses = {.n = 0};
		int rc = q->running ? slot_push(q, slot, &misses) : -ECANCELED;

		if (rc != -EAGAIN)
			return rc;
		pthread_mutex_unlock(&q->lock);
		rc = queue_resolve(q, &misses);
		pthread_mutex_lock(&q->lock);
		if (rc)
			return rc;
	}
}

void request_complete(struct request *req, uint32_t written_bytes)
{
	struct queue_slot *slot = container_of(req, struct queue_slot, req);
	struct queue *q = slot->queue;
	bool direct = slot->direct;
	int rc;

	slot->written = (uint32_t)MIN(written_bytes, req->writable_bytes);
	/* Before the driver can see the answer: a driver that then takes its buffer back shall not
	 * find it pinned. */
	if (direct)
		space_unpin(q->space, &slot->pin);
	pthread_mutex_lock(&q->lock);
	rc = slot_deliver(q, slot);
	if (direct)
		q->direct--;
	if (rc == -ECANCELED) {
		/* For the next start. */
		list_push_back(&q->held, &slot->link);
		queue_changed(q);
	} else {
		if (rc < 0)
			log_error("queue %u: an answer cannot be delivered: %s", q->index,
				  strerror(-rc));
		slot_retire(q, slot);
	}
	pthread_mutex_unlock(&q->lock);
	if (rc > 0)
		event_signal(&q->call);
}

int request_store(struct request *req, uint64_t at, const void *bytes, size_t len)
{
	struct queue_slot *slot = container_of(req, struct queue_slot, req);
	struct queue *q = slot->queue;

	for (;;) {
		struct misses misses = {.n = 0};
		int rc;

		space_read_lock(q->space);
		rc = slot_store(slot, q->space, at, bytes, len, &misses);
		space_read_unlock(q->space);
		if (rc != -EAGAIN)
			return rc;
		rc = queue_resolve(q, &misses);
		if (rc)
			return rc;
	}
}

/* ------------------------------------------------------------------ taking */

/* With the locks: a slot for q->chain. 1, -ENOMEM, or -EPROTO. */
static int slot_of_chain(struct queue *q, struct queue_slot **out)
{
	struct list *l;
	struct queue_slot *slot;

	if (q->in_flight >= q->ring.size) {
		q->ring.broken = true;
		log_error("queue %u stopped: more requests in flight than the ring has entries, %u",
			  q->index, q->ring.size);
		return -EPROTO;
	}
	l = list_pop_front(&q->pool);
	slot = l ? container_of(l, struct queue_slot, link) : slot_new(q);
	if (slot && slot_fill(slot, &q->chain, q->index == VIRTIO_FS_QUEUE_HIPRIO)) {
		list_push_front(&q->pool, &slot->link);
		slot = NULL;
	}
	if (!slot) {
		ring_unpop(&q->ring);
		return -ENOMEM;
	}
	q->in_flight++;
	q->requests++;
	q->direct += slot->direct;
	*out = slot;
	return 1;
}

/* Takes one chain. 1 with *out, and *mapped as slot_map() said; else as queue_run_one(). */
static int slot_take(struct queue *q, struct queue_slot **out, int *mapped)
{
	for (;;) {
		struct misses misses = {.n = 0};
		int rc;

		queue_enter(q);
		rc = ring_pop(&q->ring, &q->chain, &misses);
		if (rc == 1)
			rc = slot_of_chain(q, out);
		if (rc == 1)
			*mapped = slot_map(*out, q->space, &misses);
		queue_leave(q);
		if (rc != -EAGAIN)
			return rc;
		rc = queue_resolve(q, &misses);
		if (rc)
			return rc;
	}
}

/* slot_map() until the front end has answered. */
static int slot_map_wait(struct queue *q, struct queue_slot *slot)
{
	for (;;) {
		struct misses misses = {.n = 0};
		int rc;

		space_read_lock(q->space);
		rc = slot_map(slot, q->space, &misses);
		space_read_unlock(q->space);
		if (rc == -EAGAIN)
			rc = queue_resolve(q, &misses);
		else
			return rc;
		if (rc)
			return rc;
	}
}

/* The queue is stopping and the request could not be mapped: as if it had not been taken. */
static void slot_put_back(struct queue *q, struct queue_slot *slot)
{
	pthread_mutex_lock(&q->lock);
	ring_unpop(&q->ring);
	q->direct -= slot->direct;
	slot_retire(q, slot);
	pthread_mutex_unlock(&q->lock);
}

/*
 * A request whose buffers cannot all be reached is answered with an error where its header can be
 * read and written, which often lie elsewhere than its data; else it goes back with nothing
 * written.
 */
static void slot_refuse(struct queue *q, struct queue_slot *slot, int err)
{
	bool header;

	if (!q->complained)
		log_error("queue %u: request %u cannot be read or answered where the driver put "
			  "it: %s "
			  "(said once)",
			  q->index, slot->head, strerror(-err));
	q->complained = true;
	pthread_mutex_lock(&q->lock);
	q->direct -= slot->direct;
	slot->direct = false; /* nothing is pinned */
	pthread_mutex_unlock(&q->lock);
	header = !q->offers && slot_map_header(slot, q->space);
	if (header)
		fs_refuse(&slot->req, err);
	else
		request_complete(&slot->req, 0);
}

int queue_run_one(struct queue *q)
{
	struct queue_slot *slot;
	int mapped, rc = slot_take(q, &slot, &mapped);

	if (rc <= 0)
		return rc;
	if (mapped == -EAGAIN)
		mapped = slot_map_wait(q, slot);
	if (mapped == -ECANCELED) {
		slot_put_back(q, slot);
		return mapped;
	}
	if (mapped)
		slot_refuse(q, slot, mapped);
	else if (q->offers)
		fs_offer(q->fs, &slot->req);
	else
		fs_handle(q->fs, &slot->req);
	return 1;
}
