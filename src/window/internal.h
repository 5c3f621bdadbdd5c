/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the window share.
 *
 *   window.c    create and destroy, inodes, statistics
 *   end.c       drain and failure                                   (one lock at a time)
 *   pin.c       look-up and pins                                    (inode lock)
 *   setup.c     a miss: the range's place, its set-up, the answer   (inode lock, then window lock)
 *   extent.c    which part of a file a range maps                   (inode lock)
 *   block.c     keeps a part of a file out                          (inode lock)
 *   unused.c    takes out what nobody uses any more                 (inode lock, then window lock)
 *   claim.c     window space: claiming it, making room, waiting     (window lock)
 *   reserve.c   a whole block for WINDOW_SPAN                       (window lock)
 *   remove.c    from eviction to the end of a range                 (window lock)
 *   policy.h    what is mapped and what is evicted: policy_auto.c, policy_always.c
 *   space.c     the allocator of window space      copy.c   copies that survive a lost page
 *
 * Locks: inode, then window, never the other way. An eviction holds only the window lock, which may
 * be under the inode lock of another inode, and never needs the lock of the victim's inode: it
 * turns the victim's pin word from 0 to DYING, after which no pin succeeds, and leaves the range in
 * its inode's map. The next look-up that finds it there takes it out (range_detach), or
 * range_settle() does.
 *
 *   pin word      DYING | number of pins; a range that is being set up has one pin of its own.
 *                 Exactly one thread moves it to "DYING, no pins": the eviction's 0 -> DYING, the
 *                 fetch_or(DYING) that found 0, or the unpin that leaves DYING alone. That thread
 *                 retires the range (removal queue), no other.
 *   lists         a range is on window.ranges until it is retired, then on .queue, then on .batch,
 *                 and when its removal was refused on .lost for ever. It counts in inode.refs until
 *                 it is settled, so that an inode outlives its ranges.
 */
#ifndef VFSDAX_WINDOW_INTERNAL_H
#define VFSDAX_WINDOW_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/delay.h"
#include "base/omap.h"
#include "window/policy.h"
#include "window/space.h"
#include "window/window.h"

#define PIN_DYING     (1u << 31)
#define SPACE_WAIT_NS (100 * NS_PER_MS)

/* Bits of window_range.ref. */
#define REF_RECENT (1u << 0) /* used since the policy last looked */
#define REF_USED   (1u << 1) /* pinned at least once since it was set up */

/* A hit reads only the first 64 bytes: one cache line. */
struct window_range {
	struct window_inode *inode;
	uint64_t file_off, win_off;
	uint64_t len_bytes; /* mapped; the block may be larger */
	_Atomic uint32_t pins;
	_Atomic uint32_t hits; /* written under the inode's lock */
	_Atomic uint8_t ref;
	uint8_t order;
	bool writable, live /* set up */, in_map; /* inode lock */
	uint16_t long_pins;			  /* window lock */
	_Atomic uint32_t born_ms; /* when it went live, of the monotonic clock; wraps */
	uint32_t cover; /* blocks of order 0 of the file, from file_off on, in which no other range
			   begins */

	uint64_t file_size;	    /* that the set-up relied on */
	struct policy_range policy; /* window lock */
	struct list link;	/* window lock: ranges, queue, batch or lost; alone: a local list */
	struct list inode_link; /* inode lock: inode->detached, when not in the map */
	struct list waiters;	/* inode lock: for the set-up's answer */
};
_Static_assert(offsetof(struct window_range, file_size) <= 64, "a hit reads two cache lines");

_Static_assert(sizeof(struct window_range) == 128, "a range is two cache lines");

/* A range that is no one's: a late access to it is caught under asan. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define RANGE_HIDE(r) ASAN_POISON_MEMORY_REGION(r, offsetof(struct window_range, link))
#define RANGE_SHOW(r) ASAN_UNPOISON_MEMORY_REGION(r, offsetof(struct window_range, link))
#else
#define RANGE_HIDE(r) ((void)(r))
#define RANGE_SHOW(r) ((void)(r))
#endif

/* What the device refused, by the kind of access asked for. Inode lock. */
struct refusal {
	uint64_t until_ns; /* 0: nothing remembered */
	uint64_t file_size;
	uint64_t backoff_ns;
};

struct window_inode {
	struct window *w;
	uint64_t nodeid;
	pthread_mutex_t lock;
	struct omap map;      /* file_off -> range; includes some that are dying */
	struct list detached; /* ranges out of the map that the device may still have */
	struct list block_waiters;
	unsigned blocked;
	unsigned nranges;	   /* that the device may have */
	uint8_t last_order;	   /* of the last set-up, with ... */
	uint64_t last_end;	   /* ... the end of its block: a miss there is sequential */
	struct refusal refusal[2]; /* read, write */
	struct policy_inode policy;
	_Atomic uint64_t closed_ns; /* nobody has the file open since; 0: somebody has */
	_Atomic unsigned refs; /* the owner's, one for each range, passing ones of window_fail */
	struct list link;      /* window lock */
};

/* A block that is being emptied for WINDOW_SPAN; see reserve.c. */
struct reserve {
	unsigned order; /* 0: none */
	size_t block;
	uint64_t until_ns;
};

enum window_state { WINDOW_OPEN, WINDOW_DRAINED, WINDOW_FAILED };

struct window {
	uint8_t *va;
	uint64_t len_bytes;
	uint64_t len_unit; /* mapped lengths are multiples of it */
	unsigned ranges_max, batch_max;
	unsigned order_base, order_max;
	const struct window_policy_ops *policy;
	void *policy_state;
	const struct router *router;
	const struct window_ops *ops;
	void *ctx;

	/* Only grows, under the window lock; not WINDOW_OPEN: no more pins and set-ups. */
	_Atomic enum window_state state;
	/* How many wait for space: with one, an unpin looks for a victim. Pairs with the pin word:
	 * a waiter counts itself, then looks for an unpinned range; an unpin drops its pin, then
	 * looks here. Both sequentially consistent, so that one of them sees the other. */
	_Atomic unsigned space_waiting;

	pthread_mutex_t lock; /* everything below */
	struct space space;
	struct reserve reserve;
	struct list ranges; /* the policy's order; new ones at the end */
	struct list queue;  /* retired, the device not asked yet */
	struct list batch;  /* the device was asked */
	struct list lost;   /* the device refused to remove them */
	/* All ranges that there can be; what was never used was never touched. */
	struct window_range *pool;
	size_t pool_bytes, pool_used;
	struct list spare; /* used before */
	struct window_extent *extents;
	bool removal_out, kicking;
	int fail_err;
	struct list space_waiters;
	struct list inodes;
	unsigned nranges;  /* that the device may have; without those lost */
	unsigned nretired; /* of those, in queue or batch */
	unsigned nlost;
	uint64_t retired_bytes;
	uint64_t long_max; /* of stats.bytes_pinned */
	struct window_stats stats;
	_Atomic uint64_t misses, blocked, waits;
};

static inline bool is_open(const struct window *w)
{
	return atomic_load_explicit(&w->state, memory_order_relaxed) == WINDOW_OPEN;
}

static inline uint64_t block_bytes(const struct window *w, unsigned order)
{
	return UINT64_C(1) << (w->space.min_shift + order);
}

static inline uint64_t cover_bytes(const struct window *w, const struct window_range *r)
{
	return (uint64_t)r->cover << w->space.min_shift;
}

static inline void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static inline bool may_wait(const struct pin_request *q)
{
	return !(q->flags & (WINDOW_NOWAIT | WINDOW_PROBE)) && q->waiter;
}

/* Wakes everybody on the list, which is the caller's own. No lock held. */
void wake_all(void *by, struct list *waiters);
/* Moves the waiter to `to`, to be woken with err. The lock of the list it is on is held. */
void wake_later(struct list *to, struct window_waiter *waiter, int err);

/* ---- pin.c: inode lock ---- */

void range_detach(struct window_range *r);
/* The neighbours of file_off that are to stay; what an eviction left in the map is taken out. */
struct window_range *map_floor(struct window_inode *inode, uint64_t file_off);
struct window_range *map_ceil(struct window_inode *inode, uint64_t file_off);
/* The first range that has a part of the file at or behind file_off. */
struct window_range *map_first(struct window_inode *inode, uint64_t file_off);
/* A range's part of the file may end at 2^64: no sums of offset and length. */
static inline bool covers(const struct window_range *r, uint64_t file_off)
{
	return file_off - r->file_off < cover_bytes(r->inode->w, r);
}
/* Would one more range of this order, with a long pin, be within the budget? Window lock. */
bool long_has_room(const struct window *w, unsigned order);

/* ---- extent.c: inode lock ---- */

/* What a new range is to map. */
struct file_extent {
	uint64_t file_off, cover_bytes;
	unsigned order;
	bool span;  /* the whole block or none; ranges in the way are taken out */
	bool renew; /* the range in the way is the same one, mapped too short or read-only */
};

/* `old` is the live range, if any, which has the offset, but will not do. */
struct file_extent extent_for(struct window_inode *inode, const struct window_range *old,
			      const struct pin_request *q);
/* False: too large for a span. */
bool extent_for_span(struct window_inode *inode, const struct pin_request *q,
		     struct file_extent *e);
/* Takes a smaller block than the extent is for: the part around file_off. */
void extent_shrink(const struct window *w, struct file_extent *e, unsigned order,
		   uint64_t file_off);
static inline bool is_in_the_way(const struct window_range *r, const struct file_extent *e)
{
	return r && (r->file_off <= e->file_off || r->file_off - e->file_off < e->cover_bytes);
}
/* The miss comes right behind the last set-up: in a large file a random one seldom does. */
bool follows_setup(const struct window_inode *inode, uint64_t file_off);

/* ---- setup.c: inode lock held, and released ---- */

enum window_result pin_miss(struct window_inode *inode, const struct pin_request *q,
			    struct window_pin *pin);

/* ---- claim.c: window lock ---- */

/*
 * A block of the order for a new range or, unless `exact`, when there is none, of the largest order
 * below it. False: nothing is free now; then ranges were evicted.
 */
bool space_claim(struct window *w, unsigned order, bool exact, unsigned *got, uint64_t *win_off);
/* Queues the waiter until space was freed; false when nothing is there that could free any. Since a
 * space_claim() that failed the lock was not released. */
bool space_wait(struct window *w, unsigned order, bool exact, struct window_waiter *waiter);
/* Moves the waiters whose time is over to `wakes`. Returns the next one's deadline. */
uint64_t space_expire(struct window *w, uint64_t now_ns, struct list *wakes);
/* Moves the waiters for which there may be space now to `wakes`. */
void space_wake(struct window *w, struct list *wakes);
/* A pin was dropped while a request waits for space: evicts for it. No lock held. */
void space_pin_gone(void *by, struct window *w);
/* A block of this order, or a part of a larger one, is free. */
bool space_has(const struct window *w, unsigned order);
bool budget_left(const struct window *w);

/* ---- reserve.c: window lock ---- */

/* Evicts what is in one block of the order, and keeps smaller claims out of the window until the
 * block was claimed or SPACE_WAIT_NS have passed. False: no block can ever be emptied. */
bool reserve_block(struct window *w, unsigned order);
void reserve_expire(struct window *w, uint64_t now_ns);
/* Is a claim of this order to stay back? */
bool reserve_refuses(struct window *w, unsigned order, bool exact);

/* ---- remove.c: window lock, unless noted ---- */

/* Evicts this range, unless it is pinned. */
bool range_evict(struct window *w, struct window_range *r);
/* Makes the range dying: true when it had no pin, and the caller must retire it. */
bool range_kill(struct window_range *r);
/* Set up a moment ago for a waiter that has been woken and has not pinned it yet. Evicting it now
 * would make that one miss again, for ever if all do the same. */
bool range_is_awaited(const struct window_range *r);
/* Gives a dying range without pins to the device, or, when that is gone, to `gone` (to settle).
 * window_kick() must follow without the lock. */
void range_retire(struct window *w, struct window_range *r, struct list *gone);
/* The same for one that the device does not have: always to `gone`. */
void range_retire_unmapped(struct window *w, struct window_range *r, struct list *gone);
/* Its memory may be another range's from here on. */
void range_free(struct window *w, struct window_range *r);
/* Asks the device for removals that wait, if none is out. No lock held. */
void window_kick(void *by, struct window *w);
/* The end of the ranges on the list: the device removed them (0), refused to, or is gone. Space is
 * freed or lost, waiters are woken. No lock held. */
void range_settle(void *by, struct window *w, struct list *ranges, int err);
/* Drops one pin. No lock held. */
void range_put(void *by, struct window_range *r);

/* ---- block.c: inode lock ---- */

/* Moves block waiters for which no range is left to `wakes`. `gone`, err: see range_settle(). */
void block_check(struct window_inode *inode, const struct window_range *gone, int err,
		 struct list *wakes);

/* ---- window.c: no lock held ---- */
void inode_put(struct window_inode *inode);

#endif
