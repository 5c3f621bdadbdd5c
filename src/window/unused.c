/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* unused: ranges of files that have no writer any more, or that nobody has open. */
#include "window/internal.h"

/* Inode and window lock. A range that is pinned, or being set up, leaves with its last pin. */
static void take_out_writable(struct window_inode *inode, struct list *gone)
{
	struct window_range *r;
	uint64_t next;

	for (r = omap_ceil(&inode->map, 0, NULL); r; r = omap_ceil(&inode->map, next, NULL)) {
		next = r->file_off + 1;
		if (!r->writable)
			continue;
		range_detach(r);
		if (range_kill(r))
			range_retire(inode->w, r, gone);
	}
}

void window_drop_writable(void *by, struct window_inode *inode)
{
	struct window *w = inode->w;
	struct list gone;
	int err;

	list_init(&gone);
	pthread_mutex_lock(&inode->lock);
	pthread_mutex_lock(&w->lock);
	take_out_writable(inode, &gone);
	err = w->fail_err;
	pthread_mutex_unlock(&w->lock);
	pthread_mutex_unlock(&inode->lock);
	window_kick(by, w);
	range_settle(by, w, &gone, err);
}

void window_set_closed(struct window_inode *inode, uint64_t since_ns)
{
	atomic_store_explicit(&inode->closed_ns, since_ns, memory_order_relaxed);
}

/* As an eviction does, range by range: there are few, and no lock of an inode is needed. */
void window_drop_closed(void *by, struct window *w, uint64_t now_ns)
{
	struct list *pos;

	pthread_mutex_lock(&w->lock);
	pos = w->ranges.next;
	while (pos != &w->ranges && !w->fail_err) {
		struct window_range *r = container_of(pos, struct window_range, link);
		uint64_t closed = atomic_load_explicit(&r->inode->closed_ns, memory_order_relaxed);

		pos = pos->next;
		if (closed && now_ns > closed && now_ns - closed >= WINDOW_CLOSED_NS)
			range_evict(w, r);
	}
	pthread_mutex_unlock(&w->lock);
	window_kick(by, w);
}
