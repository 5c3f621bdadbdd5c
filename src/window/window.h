/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * window: the DAX window as a cache of file ranges. It owns the window's address space (a buddy
 * allocator of power-of-two blocks), the ranges of every inode, pins, eviction and removal. It
 * refuses to know what a FUSE message is: mapping and unmapping are two callbacks.
 *
 * A read of a part of the window that is not mapped returns zeros and a write there is lost, both
 * without an error. So the one invariant that everything here serves:
 *
 *     a pinned range is mapped, from before window_pin() returns until after window_unpin();
 *     and window space is handed out again only after the device confirmed its removal.
 *
 *   state of a range
 *                      setup_done(0)             evict / block / replace, pins == 0
 *        SETTING_UP ------------------> LIVE ----------------------------------> REMOVING
 *            | setup_done(err)                    (dying: no new pins; the last        |
 *            v                                     unpin moves it on)     remove_done  v
 *           free <------------------------------------------------------------------ free
 *
 * What is mapped and what is evicted a policy decides (policy.h). All functions may be called from
 * any thread. Callbacks and wakes run without a lock of the window held, on the thread that caused
 * them, and get its `by`: whatever the caller passed to the function of the window that they are
 * called in.
 */
#ifndef VFSDAX_WINDOW_WINDOW_H
#define VFSDAX_WINDOW_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/list.h"
#include "window/router.h"

struct window;
struct window_inode; /* the ranges of one nodeid */
struct window_range;

/* A piece of a file at a place of the window. All three are multiples of the page size. */
struct window_map {
	uint64_t nodeid;
	uint64_t file_off;
	uint64_t win_off;
	uint64_t len_bytes; /* whole pages inside the file; may be less than the block's size */
	bool writable;
};

struct window_extent {
	uint64_t win_off;
	uint64_t len_bytes;
};

struct window_ops {
	/* SETUPMAPPING. Exactly one window_setup_done(by, range, err) answers it, on any thread,
	 * also from inside this call. */
	void (*setup)(void *ctx, void *by, struct window_range *range,
		      const struct window_map *map);
	/* REMOVEMAPPING of 1 to `remove_batch_max` extents, each exactly as it was set up.
	 * At most one removal is outstanding; window_remove_done() answers it. The array is the
	 * window's and stays valid until then. */
	void (*remove)(void *ctx, void *by, const struct window_extent *extents, unsigned n);
};

/* The policy. Always: each miss is mapped. Auto: those that are expected to pay for it. */
enum window_admit { WINDOW_ADMIT_ALWAYS, WINDOW_ADMIT_AUTO };
struct window_policy_ops;

struct window_params {
	uint8_t *va;
	uint64_t len_bytes;
	uint64_t map_alignment;	   /* from INIT, bytes, a power of two; 0: 4096 */
	unsigned ranges_max;	   /* budget of live mappings; 0: 512 */
	unsigned remove_batch_max; /* 0: 64 */
	enum window_admit admit;
	const struct window_policy_ops *policy; /* not NULL: instead of the one for `admit` */
	uint64_t pinned_bytes_max; /* of the window, for pins with WINDOW_LONG; 0: three quarters */
	/* The costs by which WINDOW_ADMIT_AUTO decides; the caller's; NULL: usual ones. */
	const struct router *router;
	const struct window_ops *ops;
	void *ctx;
};

/* -EINVAL: the window is smaller than two ranges of the smallest size. -ENOMEM. */
int window_create(const struct window_params *params, struct window **out);

/*
 * The device is stopped or about to be, no pin is held, and every setup and removal has been
 * answered: frees everything without a callback, the handles of inodes included.
 */
void window_destroy(struct window *w);

/*
 * Takes every range of every inode out, waits for the removals to be answered while calling
 * `progress(ctx)` (which must reap the rings), at most timeout_ms. New set-ups are refused from
 * here on. 0, -ETIMEDOUT with ranges left in the device, or the negative value of `progress`,
 * which otherwise returns how much it did: after a 0 the calling thread sleeps for a moment.
 */
int window_drain(void *by, struct window *w, int (*progress)(void *ctx), void *ctx,
		 unsigned timeout_ms);

/*
 * The device has failed. At any time, on any thread: when it returns no window_pin() succeeds any
 * more and no request waits; each waiter was woken with `err`. Pins that there are keep their
 * memory until they are unpinned. Ranges are forgotten without asking the device; answers that
 * still come, to set-ups and to the removal, are taken and change nothing. Only the first call
 * counts.
 */
void window_fail(void *by, struct window *w, int err);

/*
 * The inode's handle; one for each nodeid at a time (the caller's node table guarantees it).
 * window_inode_free() asserts that no range is left: window_block(inode, 0, UINT64_MAX) first.
 * After window_fail() ranges may be left; the last of them frees the inode.
 */
int window_inode_create(struct window *w, uint64_t nodeid, struct window_inode **out);
void window_inode_free(struct window_inode *inode);

/* A request that waits. Embedded in the caller's request; woken exactly once, without locks held.
 */
struct window_waiter {
	void (*wake)(struct window_waiter *waiter, void *by, int err);
	/* The window's while waiting; need not be initialised. */
	struct list link;
	uint64_t file_off, file_end, deadline_ns;
	unsigned order; /* of the block that it needs; 0: any */
	int err;
};

struct window_pin {
	uint8_t *va;
	uint64_t len_bytes;
	struct window_range *range;
	bool counted;	  /* among pinned_bytes_max */
	bool blocked;	  /* after WINDOW_QUEUE: by a window_block() */
	bool over_budget; /* after WINDOW_QUEUE with WINDOW_LONG: pinned_bytes_max is used up */
	/* After WINDOW_PINNED with WINDOW_LONG: what the range counts of pinned_bytes_max, and what
	 * of that is left. */
	uint64_t long_bytes, long_left;
};

enum window_result {
	WINDOW_PINNED,	/* use pin->va, then window_unpin() */
	WINDOW_PENDING, /* waiter->wake() will be called (perhaps already was): then try again */
	WINDOW_QUEUE,	/* not through the window now: send it through the queue */
};

#define WINDOW_WRITE (1u << 0) /* needs a writable range; upgrades a read-only one */
#define WINDOW_NOWAIT                                                                            \
	(1u << 1)	       /* start a set-up, but say WINDOW_QUEUE instead of waiting for it \
				*/
#define WINDOW_PROBE (1u << 2) /* only an existing range; start nothing */
#define WINDOW_MUST  (1u << 3) /* map a miss, whatever the policy thinks of it */
/*
 * All of [file_off, file_off + len) in one range, or WINDOW_QUEUE. The policy is not asked. If no
 * range has it all a new one is mapped: a block of the next power of two, from the block of the
 * smallest size (2 MiB) on in which file_off lies, at most half of the window. Ranges in its way
 * are taken out, whole; pins of them stay valid. It is WINDOW_QUEUE when one of them has a pin with
 * WINDOW_LONG, when the length runs over the file's whole pages, and when there are so many long
 * pins that no such block can become free.
 */
#define WINDOW_SPAN  (1u << 4)
/*
 * The pin may last. Such pins hold at most window_params.pinned_bytes_max of the window, so that
 * the others can go on; beyond that it is WINDOW_QUEUE with pin->over_budget. A range counts once
 * however many pin it, by its block, but at least by one ranges_max-th of the window. A
 * window_block() waits for such a pin as for any other.
 */
#define WINDOW_LONG  (1u << 5)

/*
 * Pins the range that has file_off. On WINDOW_PINNED pin->len_bytes is min(len_bytes, the rest of
 * the range, the rest of the file's whole pages), at least 1. `file_size` is the trusted size:
 * nothing at or behind its last whole page is ever mapped, and a file_off there is WINDOW_QUEUE.
 * (With a map_alignment above 4 KiB a page is that large, up to 64 KiB: the host's pages may be.)
 * `waiter` may be NULL with NOWAIT or PROBE. A wake with err != 0 says why there is no range;
 * trying again then is harmless.
 */
enum window_result window_pin(void *by, struct window_inode *inode, uint64_t file_off,
			      uint64_t len_bytes, uint64_t file_size, unsigned flags,
			      struct window_pin *pin, struct window_waiter *waiter);
void window_unpin(void *by, struct window_pin *pin);

/*
 * A wait for window space (not one for a set-up or a block, which end with the device's answer)
 * lasts 100 ms at most: then the waiter is woken with -ETIMEDOUT, and the request is sent through
 * the queue. The window has no thread for that; a worker calls this now and then, at the latest at
 * the time that it returned last (UINT64_MAX: none waits). Cheap when none waits.
 */
uint64_t window_expire(void *by, struct window *w, uint64_t now_ns);

/*
 * Takes every range that overlaps [file_off, file_off + len) out and keeps the whole inode out of
 * the window (window_pin says WINDOW_QUEUE) until window_unblock(). Blocks nest. Returns true when
 * nothing had to be waited for; else false, and the waiter is woken when no reader is inside and
 * the device has removed the ranges. A wake with err != 0: the device would not remove or is gone.
 * Of a window that has failed nothing is waited for.
 */
bool window_block(void *by, struct window_inode *inode, uint64_t file_off, uint64_t len_bytes,
		  struct window_waiter *waiter);
void window_unblock(struct window_inode *inode);

/*
 * Where the part of a file of this size ends that can be mapped: whole pages of the larger kind,
 * this machine's or the host's.
 */
uint64_t window_map_end(const struct window *w, uint64_t file_size);

/*
 * Whose use is over. What is in the window is a writer of the host's file where it was set up for
 * writing, and keeps the space of a file that the host has removed.
 *
 * window_drop_writable() takes the writable ranges out: the file's last writer is gone. Nothing is
 * waited for. window_set_closed() says since when nobody has the file open (0: it is open); ranges
 * of such a file leave with the first window_drop_closed() after WINDOW_CLOSED_NS, unless they are
 * pinned. It takes no lock.
 */
#define WINDOW_CLOSED_NS (2 * NS_PER_S)
void window_drop_writable(void *by, struct window_inode *inode);
void window_set_closed(struct window_inode *inode, uint64_t since_ns);
void window_drop_closed(void *by, struct window *w, uint64_t now_ns);

/* Answers to the callbacks. err is 0 or -errno, as the device said. */
void window_setup_done(void *by, struct window_range *range, int err);
void window_remove_done(void *by, struct window *w, int err);

#define WINDOW_REFUSAL_ERRNOS 8
struct window_stats {
	uint64_t ranges_live, bytes_mapped, bytes_total;
	uint64_t setups, removals, evictions, upgrades;
	uint64_t hits, misses, waits, blocked;
	uint64_t refused_total;
	struct {
		int err; /* positive errno */
		uint64_t count;
	} refusals[WINDOW_REFUSAL_ERRNOS]; /* by errno; the last row collects the others, err 0 */
	uint64_t declined;		   /* misses that the policy did not map */
	uint64_t bytes_pinned;		   /* by long pins, as pinned_bytes_max counts them */
	uint64_t bytes_lost; /* window space whose removal the device refused: never used again */
};
void window_get_stats(struct window *w, struct window_stats *out);

/*
 * Copies out of or into the window, where the host may have taken a page away: 0, or -EFAULT when a
 * page was gone (the rest is then undefined: use the queue). A SIGBUS or SIGSEGV outside of such a
 * copy keeps its effect. window_copy_init() installs the process-wide handlers once, chained.
 */
int window_copy_init(void);
int window_copy_out(void *dst, const uint8_t *src_window, size_t len_bytes);
int window_copy_in(uint8_t *dst_window, const void *src, size_t len_bytes);
/* Sets which way is used from now on, which otherwise is measured; for tests. */
void window_copy_fix(bool wide);

#endif
