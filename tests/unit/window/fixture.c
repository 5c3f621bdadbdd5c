/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

void open_window(struct fixture *f, struct window_params p)
{
	fake_init(&f->dev);
	p.va = base_va;
	p.ops = &fake_ops;
	p.ctx = &f->dev;
	assert_int_equal(window_create(&p, &f->w), 0);
	f->dev.w = f->w;
	assert_int_equal(window_inode_create(f->w, 1, &f->inode), 0);
}

void open_plain(struct fixture *f, uint64_t len_bytes)
{
	open_window(f, (struct window_params){.len_bytes = len_bytes});
}

int no_progress(void *ctx)
{
	(void)ctx;
	return 0;
}

void close_window(struct fixture *f)
{
	assert_int_equal(window_drain(NULL, f->w, no_progress, NULL, 1000), 0);
	window_destroy(f->w);
}

void on_wake(struct window_waiter *waiter, void *by, int err)
{
	struct waiting *at = container_of(waiter, struct waiting, waiter);

	at->wakes++;
	at->err = err;
	at->by = by;
}

/* Pins with a wait: one that the device answers at once is waited for by trying again. */
enum window_result pin_flags(struct window_inode *inode, uint64_t file_off, uint64_t size,
			     unsigned flags, struct window_pin *pin)
{
	struct waiting at = WAITING;
	enum window_result r = WINDOW_PENDING;

	for (int i = 0; i < 4 && r == WINDOW_PENDING; i++) {
		r = window_pin(NULL, inode, file_off, UINT64_MAX, size, flags, pin, &at.waiter);
		if (r == WINDOW_PENDING)
			assert_int_equal(at.wakes, i + 1);
	}
	return r;
}

struct window_pin pin_at(struct window_inode *inode, uint64_t file_off, uint64_t size)
{
	struct window_pin pin;

	assert_int_equal(pin_flags(inode, file_off, size, 0, &pin), WINDOW_PINNED);
	return pin;
}

void touch(struct window_inode *inode, uint64_t file_off, uint64_t size)
{
	struct window_pin pin = pin_at(inode, file_off, size);

	window_unpin(NULL, &pin);
}

bool is_live(struct window_inode *inode, uint64_t file_off, uint64_t size)
{
	struct window_pin pin;

	if (window_pin(NULL, inode, file_off, 1, size, WINDOW_PROBE, &pin, NULL) != WINDOW_PINNED)
		return false;
	window_unpin(NULL, &pin);
	return true;
}

struct window_map map_of(struct fixture *f, const struct window_pin *pin)
{
	struct window_map map = {0};

	assert_true(fake_find(&f->dev, (uint64_t)(pin->va - base_va), &map));
	return map;
}

struct window_stats stats_of(struct fixture *f)
{
	struct window_stats st;

	window_get_stats(f->w, &st);
	return st;
}
