/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuse/crew.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
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
/* Periods between two trials of the same manner while the best one does not change. */
#define ROUND	   32u
/* How often NEAR looks where its client runs: the scheduler likes to move one of two tasks that
 * take turns on one CPU to an idle one. */
#define FOLLOW_NS     (1 * NS_PER_MS)
/* A trial must be better by this share: changing back and forth costs, and machines are noisy. */
#define MARGIN(rate) ((rate) + (rate) / 8)
/* The clock is read once in so many requests of a worker. */
#define STRIDE	   8u
#define EVERYBODY  UINT32_MAX

struct place {
	_Atomic uint64_t requests;
	int cpu;
	_Atomic int wake_fd; /* -1: not started */
} __attribute__((aligned(64)));

struct fuse_crew {
	enum fuse_polling polling;
	unsigned n;
	struct place *places;
	/* What the workers look at: the manner, and who reads (EVERYBODY, or a place). */
	_Atomic uint32_t manner, reader;
	_Atomic uint64_t period_end, follow_at;

	/* Guards the rest: one worker at a time decides. While requests come it is tried, never
	 * waited for. No other lock is taken inside it. */
	pthread_mutex_t lock;
	bool ended;
	enum fuse_manner kept, tried; /* tried == kept: no trial in this period */
	uint64_t period_start, requests_before;
	uint64_t kept_rate; /* requests a second */
	unsigned periods;
};

static bool may_look(const struct fuse_crew *c)
{
	return c->n > 1 && c->polling == FUSE_POLLING_AUTO;
}

int fuse_crew_create(enum fuse_polling polling, const int *cpus, unsigned n, struct fuse_crew **out)
{
	struct fuse_crew *c = aligned_alloc(64, round_up(sizeof(*c), 64));

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
		c->places[i].cpu = cpus[i];
		atomic_init(&c->places[i].wake_fd, -1);
	}
	pthread_mutex_init(&c->lock, NULL);
	atomic_init(&c->follow_at, UINT64_MAX);
	atomic_init(&c->manner, polling == FUSE_POLLING_ALWAYS ? FUSE_MANNER_LOOK : FUSE_MANNER_ALL);
	atomic_init(&c->reader, polling == FUSE_POLLING_ALWAYS ? 0 : EVERYBODY);
	*out = c;
	return 0;
}

void fuse_crew_destroy(struct fuse_crew *c)
{
	if (!c)
		return;
	pthread_mutex_destroy(&c->lock);
	free(c->places);
	free(c);
}

void fuse_crew_join(struct fuse_crew *c, unsigned place, int wake_fd)
{
	c->places[place].wake_fd = wake_fd;
}

struct fuse_duty fuse_crew_duty(struct fuse_crew *c, unsigned place)
{
	uint32_t reader = atomic_load_explicit(&c->reader, memory_order_acquire);
	uint32_t manner = atomic_load_explicit(&c->manner, memory_order_relaxed);

	return (struct fuse_duty){
		.reads = reader == EVERYBODY || reader == place,
		.looks = manner == FUSE_MANNER_LOOK,
	};
}

enum fuse_manner fuse_crew_manner(struct fuse_crew *c)
{
	return (enum fuse_manner)atomic_load_explicit(&c->manner, memory_order_relaxed);
}

const char *fuse_manner_name(enum fuse_manner manner)
{
	static const char *const names[FUSE_MANNERS] = {"all", "near", "look"};

	return names[manner];
}

/* ------------------------------------------------------------------ who reads */

/* The CPU that a thread ran on last (proc_pid_stat(5), field 39), or -1. */
static int cpu_of(uint32_t pid)
{
	char path[32], buf[1024], *at;
	ssize_t n = -1;
	int fd, cpu = -1;

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	fd = pid ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd >= 0) {
		n = read(fd, buf, sizeof(buf) - 1);
		close(fd);
	}
	if (n <= 0)
		return -1;
	buf[n] = '\0';
	/* The name, field 2, may hold anything; fields are counted from its last parenthesis. */
	at = strrchr(buf, ')');
	for (int field = 2; at && field < 39; field++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, "%d", &cpu) != 1)
		return -1;
	return cpu;
}

/* A place on (near) or off (not near) the client's CPU; `fallback` where that is not known. */
static unsigned choose_place(const struct fuse_crew *c, int cpu, bool near, unsigned fallback)
{
	for (unsigned i = 0; cpu >= 0 && i < c->n; i++)
		if (c->places[i].wake_fd >= 0 && (c->places[i].cpu == cpu) == near)
			return i;
	return fallback;
}

/* Who is parked and may read now must hear of it; who blocks in read(2) and should not any more
 * finds out at its next request. */
static void wake_readers(struct fuse_crew *c, uint32_t reader, unsigned but)
{
	uint64_t one = 1;

	for (unsigned i = 0; i < c->n; i++)
		if (i != but && (reader == EVERYBODY || reader == i) && c->places[i].wake_fd >= 0)
			if (write(c->places[i].wake_fd, &one, sizeof(one)) < 0)
				log_debug("wake: %s", strerror(errno));
}

/* Called with the lock held. */
static void set_manner(struct fuse_crew *c, enum fuse_manner manner, unsigned place, uint32_t pid)
{
	uint32_t reader = EVERYBODY, before = atomic_load(&c->reader);

	if (manner != FUSE_MANNER_ALL)
		reader = choose_place(c, cpu_of(pid), manner == FUSE_MANNER_NEAR, place);
	atomic_store(&c->manner, manner);
	atomic_store(&c->reader, reader);
	if (reader != before)
		wake_readers(c, reader, place);
}

void fuse_crew_end(struct fuse_crew *c, unsigned place)
{
	pthread_mutex_lock(&c->lock);
	c->ended = true;
	set_manner(c, FUSE_MANNER_ALL, place, 0);
	wake_readers(c, EVERYBODY, place);
	pthread_mutex_unlock(&c->lock);
}

/* ------------------------------------------------------------------ trials */

static uint64_t all_requests(const struct fuse_crew *c)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < c->n; i++)
		sum += atomic_load_explicit(&c->places[i].requests, memory_order_relaxed);
	return sum;
}

/* What the next period is spent with: the manner that is kept, but for one trial of each other. */
static enum fuse_manner next_manner(struct fuse_crew *c)
{
	unsigned phase = c->periods++ % ROUND;

	if (phase == 2 || phase == 4)
		return (enum fuse_manner)((c->kept + phase / 2) % FUSE_MANNERS);
	return c->kept;
}

/* Called with the lock held, at the end of a period. */
static void decide(struct fuse_crew *c, uint64_t now, unsigned place, uint32_t pid)
{
	uint64_t sum = all_requests(c), n = sum - c->requests_before;
	uint64_t took = now - c->period_start;
	uint64_t rate = took ? n * NS_PER_S / took : 0;

	c->requests_before = sum;
	c->period_start = now;
	if (took > PERIOD_MAX_NS) {
		/* There was a pause, or there is little to do: as without load. */
		c->kept = c->tried = FUSE_MANNER_ALL;
		c->kept_rate = 0;
		c->periods = 0;
	} else if (c->tried == c->kept) {
		c->kept_rate = rate;
		c->tried = next_manner(c);
	} else {
		if (rate > MARGIN(c->kept_rate)) {
			c->kept = c->tried;
			c->kept_rate = rate;
			/* Soon try those that the new one has not been compared with. */
			c->periods = 0;
		}
		c->tried = c->kept;
		c->periods += c->periods != 0;
	}
	set_manner(c, c->tried, place, pid);
}

void fuse_crew_request(struct fuse_crew *c, unsigned place, uint32_t pid)
{
	struct place *p = &c->places[place];
	uint64_t n = atomic_load_explicit(&p->requests, memory_order_relaxed) + 1;
	uint64_t now;

	atomic_store_explicit(&p->requests, n, memory_order_relaxed);
	if (!may_look(c) || n % STRIDE)
		return;
	now = clock_now_ns();
	if ((now < atomic_load_explicit(&c->period_end, memory_order_relaxed) &&
	     now < atomic_load_explicit(&c->follow_at, memory_order_relaxed)) ||
	    pthread_mutex_trylock(&c->lock))
		return;
	if (now < atomic_load_explicit(&c->period_end, memory_order_relaxed)) {
		if (!c->ended && c->tried == FUSE_MANNER_NEAR)
			set_manner(c, FUSE_MANNER_NEAR, place, pid);
	} else if (!c->ended && (all_requests(c) - c->requests_before >= PERIOD_MIN ||
			  now - c->period_start > PERIOD_MAX_NS)) {
		decide(c, now, place, pid);
		atomic_store_explicit(&c->period_end, now + PERIOD_NS, memory_order_relaxed);
	}
	atomic_store_explicit(&c->follow_at,
			      c->tried == FUSE_MANNER_NEAR ? now + FOLLOW_NS : UINT64_MAX,
			      memory_order_relaxed);
	pthread_mutex_unlock(&c->lock);
}
