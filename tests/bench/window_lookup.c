/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a window hit costs, by the number of live ranges of one inode.
 *
 *   bench_window_lookup [REPETITIONS]
 *
 * For 10^2 to 10^6 ranges of one file, random offsets, medians of interleaved repetitions in CPU
 * time:
 *
 *   map    finding the range in the ordered map
 *   hit    window_pin() and window_unpin(): finding it, and touching it
 *   bytes  resident memory for each range, all included
 *
 * and the ratio of each time to that of 10^2. The last line is what one access to memory costs here
 * that no cache has, one after the other: no hit among 10^6 ranges can be faster. The device
 * answers at once; no memory is mapped.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "window/internal.h"

#define SIZES	5
#define LOOKUPS 200000

struct subject {
	size_t n;
	struct window *w;
	struct window_inode *inode;
	uint64_t block, size;
	double *map_ns, *hit_ns;
	double bytes; /* a range */
};

static void on_setup(void *ctx, void *by, struct window_range *range, const struct window_map *map)
{
	(void)ctx;
	(void)map;
	window_setup_done(by, range, 0);
}

static void on_remove(void *ctx, void *by, const struct window_extent *extents, unsigned n)
{
	struct window **w = ctx;

	(void)extents;
	(void)n;
	window_remove_done(by, *w, 0);
}

static const struct window_ops ops = {.setup = on_setup, .remove = on_remove};

static uint64_t resident_bytes(void)
{
	unsigned long total, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f)
		return 0;
	if (fscanf(f, "%lu %lu", &total, &resident) != 2)
		resident = 0;
	fclose(f);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t rng_state = 88172645463325252ULL;

static uint64_t rnd(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state >> 8;
}

/* Of this thread: a machine that has other work as well shows the cost of the look-up all the same.
 */
static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Below `below` (which is no more than 2^44), without a division that would be timed too. */
static uint64_t rnd_below(uint64_t below)
{
	return (uint64_t)((unsigned __int128)(rnd() & 0xffffffffffff) * below >> 48);
}

/* `n` ranges of one file, set up in random order, so that the tree is not filled in sequence. */
static int subject_open(struct subject *s, size_t n, unsigned repetitions)
{
	uint64_t *order = malloc(n * sizeof(*order));
	struct window_params p = {.va = (uint8_t *)(uintptr_t)GIB,
				  .len_bytes = 2 * n * 2 * MIB,
				  .ranges_max = (unsigned)(2 * n),
				  .ops = &ops,
				  .ctx = &s->w};
	struct window_pin pin;
	uint64_t before;

	*s = (struct subject){.n = n, .block = 2 * MIB, .size = n * 2 * MIB * 16};
	s->map_ns = calloc(repetitions, sizeof(double));
	s->hit_ns = calloc(repetitions, sizeof(double));
	if (!order || !s->map_ns || !s->hit_ns)
		return -1;
	for (size_t i = 0; i < n; i++)
		order[i] = i;
	before = resident_bytes();
	if (window_create(&p, &s->w) || window_inode_create(s->w, 1, &s->inode))
		return -1;
	for (size_t i = n - 1; i > 0; i--) {
		size_t j = rnd_below(i + 1);
		uint64_t t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (size_t i = 0; i < n; i++)
		window_pin(NULL, s->inode, order[i] * s->block, 1, s->size, WINDOW_NOWAIT, &pin,
			   NULL);
	s->bytes = (double)(resident_bytes() - before) / (double)n;
	free(order);
	if (s->inode->map.count < n * 9 / 10)
		fprintf(stderr, "only %zu of %zu ranges were set up\n", s->inode->map.count, n);
	return 0;
}

static double time_map(const struct subject *s)
{
	uint64_t start = cpu_ns(), found = 0;

	for (int i = 0; i < LOOKUPS; i++)
		found += omap_floor(&s->inode->map, rnd_below(s->n * s->block), NULL) != NULL;
	if (found != LOOKUPS)
		fprintf(stderr, "%llu not found\n", (unsigned long long)(LOOKUPS - found));
	return (double)(cpu_ns() - start) / LOOKUPS;
}

static double time_hit(const struct subject *s)
{
	uint64_t start = cpu_ns();
	struct window_pin pin;

	for (int i = 0; i < LOOKUPS; i++)
		if (window_pin(NULL, s->inode, rnd_below(s->n * s->block), 4096, s->size,
			       WINDOW_PROBE, &pin, NULL) == WINDOW_PINNED)
			window_unpin(NULL, &pin);
	return (double)(cpu_ns() - start) / LOOKUPS;
}

/* Pieces of 64 bytes that point at each other in random order, in `len` bytes of large pages. */
static double time_memory(size_t len)
{
	size_t n = len / 64;
	uint32_t at = 0, *next, *perm = malloc(n * sizeof(*perm));
	char *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t start;
	double ns;

	if (!perm || mem == MAP_FAILED)
		return 0;
	madvise(mem, len, MADV_HUGEPAGE);
	for (size_t i = 0; i < n; i++)
		perm[i] = (uint32_t)i;
	/* Sattolo's: one circle. */
	for (size_t i = n - 1; i > 0; i--) {
		size_t j = rnd_below(i);
		uint32_t t = perm[i];

		perm[i] = perm[j];
		perm[j] = t;
	}
	for (size_t i = 0; i < n; i++) {
		next = (uint32_t *)(mem + i * 64);
		*next = perm[i];
	}
	start = cpu_ns();
	for (int i = 0; i < LOOKUPS; i++)
		at = *(volatile uint32_t *)(mem + (size_t)at * 64);
	ns = (double)(cpu_ns() - start) / LOOKUPS;
	munmap(mem, len);
	free(perm);
	return ns;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), compare);
	return v[n / 2];
}

int main(int argc, char **argv)
{
	unsigned repetitions = argc > 1 ? (unsigned)atoi(argv[1]) : 11;
	struct subject s[SIZES];
	double map0 = 0, hit0 = 0;
	size_t n = 100;

	if (!repetitions)
		repetitions = 1;
	for (int i = 0; i < SIZES; i++, n *= 10)
		if (subject_open(&s[i], n, repetitions)) {
			fprintf(stderr, "out of memory at %zu ranges\n", n);
			return 1;
		}
	for (unsigned r = 0; r < repetitions; r++)
		for (int i = 0; i < SIZES; i++) {
			s[i].map_ns[r] = time_map(&s[i]);
			s[i].hit_ns[r] = time_hit(&s[i]);
		}
	printf("%10s %10s %8s %10s %8s %8s\n", "ranges", "map ns", "ratio", "hit ns", "ratio",
	       "bytes");
	for (int i = 0; i < SIZES; i++) {
		double map = median(s[i].map_ns, repetitions);
		double hit = median(s[i].hit_ns, repetitions);

		map0 = i ? map0 : map;
		hit0 = i ? hit0 : hit;
		printf("%10zu %10.1f %8.2f %10.1f %8.2f %8.0f\n", s[i].n, map, map / map0, hit,
		       hit / hit0, s[i].bytes);
		window_destroy(s[i].w);
		free(s[i].map_ns);
		free(s[i].hit_ns);
	}
	printf("memory: %.1f ns\n", time_memory(128 * MIB));
	return 0;
}
