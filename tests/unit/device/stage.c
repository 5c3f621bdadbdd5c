/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stage.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"

void guest_open(struct guest *g)
{
	g->fd = memfd_create("guest", MFD_CLOEXEC);
	assert_true(g->fd >= 0);
	assert_int_equal(ftruncate(g->fd, (off_t)GUEST_BYTES), 0);
	g->va = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, g->fd, 0);
	assert_true(g->va != MAP_FAILED);
}

void guest_close(struct guest *g)
{
	munmap(g->va, GUEST_BYTES);
	close(g->fd);
}

struct vhost_user_mem_table guest_table(void)
{
	return (struct vhost_user_mem_table){
		.num_regions = 1,
		.regions = {{.guest_addr = GUEST_ADDR,
			     .size = GUEST_BYTES,
			     .user_addr = USER_ADDR}},
	};
}

void stage_open(struct stage *s, bool iommu)
{
	struct vhost_user_mem_table table = guest_table();
	struct memory *m;

	guest_open(&s->guest);
	assert_int_equal(channel_init(&s->channel), 0);
	space_init(&s->space, &s->channel, 64);
	assert_int_equal(memory_create(&table, &s->guest.fd, 1, NULL, &m), 0);
	space_set_memory(&s->space, m);
	space_set_iommu(&s->space, iommu);
}

void stage_close(struct stage *s)
{
	space_fini(&s->space);
	channel_fini(&s->channel);
	guest_close(&s->guest);
}

/* ------------------------------------------------------------------ the driver's ring */

uint32_t driver_ring_desc(const struct driver_ring *d)
{
	return d->at;
}

uint32_t driver_ring_avail(const struct driver_ring *d)
{
	return d->at + (uint32_t)VRING_DESC_BYTES(d->size);
}

uint32_t driver_ring_used(const struct driver_ring *d)
{
	return (uint32_t)round_up(driver_ring_avail(d) + VRING_AVAIL_BYTES(d->size), 4);
}

void driver_ring_open(struct driver_ring *d, struct guest *g, uint32_t at, uint16_t size)
{
	*d = (struct driver_ring){.guest = g, .at = at, .size = size};
	d->desc = (struct vring_desc *)(g->va + driver_ring_desc(d));
	d->avail = (struct vring_avail *)(g->va + driver_ring_avail(d));
	d->used = (struct vring_used *)(g->va + driver_ring_used(d));
	memset(g->va + at, 0, driver_ring_used(d) + VRING_USED_BYTES(size) - at);
}

void driver_ring_offer(struct driver_ring *d, uint16_t head)
{
	__atomic_store_n(&d->avail->ring[d->avail_idx & (d->size - 1)], head, __ATOMIC_RELAXED);
	d->avail_idx++;
	__atomic_store_n(&d->avail->idx, d->avail_idx, __ATOMIC_SEQ_CST);
}

uint16_t driver_ring_used_idx(const struct driver_ring *d)
{
	return __atomic_load_n(&d->used->idx, __ATOMIC_SEQ_CST);
}

struct vring_used_elem driver_ring_used_at(const struct driver_ring *d, uint16_t i)
{
	const struct vring_used_elem *e = &d->used->ring[i & (d->size - 1)];

	return (struct vring_used_elem){.id = __atomic_load_n(&e->id, __ATOMIC_RELAXED),
					.len = __atomic_load_n(&e->len, __ATOMIC_RELAXED)};
}

uint16_t *driver_ring_used_event(const struct driver_ring *d)
{
	return &d->avail->ring[d->size];
}

uint16_t driver_ring_avail_event(const struct driver_ring *d)
{
	return __atomic_load_n((const uint16_t *)&d->used->ring[d->size], __ATOMIC_SEQ_CST);
}

/* ------------------------------------------------------------------ the file system */

static void echo(struct request *req)
{
	uint8_t bytes[8] = {0};
	size_t n = 0;

	if (req->n_readable) {
		n = MIN(sizeof(bytes), req->readable[0].iov_len);
		memcpy(bytes, req->readable[0].iov_base, n);
	}
	n = req->n_writable ? MIN(n, req->writable[0].iov_len) : 0;
	if (n)
		memcpy(req->writable[0].iov_base, bytes, n);
	request_complete(req, (uint32_t)n);
}

void fs_handle(struct fs *fs, struct request *req)
{
	void (*handle)(struct fs *, struct request *) = fs->handle;

	fs->handled++;
	if (handle)
		handle(fs, req);
	else
		echo(req);
}

void fs_refuse(struct request *req, int err)
{
	(void)err;
	assert_true(req->n_readable && req->n_writable);
	memcpy(req->writable[0].iov_base, "sorry", 6);
	request_complete(req, 6);
}

bool fs_watches(const struct fs *fs)
{
	(void)fs;
	return true;
}

void fs_offer(struct fs *fs, struct request *req)
{
	fs_handle(fs, req);
}

void fs_tidy(struct fs *fs)
{
	(void)fs;
}

void fs_reset(struct fs *fs)
{
	void (*reset)(struct fs *) = fs->reset;

	fs->resets++;
	if (reset)
		reset(fs);
}

/* ------------------------------------------------------------------ time and log */

void stage_sleep_ms(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000L}, NULL);
}

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char last_log[1024];
static unsigned log_count;

static void keep_last(enum log_level level, const char *line, void *ctx)
{
	(void)level;
	(void)ctx;
	pthread_mutex_lock(&log_lock);
	snprintf(last_log, sizeof(last_log), "%s", line);
	log_count++;
	pthread_mutex_unlock(&log_lock);
}

void stage_quiet(void)
{
	log_set_handler(keep_last, NULL);
	last_log[0] = 0;
	log_count = 0;
}

const char *stage_last_log(void)
{
	static char copy[sizeof(last_log)];

	pthread_mutex_lock(&log_lock);
	memcpy(copy, last_log, sizeof(copy));
	pthread_mutex_unlock(&log_lock);
	return copy;
}

unsigned stage_log_count(void)
{
	unsigned n;

	pthread_mutex_lock(&log_lock);
	n = log_count;
	pthread_mutex_unlock(&log_lock);
	return n;
}
