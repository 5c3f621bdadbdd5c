/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the window share.
 *
 *   window.c   create, destroy, inodes, statistics; fail and drain
 *   pin.c      look-up and pins                                   (inode lock)
 *   index.c    a short cut to the look-up                         (inode lock)
 *   setup.c    the miss: a range's place, its set-up, the answer  (inode lock, then window lock)
 *   block.c    what keeps a part of a file out                    (inode lock)
 *   reclaim.c  victims, the removal queue, the end of a range     (window lock)
 *   hold.c     a whole block for a span                           (window lock)
 *   policy.c   how large a range is, how long a refusal is remembered
 *   admission.c  whether a miss is mapped: what ranges and misses are worth
 *   space.c    the window's address space      copy.c   copies that survive a lost page
 *
 * Locks: inode, then window, never the other way. An evictor holds only the window lock, which may
 * be under the inode lock of another inode, and never needs its victim's inode: it turns the
 * victim's pin word from 0 to DYING, after which no pin succeeds, and leaves it in its inode's map.
 * Whoever next meets it there takes it out (range_detach), at the latest range_settle().
 *
 *   pin word      DYING | number of pins; a range that is being set up has one pin of its own.
 *                 Exactly one thread moves it to "DYING, no pins": the evictor's 0 -> DYING, the
 *                 fetch_or(DYING) that found 0, or the unpin that leaves DYING alone. That thread
 *                 retires the range (removal queue), nobody else.
 *   a range is on window.ranges until it is retired, then on .queue, then on .batch; and counts in
 *   inode.refs until it is settled, so that an inode outlives its ranges.
 */
#ifndef VFSDAX_WINDOW_INTERNAL_H
#define VFSDAX_WINDOW_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/omap.h"
#include "window/sketch.h"
#include "window/space.h"
#include "window/window.h"

#define PIN_DYING (1u << 31)

#define OWNER_LOST    UINT32_MAX
#define OWNER_HELD    (UINT32_MAX - 1)
#define SPACE_WAIT_NS (100 * NS_PER_MS)

/* Bits of window_range.ref. */
#define REF_RECENT (1u << 0) /* used since the clock's hand passed */
#define REF_USED   (1u << 1) /* pinned at least once since it was set up */

/* The first 64 bytes are all that a hit looks at: one cache line. */
struct window_range {
	struct window_inode *inode;
	uint64_t file_off, win_off;
	uint64_t len_bytes; /* mapped; the block may be larger */
	_Atomic uint32_t pins;
	_Atomic uint32_t hits; /* written under the inode's lock */
	_Atomic uint8_t ref;
	uint8_t order;
	bool writable, live /* set up */, in_map /* inode lock */;
	/* What it is worth, see range_worth(); window lock. */
	uint16_t first_pass;	  /* hits of whoever reads through it once, still to come */
	uint16_t due;		  /* hits that pay for its set-up */
	uint16_t long_pins;	  /* window lock */
	_Atomic uint32_t born_ms; /* when it went live, of the monotonic clock; wraps */
	uint32_t hits_seen, worth;

	uint32_t epoch;
	uint32_t
		cover; /* blocks of order 0 of the file from file_off on in which no other begins */
	uint64_t file_size; /* that the set-up relied on */
	struct list link;   /* window lock: ranges, queue, batch or spare; alone: a local list */
	struct list inode_link; /* inode lock: inode->detached, when not in the map */
	struct list waiters;	/* inode lock: for the set-up's answer */
};
/* With its place in the map (23 bytes at the usual filling): below 200 bytes a range. */
_Static_assert(sizeof(struct window_range) == 128, "a range costs too much");
_Static_assert(offsetof(struct window_range, epoch) == 64, "a hit looks at two lines");

/* A range that is nobody's: whoever still looks at it is caught, under asan at once. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define RANGE_HIDE(r) ASAN_POISON_MEMORY_REGION(r, offsetof(struct window_range, epoch))
#define RANGE_SHOW(r) ASAN_UNPOISON_MEMORY_REGION(r, offsetof(struct window_range, epoch))
#else
#define RANGE_HIDE(r) ((void)(r))
#define RANGE_SHOW(r) ((void)(r))
#endif

/* What the device said no to, by the kind of access asked for. Inode lock. */
struct refusal {
	uint64_t until_ns; /* 0: nothing remembered */
	uint64_t file_size;
	uint64_t backoff_ns;
};

/* Of the map's ranges, those that are looked for; see index.c. Inode lock. */
struct index {
	uint32_t *slot; /* a range's place in the pool + 1, or 0; NULL: there is no index */
	uint32_t mask, shift;
	uint64_t cover; /* of all ranges in the map */
};

struct window_inode {
	struct window *w;
	uint64_t nodeid;
	pthread_mutex_t lock;
	struct index index;
	struct omap map;      /* file_off -> range; includes some that are dying */
	struct list detached; /* ranges out of the map that the device may still have */
	struct list block_waiters;
	uint64_t hand; /* where the search for a victim goes on */
	unsigned blocked;
	unsigned nranges;	   /* that the device may have */
	uint8_t last_order;	   /* of the last set-up, with ... */
	uint64_t last_end;	   /* ... the end of its block: a miss there is sequential */
	struct refusal refusal[2]; /* read, write */
	/* End of the last miss that was weighed, and of how many bytes in a row it was the last. */
	uint64_t miss_end, miss_run;
	_Atomic unsigned refs; /* the owner's, one for each range, passing ones of window_fail */
	struct list link;      /* window lock */
};

/* A block that is being emptied for a span; see hold.c. */
struct hold {
	unsigned order; /* 0: none */
	size_t first;	/* blocks of order 0 */
	size_t held;	/* of them: neither a range's nor free */
	uint64_t until_ns;
};

struct window {
	uint8_t *va;
	uint64_t len_bytes;
	uint64_t len_unit; /* mapped lengths are multiples of it */
	unsigned ranges_max, batch_max, low_percent;
	unsigned order_base, order_max;
	enum window_policy policy;
	enum window_admit admit;
	bool lazy_unmap;
	struct router *router, own_router;
	const struct window_ops *ops;
	void *ctx;

	_Atomic bool closed; /* drained or failed: no more pins */
	/* How many wait for space: tells an unpin to look for a victim. Pairs with the pin word: a
	 * waiter counts itself, then looks for an unpinned range; an unpin drops its pin, then
	 * looks here. Both sequentially consistent, so that one of them sees the other. */
	_Atomic unsigned space_waiting;

	pthread_mutex_t lock; /* everything below */
	struct space space;
	struct hold hold;
	/* All ranges that there can be, in one piece; what was never used was never touched. */
	struct window_range *pool;
	size_t pool_len, pool_used;
	struct list spare;  /* used before */
	uint32_t *owner;    /* of each smallest block: its range's place in the pool + 1, 0, HELD or
			       LOST */
	struct list ranges; /* the clock: the hand is at the front */
	struct list queue;  /* retired, the device not asked yet */
	struct list batch;  /* the device was asked */
	struct window_extent *extents;
	bool removal_out, kicking;
	int fail_err;
	struct list space_waiters;
	struct sketch sketch; /* of misses that were not mapped */
	uint32_t ticks;	      /* counted since it aged */
	uint32_t epoch;	      /* how often it has aged */
	unsigned caution;     /* in CAUTION_ONE-ths */
	bool roomy;	      /* there is plenty of free space */
	struct list inodes;
	unsigned nranges;  /* that the device may have; without those lost */
	unsigned nretired; /* of those, in queue or batch */
	unsigned nlost;
	uint64_t retired_bytes;
	uint64_t long_max; /* of stats.bytes_pinned */
	struct window_stats stats;
	_Atomic uint64_t misses, blocked, waits;
};

static inline uint64_t block_bytes(const struct window *w, unsigned order)
{
	return UINT64_C(1) << (w->space.min_shift + order);
}

static inline uint64_t cover_bytes(const struct window *w, const struct window_range *r)
{
	return (uint64_t)r->cover << w->space.min_shift;
}

static inline uint32_t now_ms(void)
{
	return (uint32_t)(clock_now_ns() / NS_PER_MS);
}

static inline void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* What window_pin() was asked. */
struct request {
	uint64_t file_off, len_bytes;
	uint64_t file_size, map_end; /* map_end: whole units inside file_size */
	unsigned flags;
	struct window_waiter *waiter;
};

/* Wakes everybody on the list, which is the caller's own. No lock held. */
void wake_all(struct list *waiters);
/* Moves the waiter to `to`, to be woken with err. The lock of the list it is on is held. */
void wake_later(struct list *to, struct window_waiter *waiter, int err);

/* ---- reclaim.c ---- */

struct space_want {
	struct window_inode *inode; /* that asks; its lock is held */
	unsigned order;
	bool exact;    /* nothing smaller will do */
	uint64_t near; /* the place to take if it is free; UINT64_MAX: any */
};

/*
 * A block of the order or, when there is none, of the largest order below it, for a new range;
 * evicts cold ranges when free space is low. Inode and window lock. False: nothing free now; then
 * ranges were evicted, of the asking inode before all others.
 */
bool space_claim(struct window *w, const struct space_want *want, unsigned *got, uint64_t *win_off);
/* Puts the waiter to sleep until space was freed; false when nothing is there that could free any.
 * Locks held since a space_claim() that failed. */
bool space_wait(struct window *w, const struct space_want *want, struct window_waiter *waiter);
/* Moves the waiters whose time is over to `wakes`. Window lock. Returns the next one's deadline. */
uint64_t space_expire(struct window *w, uint64_t now_ns, struct list *wakes);
/* A pin went away while somebody waits for space: evicts for him. No lock held. */
void space_pin_gone(struct window *w);

/* The range for a block of the window that was claimed; the end of one whose block is free or
 * LOST. Window lock. */
struct window_range *range_alloc(struct window *w, uint64_t win_off, unsigned order);
void range_free(struct window *w, struct window_range *r, bool lost);

/* Makes the range dying: true when it had no pin, and the caller must retire it. */
bool range_kill(struct window_range *r);
/* Hands a dying range without pins to the device, or, when that is gone, to `gone` (to settle).
 * Window lock; window_kick() must follow without it. */
void range_retire(struct window *w, struct window_range *r, struct list *gone);
/* The same for one that the device does not have: always to `gone`. */
void range_retire_unmapped(struct window *w, struct window_range *r, struct list *gone);
/* Asks the device for removals that wait, if it is idle. No lock held. */
void window_kick(struct window *w);
/* The end of the ranges on the list: the device removed them (0), refused to, or is gone. Space is
 * freed or lost, waiters are woken. No lock held. */
void range_settle(struct window *w, struct list *ranges, int err);
/* Wakes everybody who waits for space. Window lock. */
void space_wake(struct window *w, struct list *wakes);
/* Whether free space, with what is on its way, is below `percent` of the window or the budget,
 * without what is pinned for long. */
bool space_is_low(const struct window *w, unsigned percent);
/* A block of this order could be had at once. */
bool space_at_hand(const struct window *w, unsigned order);
/* Evicts this range, unless it is pinned. */
bool range_evict(struct window *w, struct window_range *r);
/* Set up a moment ago for somebody who has been woken and has not come yet. Taking it now would
 * send him round again, for ever if everybody else does the same. */
bool range_is_awaited(const struct window_range *r);
/* Drops one pin. No lock held. */
void range_put(struct window_range *r);

/* ---- pin.c: inode lock ---- */

void range_detach(struct window_range *r);
/* The neighbours of file_off that are to stay; what an evictor left in the map goes out. */
struct window_range *map_floor(struct window_inode *inode, uint64_t file_off);
struct window_range *map_ceil(struct window_inode *inode, uint64_t file_off);
/* The first range that has a part of the file at or behind file_off. */
struct window_range *map_first(struct window_inode *inode, uint64_t file_off);
/* WINDOW_PENDING: he will be woken with the answer to the range's set-up. */
enum window_result wait_for_setup(struct window_range *r, const struct request *q);
static inline bool may_wait(const struct request *q)
{
	return !(q->flags & (WINDOW_NOWAIT | WINDOW_PROBE)) && q->waiter;
}
/* Would one more range of this order, pinned for long, be within the budget? Window lock. */
bool long_has_room(const struct window *w, unsigned order);

/* ---- hold.c: window lock ---- */

/* Evicts what is in one block of the order, and holds what is or becomes free of it for as long as
 * a waiter waits. False: there is no block that could ever be emptied. */
bool hold_block(struct window *w, unsigned order);
bool hold_is_whole(const struct window *w, unsigned order);
/* Takes the block that is held, if it is whole. */
bool hold_claim(struct window *w, unsigned order, uint64_t *win_off);
/* A block was given back to the free ones. */
void hold_freed(struct window *w, uint64_t win_off, unsigned order);
void hold_expire(struct window *w, uint64_t now_ns);

/* ---- index.c: inode lock ---- */

/* Beside omap_insert() and omap_remove(), after them. */
void index_add(struct window_range *r);
void index_remove(struct window_range *r);
void index_drop(struct window_inode *inode);
/* The range with the greatest offset up to file_off, as omap_floor() finds it. */
struct window_range *index_miss(struct window_inode *inode, uint64_t file_off);
static inline struct window_range *index_find(struct window_inode *inode, uint64_t file_off)
{
	const struct index *x = &inode->index;

	if (x->slot) {
		uint32_t name = x->slot[file_off >> x->shift & x->mask];
		struct window_range *r = &inode->w->pool[name - 1];

		if (name && file_off - r->file_off < r->len_bytes)
			return r;
	}
	return index_miss(inode, file_off);
}

/* ---- setup.c: inode lock held, and released ---- */

/* A miss. `old` is the live range, if any, whose part of the file has the offset, but which will
 * not do: mapped too short, or read-only. */
enum window_result setup_start(struct window_inode *inode, struct window_range *old,
			       const struct request *q, struct window_pin *pin);
/* The same for a span. */
enum window_result setup_start_span(struct window_inode *inode, const struct request *q,
				    struct window_pin *pin);

/* ---- block.c: inode lock ---- */

/* Moves block waiters for whom no range is left to `wakes`. `gone`, err: see range_settle(). */
void block_check(struct window_inode *inode, const struct window_range *gone, int err,
		 struct list *wakes);

/* ---- window.c: no lock held ---- */
void inode_put(struct window_inode *inode);

/* ---- admission.c ---- */

#define CAUTION_ONE 16u

/*
 * Is this miss worth a set-up? The one place that decides it. Inode lock. *evicted: window_kick()
 * must follow without a lock.
 */
bool admission_ask(struct window_inode *inode, uint64_t file_off, uint64_t len_bytes,
		   uint64_t map_end, bool write, bool *evicted);
/* The range, which was admitted, is set up for an access of len_bytes. Inode and window lock. */
void admission_placed(struct window_range *r, uint64_t len_bytes, bool sequential, bool write);
/* A live range ends: has it paid? Window lock. */
void admission_ended(struct window *w, const struct window_range *r);
/* Evicts ranges that nobody has used for long, until want_bytes are free or on their way, at most
 * n. Returns how many. Window lock. */
unsigned admission_reclaim(struct window *w, uint64_t want_bytes, unsigned n, bool twice);

/* ---- policy.c: inode lock ---- */

/* Is it worth taking a range out and setting it up anew because the file has grown behind it? */
bool policy_regrow(const struct window_range *r, uint64_t new_len_bytes);
/* The order of the block that a miss asks for. map_end: the end of what may be mapped. */
unsigned policy_order(const struct window_inode *inode, uint64_t file_off, uint64_t map_end);
/* The miss comes right behind the last miss, or the last set-up: in a large file a random one
 * seldom does. */
bool policy_sequential(const struct window_inode *inode, uint64_t file_off, uint64_t len_bytes);
void policy_mapped(struct window_inode *inode, const struct window_range *r);

bool policy_refused(const struct window_inode *inode, uint64_t file_size, bool write);
void policy_refuse(struct window_inode *inode, uint64_t file_size, bool write);
void policy_accept(struct window_inode *inode, bool write);

#endif
