/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuse/pool.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"

/* A period is this long and has this many requests; one that takes very long instead has so few
 * that there is nothing to gain. */
#define PERIOD_NS     (20 * NS_PER_MS)
#define PERIOD_MIN    32u
#define PERIOD_MAX_NS (200 * NS_PER_MS)
/* Periods between two trials of the same mode while the best one does not change. */
#define ROUND	      32u
/* A trial must be better by this share: changing back and forth costs, and machines are noisy. */
#define MARGIN(rate)  ((rate) + (rate) / 8)
/* The clock is read once in so many requests of a worker. */
#define STRIDE	      8u
#define EVERYBODY     UINT32_MAX

struct pool_place {
	_Atomic uint64_t requests;
	_Atomic int wake_fd; /* -1: not started */
} __attribute__((aligned(64)));

struct fuse_pool {
	enum spin_mode polling;
	unsigned n;
	struct pool_place *places;
	/* Who reads (EVERYBODY, or a place) in the lower half, the mode in the upper one. */
	_Atomic uint64_t roles;
	_Atomic uint64_t period_end;
	atomic_bool ended;

	/* Claimed by the thread that decides; the rest is that thread's. */
	atomic_flag deciding;
	enum fuse_pool_mode kept, tried; /* tried == kept: no trial in this period */
	uint32_t kept_reader, tried_reader;
	uint64_t period_start, requests_before;
	uint64_t kept_rate; /* requests a second */
	unsigned periods;
};

static uint64_t roles_of(enum fuse_pool_mode mode, uint32_t reader)
{
	return (uint64_t)mode << 32 | reader;
}

int fuse_pool_create(enum spin_mode polling, unsigned n, struct fuse_pool **out)
{
	struct fuse_pool *c = aligned_alloc(64, round_up(sizeof(*c), 64));

	if (!c)
		return -ENOMEM;
	memset(c, 0, sizeof(*c));
	c->places = aligned_alloc(64, n * sizeof(*c->places));
	if (!c->places) {
		free(c);
		return -ENOMEM;
	}
	c->polling = polling;
	c->n = n;
	for (unsigned i = 0; i < n; i++) {
		atomic_init(&c->places[i].requests, 0);
		atomic_init(&c->places[i].wake_fd, -1);
	}
	atomic_init(&c->roles, polling == SPIN_ALWAYS ? roles_of(FUSE_POOL_POLL, 0)
						      : roles_of(FUSE_POOL_ALL, EVERYBODY));
	*out = c;
	return 0;
}

void fuse_pool_destroy(struct fuse_pool *c)
{
	if (!c)
		return;
	free(c->places);
	free(c);
}

void fuse_pool_join(struct fuse_pool *c, unsigned place, int wake_fd)
{
	c->places[place].wake_fd = wake_fd;
}

struct fuse_role fuse_pool_role(struct fuse_pool *c, unsigned place)
{
	uint64_t roles = atomic_load_explicit(&c->roles, memory_order_acquire);
	uint32_t reader = (uint32_t)roles;

	return (struct fuse_role){
		.reads = reader == EVERYBODY || reader == place,
		.polls = roles >> 32 == FUSE_POOL_POLL,
		.alone = reader == place || c->n == 1,
	};
}

enum fuse_pool_mode fuse_pool_mode(struct fuse_pool *c)
{
	return (enum fuse_pool_mode)(atomic_load_explicit(&c->roles, memory_order_relaxed) >> 32);
}

/* ------------------------------------------------------------------ who reads */

/* Those that may read now and sleep; who blocks in read(2) and should not any more finds out at its
 * next request. */
static void wake_readers(struct fuse_pool *c, uint32_t reader, unsigned but)
{
	uint64_t one = 1;

	for (unsigned i = 0; i < c->n; i++)
		if (i != but && (reader == EVERYBODY || reader == i) && c->places[i].wake_fd >= 0)
			if (write(c->places[i].wake_fd, &one, sizeof(one)) < 0)
				log_debug("wake: %s", strerror(errno));
}

/* By the thread that decides. A worker that is not started yet reads nothing. */
static void set_mode(struct fuse_pool *c, enum fuse_pool_mode mode, uint32_t reader, unsigned place)
{
	uint64_t before;

	if (mode == FUSE_POOL_ALL || c->places[reader].wake_fd < 0)
		reader = EVERYBODY;
	before = atomic_exchange(&c->roles, roles_of(mode, reader));
	if (reader != (uint32_t)before)
		wake_readers(c, reader, place);
	if (atomic_load(&c->ended)) {
		atomic_store(&c->roles, roles_of(FUSE_POOL_ALL, EVERYBODY));
		wake_readers(c, EVERYBODY, place);
	}
}

void fuse_pool_end(struct fuse_pool *c, unsigned place)
{
	atomic_store(&c->ended, true);
	/* A thread that decides just now sees that, or has stored its roles before. */
	atomic_store(&c->roles, roles_of(FUSE_POOL_ALL, EVERYBODY));
	wake_readers(c, EVERYBODY, place);
}

/* ------------------------------------------------------------------ trials */

static uint64_t all_requests(const struct fuse_pool *c)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < c->n; i++)
		sum += atomic_load_explicit(&c->places[i].requests, memory_order_relaxed);
	return sum;
}

/* What the next period is spent with: the mode that is kept, but for one trial of each other. */
static enum fuse_pool_mode next_trial(struct fuse_pool *c)
{
	unsigned phase = c->periods++ % ROUND;

	if (phase != 2 && phase != 4)
		return c->kept;
	c->tried_reader = (c->tried_reader + 1) % c->n;
	return (enum fuse_pool_mode)((c->kept + phase / 2) % FUSE_POOL_MODES);
}

/* At the end of a period: the mode of the next one. */
static void decide(struct fuse_pool *c, uint64_t now)
{
	uint64_t sum = all_requests(c), n = sum - c->requests_before;
	uint64_t took = now - c->period_start;
	uint64_t rate = took ? n * NS_PER_S / took : 0;

	c->requests_before = sum;
	c->period_start = now;
	if (took > PERIOD_MAX_NS) {
		/* There was a pause, or there is little to do: as without load. */
		c->kept = c->tried = FUSE_POOL_ALL;
		c->kept_rate = 0;
		c->periods = 0;
	} else if (c->tried == c->kept) {
		c->kept_rate = rate;
		c->tried = next_trial(c);
	} else {
		if (rate > MARGIN(c->kept_rate)) {
			c->kept = c->tried;
			c->kept_reader = c->tried_reader;
			c->kept_rate = rate;
			/* Soon try those that the new one has not been compared with. */
			c->periods = 0;
		}
		c->tried = c->kept;
		c->periods += c->periods != 0;
	}
}

static bool period_is_over(struct fuse_pool *c, uint64_t now)
{
	return now >= atomic_load_explicit(&c->period_end, memory_order_relaxed) &&
	       (all_requests(c) - c->requests_before >= PERIOD_MIN ||
		now - c->period_start > PERIOD_MAX_NS);
}

void fuse_pool_request(struct fuse_pool *c, unsigned place)
{
	struct pool_place *p = &c->places[place];
	uint64_t n = atomic_load_explicit(&p->requests, memory_order_relaxed) + 1;
	uint64_t now;

	atomic_store_explicit(&p->requests, n, memory_order_relaxed);
	if (c->n < 2 || c->polling != SPIN_AUTO || n % STRIDE)
		return;
	now = clock_now_ns();
	if (now < atomic_load_explicit(&c->period_end, memory_order_relaxed) ||
	    atomic_flag_test_and_set_explicit(&c->deciding, memory_order_acquire))
		return;
	if (period_is_over(c, now)) {
		decide(c, now);
		atomic_store_explicit(&c->period_end, now + PERIOD_NS, memory_order_relaxed);
		set_mode(c, c->tried, c->tried == c->kept ? c->kept_reader : c->tried_reader,
			 place);
	}
	atomic_flag_clear_explicit(&c->deciding, memory_order_release);
}
