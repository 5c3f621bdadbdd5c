/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy: what is mapped and what is evicted, as a table of functions. The mechanism (ranges, pins,
 * removal, blocks) knows no policy, and a policy cannot break the mechanism's promises: it says yes
 * or no to a miss, and names ranges to evict, of which one that is pinned is not taken.
 *
 * A new policy is one file like policy_always.c, a line in window_policies[] there and a value of
 * enum window_admit. Everything is called with the window's lock held; a policy may use, besides
 * its own state (window.policy_state, and the fields of struct policy_range and policy_inode):
 *
 *   window.ranges        all ranges, in an order that is the policy's; new ones at the end
 *   window_range.hits    counts each pin       .ref   REF_RECENT is set by each pin
 *   range_evict(), range_is_awaited(), space_has(), budget_left()
 */
#ifndef VFSDAX_WINDOW_POLICY_H
#define VFSDAX_WINDOW_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "window/window.h"

/* What window_pin() was asked. */
struct pin_request {
	void *by;
	struct window_inode *inode;
	uint64_t file_off, len_bytes;
	uint64_t file_size, map_end; /* map_end: whole units inside file_size */
	unsigned flags;
	struct window_waiter *waiter;
};

/* A policy's notes, zero at first. */
struct policy_range {
	uint32_t hits_seen, worth, epoch;
};

struct policy_inode {
	uint64_t miss_end, miss_run; /* end of the last miss; bytes that were missed in a row */
	bool sequential;	     /* the last miss */
};

struct window_policy_ops {
	/* The policy's state; NULL: it has none. 0 or -ENOMEM. */
	int (*create)(struct window *w);
	void (*destroy)(struct window *w);
	/* Is this miss to be mapped? ahead_bytes: what a range would map from file_off on. Also the
	 * inode's lock. False: it is sent through the queue; ranges that were evicted meanwhile
	 * make room for the next miss. */
	bool (*admit)(struct window *w, const struct pin_request *q, uint64_t ahead_bytes);
	/* The range was made for this request, after admit(). Also the inode's lock. NULL: no. */
	void (*placed)(struct window *w, struct window_range *r, const struct pin_request *q);
	/* A range to evict, which has no pin; NULL: none. must: a request waits for it, so look at
	 * all. */
	struct window_range *(*victim)(struct window *w, bool must);
};

/* By enum window_admit. */
extern const struct window_policy_ops *const window_policies[];
extern const struct window_policy_ops policy_auto, policy_always;

/* The range at the front of window.ranges, which is moved to the end. */
struct window_range *policy_next_in_turn(struct window *w);
/* The first of window.ranges that was not used since the last look, or any without pins. */
struct window_range *policy_clock_victim(struct window *w, bool must);

#endif
