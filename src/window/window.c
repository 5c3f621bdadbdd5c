/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * window: create and destroy, inodes, statistics. See internal.h for the locks.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "window/internal.h"

#define PAGE_BYTES	 (4 * KIB)
#define PAGE_BYTES_MAX	 (64 * KIB) /* the largest page of a host */
#define BLOCK_BYTES	 (2 * MIB)
#define RANGES_MAX	 512
#define REMOVE_BATCH_MAX 64

static const struct router usual_costs;

static unsigned log2_floor(uint64_t v)
{
	return 63 - (unsigned)__builtin_clzll(v);
}

static unsigned log2_ceil(uint64_t v)
{
	return v > 1 ? log2_floor(v - 1) + 1 : 0;
}

static int lock_init(pthread_mutex_t *lock)
{
	pthread_mutexattr_t attr;
	int err = pthread_mutexattr_init(&attr);

	if (err)
		return -err;
	/* Held for less time than blocking takes. */
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
	err = pthread_mutex_init(lock, &attr);
	pthread_mutexattr_destroy(&attr);
	return -err;
}

/* Blocks are 2 MiB and larger; smaller ones only in a window that would not hold four of those. */
static uint64_t smallest_block(uint64_t len_bytes, uint64_t map_alignment)
{
	uint64_t block = BLOCK_BYTES;

	if (len_bytes / 4 < block)
		block = len_bytes / 4 ? UINT64_C(1) << log2_floor(len_bytes / 4) : 1;
	return MAX(block, map_alignment);
}

static void set_sizes(struct window *w, const struct window_params *p, unsigned min_shift)
{
	uint64_t largest = w->len_bytes / 8, base;

	w->ranges_max = p->ranges_max ? p->ranges_max : RANGES_MAX;
	w->batch_max = p->remove_batch_max ? p->remove_batch_max : REMOVE_BATCH_MAX;
	base = w->len_bytes / w->ranges_max;
	w->order_max = largest >> min_shift ? log2_floor(largest >> min_shift) : 0;
	w->order_base = base >> min_shift ? log2_ceil(base >> min_shift) : 0;
	w->order_base = MIN(w->order_base, w->order_max);
	w->long_max = p->pinned_bytes_max ? p->pinned_bytes_max : w->len_bytes / 4 * 3;
	w->long_max = MIN(w->long_max, w->len_bytes);
	w->stats.bytes_total = w->len_bytes;
}

static void init_lists(struct window *w)
{
	list_init(&w->ranges);
	list_init(&w->queue);
	list_init(&w->batch);
	list_init(&w->lost);
	list_init(&w->spare);
	list_init(&w->space_waiters);
	list_init(&w->inodes);
}

/* Address space for all ranges at once, in whole cache lines: memory comes with the first use of
 * each page. Each range has a part of the window, so there are enough. */
static int pool_init(struct window *w)
{
	size_t n = MIN((size_t)w->ranges_max, (size_t)(w->len_bytes / block_bytes(w, 0)));

	w->pool_bytes = n * sizeof(*w->pool);
	w->pool = mmap(NULL, w->pool_bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return w->pool == MAP_FAILED ? -errno : 0;
}

static void pool_fini(struct window *w)
{
	for (size_t i = 0; i < w->pool_used; i++)
		RANGE_SHOW(&w->pool[i]);
	munmap(w->pool, w->pool_bytes);
}

uint64_t window_map_end(const struct window *w, uint64_t file_size)
{
	return round_down(file_size, w->len_unit);
}

int window_create(const struct window_params *p, struct window **out)
{
	uint64_t align = MAX(p->map_alignment, PAGE_BYTES);
	uint64_t block;
	struct window *w;
	int err;

	if (!is_pow2(align))
		return -EINVAL;
	block = smallest_block(p->len_bytes, align);
	if (p->len_bytes / 2 < block)
		return -EINVAL;

	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->va = p->va;
	w->len_bytes = round_down(p->len_bytes, block);
	w->len_unit = MIN(align, PAGE_BYTES_MAX);
	w->policy = p->policy ? p->policy : window_policies[p->admit];
	w->router = p->router ? p->router : &usual_costs;
	w->ops = p->ops;
	w->ctx = p->ctx;
	set_sizes(w, p, log2_floor(block));
	init_lists(w);

	err = space_init(&w->space, w->len_bytes, log2_floor(block));
	if (err)
		goto free_window;
	w->extents = calloc(w->batch_max, sizeof(*w->extents));
	if (!w->extents) {
		err = -ENOMEM;
		goto fini_space;
	}
	err = pool_init(w);
	if (err)
		goto free_extents;
	err = lock_init(&w->lock);
	if (err)
		goto fini_pool;
	err = w->policy->create ? w->policy->create(w) : 0;
	if (err)
		goto destroy_lock;
	*out = w;
	return 0;

destroy_lock:
	pthread_mutex_destroy(&w->lock);
fini_pool:
	pool_fini(w);
free_extents:
	free(w->extents);
fini_space:
	space_fini(&w->space);
free_window:
	free(w);
	return err;
}

static void inode_destroy(struct window_inode *inode)
{
	omap_clear(&inode->map);
	pthread_mutex_destroy(&inode->lock);
	free(inode);
}

static bool is_any_pinned(const struct list *ranges)
{
	list_for_each (pos, ranges)
		if (atomic_load(&container_of(pos, struct window_range, link)->pins) & ~PIN_DYING)
			return true;
	return false;
}

void window_destroy(struct window *w)
{
	struct list *link;

	assert(!w->removal_out && list_empty(&w->space_waiters));
	assert(!is_any_pinned(&w->ranges) && !is_any_pinned(&w->queue) &&
	       !is_any_pinned(&w->batch));
	while ((link = list_pop_front(&w->inodes)))
		inode_destroy(container_of(link, struct window_inode, link));
	if (w->policy->destroy)
		w->policy->destroy(w);
	pthread_mutex_destroy(&w->lock);
	pool_fini(w);
	free(w->extents);
	space_fini(&w->space);
	free(w);
}

/* ---- inodes ---- */

int window_inode_create(struct window *w, uint64_t nodeid, struct window_inode **out)
{
	struct window_inode *inode = calloc(1, sizeof(*inode));
	int err;

	if (!inode)
		return -ENOMEM;
	err = lock_init(&inode->lock);
	if (err) {
		free(inode);
		return err;
	}
	inode->w = w;
	inode->nodeid = nodeid;
	omap_init(&inode->map);
	list_init(&inode->detached);
	list_init(&inode->block_waiters);
	atomic_init(&inode->refs, 1);
	pthread_mutex_lock(&w->lock);
	list_push_back(&w->inodes, &inode->link);
	pthread_mutex_unlock(&w->lock);
	*out = inode;
	return 0;
}

void inode_put(struct window_inode *inode)
{
	struct window *w = inode->w;

	if (atomic_fetch_sub(&inode->refs, 1) != 1)
		return;
	pthread_mutex_lock(&w->lock);
	list_del(&inode->link);
	pthread_mutex_unlock(&w->lock);
	inode_destroy(inode);
}

void window_inode_free(struct window_inode *inode)
{
	struct window *w = inode->w;
	unsigned left;
	bool failed;

	pthread_mutex_lock(&inode->lock);
	left = inode->nranges;
	assert(list_empty(&inode->block_waiters));
	pthread_mutex_unlock(&inode->lock);
	pthread_mutex_lock(&w->lock);
	failed = w->fail_err;
	pthread_mutex_unlock(&w->lock);
	assert(!left || failed);
	(void)left;
	(void)failed;
	inode_put(inode);
}

uint64_t window_expire(void *by, struct window *w, uint64_t now_ns)
{
	struct list wakes;
	uint64_t next;

	if (!atomic_load_explicit(&w->space_waiting, memory_order_relaxed))
		return UINT64_MAX;
	list_init(&wakes);
	pthread_mutex_lock(&w->lock);
	next = space_expire(w, now_ns, &wakes);
	pthread_mutex_unlock(&w->lock);
	wake_all(by, &wakes);
	return next;
}

void window_get_stats(struct window *w, struct window_stats *out)
{
	pthread_mutex_lock(&w->lock);
	*out = w->stats;
	list_for_each (pos, &w->ranges)
		out->hits += atomic_load_explicit(
			&container_of(pos, struct window_range, link)->hits, memory_order_relaxed);
	pthread_mutex_unlock(&w->lock);
	out->misses = atomic_load_explicit(&w->misses, memory_order_relaxed);
	out->blocked = atomic_load_explicit(&w->blocked, memory_order_relaxed);
	out->waits = atomic_load_explicit(&w->waits, memory_order_relaxed);
}
