/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy_auto: a window that maps every miss is slower than none as soon as the data is larger than
 * it; so each set-up must be expected to pay for itself. The router says what an access saves and
 * what a mapping costs. README.md has what each part of it is worth.
 *
 *   Rent or buy (Karlin, Manasse, Rudolph, Sleator, "Competitive Snoopy Caching", Algorithmica 3,
 *   1988): misses are rented from the queue until what they have cost would have bought the
 *   mapping; then it is bought. Where space is free, a part of the price is enough.
 *
 *   Admission by frequency (Einziger, Friedman, Manes, "TinyLFU", ACM ToS 13(4), 2017): what comes
 *   in must have been asked for more often than what goes out. Misses are counted in a table that
 *   ages by halving; a range counts its own hits, which age with it. Unlike there, the two must
 *   differ by a margin: the exchange costs two requests to the device, and both are estimates.
 *
 *   Scans: a sequential reader gets ranges that pay by their length alone, and takes for them only
 *   the space of ranges that are not used.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "window/internal.h"

#define LEN_MAX	      MIB /* a request is no longer; a caller may say "to the end" */
#define ROOM_PERCENT  20  /* of the window: while more is free, nothing need be evicted ... */
#define ROOM_DISCOUNT 16  /* ... and this part of the price of a mapping is asked */
#define BEATS_BY      4	  /* costs of an exchange that a block must be worth more than a victim */
#define RUN_GOES_ON   8	  /* a run of misses will continue for this many times its length */
#define COUNTERS_MIN  4096u
#define COUNTERS_MAX  524288u
#define EPOCH_MIN     1024u
#define EPOCH_MAX     65536u
#define VICTIMS_SEEN  32
#define COLD_SEEN     128
#define SCAN_EVICTS   4
#define WORTH_MAX     (1u << 20)

struct auto_state {
	uint16_t *misses; /* of each block of the base size, by a hash */
	uint64_t mask;
	uint32_t ticks; /* misses since the last ageing */
	uint32_t epoch; /* how often the counts were halved */
};

struct miss {
	uint64_t len_bytes;
	uint64_t gain_ns;     /* of one such access through the window */
	uint64_t map_ns;      /* to map one more */
	uint64_t exchange_ns; /* to map one and to unmap another */
	uint64_t run_bytes;   /* that were read in a row up to here */
	uint64_t ahead_bytes; /* that a range here would map behind file_off */
	uint32_t seen;	      /* how often the block was missed lately */
};

static int auto_create(struct window *w)
{
	/* 32 bytes for each range that there can be. */
	uint64_t ranges = MIN(w->ranges_max, w->len_bytes / block_bytes(w, 0));
	uint64_t n = COUNTERS_MIN;
	struct auto_state *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	while (n < ranges * 16 && n < COUNTERS_MAX)
		n *= 2;
	s->mask = n - 1;
	s->misses = calloc(n, sizeof(*s->misses));
	if (!s->misses) {
		free(s);
		return -ENOMEM;
	}
	w->policy_state = s;
	return 0;
}

static void auto_destroy(struct window *w)
{
	struct auto_state *s = w->policy_state;

	free(s->misses);
	free(s);
}

/* ---- what a range is worth ---- */

/*
 * Its hits, halved at each epoch, worked out only when it is looked at: hits since the last look
 * are taken to be spread evenly over the epochs since then.
 */
static uint32_t range_worth(const struct window *w, struct window_range *r)
{
	const struct auto_state *s = w->policy_state;
	uint32_t hits = atomic_load_explicit(&r->hits, memory_order_relaxed);
	uint32_t fresh = hits - MIN(hits, r->policy.hits_seen);
	uint32_t age = s->epoch - r->policy.epoch;

	r->policy.worth = age < 32 ? r->policy.worth >> age : 0;
	/* The sum of a / age * (1 + 1/2 + 1/4 ...) */
	r->policy.worth += age < 2 ? fresh : (uint32_t)((uint64_t)fresh * 2 / age);
	r->policy.worth = MIN(r->policy.worth, WORTH_MAX);
	r->policy.hits_seen = MAX(hits, r->policy.hits_seen);
	r->policy.epoch = s->epoch;
	return r->policy.worth;
}

/* The one with the least worth for its size among the next few. */
static struct window_range *least_worth(struct window *w)
{
	struct window_range *best = NULL;
	uint64_t best_density = UINT64_MAX;

	for (int i = 0; i < VICTIMS_SEEN && !list_empty(&w->ranges); i++) {
		struct window_range *r = policy_next_in_turn(w);
		uint64_t density = ((uint64_t)range_worth(w, r) << 20) >> MIN(r->order, 19);

		if (density < best_density && !range_is_awaited(r) &&
		    !atomic_load_explicit(&r->pins, memory_order_relaxed)) {
			best_density = density;
			best = r;
		}
	}
	return best;
}

/* Evicts ranges that were not used since the last look, until want_bytes are free or will be. */
static void evict_cold(struct window *w, uint64_t want_bytes)
{
	int evicted = 0;

	for (int i = 0; i < COLD_SEEN && evicted < SCAN_EVICTS && !list_empty(&w->ranges) &&
			w->space.free_bytes + w->retired_bytes < want_bytes;
	     i++) {
		struct window_range *r = policy_next_in_turn(w);
		uint8_t ref = atomic_fetch_and_explicit(&r->ref, (uint8_t)~REF_RECENT,
							memory_order_relaxed);

		if (!(ref & REF_RECENT) && !range_is_awaited(r) && !range_worth(w, r))
			evicted += range_evict(w, r);
	}
}

/* ---- what a miss is worth ---- */

static uint16_t *counter_of(const struct window *w, const struct window_inode *inode,
			    uint64_t file_off)
{
	const struct auto_state *s = w->policy_state;
	uint64_t block = file_off / block_bytes(w, w->order_base);

	return &s->misses[hash_pair(inode->nodeid, block) & s->mask];
}

static void note_run(struct window_inode *inode, uint64_t file_off, struct miss *m)
{
	struct policy_inode *p = &inode->policy;

	p->sequential = file_off == p->miss_end || (follows_setup(inode, file_off) &&
						    file_off - inode->last_end < 2 * m->len_bytes);
	if (!p->sequential)
		p->miss_run = 0;
	else if (file_off != p->miss_end) /* a range that was read to its end */
		p->miss_run = block_bytes(inode->w, inode->last_order);
	m->run_bytes = p->miss_run;
	p->miss_end = file_off + m->len_bytes;
	p->miss_run += m->len_bytes;
}

static void count_miss(struct window *w, const struct pin_request *q, struct miss *m)
{
	struct auto_state *s = w->policy_state;
	/* Long enough that a block that deserves a range can earn it within one. */
	uint64_t epoch = m->exchange_ns / MAX(m->gain_ns, 1u) * (w->nranges - w->nretired);
	uint16_t *counter = counter_of(w, q->inode, q->file_off);

	if (++s->ticks >= MIN(MAX(epoch, EPOCH_MIN), EPOCH_MAX)) {
		for (uint64_t i = 0; i <= s->mask; i++)
			s->misses[i] /= 2;
		s->epoch++;
		s->ticks = 0;
	}
	*counter += *counter < UINT16_MAX;
	m->seen = *counter;
}

/* Read through once, the rest of the range pays for itself, with its removal and twice over. */
static bool pays_in_one_pass(const struct miss *m)
{
	uint64_t ahead = MIN(m->ahead_bytes, m->run_bytes * RUN_GOES_ON);

	return ahead / m->len_bytes * m->gain_ns >= 2 * m->exchange_ns;
}

static bool beats(const struct miss *m, uint32_t worth)
{
	uint64_t half_more = worth + worth / 2;

	return m->seen > half_more &&
	       (m->seen - half_more) * m->gain_ns >= BEATS_BY * m->exchange_ns;
}

/* Of what long pins leave to the others. */
static bool has_room(const struct window *w)
{
	uint64_t bytes = w->space.free_bytes + w->retired_bytes;
	unsigned used = w->nranges - w->nretired + w->nlost;

	return bytes >= (w->len_bytes - w->stats.bytes_pinned) / 100 * ROOM_PERCENT &&
	       used <= (uint64_t)w->ranges_max * (100 - ROOM_PERCENT) / 100;
}

static bool has_base_block(const struct window *w)
{
	return budget_left(w) && space_has(w, w->order_base);
}

static bool pays(struct window *w, const struct miss *m, bool sequential)
{
	struct window_range *victim;

	if (has_room(w))
		return m->seen * m->gain_ns >= m->map_ns / ROOM_DISCOUNT;
	if (sequential && pays_in_one_pass(m)) {
		/* One range ahead, so that the reader does not wait for a removal each time. */
		evict_cold(w, MIN(2 * m->ahead_bytes, w->len_bytes / 8) +
				      block_bytes(w, w->order_base));
		return has_base_block(w);
	}
	if (m->seen * m->gain_ns < m->exchange_ns)
		return false;
	if (has_base_block(w))
		return true;
	/* What is on its way is for the first that earns it. */
	if (w->nretired)
		return false;
	victim = least_worth(w);
	if (victim && beats(m, range_worth(w, victim)))
		range_evict(w, victim);
	return false;
}

static bool auto_admit(struct window *w, const struct pin_request *q, uint64_t ahead_bytes)
{
	enum router_dir dir = q->flags & WINDOW_WRITE ? ROUTER_WRITE : ROUTER_READ;
	struct miss m = {.len_bytes = MIN(q->len_bytes, LEN_MAX), .ahead_bytes = ahead_bytes};

	m.gain_ns = router_gain_ns(w->router, dir, m.len_bytes);
	m.map_ns = router_setup_ns(w->router);
	m.exchange_ns = m.map_ns + router_remove_ns(w->router);
	note_run(q->inode, q->file_off, &m);
	count_miss(w, q, &m);
	return m.gain_ns && pays(w, &m, q->inode->policy.sequential);
}

/* It comes with what it has earned, or the next candidate would take its place at once. What a
 * range serves while it is read through once is no reason to keep it. */
static void auto_placed(struct window *w, struct window_range *r, const struct pin_request *q)
{
	const struct auto_state *s = w->policy_state;

	r->policy.epoch = s->epoch;
	if (q->inode->policy.sequential)
		r->policy.hits_seen = (uint32_t)(r->len_bytes / MIN(q->len_bytes, LEN_MAX));
	else
		r->policy.worth = *counter_of(w, r->inode, q->file_off);
}

const struct window_policy_ops policy_auto = {
	.create = auto_create,
	.destroy = auto_destroy,
	.admit = auto_admit,
	.placed = auto_placed,
	.victim = policy_clock_victim,
};
