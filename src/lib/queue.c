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

static int queue_new(struct vfsdax *s, unsigned depth, struct vfsdax_queue **queue)
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
	list_init(&q->taken);
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

int vfsdax_queue_create(struct vfsdax *s, unsigned depth, struct vfsdax_queue **queue)
{
	return (int)NOTED(queue_new(s, depth, queue), NULL);
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

static struct queue_entry *take_free(struct vfsdax_queue *q)
{
	struct list *l = list_pop_front(&q->free);
	struct queue_entry *e;

	if (!l)
		return NULL;
	e = container_of(l, struct queue_entry, link);
	e->done = 0;
	e->more = e->asked = false;
	return e;
}

static void put_prepared(struct vfsdax_queue *q, struct queue_entry *e)
{
	list_push_back(&q->prepared, &e->link);
	q->n_prepared++;
}

/* `buf` and `off` as in struct queue_entry. */
static int prepare_entry(struct vfsdax_queue *q, struct vfsdax_file *f, uint32_t opcode, void *buf,
			 size_t len, uint64_t off, uint64_t user_data)
{
	struct queue_entry *e;

	if (len > LEN_MAX || f->share != q->share)
		return -EINVAL;
	e = take_free(q);
	if (!e)
		return -EAGAIN;
	e->file = f;
	e->user_data = user_data;
	e->opcode = opcode;
	e->buf = buf;
	e->len = len;
	e->off = off;
	put_prepared(q, e);
	return 0;
}

int vfsdax_prep_stat(struct vfsdax_queue *q, struct vfsdax_file *dir, const char *path, int flags,
		     struct stat *st, uint64_t user_data)
{
	struct queue_entry *e;
	int err;

	if (flags & ~AT_SYMLINK_NOFOLLOW || (dir && dir->share != q->share))
		return -EINVAL;
	if (dir && !dir->dir)
		return -ENOTDIR;
	e = take_free(q);
	if (!e)
		return -EAGAIN;
	err = queue_stat_begin(e, dir, path, flags);
	if (err) {
		list_push_front(&q->free, &e->link);
		return err;
	}
	e->user_data = user_data;
	e->opcode = FUSE_LOOKUP;
	e->buf = st;
	put_prepared(q, e);
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

	e->more = e->walk;
	e->answer = (int)n;
	if (entry_is_io(e)) {
		size_t asked = MIN(e->len - e->done, e->queue->share->io_max);

		n = io_request_bytes(&e->io, (int)n);
		if (n >= 0)
			e->done += (size_t)n;
		e->more = n == (ssize_t)asked && e->done < e->len;
	} else if (e->opcode == FUSE_GETATTR) {
		n = n ? n : attr_to_stat(&e->attr.attr, e->buf);
	} else if (n == -ENOSYS && !e->walk) {
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

	if (e->walk)
		return queue_stat_next(e);
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
	} else if (e->walk) {
		/* (its message is there) */
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
	e->asked = true;
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
		e->more = e->walk;
		e->answer = fs_caller_error(-ETIMEDOUT);
		if (!e->done)
			e->result = e->answer;
		complete_entry(e);
	}
}

void queue_await_buffer(struct vfsdax_queue *q, struct queue_entry *e)
{
	e->until_ns = clock_now_ns() + q->share->timeout_ms * NS_PER_MS;
	list_push_back(&q->to_send, &e->link);
}

void queue_send(struct vfsdax_queue *q)
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
			queue_await_buffer(q, e);
	}
	q->n_prepared = 0;
	queue_send(q);
	queue_fd_leave(q);
	return (int)n;
}
