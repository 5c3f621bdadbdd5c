/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * admission: whether a miss is mapped. A window that maps every miss is slower than none as soon
 * as the data is larger than it; so each set-up must be expected to pay for itself. It owns the
 * worth of ranges and of misses, in accesses lately, and asks the router what an access saves and
 * what a mapping costs.
 *
 *   TinyLFU (Einziger, Friedman, Manes, ACM ToS 13(4), 2017): what comes in must have been asked
 *   for more often than what goes out. Misses are counted in a sketch that ages; a range counts its
 *   own hits, which age with it. Unlike there, the two must differ by a margin, since the exchange
 *   costs two requests to the device, and by half the victim's worth, since both are estimates.
 *
 *   Rent or buy (Karlin, Manasse, Rudolph, Sleator, "Competitive Snoopy Caching", Algorithmica 3,
 *   1988): misses are rented from the queue until what they have cost would have bought the
 *   mapping; then it is bought. Where space is plenty, a part of the price is enough.
 *
 *   Scans: as in 2Q (Johnson, Shasha, VLDB 1994) accesses that follow each other count as one, and
 *   what a range serves while it is read through once does not make it worth keeping. A sequential
 *   reader gets ranges that pay by their length alone, but takes only space that nobody uses.
 *
 * A margin that is too small shows in ranges that go before they have paid: `caution` raises it,
 * and wears off with ranges that have, and with time.
 */
#include "base/bytes.h"
#include "window/internal.h"

#define LEN_MAX	       MIB /* a request is no longer; a caller may say "to the end" */
#define ROOM_DISCOUNT  8   /* where space is plenty, expect to be wrong about the reuse by this */
#define PASSES_MAX     64  /* accesses to a new range that are expected for no reason at all */
#define RUN_GOES_ON    8   /* a run of misses will go on for this many times its length */
#define EPOCH_MIN      1024u
#define EPOCH_MAX      65536u
#define VICTIMS_SEEN   32
#define COLD_SEEN      128
#define SCAN_EVICTS    4
#define CAUTION_MAX    (64 * CAUTION_ONE)
#define CAUTION_EARNED (8 * CAUTION_ONE) /* what was asked for so often is not a guess */
#define WORTH_MAX      (1u << 20)

/* ---- what a range is worth: window lock ---- */

/*
 * Its hits, halved at each epoch of the sketch, worked out only when somebody looks: hits since
 * the last look are taken to be spread evenly over the epochs since then.
 */
static uint32_t range_worth(const struct window *w, struct window_range *r)
{
	uint32_t hits = atomic_load_explicit(&r->hits, memory_order_relaxed);
	uint32_t fresh = hits - r->hits_seen, age = w->epoch - r->epoch;
	uint32_t once = MIN(fresh, (uint32_t)r->first_pass);

	r->first_pass = (uint16_t)(r->first_pass - once);
	fresh -= once;
	r->worth = age < 32 ? r->worth >> age : 0;
	/* The sum of a / age * (1 + 1/2 + 1/4 ...) */
	r->worth += age < 2 ? fresh : (uint32_t)((uint64_t)fresh * 2 / age);
	r->worth = MIN(r->worth, WORTH_MAX);
	r->hits_seen = hits;
	r->epoch = w->epoch;
	return r->worth;
}

static void hand_on(struct window *w, struct window_range *r)
{
	list_del(&r->link);
	list_push_back(&w->ranges, &r->link);
}

/* The one with the least worth for its size among the next few; LIFO: the newest. */
static struct window_range *find_victim(struct window *w)
{
	struct window_range *best = NULL;
	uint64_t best_density = UINT64_MAX;
	unsigned n = MIN(w->nranges - w->nretired, (unsigned)VICTIMS_SEEN);

	for (unsigned i = 0; i < n && !list_empty(&w->ranges); i++) {
		struct list *pos =
			w->policy == WINDOW_POLICY_LIFO ? w->ranges.prev : w->ranges.next;
		struct window_range *r = container_of(pos, struct window_range, link);
		uint64_t density = ((uint64_t)range_worth(w, r) << 20) >> MIN(r->order, 19);

		if (w->policy != WINDOW_POLICY_LIFO)
			hand_on(w, r);
		if (atomic_load_explicit(&r->pins, memory_order_relaxed) || range_is_awaited(r))
			density = UINT64_MAX;
		if (density < best_density) {
			best_density = density;
			best = r;
		}
		if (w->policy == WINDOW_POLICY_LIFO)
			break;
	}
	return best;
}

unsigned admission_reclaim(struct window *w, uint64_t want_bytes, unsigned n, bool twice)
{
	unsigned live = w->nranges - w->nretired, evicted = 0;
	unsigned steps = MIN(twice ? 2 * live : live, (unsigned)COLD_SEEN);

	while (steps-- && evicted < n && !list_empty(&w->ranges) &&
	       w->space.free_bytes + w->retired_bytes < want_bytes) {
		struct window_range *r = container_of(w->ranges.next, struct window_range, link);
		uint8_t ref = atomic_load_explicit(&r->ref, memory_order_relaxed);

		hand_on(w, r);
		if (ref & REF_RECENT)
			atomic_fetch_and_explicit(&r->ref, (uint8_t)~REF_RECENT,
						  memory_order_relaxed);
		else if (!range_is_awaited(r) && !range_worth(w, r) && range_evict(w, r))
			evicted++;
	}
	return evicted;
}

/* ---- what a miss is worth: inode lock ---- */

/* By a sixteenth of what there is above the usual. */
static void relax(struct window *w)
{
	w->caution -= (w->caution - CAUTION_ONE + 15) / 16;
}

struct miss {
	uint64_t file_off, len_bytes;
	uint64_t gain_ns;     /* of one such access through the window */
	uint64_t map_ns;      /* to map one more */
	uint64_t exchange_ns; /* to map one and to unmap another */
	uint64_t run_bytes;   /* that were read in a row up to here */
	uint64_t ahead_bytes; /* that a range here would map behind file_off */
	uint32_t seen;	      /* how often the block was missed lately */
	bool sequential;
};

static uint64_t base_bytes(const struct window *w)
{
	return block_bytes(w, w->order_base);
}

static void note_run(struct window_inode *inode, struct miss *m)
{
	m->sequential = policy_sequential(inode, m->file_off, m->len_bytes);
	if (!m->sequential)
		inode->miss_run = 0;
	else if (m->file_off != inode->miss_end) /* a range that was read to its end */
		inode->miss_run = block_bytes(inode->w, inode->last_order);
	m->run_bytes = inode->miss_run;
	inode->miss_end = m->file_off + m->len_bytes;
	inode->miss_run += m->len_bytes;
}

/* Window lock, too. Several misses in a row in one block are one: they say nothing about reuse. */
static void count_miss(struct window_inode *inode, struct miss *m)
{
	struct window *w = inode->w;
	uint64_t block = m->file_off / base_bytes(w);
	uint64_t key = inode->nodeid * UINT64_C(0x9e3779b97f4a7c15) ^ block;
	uint64_t epoch = m->exchange_ns / MAX(m->gain_ns, 1u) * (w->nranges - w->nretired);

	if (m->run_bytes && m->sequential && m->file_off % base_bytes(w)) {
		m->seen = sketch_get(&w->sketch, key);
		return;
	}
	/* Long enough that whoever deserves a range can earn it within one. */
	if (++w->ticks >= MIN(MAX(epoch, EPOCH_MIN), EPOCH_MAX)) {
		sketch_age(&w->sketch);
		w->epoch++;
		w->ticks = 0;
		relax(w);
	}
	m->seen = sketch_add(&w->sketch, key);
}

static uint64_t with_caution(const struct window *w, uint64_t ns, unsigned most)
{
	return ns * MIN(w->caution, most) / CAUTION_ONE;
}

/* Plenty of free space: the chance that it is used is enough. */
static bool pays_in_free_space(const struct window *w, const struct miss *m)
{
	uint64_t uses = MIN(m->ahead_bytes / m->len_bytes, (uint64_t)PASSES_MAX);

	uses = MAX(MAX(uses, (uint64_t)m->seen), 1u);
	return uses * m->gain_ns >= with_caution(w, m->map_ns, CAUTION_MAX) / ROOM_DISCOUNT;
}

/* Read through once, the rest of the range pays for itself, with its removal and twice over. */
static bool pays_in_one_pass(const struct window *w, const struct miss *m)
{
	uint64_t ahead = MIN(m->ahead_bytes, m->run_bytes * RUN_GOES_ON);

	return m->sequential && ahead / m->len_bytes * m->gain_ns >=
					2 * with_caution(w, m->exchange_ns, CAUTION_EARNED);
}

static bool pays_by_reuse(const struct window *w, const struct miss *m)
{
	return m->seen * m->gain_ns >= with_caution(w, m->exchange_ns, CAUTION_EARNED);
}

static bool beats(const struct window *w, const struct miss *m, uint32_t worth)
{
	uint64_t half_more = worth + worth / 2;

	return m->seen > half_more && (m->seen - half_more) * m->gain_ns >=
					      with_caution(w, m->exchange_ns, CAUTION_EARNED);
}

/* With a distance between the two, so that reclaiming makes no room for guesses. */
static bool look_for_room(struct window *w)
{
	if (space_is_low(w, w->low_percent))
		w->roomy = false;
	else if (!w->roomy && !space_is_low(w, MIN(2 * w->low_percent, 90u)))
		w->roomy = true;
	return w->roomy;
}

/* Window lock, too. True: map it now. False with *evicted: the next such miss will find space. */
static bool decide(struct window *w, const struct miss *m, bool *evicted)
{
	struct window_range *victim;

	if (look_for_room(w))
		return pays_in_free_space(w, m);
	if (pays_in_one_pass(w, m)) {
		uint64_t want = MIN(2 * m->ahead_bytes, w->len_bytes / 8) + base_bytes(w);

		/* One range ahead, so that the reader does not wait for a removal each time. */
		*evicted = admission_reclaim(w, want, SCAN_EVICTS, true);
		return space_at_hand(w, w->order_base);
	}
	if (!pays_by_reuse(w, m))
		return false;
	w->stats.earned++;
	if (space_at_hand(w, w->order_base))
		return true;
	/* What is on its way is for whoever earns it first. */
	if (w->nretired)
		return false;
	victim = find_victim(w);
	if (victim && beats(w, m, range_worth(w, victim)))
		*evicted = range_evict(w, victim);
	return false;
}

bool admission_ask(struct window_inode *inode, uint64_t file_off, uint64_t len_bytes,
		   uint64_t map_end, bool write, bool *evicted)
{
	struct window *w = inode->w;
	enum router_dir dir = write ? ROUTER_WRITE : ROUTER_READ;
	struct miss m = {.file_off = file_off, .len_bytes = MIN(len_bytes, LEN_MAX)};
	uint64_t block;
	bool admit;

	if (w->admit == WINDOW_ADMIT_ALWAYS)
		return true;
	m.gain_ns = router_gain_ns(w->router, dir, m.len_bytes);
	note_run(inode, &m);
	block = block_bytes(w, policy_order(inode, file_off, map_end));
	m.ahead_bytes = MIN(block - file_off % block, map_end - file_off);

	pthread_mutex_lock(&w->lock);
	m.map_ns = router_setup_ns(w->router, w->nranges - w->nretired);
	m.exchange_ns = m.map_ns + router_remove_ns(w->router);
	count_miss(inode, &m);
	admit = m.gain_ns && decide(w, &m, evicted);
	w->stats.declined += !admit;
	pthread_mutex_unlock(&w->lock);
	return admit;
}

/* ---- the life of a range: window lock ---- */

void admission_placed(struct window_range *r, uint64_t len_bytes, bool sequential, bool write)
{
	struct window *w = r->inode->w;
	uint64_t len = MIN(len_bytes, LEN_MAX), gain, due;
	uint64_t key =
		r->inode->nodeid * UINT64_C(0x9e3779b97f4a7c15) ^ r->file_off / base_bytes(w);

	r->epoch = w->epoch;
	if (w->admit == WINDOW_ADMIT_ALWAYS)
		return;
	gain = router_gain_ns(w->router, write ? ROUTER_WRITE : ROUTER_READ, len);
	due = (router_setup_ns(w->router, w->nranges - w->nretired) + router_remove_ns(w->router)) /
	      MAX(gain, 1u);
	r->due = (uint16_t)MIN(due, UINT16_MAX);
	if (sequential)
		r->first_pass = (uint16_t)MIN(r->len_bytes / len, UINT16_MAX);
	else
		/* It comes with what it has earned, or the next candidate would take it at once. */
		r->worth = sketch_get(&w->sketch, key);
}

void admission_ended(struct window *w, const struct window_range *r)
{
	if (!r->due)
		return;
	if (atomic_load_explicit(&r->hits, memory_order_relaxed) >= r->due) {
		relax(w);
		return;
	}
	w->stats.unpaid++;
	w->caution = MIN(w->caution + w->caution / 16 + 1, CAUTION_MAX);
}
