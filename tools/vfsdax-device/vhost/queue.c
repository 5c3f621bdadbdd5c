/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "queue.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"

/* How long one translation may take; QEMU needs 30 to 500 us. */
#define MISS_TIMEOUT_MS 1000u
#define RETRY_MS	20

/* One request and all the memory that it needs; reused without malloc on the hot path. */
struct ring_request {
	struct request req; /* first: request_complete() gets back from it */
	struct queue *queue;
	struct list link;
	uint16_t head;
	uint32_t written;
	bool direct;
	struct pin pin;

	/* A copy of the chain's ranges, and room for their pieces; grow, never shrink. */
	struct guest_range *ranges;
	unsigned n_readable, n_writable, ranges_max;
	struct iovec *pieces;
	unsigned pieces_max;

	/* A small request's own buffers, aligned for the headers that lie in them. */
	struct iovec small[2];
	_Alignas(16) uint8_t in[SMALL_READABLE_BYTES];
	_Alignas(16) uint8_t out[SMALL_WRITABLE_BYTES];
};

/* ------------------------------------------------------------------ the pool */

/* Called with the lock. NULL: no memory. */
static struct ring_request *request_get(struct queue *q)
{
	struct list *l = list_pop_front(&q->pool);
	struct ring_request *rr;

	if (l)
		return container_of(l, struct ring_request, link);
	rr = calloc(1, sizeof(*rr));
	if (!rr)
		return NULL;
	rr->queue = q;
	list_init(&rr->link);
	return rr;
}

static void request_free(struct ring_request *rr)
{
	free(rr->ranges);
	free(rr->pieces);
	free(rr);
}

static void list_free(struct list *head)
{
	struct list *l;

	while ((l = list_pop_front(head)))
		request_free(container_of(l, struct ring_request, link));
}

static int reserve_ranges(struct ring_request *rr, unsigned n)
{
	struct guest_range *grown;

	if (n <= rr->ranges_max)
		return 0;
	grown = realloc(rr->ranges, n * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	rr->ranges = grown;
	rr->ranges_max = n;
	return 0;
}

static int reserve_pieces(struct ring_request *rr, unsigned n)
{
	struct iovec *grown;

	n = MIN(n, REQUEST_PIECES_MAX);
	if (n <= rr->pieces_max)
		return 0;
	grown = realloc(rr->pieces, n * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	rr->pieces = grown;
	rr->pieces_max = n;
	return 0;
}

/* ------------------------------------------------------------------ chain -> request */

static int copy_in(struct ring_request *rr, struct misses *misses)
{
	struct space *s = rr->queue->space;
	size_t at = 0;
	int result = 0;

	for (unsigned i = 0; i < rr->n_readable; i++) {
		const struct guest_range *x = &rr->ranges[i];
		int rc = space_read(s, x->addr, rr->in + at, x->len, misses);

		if (rc && rc != -EAGAIN)
			return rc;
		result = rc ? rc : result;
		at += x->len;
	}
	return result;
}

static int copy_out(struct ring_request *rr, struct misses *misses)
{
	struct space *s = rr->queue->space;
	size_t at = 0;
	int result = 0;

	for (unsigned i = 0; i < rr->n_writable && at < rr->written; i++) {
		const struct guest_range *x = &rr->ranges[rr->n_readable + i];
		size_t len = MIN(x->len, rr->written - at);
		int rc = space_write(s, x->addr, rr->out + at, len, misses);

		if (rc && rc != -EAGAIN)
			return rc;
		result = rc ? rc : result;
		at += len;
	}
	return result;
}

static void use_small(struct ring_request *rr)
{
	struct request *req = &rr->req;

	rr->small[0] = (struct iovec){.iov_base = rr->in, .iov_len = req->readable_bytes};
	rr->small[1] = (struct iovec){.iov_base = rr->out, .iov_len = req->writable_bytes};
	req->readable = &rr->small[0];
	req->n_readable = req->readable_bytes > 0;
	req->writable = &rr->small[1];
	req->n_writable = req->writable_bytes > 0;
}

/* Called with the space's read lock. */
static int map_and_pin(struct ring_request *rr, struct misses *misses)
{
	struct space *s = rr->queue->space;
	struct guest_range *w = rr->ranges + rr->n_readable;
	struct request *req = &rr->req;
	int in, out;

	in = space_map(s, rr->ranges, rr->n_readable, VHOST_IOTLB_PERM_READ, rr->pieces,
		       rr->pieces_max, misses);
	if (in < 0 && in != -EAGAIN)
		return in;
	out = space_map(s, w, rr->n_writable, VHOST_IOTLB_PERM_WRITE, rr->pieces + MAX(in, 0),
			rr->pieces_max - (unsigned)MAX(in, 0), misses);
	if (in < 0 || out < 0)
		return out < 0 ? out : in;
	req->readable = rr->pieces;
	req->n_readable = (unsigned)in;
	req->writable = rr->pieces + in;
	req->n_writable = (unsigned)out;
	rr->pin = (struct pin){.ranges = {rr->ranges, w}, .n = {rr->n_readable, rr->n_writable}};
	space_pin(s, &rr->pin);
	return 0;
}

/* Makes the pieces; waits for the front end where it must. 0 or -errno. */
static int request_prepare(struct ring_request *rr)
{
	struct queue *q = rr->queue;
	int rc;

	for (;;) {
		struct misses misses = {0};

		space_read_lock(q->space);
		rc = rr->direct ? map_and_pin(rr, &misses) : copy_in(rr, &misses);
		space_read_unlock(q->space);
		if (rc == -E2BIG && rr->pieces_max < REQUEST_PIECES_MAX) {
			rc = reserve_pieces(rr, rr->pieces_max * 2 + 16);
			if (rc)
				return rc;
			continue;
		}
		if (rc != -EAGAIN)
			break;
		rc = space_resolve(q->space, &misses, &q->stopping, MISS_TIMEOUT_MS);
		if (rc)
			return rc;
	}
	if (!rc && !rr->direct)
		use_small(rr);
	return rc;
}

static int request_fill(struct ring_request *rr, const struct chain *c)
{
	unsigned n = c->n_readable + c->n_writable;
	int rc = reserve_ranges(rr, n);

	if (rc)
		return rc;
	memcpy(rr->ranges, c->ranges, n * sizeof(c->ranges[0]));
	rr->n_readable = c->n_readable;
	rr->n_writable = c->n_writable;
	rr->head = c->head;
	rr->written = 0;
	rr->direct = c->readable_bytes > SMALL_READABLE_BYTES ||
		     c->writable_bytes > SMALL_WRITABLE_BYTES;
	rr->req = (struct request){.readable_bytes = c->readable_bytes,
				   .writable_bytes = c->writable_bytes,
				   .hiprio = rr->queue->index == VIRTIO_FS_QUEUE_HIPRIO};
	return rr->direct ? reserve_pieces(rr, n) : 0;
}

/* ------------------------------------------------------------------ request -> ring */

static void signal_fd(int fd)
{
	uint64_t one = 1;
	/* A full counter is as good as a signal, and a front end that is gone needs none. */
	ssize_t unused = fd >= 0 ? write(fd, &one, sizeof(one)) : 0;

	(void)unused;
}

/* Called with the lock; the ring is running. */
static int push(struct queue *q, struct ring_request *rr, struct misses *misses)
{
	int rc;

	space_read_lock(q->space);
	rc = rr->direct ? 0 : copy_out(rr, misses);
	if (rc == -EFAULT) {
		/* The buffer is gone: the driver took it back while we had it. */
		rr->written = 0;
		rc = 0;
	}
	if (!rc)
		rc = ring_push(&q->ring, rr->head, rr->written, misses);
	if (!rc && ring_wants_call(&q->ring))
		signal_fd(q->call_fd);
	space_read_unlock(q->space);
	return rc;
}

/* Called with the lock. */
static void request_retire(struct queue *q, struct ring_request *rr)
{
	q->in_flight--;
	list_push_front(&q->pool, &rr->link);
	pthread_cond_broadcast(&q->changed);
}

void request_complete(struct request *req, uint32_t written_bytes)
{
	struct ring_request *rr = container_of(req, struct ring_request, req);
	struct queue *q = rr->queue;
	bool direct = rr->direct;

	rr->written = (uint32_t)MIN(written_bytes, req->writable_bytes);
	/* Before the driver learns of it: a driver that then takes its buffer back shall not find
	 * it pinned. */
	if (direct)
		space_unpin(q->space, &rr->pin);
	pthread_mutex_lock(&q->lock);
	for (;;) {
		struct misses misses = {0};
		int rc;

		if (!q->running) {
			list_push_back(&q->held, &rr->link);
			pthread_cond_broadcast(&q->changed);
			break;
		}
		rc = push(q, rr, &misses);
		if (rc == -EAGAIN) {
			pthread_mutex_unlock(&q->lock);
			rc = space_resolve(q->space, &misses, &q->stopping, MISS_TIMEOUT_MS);
			pthread_mutex_lock(&q->lock);
			if (!rc)
				continue;
			if (rc == -ECANCELED) {
				/* The queue is being stopped: keep it for the next start. */
				list_push_back(&q->held, &rr->link);
				pthread_cond_broadcast(&q->changed);
				break;
			}
			log_error("queue %u: an answer cannot be delivered: %s", q->index,
				  strerror(-rc));
		}
		request_retire(q, rr);
		break;
	}
	if (direct)
		q->direct--;
	pthread_mutex_unlock(&q->lock);
}

/* ------------------------------------------------------------------ the thread */

/*
 * Takes one chain and makes a request of it. 1 with *out; 0: the ring is empty; -errno: stop
 * looking until the next kick (-EFAULT, -ETIMEDOUT), until the next start (-EPROTO), or for good
 * (-ECANCELED).
 */
static int take(struct queue *q, struct ring_request **out)
{
	for (;;) {
		struct misses misses = {0};
		struct ring_request *rr = NULL;
		int rc;

		pthread_mutex_lock(&q->lock);
		space_read_lock(q->space);
		rc = ring_pop(&q->ring, &q->chain, &misses);
		space_read_unlock(q->space);
		if (rc == 1 && q->in_flight >= q->ring.size) {
			q->ring.broken = true;
			log_error("queue %u stopped: more requests in flight than the ring has "
				  "entries, %u",
				  q->index, q->ring.size);
			rc = -EPROTO;
		}
		if (rc == 1) {
			rr = request_get(q);
			if (rr && request_fill(rr, &q->chain)) {
				list_push_front(&q->pool, &rr->link);
				rr = NULL;
			}
			if (rr) {
				q->in_flight++;
				q->direct += rr->direct;
			} else {
				ring_unpop(&q->ring);
				rc = -ENOMEM;
			}
		}
		pthread_mutex_unlock(&q->lock);
		*out = rr;
		if (rc != -EAGAIN)
			return rc;
		rc = space_resolve(q->space, &misses, &q->stopping, MISS_TIMEOUT_MS);
		if (rc)
			return rc;
	}
}

/* The queue is stopping and the request could not be prepared: as if it had not been taken. */
static void put_back(struct queue *q, struct ring_request *rr)
{
	pthread_mutex_lock(&q->lock);
	ring_unpop(&q->ring);
	q->direct -= rr->direct;
	request_retire(q, rr);
	pthread_mutex_unlock(&q->lock);
}

/* A request whose buffers cannot be reached goes back with nothing written. */
static void refuse(struct queue *q, struct ring_request *rr, int err)
{
	if (!q->complained)
		log_error("queue %u: request %u cannot be read or answered where the driver put "
			  "it: %s "
			  "(said once)",
			  q->index, rr->head, strerror(-err));
	q->complained = true;
	pthread_mutex_lock(&q->lock);
	q->direct -= rr->direct;
	rr->direct = false; /* nothing is pinned */
	pthread_mutex_unlock(&q->lock);
	request_complete(&rr->req, 0);
}

static int run_one(struct queue *q)
{
	struct ring_request *rr;
	int rc = take(q, &rr);

	if (rc <= 0)
		return rc;
	rc = request_prepare(rr);
	if (rc == -ECANCELED) {
		put_back(q, rr);
		return rc;
	}
	if (rc)
		refuse(q, rr, rc);
	else
		fs_handle(q->fs, &rr->req);
	return 1;
}

/* ring_pending() or ring_listen() under the locks, without waiting for the front end. */
static int look(struct queue *q, bool listen)
{
	struct misses misses = {0};
	int rc;

	pthread_mutex_lock(&q->lock);
	space_read_lock(q->space);
	rc = listen ? ring_listen(&q->ring, true, &misses) : ring_pending(&q->ring, &misses);
	space_read_unlock(q->space);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

/* ------------------------------------------------------------------ waiting */

/*
 * Spinning pays when the next request is near and a CPU is to spare. Near: the smoothed gap between
 * requests is below SPIN_NEAR; then it spins twice that long. To spare: a look that took far longer
 * than a look takes was interrupted by somebody who needs the CPU; then it does not spin for a
 * while, twice as long each time.
 */
#define SPIN_NEAR	 (100 * NS_PER_US)
#define SPIN_LEAST	 (10 * NS_PER_US)
#define GAP_CAP		 (1 * NS_PER_MS)
#define LOOK_INTERRUPTED (50 * NS_PER_US)
#define PENALTY_FIRST	 (2 * NS_PER_MS)
#define PENALTY_MOST	 (256 * NS_PER_MS)

static void spin_init(struct spin *s)
{
	cpu_set_t cpus;

	*s = (struct spin){.gap_ns = GAP_CAP, .penalty_ns = PENALTY_FIRST};
	s->alone = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) < 2;
}

static void spin_dry(struct spin *s)
{
	if (!s->dry_since)
		s->dry_since = clock_now_ns();
}

static void spin_request(struct spin *s)
{
	uint64_t gap;

	if (!s->dry_since)
		return;
	gap = MIN(clock_now_ns() - s->dry_since, GAP_CAP);
	s->gap_ns = (7 * s->gap_ns + gap) / 8;
	s->dry_since = 0;
}

static void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* True when there is something to take (or to find out). */
static bool spin_wait(struct queue *q)
{
	struct spin *s = &q->spin;
	uint64_t now = clock_now_ns(), end;

	if (s->alone || s->gap_ns > SPIN_NEAR || now < s->not_before)
		return false;
	end = now + MAX(MIN(2 * s->gap_ns, SPIN_NEAR), SPIN_LEAST);
	while (now < end && !atomic_load_explicit(&q->stopping, memory_order_relaxed)) {
		uint64_t before = now;

		if (look(q, false) != 0)
			return true;
		for (int i = 0; i < 16; i++)
			cpu_relax();
		now = clock_now_ns();
		if (now - before > LOOK_INTERRUPTED) {
			s->not_before = now + s->penalty_ns;
			s->penalty_ns = MIN(2 * s->penalty_ns, PENALTY_MOST);
			return false;
		}
	}
	if (s->penalty_ns > PENALTY_FIRST)
		s->penalty_ns -= s->penalty_ns / 16;
	return false;
}

/*
 * Sleeps until the driver kicks, the queue is stopped or the time is over (-1: never). False: the
 * kick descriptor is no good.
 */
static bool block(struct queue *q, int timeout_ms)
{
	struct pollfd p[2] = {{.fd = q->kick_fd, .events = POLLIN},
			      {.fd = q->wake_fd, .events = POLLIN}};
	uint64_t count;
	ssize_t n;

	while (poll(p, 2, timeout_ms) < 0)
		if (errno != EINTR)
			return false;
	if (!p[0].revents || p[1].revents)
		return true;
	n = read(q->kick_fd, &count, sizeof(count));
	if (n == (ssize_t)sizeof(count) || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return true;
	log_error("queue %u stopped: its kick descriptor cannot be read: %s", q->index,
		  n < 0 ? strerror(errno) : "end of file");
	return false;
}

/* Takes and runs until the ring is empty or must not be touched. 0, or as run_one(). */
static int drain(struct queue *q)
{
	int rc = 0;

	while (!atomic_load_explicit(&q->stopping, memory_order_relaxed)) {
		rc = run_one(q);
		if (rc <= 0)
			break;
		spin_request(&q->spin);
	}
	return rc;
}

static void quiet(struct queue *q)
{
	struct misses misses = {0};

	if (q->ring.event_idx)
		return;
	pthread_mutex_lock(&q->lock);
	space_read_lock(q->space);
	ring_listen(&q->ring, false, &misses);
	space_read_unlock(q->space);
	pthread_mutex_unlock(&q->lock);
}

static void *queue_main(void *arg)
{
	struct queue *q = arg;
	char name[16];
	int rc, armed;

	snprintf(name, sizeof(name), q->index ? "queue %u" : "hiprio", q->index);
	pthread_setname_np(pthread_self(), name);
	spin_init(&q->spin);
	while (!atomic_load(&q->stopping)) {
		quiet(q);
		rc = drain(q);
		if (rc == -EPROTO)
			break;
		spin_dry(&q->spin);
		if (rc == 0 && spin_wait(q))
			continue;
		armed = rc == 0 || rc == -EFAULT || rc == -ETIMEDOUT ? look(q, true) : 0;
		/* -EAGAIN: the IOTLB lost the ring in between; drain() asks for it again. Where
		 * that just failed there is nothing to arm, and the next kick is the next try. */
		if ((armed > 0 && rc == 0) || (armed == -EAGAIN && rc == 0))
			continue;
		/* Short of memory, or the device is half-way through a stop: look again soon. */
		if (!block(q, rc == -ENOMEM || rc == -ECANCELED ? RETRY_MS : -1))
			break;
	}
	pthread_mutex_lock(&q->lock);
	if (!atomic_load(&q->stopping))
		signal_fd(q->err_fd);
	q->thread_alive = false;
	pthread_cond_broadcast(&q->changed);
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

/* ------------------------------------------------------------------ main thread */

int queue_init(struct queue *q, unsigned index, struct space *space, struct fs *fs)
{
	pthread_condattr_t clock;

	memset(q, 0, sizeof(*q));
	q->index = index;
	q->space = space;
	q->fs = fs;
	q->kick_fd = q->call_fd = q->err_fd = -1;
	q->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->wake_fd < 0)
		return -errno;
	list_init(&q->pool);
	list_init(&q->held);
	ring_init(&q->ring, space, index);
	pthread_mutex_init(&q->lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&q->changed, &clock);
	pthread_condattr_destroy(&clock);
	return 0;
}

static void set_fd(struct queue *q, int *slot, int fd)
{
	int old;

	pthread_mutex_lock(&q->lock);
	old = *slot;
	*slot = fd;
	pthread_mutex_unlock(&q->lock);
	if (old >= 0)
		close(old);
}

void queue_set_kick(struct queue *q, int fd)
{
	set_fd(q, &q->kick_fd, fd);
}

void queue_set_call(struct queue *q, int fd)
{
	set_fd(q, &q->call_fd, fd);
	/* A call that went to the old descriptor may have been lost on the way. */
	if (queue_running(q))
		signal_fd(fd);
}

void queue_set_err(struct queue *q, int fd)
{
	set_fd(q, &q->err_fd, fd);
}

void queue_fini(struct queue *q)
{
	queue_set_kick(q, -1);
	queue_set_call(q, -1);
	queue_set_err(q, -1);
	close(q->wake_fd);
	list_free(&q->pool);
	list_free(&q->held);
	ring_fini(&q->ring);
	pthread_mutex_destroy(&q->lock);
	pthread_cond_destroy(&q->changed);
}

bool queue_running(struct queue *q)
{
	bool running;

	pthread_mutex_lock(&q->lock);
	running = q->running;
	pthread_mutex_unlock(&q->lock);
	return running;
}

/* What completed while the ring stood still goes out from the new thread's side of the start. */
static void release_held(struct queue *q)
{
	struct list held;
	struct list *l;

	list_init(&held);
	pthread_mutex_lock(&q->lock);
	list_splice_back(&held, &q->held);
	pthread_mutex_unlock(&q->lock);
	while ((l = list_pop_front(&held))) {
		struct ring_request *rr = container_of(l, struct ring_request, link);

		if (rr->direct) {
			/* Its pin was given back when it completed. */
			rr->direct = false;
			rr->n_writable = 0;
		}
		request_complete(&rr->req, rr->written);
	}
}

static void *queue_entry(void *arg)
{
	release_held(arg);
	return queue_main(arg);
}

int queue_start(struct queue *q)
{
	uint64_t count;
	ssize_t unused;
	int rc;

	atomic_store(&q->stopping, false);
	unused = read(q->wake_fd, &count, sizeof(count));
	(void)unused;
	q->complained = false;
	pthread_mutex_lock(&q->lock);
	q->running = q->thread_alive = true;
	pthread_mutex_unlock(&q->lock);
	rc = pthread_create(&q->thread, NULL, queue_entry, q);
	if (!rc) {
		q->joinable = true;
		return 0;
	}
	pthread_mutex_lock(&q->lock);
	q->running = q->thread_alive = false;
	pthread_mutex_unlock(&q->lock);
	log_error("queue %u: no thread for it: %s", q->index, strerror(rc));
	return -rc;
}

int queue_stop(struct queue *q, unsigned timeout_ms)
{
	uint64_t end = clock_now_ns() + timeout_ms * NS_PER_MS;
	struct timespec until = {.tv_sec = (time_t)(end / NS_PER_S),
				 .tv_nsec = (long)(end % NS_PER_S)};
	int rc = 0;

	atomic_store(&q->stopping, true);
	signal_fd(q->wake_fd);
	space_nudge(q->space);
	pthread_mutex_lock(&q->lock);
	while ((q->thread_alive || q->direct) && !rc)
		rc = pthread_cond_timedwait(&q->changed, &q->lock, &until);
	rc = q->thread_alive || q->direct ? -ETIMEDOUT : 0;
	if (!rc)
		q->running = false;
	pthread_mutex_unlock(&q->lock);
	if (!rc && q->joinable) {
		pthread_join(q->thread, NULL);
		q->joinable = false;
	}
	return rc;
}

unsigned queue_forget(struct queue *q)
{
	unsigned left;

	pthread_mutex_lock(&q->lock);
	while (!list_empty(&q->held)) {
		struct list *l = list_pop_front(&q->held);

		request_retire(q, container_of(l, struct ring_request, link));
	}
	left = q->in_flight;
	pthread_mutex_unlock(&q->lock);
	return left;
}
