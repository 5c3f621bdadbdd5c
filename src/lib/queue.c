/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/queue: many requests at a time, without a wait for each. Data in the window is copied by
 * vfsdax_submit(); the rest is sent as messages with one kick.
 */
#include "lib/queue.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

#define LEN_MAX	      (1 * MIB)
/* So that a polling device can begin before the rest is written. */
#define PUBLISH_EVERY 8u

/* ------------------------------------------------------------------ create, destroy */

int vfsdax_queue_create(struct vfsdax *s, unsigned depth, struct vfsdax_queue **queue)
{
	struct vfsdax_queue *q;
	struct queue_entry *entries;

	if (!depth || depth > DEPTH_MAX)
		return -EINVAL;
	q = calloc(1, sizeof(*q) + depth * sizeof(*entries));
	if (!q)
		return -ENOMEM;
	entries = (struct queue_entry *)(q + 1);
	q->share = s;
	q->lane = share_lane(s);
	q->depth = depth;
	list_init(&q->free);
	list_init(&q->prepared);
	list_init(&q->to_send);
	list_init(&q->done);
	pthread_mutex_init(&q->lock, NULL);
	atomic_init(&q->fd, -1);
	q->wake_fd = q->timer_fd = -1;
	for (unsigned i = 0; i < depth; i++) {
		entries[i].queue = q;
		list_push_back(&q->free, &entries[i].link);
	}
	atomic_fetch_add(&s->objects, 1);
	*queue = q;
	return 0;
}

int vfsdax_queue_destroy(struct vfsdax_queue *q)
{
	if (!q)
		return 0;
	if (q->n_prepared || q->n_open)
		return -EBUSY;
	/* The last done() may still have the lock. */
	pthread_mutex_lock(&q->lock);
	pthread_mutex_unlock(&q->lock);
	queue_fd_close(q);
	pthread_mutex_destroy(&q->lock);
	atomic_fetch_sub(&q->share->objects, 1);
	free(q);
	return 0;
}

/* ------------------------------------------------------------------ preparing */

/* `buf` and `off` as in struct queue_entry. */
static int prepare_entry(struct vfsdax_queue *q, struct vfsdax_file *f, uint32_t opcode, void *buf,
			 size_t len, uint64_t off, uint64_t user_data)
{
	struct queue_entry *e;
	struct list *l;

	if (len > LEN_MAX || f->share != q->share)
		return -EINVAL;
	l = list_pop_front(&q->free);
	if (!l)
		return -EAGAIN;
	e = container_of(l, struct queue_entry, link);
	e->file = f;
	e->user_data = user_data;
	e->opcode = opcode;
	e->buf = buf;
	e->len = len;
	e->off = off;
	e->done = 0;
	e->more = false;
	list_push_back(&q->prepared, &e->link);
	q->n_prepared++;
	return 0;
}

int vfsdax_prep_read(struct vfsdax_queue *q, struct vfsdax_file *f, void *buf, size_t len,
		     uint64_t off, uint64_t user_data)
{
	return prepare_entry(q, f, FUSE_READ, buf, len, off, user_data);
}

int vfsdax_prep_write(struct vfsdax_queue *q, struct vfsdax_file *f, const void *buf, size_t len,
		      uint64_t off, uint64_t user_data)
{
	/* (a WRITE's buffer is only read) */
	return prepare_entry(q, f, FUSE_WRITE, (void *)(uintptr_t)buf, len, off, user_data);
}

int vfsdax_prep_fstat(struct vfsdax_queue *q, struct vfsdax_file *f, struct stat *st,
		      uint64_t user_data)
{
	return prepare_entry(q, f, FUSE_GETATTR, st, 0, 0, user_data);
}

int vfsdax_prep_fsync(struct vfsdax_queue *q, struct vfsdax_file *f, int datasync,
		      uint64_t user_data)
{
	return prepare_entry(q, f, f->dir ? FUSE_FSYNCDIR : FUSE_FSYNC, NULL, 0,
			     datasync ? FUSE_FSYNC_FDATASYNC : 0, user_data);
}

static bool entry_is_io(const struct queue_entry *e)
{
	return e->opcode == FUSE_READ || e->opcode == FUSE_WRITE;
}

/* ------------------------------------------------------------------ answers */

/* On any thread. With the unlocking the entry, and then the queue, belongs to its own thread:
 * nothing follows. */
static void complete_entry(struct queue_entry *e)
{
	struct vfsdax_queue *q = e->queue;

	pthread_mutex_lock(&q->lock);
	list_push_back(&q->done, &e->link);
	q->n_done++;
	queue_fd_signal(q);
	waiter_wake(q->share, &q->waiter);
	pthread_mutex_unlock(&q->lock);
}

static void queue_entry_done(struct bridge_call *call, int err, const uint8_t *payload, size_t len)
{
	struct queue_entry *e = container_of(call, struct queue_entry, sent.call);
	ssize_t n = args_take_answer(&e->io.args, err, payload, len);

	e->more = false;
	if (entry_is_io(e)) {
		size_t asked = MIN(e->len - e->done, e->queue->share->io_max);

		n = io_request_bytes(&e->io, (int)n);
		if (n >= 0)
			e->done += (size_t)n;
		e->more = n == (ssize_t)asked && e->done < e->len;
	} else if (e->opcode == FUSE_GETATTR) {
		n = n ? n : attr_to_stat(&e->attr.attr, e->buf);
	} else if (n == -ENOSYS) {
		n = 0; /* as vfsdax_fsync() */
	}
	/* As pread(2): after an error behind the first piece the result is what was done. */
	e->result = n < 0 && !e->done ? caller_error((int)n) : (int64_t)e->done;
	complete_entry(e);
}

/* ------------------------------------------------------------------ sending */

/* Without a message, as far as possible. True: nothing is left to send. */
static bool copy_entry(struct queue_entry *e)
{
	bool write = e->opcode == FUSE_WRITE;
	ssize_t n = 0;

	if (!entry_is_io(e))
		return false;
	e->result = file_check_io(e->file, write, e->len, e->off);
	if (e->result)
		return true;
	while (n >= 0 && e->done < e->len) {
		n = file_copy(e->file, write, (uint8_t *)e->buf + e->done, e->len - e->done,
			      e->off + e->done);
		if (n > 0)
			e->done += (size_t)n;
	}
	e->result = (int64_t)e->done;
	return e->done == e->len;
}

/* Called with the lane's lock held. False: no buffer is free. */
static bool send_entry(struct queue_entry *e)
{
	struct vfsdax_queue *q = e->queue;
	struct vfsdax_file *f = e->file;

	if (entry_is_io(e)) {
		io_request_init(&e->io, f, e->opcode == FUSE_WRITE, (uint8_t *)e->buf + e->done,
				MIN(e->len - e->done, q->share->io_max), e->off + e->done);
	} else if (e->opcode == FUSE_GETATTR) {
		e->in.getattr = (struct fuse_getattr_in){0};
		e->io.args = (struct fuse_args){.opcode = e->opcode,
						.nodeid = f->nodeid,
						.in = {ARG_OF(e->in.getattr)},
						OUT_OF(e->attr)};
	} else {
		e->in.fsync = (struct fuse_fsync_in){.fh = f->fh, .fsync_flags = (uint32_t)e->off};
		e->io.args = (struct fuse_args){
			.opcode = e->opcode, .nodeid = f->nodeid, .in = {ARG_OF(e->in.fsync)}};
	}
	share_call_init(&e->sent, q->share, &e->io.args, queue_entry_done);
	list_del(&e->link);
	if (lane_send(q->lane, &e->sent))
		return true;
	list_push_front(&q->to_send, &e->link);
	return false;
}

/* A device that hangs keeps its buffers: an entry that has waited for one as long as an answer may
 * take ends. The list is about in the order of until_ns. */
static void time_out_unsent(struct vfsdax_queue *q)
{
	uint64_t now = clock_now_ns();

	while (!list_empty(&q->to_send)) {
		struct queue_entry *e = container_of(q->to_send.next, struct queue_entry, link);

		if (e->until_ns > now)
			return;
		list_del(&e->link);
		e->more = false;
		if (!e->done)
			e->result = fs_caller_error(-ETIMEDOUT);
		complete_entry(e);
	}
}

static void await_buffer(struct vfsdax_queue *q, struct queue_entry *e)
{
	e->until_ns = clock_now_ns() + q->share->timeout_ms * NS_PER_MS;
	list_push_back(&q->to_send, &e->link);
}

/* Sends what finds a buffer, with one kick. */
static void send_entries(struct vfsdax_queue *q)
{
	if (list_empty(&q->to_send))
		return;
	pthread_mutex_lock(&q->lane->lock);
	for (unsigned n = 1; !list_empty(&q->to_send); n++) {
		if (!send_entry(container_of(q->to_send.next, struct queue_entry, link)))
			break;
		if (n % PUBLISH_EVERY == 0 && q->lane->bridge)
			bridge_lane_publish(q->lane->bridge);
	}
	lane_flush(q->lane);
	pthread_mutex_unlock(&q->lane->lock);
	time_out_unsent(q);
}

int vfsdax_submit(struct vfsdax_queue *q)
{
	unsigned n = q->n_prepared;
	struct list *l;

	IN_SCOPE_OF(q->share);
	queue_fd_enter(q, false);
	while ((l = list_pop_front(&q->prepared))) {
		struct queue_entry *e = container_of(l, struct queue_entry, link);

		q->n_open++;
		if (copy_entry(e))
			complete_entry(e);
		else
			await_buffer(q, e);
	}
	q->n_prepared = 0;
	send_entries(q);
	queue_fd_leave(q);
	return (int)n;
}

/* ------------------------------------------------------------------ results */

/* Takes results; entries with more pieces are queued for sending. */
static unsigned take_results(struct vfsdax_queue *q, struct vfsdax_result *results, unsigned max)
{
	struct list *l;
	unsigned n = 0;

	pthread_mutex_lock(&q->lock);
	while (n < max && (l = list_pop_front(&q->done))) {
		struct queue_entry *e = container_of(l, struct queue_entry, link);

		q->n_done--;
		if (e->more) {
			await_buffer(q, e);
			continue;
		}
		results[n].user_data = e->user_data;
		results[n].result = e->result;
		n++;
		q->n_open--;
		list_push_front(&q->free, &e->link);
	}
	pthread_mutex_unlock(&q->lock);
	return n;
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

static unsigned reap_queue(struct vfsdax_queue *q, struct vfsdax_result *results, unsigned max,
			   unsigned min, uint64_t until_ns)
{
	unsigned n = take_results(q, results, max);

	/* Also where enough is there, for the next call. Without a wait there is no leader, and a
	 * mapping that an entry needs may be on another lane: then all are reaped. */
	if (n < max && (!until_ns || queue_has_fd(q)))
		share_reap(q->share);
	else
		lane_reap(q->lane);
	for (;;) {
		n += take_results(q, results + n, max - n);
		send_entries(q);
		if (n >= MIN(min, n + q->n_open) || n == max)
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

int vfsdax_reap(struct vfsdax_queue *q, struct vfsdax_result *results, unsigned max, unsigned min,
		int timeout_ms)
{
	struct vfsdax *s = q->share;
	uint64_t wait_ms = timeout_ms < 0 ? s->timeout_ms + 1000u : (unsigned)timeout_ms;
	uint64_t until = wait_ms ? clock_now_ns() + wait_ms * NS_PER_MS : 0;
	unsigned n;

	IN_SCOPE_OF(s);
	queue_fd_enter(q, true);
	n = reap_queue(q, results, max, min, until);
	queue_fd_leave(q);
	share_report_loss(s);
	return (int)n;
}
