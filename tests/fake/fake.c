/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake/fake.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "wire/virtio.h"

#define FAKE_IOVA   (4 * GIB)
#define FAKE_QUEUES 64

struct fake_queue {
	bool set_up;
	struct queue_addr addr;
	int call;
	/* Under lock */
	uint16_t avail_next; /* next to pop */
	uint16_t used_idx;
	unsigned kicks, calls;
	unsigned kicks_seen; /* by fake_device_wait and the thread */
};

struct fake_device {
	struct transport base; /* first */
	struct fake_params params;
	uint8_t *config;
	uint8_t *arena;
	size_t arena_bytes;
	uint8_t *window, *window_map;
	size_t window_map_bytes;
	struct fake_queue queues[FAKE_QUEUES];

	pthread_mutex_t lock; /* the device's side: everything below and the queues' counters */
	pthread_cond_t kicked;
	bool started;
	bool refuse_features;
	int config_err, start_err;
	uint64_t accepted;
	fake_handler handler;
	void *handler_ctx;
	pthread_t thread;
	bool thread_runs, thread_quit;
};

static struct fake_device *fake_of(struct transport *t)
{
	return (struct fake_device *)t;
}

/* The driver under test broke the specification. */
__attribute__((noreturn, format(printf, 1, 2))) static void driver_fault(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fputs("fake device: the driver ", stderr);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
	abort();
}

uint8_t *fake_device_memory(struct fake_device *dev, uint64_t iova, uint64_t len_bytes)
{
	if (iova < FAKE_IOVA || !extent_within(iova - FAKE_IOVA, len_bytes, dev->arena_bytes))
		return NULL;
	return dev->arena + (iova - FAKE_IOVA);
}

static void *memory_or_abort(struct fake_device *dev, uint64_t iova, uint64_t len_bytes,
			     const char *what)
{
	uint8_t *va = fake_device_memory(dev, iova, len_bytes);

	if (!va)
		driver_fault("puts %s at iova %#llx + %llu, outside of the DMA memory", what,
			     (unsigned long long)iova, (unsigned long long)len_bytes);
	return va;
}

/* ------------------------------------------------------------------------- the device's rings */

static struct vring_avail *avail_of(struct fake_device *dev, struct fake_queue *q)
{
	return memory_or_abort(dev, q->addr.avail_iova, VRING_AVAIL_BYTES(q->addr.size), "avail");
}

static struct vring_used *used_of(struct fake_device *dev, struct fake_queue *q)
{
	return memory_or_abort(dev, q->addr.used_iova, VRING_USED_BYTES(q->addr.size), "used");
}

static bool event_idx(const struct fake_device *dev)
{
	return dev->accepted & VIRTIO_F_BIT(VIRTIO_F_EVENT_IDX);
}

static void add_piece(struct fake_device *dev, struct fake_request *req, const struct vring_desc *d)
{
	uint8_t *va = memory_or_abort(dev, d->addr, d->len, "a buffer");

	if (!d->len)
		driver_fault("makes an empty descriptor");
	if (req->n_readable + req->n_writable == FAKE_PIECES_MAX)
		driver_fault("makes a chain of more than %u pieces", FAKE_PIECES_MAX);
	if (d->flags & VRING_DESC_F_WRITE) {
		req->writable[req->n_writable].va = va;
		req->writable[req->n_writable++].len_bytes = d->len;
		req->writable_bytes += d->len;
		return;
	}
	if (req->n_writable)
		driver_fault("puts a readable piece behind a writable one");
	req->readable = realloc(req->readable, req->readable_bytes + d->len);
	memcpy(req->readable + req->readable_bytes, va, d->len);
	req->readable_bytes += d->len;
	req->n_readable++;
}

/* Follows a chain in the table (the ring's own, or an indirect one). */
static void walk(struct fake_device *dev, struct fake_request *req, const struct vring_desc *table,
		 unsigned n, unsigned at)
{
	for (unsigned steps = 0;; steps++) {
		struct vring_desc d;

		if (at >= n || steps >= n)
			driver_fault(
				"links descriptors out of the table or in a loop (next %u of %u)",
				at, n);
		d = table[at];
		if (d.flags & VRING_DESC_F_INDIRECT)
			driver_fault("nests an indirect descriptor");
		add_piece(dev, req, &d);
		if (!(d.flags & VRING_DESC_F_NEXT))
			return;
		at = d.next;
	}
}

static struct fake_request *pop_locked(struct fake_device *dev, uint16_t queue)
{
	struct fake_queue *q = &dev->queues[queue];
	struct vring_desc *ring, head;
	struct vring_avail *avail;
	struct vring_used *used;
	struct fake_request *req;
	uint16_t waiting, id;

	if (!dev->started || !q->set_up || transport_failed(&dev->base))
		return NULL;
	avail = avail_of(dev, q);
	used = used_of(dev, q);
	/* Ask for a kick at the next chain first, then look: 2.7.7, from the device's side. */
	if (event_idx(dev))
		__atomic_store_n((uint16_t *)&used->ring[q->addr.size], q->avail_next,
				 __ATOMIC_SEQ_CST);
	waiting = (uint16_t)(__atomic_load_n(&avail->idx, __ATOMIC_SEQ_CST) - q->avail_next);
	if (!waiting)
		return NULL;
	if (waiting > q->addr.size)
		driver_fault("has an available index %u ahead in a queue of %u", waiting,
			     q->addr.size);
	id = __atomic_load_n(&avail->ring[q->avail_next % q->addr.size], __ATOMIC_RELAXED);
	q->avail_next++;
	if (event_idx(dev))
		__atomic_store_n((uint16_t *)&used->ring[q->addr.size], q->avail_next,
				 __ATOMIC_SEQ_CST);
	if (id >= q->addr.size)
		driver_fault("makes descriptor %u of %u available", id, q->addr.size);

	req = calloc(1, sizeof(*req));
	req->queue = queue;
	req->id = id;
	ring = memory_or_abort(dev, q->addr.desc_iova, VRING_DESC_BYTES(q->addr.size), "desc");
	head = ring[id];
	if (head.flags & VRING_DESC_F_INDIRECT) {
		if (!(dev->accepted & VIRTIO_F_BIT(VIRTIO_F_INDIRECT_DESC)))
			driver_fault("uses an indirect table without INDIRECT_DESC");
		if (!head.len || head.len % sizeof(head) || (head.flags & ~VRING_DESC_F_INDIRECT))
			driver_fault("makes an indirect table of %u bytes, flags %#x", head.len,
				     head.flags);
		walk(dev, req, memory_or_abort(dev, head.addr, head.len, "an indirect table"),
		     head.len / sizeof(head), 0);
	} else {
		walk(dev, req, ring, q->addr.size, id);
	}
	return req;
}

/* New used elements up to new_idx: publish, and call the driver if it asked for that. */
static void used_publish(struct fake_device *dev, struct fake_queue *q, uint16_t new_idx)
{
	struct vring_avail *avail = avail_of(dev, q);
	struct vring_used *used = used_of(dev, q);
	uint16_t old = q->used_idx;
	bool call;

	q->used_idx = new_idx;
	/* Store of used->idx before the load of used_event or the flags: 2.7.7.2. */
	__atomic_store_n(&used->idx, new_idx, __ATOMIC_SEQ_CST);
	if (event_idx(dev))
		call = vring_need_event(
			__atomic_load_n(&avail->ring[q->addr.size], __ATOMIC_SEQ_CST), new_idx,
			old);
	else
		call = !(__atomic_load_n(&avail->flags, __ATOMIC_SEQ_CST) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	if (call) {
		q->calls++;
		eventfd_write(q->call, 1);
	}
}

static void used_put(struct fake_device *dev, struct fake_queue *q, uint32_t id, uint32_t len)
{
	struct vring_used_elem *e = &used_of(dev, q)->ring[q->used_idx % q->addr.size];

	__atomic_store_n(&e->id, id, __ATOMIC_RELAXED);
	__atomic_store_n(&e->len, len, __ATOMIC_RELAXED);
	used_publish(dev, q, (uint16_t)(q->used_idx + 1));
}

/* ------------------------------------------------------------------------- the test's side */

struct fake_request *fake_device_pop(struct fake_device *dev, uint16_t queue)
{
	struct fake_request *req;

	pthread_mutex_lock(&dev->lock);
	req = pop_locked(dev, queue);
	pthread_mutex_unlock(&dev->lock);
	return req;
}

struct fake_request *fake_device_wait(struct fake_device *dev, uint16_t queue, unsigned timeout_ms)
{
	struct fake_queue *q = &dev->queues[queue];
	uint64_t end_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
	struct timespec until = {(time_t)(end_ns / NS_PER_S), (long)(end_ns % NS_PER_S)};
	struct fake_request *req;
	int err = 0;

	pthread_mutex_lock(&dev->lock);
	for (;;) {
		q->kicks_seen = q->kicks;
		req = pop_locked(dev, queue);
		if (req || err)
			break;
		while (q->kicks == q->kicks_seen && !err)
			err = pthread_cond_timedwait(&dev->kicked, &dev->lock, &until);
		if (err && q->kicks == q->kicks_seen)
			break;
	}
	pthread_mutex_unlock(&dev->lock);
	return req;
}

void fake_request_free(struct fake_request *req)
{
	if (req)
		free(req->readable);
	free(req);
}

void fake_device_push(struct fake_device *dev, struct fake_request *req, const void *bytes,
		      size_t len_bytes)
{
	const uint8_t *from = bytes;
	size_t left = len_bytes;

	if (len_bytes > req->writable_bytes) {
		fprintf(stderr,
			"fake device: the test pushes %zu bytes where there is room for %zu\n",
			len_bytes, req->writable_bytes);
		abort();
	}
	for (unsigned i = 0; left; i++) {
		size_t part = MIN(left, (size_t)req->writable[i].len_bytes);

		memcpy(req->writable[i].va, from, part);
		from += part;
		left -= part;
	}
	pthread_mutex_lock(&dev->lock);
	if (dev->started)
		used_put(dev, &dev->queues[req->queue], req->id, (uint32_t)len_bytes);
	pthread_mutex_unlock(&dev->lock);
	fake_request_free(req);
}

void fake_device_push_raw(struct fake_device *dev, uint16_t queue, uint32_t id, uint32_t len_bytes)
{
	pthread_mutex_lock(&dev->lock);
	used_put(dev, &dev->queues[queue], id, len_bytes);
	pthread_mutex_unlock(&dev->lock);
}

void fake_device_advance_used(struct fake_device *dev, uint16_t queue, uint16_t n)
{
	struct fake_queue *q = &dev->queues[queue];

	pthread_mutex_lock(&dev->lock);
	used_publish(dev, q, (uint16_t)(q->used_idx + n));
	pthread_mutex_unlock(&dev->lock);
}

void fake_device_die(struct fake_device *dev, int err)
{
	transport_fail(&dev->base, err, "the fake device was told to die");
}

static void set_int(struct fake_device *dev, int *what, int value)
{
	pthread_mutex_lock(&dev->lock);
	*what = value;
	pthread_mutex_unlock(&dev->lock);
}

void fake_device_refuse_features(struct fake_device *dev)
{
	pthread_mutex_lock(&dev->lock);
	dev->refuse_features = true;
	pthread_mutex_unlock(&dev->lock);
}

void fake_device_break_config(struct fake_device *dev, int err)
{
	set_int(dev, &dev->config_err, err);
}

void fake_device_break_start(struct fake_device *dev, int err)
{
	set_int(dev, &dev->start_err, err);
}

bool fake_device_started(struct fake_device *dev)
{
	bool started;

	pthread_mutex_lock(&dev->lock);
	started = dev->started;
	pthread_mutex_unlock(&dev->lock);
	return started;
}

uint64_t fake_device_accepted(struct fake_device *dev)
{
	return dev->accepted;
}

static unsigned counter(struct fake_device *dev, const unsigned *which)
{
	unsigned n;

	pthread_mutex_lock(&dev->lock);
	n = *which;
	pthread_mutex_unlock(&dev->lock);
	return n;
}

unsigned fake_device_kicks(struct fake_device *dev, uint16_t queue)
{
	return counter(dev, &dev->queues[queue].kicks);
}

unsigned fake_device_calls(struct fake_device *dev, uint16_t queue)
{
	return counter(dev, &dev->queues[queue].calls);
}

/* ------------------------------------------------------------------------- the thread */

static bool kicked_somewhere(struct fake_device *dev)
{
	bool any = false;

	for (unsigned i = 0; i < dev->params.queues; i++) {
		struct fake_queue *q = &dev->queues[i];

		any |= q->kicks != q->kicks_seen;
		q->kicks_seen = q->kicks;
	}
	return any;
}

static void *serve_main(void *arg)
{
	struct fake_device *dev = arg;

	pthread_mutex_lock(&dev->lock);
	while (!dev->thread_quit) {
		for (uint16_t i = 0; i < dev->params.queues; i++) {
			struct fake_request *req;

			while (!dev->thread_quit && (req = pop_locked(dev, i))) {
				pthread_mutex_unlock(&dev->lock);
				dev->handler(dev, req, dev->handler_ctx);
				pthread_mutex_lock(&dev->lock);
			}
		}
		while (!dev->thread_quit && !kicked_somewhere(dev))
			pthread_cond_wait(&dev->kicked, &dev->lock);
	}
	pthread_mutex_unlock(&dev->lock);
	return NULL;
}

int fake_device_serve(struct fake_device *dev, fake_handler handler, void *ctx)
{
	int err;

	dev->handler = handler;
	dev->handler_ctx = ctx;
	err = pthread_create(&dev->thread, NULL, serve_main, dev);
	if (!err)
		dev->thread_runs = true;
	return -err;
}

static void thread_end(struct fake_device *dev)
{
	if (!dev->thread_runs)
		return;
	pthread_mutex_lock(&dev->lock);
	dev->thread_quit = true;
	pthread_cond_broadcast(&dev->kicked);
	pthread_mutex_unlock(&dev->lock);
	pthread_join(dev->thread, NULL);
	dev->thread_runs = dev->thread_quit = false;
}

/* ------------------------------------------------------------------------- transport_ops */

static int fake_features(struct transport *t, uint64_t *offered)
{
	*offered = fake_of(t)->params.features;
	return 0;
}

static int fake_set_features(struct transport *t, uint64_t accepted)
{
	struct fake_device *dev = fake_of(t);

	if ((accepted & ~dev->params.features) || dev->refuse_features)
		return -ENOTSUP;
	dev->accepted = accepted;
	return 0;
}

static int fake_config_read(struct transport *t, uint32_t off, void *buf, uint32_t len)
{
	struct fake_device *dev = fake_of(t);

	if (dev->config_err)
		return dev->config_err;
	if (!extent_within(off, len, dev->params.config_bytes))
		return -EINVAL;
	memcpy(buf, dev->config + off, len);
	return 0;
}

static int fake_queue_count(struct transport *t)
{
	return (int)fake_of(t)->params.queues;
}

static int fake_queue_size_max(struct transport *t, uint16_t index)
{
	struct fake_device *dev = fake_of(t);

	return index < dev->params.queues ? dev->params.queue_size_max : -EINVAL;
}

static int fake_dma_arena(struct transport *t, size_t len_bytes, struct dma_mem *out)
{
	struct fake_device *dev = fake_of(t);

	if (dev->arena)
		return -EBUSY;
	dev->arena_bytes = round_up(len_bytes, 4096);
	dev->arena = aligned_alloc(4096, dev->arena_bytes);
	if (!dev->arena)
		return -ENOMEM;
	memset(dev->arena, 0, dev->arena_bytes);
	*out = (struct dma_mem){dev->arena, FAKE_IOVA, dev->arena_bytes, -1};
	return 0;
}

static int fake_queue_setup(struct transport *t, uint16_t index, const struct queue_addr *addr)
{
	struct fake_device *dev = fake_of(t);
	struct fake_queue *q = &dev->queues[index];

	if (index >= dev->params.queues || q->set_up || !is_pow2(addr->size) ||
	    addr->size > dev->params.queue_size_max)
		return -EINVAL;
	q->addr = *addr;
	avail_of(dev, q);
	used_of(dev, q);
	memory_or_abort(dev, addr->desc_iova, VRING_DESC_BYTES(addr->size), "desc");
	q->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->call < 0)
		return -errno;
	q->set_up = true;
	return 0;
}

static int fake_start(struct transport *t)
{
	struct fake_device *dev = fake_of(t);
	int err;

	pthread_mutex_lock(&dev->lock);
	err = dev->start_err;
	dev->started = !err;
	pthread_mutex_unlock(&dev->lock);
	return err;
}

static void fake_stop(struct transport *t)
{
	struct fake_device *dev = fake_of(t);

	thread_end(dev);
	pthread_mutex_lock(&dev->lock);
	dev->started = false;
	pthread_mutex_unlock(&dev->lock);
}

static void fake_kick(struct transport *t, uint16_t index)
{
	struct fake_device *dev = fake_of(t);

	pthread_mutex_lock(&dev->lock);
	dev->queues[index].kicks++;
	pthread_cond_broadcast(&dev->kicked);
	pthread_mutex_unlock(&dev->lock);
}

static int fake_call_fd(struct transport *t, uint16_t index)
{
	struct fake_queue *q = &fake_of(t)->queues[index];

	return q->set_up ? q->call : -1;
}

/* After this the device's thread is not in the middle of anything. */
static void fake_cut_off(struct transport *t)
{
	struct fake_device *dev = fake_of(t);

	pthread_mutex_lock(&dev->lock);
	pthread_mutex_unlock(&dev->lock);
}

static void fake_wake_all(struct transport *t)
{
	struct fake_device *dev = fake_of(t);

	for (unsigned i = 0; i < dev->params.queues; i++)
		if (dev->queues[i].set_up)
			eventfd_write(dev->queues[i].call, 1);
}

static int fake_window(struct transport *t, struct shm_window *out, const char **reason)
{
	struct fake_device *dev = fake_of(t);

	*out = (struct shm_window){.va = dev->window, .len_bytes = dev->params.window_bytes};
	if (reason)
		*reason = dev->window ? NULL : "device has no window (a fake one without it)";
	return 0;
}

static void fake_close(struct transport *t)
{
	struct fake_device *dev = fake_of(t);

	if (!t)
		return;
	fake_stop(t);
	for (unsigned i = 0; i < FAKE_QUEUES; i++)
		if (dev->queues[i].set_up)
			close(dev->queues[i].call);
	if (dev->window_map)
		munmap(dev->window_map, dev->window_map_bytes);
	pthread_cond_destroy(&dev->kicked);
	pthread_mutex_destroy(&dev->lock);
	free(dev->arena);
	free(dev->config);
	free(dev->base.source);
	free(dev);
}

static const struct transport_ops fake_ops = {
	.kind = "fake",
	.features = fake_features,
	.set_features = fake_set_features,
	.config_read = fake_config_read,
	.queue_count = fake_queue_count,
	.queue_size_max = fake_queue_size_max,
	.dma_arena = fake_dma_arena,
	.queue_setup = fake_queue_setup,
	.start = fake_start,
	.stop = fake_stop,
	.kick = fake_kick,
	.call_fd = fake_call_fd,
	.cut_off = fake_cut_off,
	.wake_all = fake_wake_all,
	.window = fake_window,
	.close = fake_close,
};

static int make_window(struct fake_device *dev)
{
	if (!dev->params.window_bytes)
		return 0;
	dev->window_map_bytes = dev->params.window_bytes + 2 * MIB;
	dev->window_map = mmap(NULL, dev->window_map_bytes, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (dev->window_map == MAP_FAILED) {
		dev->window_map = NULL;
		return -ENOMEM;
	}
	dev->window = (uint8_t *)round_up((uintptr_t)dev->window_map, 2 * MIB);
	return 0;
}

int fake_create(const struct fake_params *params, struct transport **t, struct fake_device **out)
{
	struct virtio_fs_config_wire config = {.tag = "fake"};
	struct fake_device *dev = calloc(1, sizeof(*dev));
	pthread_condattr_t attr;

	if (!dev)
		return -ENOMEM;
	if (params)
		dev->params = *params;
	if (!dev->params.features)
		dev->params.features = VIRTIO_F_BIT(VIRTIO_F_VERSION_1) |
				       VIRTIO_F_BIT(VIRTIO_F_INDIRECT_DESC) |
				       VIRTIO_F_BIT(VIRTIO_F_EVENT_IDX);
	if (!dev->params.queues)
		dev->params.queues = 2;
	if (!dev->params.queue_size_max)
		dev->params.queue_size_max = 128;
	config.num_request_queues = dev->params.queues - 1;
	if (!dev->params.config) {
		dev->params.config = &config;
		dev->params.config_bytes = sizeof(config);
	}
	dev->base.ops = &fake_ops;
	pthread_mutex_init(&dev->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&dev->kicked, &attr);
	pthread_condattr_destroy(&attr);
	dev->base.source = strdup("fake");
	dev->config = malloc(dev->params.config_bytes + 1);
	if (dev->params.queues > FAKE_QUEUES || !dev->base.source || !dev->config ||
	    make_window(dev) != 0) {
		fake_close(&dev->base);
		return -ENOMEM;
	}
	memcpy(dev->config, dev->params.config, dev->params.config_bytes);
	dev->params.config = NULL;
	*t = &dev->base;
	*out = dev;
	return 0;
}
