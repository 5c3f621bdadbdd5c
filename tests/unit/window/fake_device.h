/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fake_device: what answers set-ups and removals in these tests. It keeps the list of what is
 * mapped and refuses, by abort(), what no window may ask of a device: an overlap in the window, a
 * removal of what is not mapped exactly so, a second removal before the first was answered.
 * Thread-safe; answers are given without its lock.
 */
#ifndef WINDOW_FAKE_DEVICE_H
#define WINDOW_FAKE_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "window/window.h"

#define FAKE_MAPPINGS_MAX 4096

struct fake_mapping {
	struct window_range *range; /* NULL once it was answered */
	struct window_map map;
	bool being_removed, lost; /* lost: its removal was refused */
};

struct fake_device {
	struct window *w;
	bool hold_setups, hold_removals; /* answered by fake_answer_*(), not at once */
	int setup_err, remove_err;
	unsigned ranges_max, remove_batch_max; /* checked when not 0 */

	/*
	 * What the window shows, if not NULL: one word for each page of it, the page of the file
	 * that is mapped there (fake_stamp) or 0. A reader who finds anything else than what he
	 * pinned has caught the window at handing out what is not mapped. Each word is written
	 * when a set-up is answered and wiped as soon as its removal is asked for.
	 */
	_Atomic uint64_t *pages;

	pthread_mutex_t lock;
	struct fake_mapping mapped[FAKE_MAPPINGS_MAX];
	unsigned n;
	void *setup_by, *remove_by;	       /* of the last call */
	void *answer_by;		       /* for the answers */
	unsigned nsetups, nremovals, nextents; /* asked for so far */
	struct window_extent removing[256];
	unsigned nremoving;
	struct window_map last_map;
};

extern const struct window_ops fake_ops;

void fake_init(struct fake_device *d);
/* The mapping that holds this place of the window, or NULL. */
bool fake_find(struct fake_device *d, uint64_t win_off, struct window_map *map);
uint64_t fake_stamp(uint64_t nodeid, uint64_t file_off);
/* How many mappings the device has of this nodeid's file, and of a part of it; not the lost. */
unsigned fake_mapped_part(struct fake_device *d, uint64_t nodeid, uint64_t off, uint64_t end);
unsigned fake_mapped(struct fake_device *d, uint64_t nodeid);
/* Answers one held set-up (the oldest for pick 0); false when none is held. */
bool fake_answer_setup(struct fake_device *d, unsigned pick, int err);
bool fake_answer_removal(struct fake_device *d, int err);

#endif
