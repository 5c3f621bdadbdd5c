/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * races: threads that meet in one file at the same moment, round after round, and a watchdog that
 * tells a request that is never answered from a slow machine:
 *
 *   races PATTERN --mount DIR --host DIR [--seconds N] [--threads N]
 *
 *   read-fresh    the host makes a file of 65636 bytes; all threads, each pinned to a CPU, read it
 * at once through the mount. Each sees a miss, a set-up that another thread's worker may finish,
 *                 and a tail from the queue.
 *   punch-unlink  each thread makes a file, punches a hole into it, closes and unlinks it: the
 * node's last answer is followed at once by its FORGET. cut-unlink    the same with a truncation
 * and a read in between, so that ranges leave.
 *
 * A thread hangs when it has not finished an operation for STUCK_LOOKS looks of the watchdog, which
 * has to be run by the machine for each of them: a machine that is too busy to run the threads does
 * not run the watchdog either.
 */
#include <inttypes.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#include "loopback/op.h"

#define THREADS_MAX 16
#define FRESH_BYTES 65636u
#define PUNCH_BYTES 20000u
#define LOOK_MS	    50
#define STUCK_LOOKS 300

static const char *mount_dir, *host_dir;
static unsigned n_threads = 2;
static _Atomic bool stop;
static pthread_barrier_t round_begins;
static _Atomic unsigned round_number;

static struct worker {
	pthread_t thread;
	unsigned number;
	_Atomic uint64_t finished;
	_Atomic(const char *) doing; /* NULL: has ended, or waits for the others */
} workers[THREADS_MAX];

static void begin(struct worker *w, const char *what)
{
	atomic_store(&w->doing, what);
}

static void end(struct worker *w, bool ok, const char *path)
{
	if (!ok)
		die("%s of %s: %s", atomic_load(&w->doing), path, strerror(errno));
	atomic_fetch_add(&w->finished, 1);
	atomic_store(&w->doing, NULL);
}

static void pin_to_a_cpu(unsigned number)
{
	cpu_set_t all, one;
	unsigned at = 0;

	if (sched_getaffinity(0, sizeof(all), &all))
		return;
	number %= (unsigned)CPU_COUNT(&all);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all) || at++ != number)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

static void fill(uint8_t *to, size_t len, unsigned round)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)(i / 64 + round);
}

/* ------------------------------------------------------------------ read-fresh */

static void make_fresh(unsigned round, uint8_t *bytes)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/fresh.%u", host_dir, round);
	fill(bytes, FRESH_BYTES, round);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, bytes, FRESH_BYTES) != FRESH_BYTES || close(fd))
		die("%s: %s", path, strerror(errno));
	if (!round)
		return;
	snprintf(path, sizeof(path), "%s/fresh.%u", host_dir, round - 1);
	unlink(path);
}

static void read_fresh(struct worker *w, unsigned round, uint8_t *found, const uint8_t *expected)
{
	char path[4096];
	size_t got = 0;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/fresh.%u", mount_dir, round);
	begin(w, "open");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	end(w, fd >= 0, path);
	do {
		begin(w, "read");
		n = read(fd, found + got, FRESH_BYTES + 1 - got);
		end(w, n >= 0, path);
		got += (size_t)n;
	} while (n > 0 && got <= FRESH_BYTES);
	if (got != FRESH_BYTES)
		die("%s has %zu bytes, expected %u", path, got, FRESH_BYTES);
	for (size_t i = 0; i < got; i++)
		if (found[i] != expected[i])
			die("%s: byte %zu is %u, expected %u", path, i, found[i], expected[i]);
	begin(w, "close");
	end(w, close(fd) == 0, path);
}

static void *read_fresh_thread(void *arg)
{
	static uint8_t expected[FRESH_BYTES];
	struct worker *w = arg;
	uint8_t *found = malloc(FRESH_BYTES + 1);

	pin_to_a_cpu(w->number);
	if (!found)
		die("no memory");
	for (;;) {
		if (w->number == 0) {
			make_fresh(atomic_fetch_add(&round_number, 1), expected);
			if (atomic_load(&stop))
				atomic_store(&round_number, UINT32_MAX);
		}
		pthread_barrier_wait(&round_begins);
		unsigned round = atomic_load(&round_number) - 1;

		if (round == UINT32_MAX - 1)
			break;
		read_fresh(w, round, found, expected);
		pthread_barrier_wait(&round_begins);
	}
	free(found);
	return NULL;
}

/* ------------------------------------------------------------------ punch-unlink, cut-unlink */

static void unlink_round(struct worker *w, const char *path, bool cut, uint8_t *bytes)
{
	ssize_t n;
	int fd;

	begin(w, "create");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	end(w, fd >= 0, path);
	begin(w, "write");
	n = pwrite(fd, bytes, PUNCH_BYTES, 0);
	end(w, n == PUNCH_BYTES, path);
	if (cut) {
		begin(w, "read");
		n = pread(fd, bytes, PUNCH_BYTES, 0);
		end(w, n == PUNCH_BYTES, path);
		begin(w, "truncation");
		end(w, ftruncate(fd, 5000) == 0, path);
	} else {
		begin(w, "hole");
		end(w, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192) == 0,
		    path);
	}
	begin(w, "close");
	end(w, close(fd) == 0, path);
	begin(w, "unlink");
	end(w, unlink(path) == 0, path);
}

static void *unlink_thread(void *arg, bool cut)
{
	struct worker *w = arg;
	uint8_t *bytes = malloc(PUNCH_BYTES);
	char path[4096];

	if (!bytes)
		die("no memory");
	fill(bytes, PUNCH_BYTES, w->number);
	for (unsigned i = 0; !atomic_load(&stop); i++) {
		snprintf(path, sizeof(path), "%s/unlink.%u.%u", mount_dir, w->number, i % 8);
		unlink_round(w, path, cut, bytes);
	}
	free(bytes);
	return NULL;
}

static void *punch_unlink_thread(void *arg)
{
	return unlink_thread(arg, false);
}

static void *cut_unlink_thread(void *arg)
{
	return unlink_thread(arg, true);
}

/* ------------------------------------------------------------------ the watchdog */

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t all_finished(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n_threads; i++)
		sum += atomic_load(&workers[i].finished);
	return sum;
}

/* Once each LOOK_MS; ends the program where a thread is stuck. */
static void look(unsigned *stuck, uint64_t *seen)
{
	static const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000};

	nanosleep(&pause, NULL);
	for (unsigned i = 0; i < n_threads; i++) {
		const char *doing = atomic_load(&workers[i].doing);
		uint64_t finished = atomic_load(&workers[i].finished);

		stuck[i] = doing && finished == seen[i] ? stuck[i] + 1 : 0;
		seen[i] = finished;
		if (stuck[i] >= STUCK_LOOKS)
			die("FAIL: a hang: thread %u has been in one %s for %u looks of %u ms, after "
			    "%" PRIu64 " operations of its own and %" PRIu64 " of all (round %u)",
			    i, doing, STUCK_LOOKS, LOOK_MS, finished, all_finished(),
			    atomic_load(&round_number));
	}
}

/* ------------------------------------------------------------------ all of it */

static const struct {
	const char *name;
	void *(*run)(void *);
} patterns[] = {
	{"read-fresh", read_fresh_thread},
	{"punch-unlink", punch_unlink_thread},
	{"cut-unlink", cut_unlink_thread},
};

static int usage(void)
{
	fprintf(stderr, "usage: races PATTERN --mount DIR --host DIR [--seconds N] [--threads "
			"N]\npatterns:");
	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
		fprintf(stderr, " %s", patterns[i].name);
	fputc('\n', stderr);
	return 2;
}

static bool options(char **at, uint64_t *seconds)
{
	for (; at[0] && at[1]; at += 2) {
		if (!strcmp(at[0], "--mount"))
			mount_dir = at[1];
		else if (!strcmp(at[0], "--host"))
			host_dir = at[1];
		else if (!strcmp(at[0], "--seconds"))
			*seconds = strtoull(at[1], NULL, 10);
		else if (!strcmp(at[0], "--threads"))
			n_threads = (unsigned)strtoul(at[1], NULL, 10);
		else
			return false;
	}
	return !at[0] && mount_dir && host_dir && *seconds && n_threads && n_threads <= THREADS_MAX;
}

int main(int argc, char **argv)
{
	unsigned stuck[THREADS_MAX] = {0}, left;
	uint64_t seen[THREADS_MAX] = {0}, seconds = 10, deadline;
	void *(*run)(void *) = NULL;

	for (size_t i = 0; argc > 1 && i < sizeof(patterns) / sizeof(patterns[0]); i++)
		if (!strcmp(argv[1], patterns[i].name))
			run = patterns[i].run;
	if (!run || !options(argv + 2, &seconds))
		return usage();
	pthread_barrier_init(&round_begins, NULL, n_threads);
	for (unsigned i = 0; i < n_threads; i++) {
		workers[i].number = i;
		if (pthread_create(&workers[i].thread, NULL, run, &workers[i]))
			die("no thread: %s", strerror(errno));
	}
	deadline = now_ms() + seconds * 1000;
	for (left = n_threads; left;) {
		look(stuck, seen);
		if (now_ms() >= deadline)
			atomic_store(&stop, true);
		while (left && atomic_load(&stop) &&
		       pthread_tryjoin_np(workers[left - 1].thread, NULL) == 0)
			left--;
	}
	printf("%s: %" PRIu64 " operations of %u threads in %" PRIu64 " s\n", argv[1],
	       all_finished(), n_threads, seconds);
	return 0;
}
