/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/queue: many requests at a time, of a thread that does not wait for each. What the window has
 * is copied when it is submitted; the rest goes out as messages with one kick.
 */
#include "lib/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define LEN_MAX (1 * MIB)
/* A device that is awake begins with the first while the rest is being written. */
#define PUBLISH_EVERY 8u

/* ------------------------------------------------------------------ create, destroy */

int vfsdax_queue_create(struct vfsdax *s, unsigned depth, struct vfsdax_queue **queue)
{
	struct vfsdax_queue *q;
	struct entry *entries;

	if (!depth || depth > DEPTH_MAX)
		return -EINVAL;
	q = calloc(1, sizeof(*q) + depth * sizeof(*entries));
	if (!q)
		return -ENOMEM;
	entries = (struct entry *)(q + 1);
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
	/* The last done() has left its entry, but may not have left the lock. */
	pthread_mutex_lock(&q->lock);
	pthread_mutex_unlock(&q->lock);
	queue_fd_close(q);
	pthread_mutex_destroy(&q->lock);
	atomic_fetch_sub(&q->share->objects, 1);
	free(q);
	return 0;
}

/* ------------------------------------------------------------------ preparing */

static struct entry *prepare(struct vfsdax_queue *q, struct vfsdax_file *f, uint32_t opcode,
			     uint64_t user_data)
{
	struct list *l = list_pop_front(&q->free);
	struct entry *e;

	if (!l)
		return NULL;
	e = container_of(l, struct entry, link);
	*e = (struct entry){
		.queue = q,
		.file = f,
		.opcode = opcode,
		.user_data = user_data,
	};
	list_push_back(&q->prepared, &e->link);
	q->n_prepared++;
	return e;
}

static int prepare_data(struct vfsdax_queue *q, struct vfsdax_file *f, uint32_t opcode, void *buf,
			size_t len, uint64_t off, uint64_t user_data)
{
	struct entry *e;

	if (len > LEN_MAX || f->share != q->share)
		return -EINVAL;
	e = prepare(q, f, opcode, user_data);
	if (!e)
		return -EAGAIN;
	e->buf = buf;
	e->len = len;
	e->off = off;
	return 0;
}

int vfsdax_prep_read(struct vfsdax_queue *q, struct vfsdax_file *f, void *buf, size_t len,
		     uint64_t off, uint64_t user_data)
{
	return prepare_data(q, f, FUSE_READ, buf, len, off, user_data);
}

int vfsdax_prep_write(struct vfsdax_queue *q, struct vfsdax_file *f, const void *buf, size_t len,
		      uint64_t off, uint64_t user_data)
{
	/* (a WRITE's buffer is only read) */
	return prepare_data(q, f, FUSE_WRITE, (void *)(uintptr_t)buf, len, off, user_data);
}

int vfsdax_prep_fstat(struct vfsdax_queue *q, struct vfsdax_file *f, struct stat *st,
		      uint64_t user_data)
{
	struct entry *e;

	if (f->share != q->share)
		return -EINVAL;
	e = prepare(q, f, FUSE_GETATTR, user_data);
	if (!e)
		return -EAGAIN;
	e->st = st;
	return 0;
}

int vfsdax_prep_fsync(struct vfsdax_queue *q, struct vfsdax_file *f, int datasync,
		      uint64_t user_data)
{
	struct entry *e;

	if (f->share != q->share)
		return -EINVAL;
	e = prepare(q, f, f->dir ? FUSE_FSYNCDIR : FUSE_FSYNC, user_data);
	if (!e)
		return -EAGAIN;
	e->datasync = datasync;
	return 0;
}

/* ------------------------------------------------------------------ answers */

/* On any thread. The entry, and then the queue, is its thread's from the unlocking on: so that is
 * the last thing. */
static void hand_back(struct entry *e)
{
	struct vfsdax_queue *q = e->queue;

	pthread_mutex_lock(&q->lock);
	list_push_back(&q->done, &e->link);
	q->n_done++;
	queue_fd_signal(q);
	waiter_wake(q->share, &q->waiter);
	pthread_mutex_unlock(&q->lock);
}

/* Bytes of a READ or WRITE, `n` of a piece of `asked`: more of it is to be sent, or the result. */
static void note_bytes(struct entry *e, size_t n)
{
	e->done += n;
	e->more = n == e->asked && e->done < e->len;
	e->result = (int64_t)e->done;
}

static int note_attr(struct entry *e, const uint8_t *payload, size_t len)
{
	struct fuse_attr_out out;

	if (len != sizeof(out))
		return -EIO;
	memcpy(&out, payload, sizeof(out));
	return attr_to_stat(&out.attr, e->st);
}

static int note_written(struct entry *e, const uint8_t *payload, size_t len)
{
	struct fuse_write_out out;

	if (len != sizeof(out))
		return -EIO;
	memcpy(&out, payload, sizeof(out));
	if (!out.size || out.size > e->asked)
		return -EIO;
	note_bytes(e, out.size);
	return 0;
}

static int note_answer(struct entry *e, const uint8_t *payload, size_t len)
{
	switch (e->opcode) {
	case FUSE_READ:
		if (len > e->asked)
			return -EIO;
		note_bytes(e, len);
		return 0;
	case FUSE_WRITE:
		return note_written(e, payload, len);
	case FUSE_GETATTR:
		return note_attr(e, payload, len);
	default:
		return 0;
	}
}

static void entry_done(struct bridge_call *call, int err, const uint8_t *payload, size_t len)
{
	struct entry *e = container_of(call, struct entry, call);

	e->more = false;
	if (!err)
		err = note_answer(e, payload, len);
	if (err == -ENOSYS && (e->opcode == FUSE_FSYNC || e->opcode == FUSE_FSYNCDIR))
		err = 0; /* as vfsdax_fsync() has it */
	/* As pread(2): an error behind the first piece gives what was done. */
	if (err && !e->done)
		e->result = caller_error(err);
	hand_back(e);
}

/* ------------------------------------------------------------------ sending */

/* Without a message, as far as that goes. True: there is nothing left to send. */
static bool finish_now(struct entry *e)
{
	bool write = e->opcode == FUSE_WRITE;
	ssize_t n = 0;
	int err;

	if (!write && e->opcode != FUSE_READ)
		return false;
	err = write ? file_may_write(e->file, e->len, e->off)
		    : file_may_read(e->file, e->len, e->off);
	if (err) {
		e->result = err;
		return true;
	}
	while (n >= 0 && e->done < e->len) {
		uint8_t *at = e->buf + e->done;
		size_t left = e->len - e->done;

		n = write ? file_write_now(e->file, at, left, e->off + e->done)
			  : file_read_now(e->file, at, left, e->off + e->done);
		if (n > 0)
			e->done += (size_t)n;
	}
	e->result = (int64_t)e->done;
	return e->done == e->len;
}

/* Called with the lane's lock held. False: no buffer is free. */
static bool send(struct entry *e)
{
	struct vfsdax_queue *q = e->queue;
	size_t left = MIN(e->len - e->done, q->share->io_max);
	struct request r = {.opcode = e->opcode, .nodeid = e->file->nodeid};
	union {
		struct fuse_read_in read;
		struct fuse_write_in write;
		struct fuse_getattr_in getattr;
		struct fuse_fsync_in fsync;
	} in = {0};
	struct fuse_in_header h;

	r.in[0].p = &in;
	switch (e->opcode) {
	case FUSE_READ:
		in.read = read_args(e->file, left, e->off + e->done);
		r.in[0].len = sizeof(in.read);
		r.data = e->buf + e->done;
		r.data_len = left;
		break;
	case FUSE_WRITE:
		in.write = write_args(e->file, left, e->off + e->done);
		r.in[0].len = sizeof(in.write);
		r.in[1].p = e->buf + e->done;
		r.in[1].len = left;
		break;
	case FUSE_GETATTR:
		r.in[0].len = sizeof(in.getattr);
		break;
	default:
		in.fsync.fh = e->file->fh;
		in.fsync.fsync_flags = e->datasync ? FUSE_FSYNC_FDATASYNC : 0;
		r.in[0].len = sizeof(in.fsync);
		break;
	}
	if (!lane_write(q->share, q->lane, &r, &h))
		return false;
	e->asked = left;
	e->call = (struct bridge_call){.done = entry_done, .data = r.data, .data_len = r.data_len};
	list_del(&e->link);
	bridge_lane_request(q->lane->bridge, &h, &e->call);
	return true;
}

/* A device that has hung keeps its buffers: what has waited for one for as long as an answer may
 * take ends. The entries are in the order of their time, about. */
static void give_up(struct vfsdax_queue *q)
{
	uint64_t now = clock_now_ns();

	while (!list_empty(&q->to_send)) {
		struct entry *e = container_of(q->to_send.next, struct entry, link);

		if (e->until_ns > now)
			return;
		list_del(&e->link);
		e->more = false;
		if (!e->done)
			e->result = fs_caller_error(-ETIMEDOUT);
		hand_back(e);
	}
}

static void to_send(struct vfsdax_queue *q, struct entry *e)
{
	e->until_ns = clock_now_ns() + q->share->timeout_ms * NS_PER_MS;
	list_push_back(&q->to_send, &e->link);
}

/* Sends what there is room for, with one kick. */
static void send_all(struct vfsdax_queue *q)
{
	if (list_empty(&q->to_send))
		return;
	pthread_mutex_lock(&q->lane->lock);
	for (unsigned n = 1; !list_empty(&q->to_send); n++) {
		if (!send(container_of(q->to_send.next, struct entry, link)))
			break;
		if (n % PUBLISH_EVERY == 0)
			bridge_lane_publish(q->lane->bridge);
	}
	bridge_lane_flush(q->lane->bridge);
	pthread_mutex_unlock(&q->lane->lock);
	give_up(q);
}

int vfsdax_submit(struct vfsdax_queue *q)
{
	unsigned n = q->n_prepared;
	struct list *l;

	IN_SCOPE_OF(q->share);
	queue_fd_enter(q, false);
	while ((l = list_pop_front(&q->prepared))) {
		struct entry *e = container_of(l, struct entry, link);

		q->n_open++;
		if (finish_now(e))
			hand_back(e);
		else
			to_send(q, e);
	}
	q->n_prepared = 0;
	send_all(q);
	queue_fd_leave(q);
	return (int)n;
}

/* ------------------------------------------------------------------ results */

/* Takes results; what is to be sent on goes to the list for that. */
static unsigned take(struct vfsdax_queue *q, struct vfsdax_result *results, unsigned max)
{
	struct list *l;
	unsigned n = 0;

	pthread_mutex_lock(&q->lock);
	while (n < max && (l = list_pop_front(&q->done))) {
		struct entry *e = container_of(l, struct entry, link);

		q->n_done--;
		if (e->more) {
			to_send(q, e);
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

/* True: no result is there that was not taken; the next wakes the waiter. */
static bool wait_for_more(struct vfsdax_queue *q)
{
	bool none;

	pthread_mutex_lock(&q->lock);
	none = q->n_done == 0;
	if (none)
		atomic_store(&q->waiter.state, WAITER_RUNS);
	pthread_mutex_unlock(&q->lock);
	return none;
}

static unsigned reap(struct vfsdax_queue *q, struct vfsdax_result *results, unsigned max,
		     unsigned min, uint64_t until_ns)
{
	unsigned n = take(q, results, max);

	/* Also where enough is there: so the next call finds what has come meanwhile. Whoever does
	 * not wait has no leader, and sees to all lanes: a set-up that he needs may be another's.
	 */
	if (n < max && (!until_ns || queue_has_fd(q)))
		share_reap(q->share);
	else
		lane_reap(q->lane);
	for (;;) {
		n += take(q, results + n, max - n);
		send_all(q);
		if (n >= MIN(min, n + q->n_open) || n == max)
			return n;
		if (clock_now_ns() >= until_ns)
			return n;
		if (wait_for_more(q))
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
	n = reap(q, results, max, min, until);
	queue_fd_leave(q);
	share_tell_loss(s);
	return (int)n;
}
