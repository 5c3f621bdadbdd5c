/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fixture: one window with a fake device and one inode, on one thread, and what the tests of single
 * behaviours do with it. Everything asserts.
 */
#ifndef WINDOW_FIXTURE_H
#define WINDOW_FIXTURE_H

#include "test.h"

#include "base/bytes.h"
#include "fake_device.h"

#define PAGE (4 * KIB)

struct fixture {
	struct fake_device dev;
	struct window *w;
	struct window_inode *inode; /* nodeid 1 */
};

/* Never dereferenced. */
static uint8_t *const base_va = (uint8_t *)(uintptr_t)(1 * GIB);

struct waiting {
	struct window_waiter waiter;
	int wakes, err;
	void *by; /* of the last wake */
};

#define WAITING                        \
	{                              \
		.waiter.wake = on_wake \
	}

void open_window(struct fixture *f, struct window_params p);
void open_plain(struct fixture *f, uint64_t len_bytes);
int no_progress(void *ctx);
void close_window(struct fixture *f);
void on_wake(struct window_waiter *waiter, void *by, int err);
enum window_result pin_flags(struct window_inode *inode, uint64_t file_off, uint64_t size,
			     unsigned flags, struct window_pin *pin);
struct window_pin pin_at(struct window_inode *inode, uint64_t file_off, uint64_t size);
void touch(struct window_inode *inode, uint64_t file_off, uint64_t size);
bool is_live(struct window_inode *inode, uint64_t file_off, uint64_t size);
struct window_map map_of(struct fixture *f, const struct window_pin *pin);
struct window_stats stats_of(struct fixture *f);

#endif
