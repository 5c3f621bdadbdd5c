/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * block: keeps a part of a file out of the window, and waits until it is out.
 */
#include <assert.h>

#include "base/bytes.h"
#include "window/internal.h"

static bool overlaps(const struct window_range *r, uint64_t file_off, uint64_t file_end)
{
	return r->file_off < file_end &&
	       (file_off <= r->file_off || file_off - r->file_off < r->len_bytes);
}

static bool is_clear(const struct window_inode *inode, uint64_t file_off, uint64_t file_end)
{
	list_for_each (pos, &inode->detached)
		if (overlaps(container_of(pos, struct window_range, inode_link), file_off,
			     file_end))
			return false;
	return true;
}

void block_check(struct window_inode *inode, const struct window_range *gone, int err,
		 struct list *wakes)
{
	struct list *pos = inode->block_waiters.next;

	while (pos != &inode->block_waiters) {
		struct window_waiter *waiter = container_of(pos, struct window_waiter, link);

		pos = pos->next;
		if (!overlaps(gone, waiter->file_off, waiter->file_end))
			continue;
		if (err)
			waiter->err = err;
		if (is_clear(inode, waiter->file_off, waiter->file_end))
			wake_later(wakes, waiter, waiter->err);
	}
}

/* Inode and window lock. */
static void take_out_part(struct window_inode *inode, uint64_t file_off, uint64_t file_end,
			  struct list *gone)
{
	struct window_range *r = omap_floor(&inode->map, file_off, NULL);

	if (!r || !overlaps(r, file_off, file_end))
		r = omap_ceil(&inode->map, file_off, NULL);
	for (; r && overlaps(r, file_off, file_end); r = omap_ceil(&inode->map, file_off, NULL)) {
		range_detach(r);
		if (range_kill(r))
			range_retire(inode->w, r, gone);
	}
}

bool window_block(void *by, struct window_inode *inode, uint64_t file_off, uint64_t len_bytes,
		  struct window_waiter *waiter)
{
	struct window *w = inode->w;
	struct list gone;
	uint64_t file_end;
	bool clear;
	int err;

	if (!u64_add(file_off, len_bytes, &file_end))
		file_end = UINT64_MAX;
	list_init(&gone);
	pthread_mutex_lock(&inode->lock);
	inode->blocked++;
	pthread_mutex_lock(&w->lock);
	take_out_part(inode, file_off, file_end, &gone);
	err = w->fail_err;
	pthread_mutex_unlock(&w->lock);
	DELAY_POINT("window.block");
	/* After window_fail() no waiter would be woken. */
	clear = err || is_clear(inode, file_off, file_end);
	if (!clear && waiter) {
		waiter->file_off = file_off;
		waiter->file_end = file_end;
		waiter->err = 0;
		list_push_back(&inode->block_waiters, &waiter->link);
		count(&w->waits);
	}
	pthread_mutex_unlock(&inode->lock);
	window_kick(by, w);
	range_settle(by, w, &gone, err);
	return clear;
}

void window_unblock(struct window_inode *inode)
{
	pthread_mutex_lock(&inode->lock);
	assert(inode->blocked);
	inode->blocked--;
	pthread_mutex_unlock(&inode->lock);
}
