/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reader: reads one file for a while and says how fast that was.
 *
 *     reader [--bs BYTES] [--seconds S] [--clients N] [--sequential] [--o-direct] FILE
 *
 * Prints one JSON object: reads per second, MB/s, and the latency of one read at the 50th and 99th
 * percentile in microseconds, over all clients. A client is a thread with a descriptor of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *path;
static uint64_t bs = 4096;
static double seconds = 1;
static bool sequential;
static int open_flags = O_RDONLY | O_CLOEXEC;
static pthread_barrier_t ready;

struct client {
	pthread_t thread;
	uint64_t seed, ops, elapsed_ns;
	uint32_t *latency_ns;
	uint64_t room;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "reader: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *run(void *arg)
{
	struct client *c = arg;
	int fd = open(path, open_flags);
	struct stat st;
	uint8_t *buf = mmap(NULL, bs, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
			    -1, 0);

	if (fd < 0 || fstat(fd, &st) < 0)
		die(path);
	if (buf == MAP_FAILED)
		die("buffer");
	uint64_t blocks = (uint64_t)st.st_size / bs, state = c->seed;

	if (blocks == 0) {
		errno = EINVAL;
		die("file smaller than one block");
	}
	pthread_barrier_wait(&ready);
	uint64_t begin = now_ns(), before = begin, end = begin + (uint64_t)(seconds * 1e9), at = state % blocks;

	while (before < end) {
		if (sequential) {
			at = (at + 1) % blocks;
		} else {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			at = state % blocks;
		}
		if (pread(fd, buf, bs, (off_t)(at * bs)) != (ssize_t)bs)
			die("pread");
		uint64_t after = now_ns();

		if (c->ops < c->room)
			c->latency_ns[c->ops] = (uint32_t)(after - before);
		c->ops++;
		before = after;
	}
	c->elapsed_ns = before - begin;
	close(fd);
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"bs", required_argument, NULL, 'b'},	 {"seconds", required_argument, NULL, 's'},
		{"clients", required_argument, NULL, 'c'}, {"sequential", no_argument, NULL, 'q'},
		{"o-direct", no_argument, NULL, 'd'},	 {0}};
	int clients = 1, o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == 'b')
			bs = strtoull(optarg, NULL, 0);
		else if (o == 's')
			seconds = atof(optarg);
		else if (o == 'c')
			clients = atoi(optarg);
		else if (o == 'q')
			sequential = true;
		else if (o == 'd')
			open_flags |= O_DIRECT;
		else
			return 2;
	}
	if (argc - optind != 1 || bs == 0 || clients < 1 || clients > 64) {
		fprintf(stderr, "usage: reader [--bs BYTES] [--seconds S] [--clients N] [--sequential] [--o-direct] FILE\n");
		return 2;
	}
	path = argv[optind];
	pthread_barrier_init(&ready, NULL, (unsigned)clients);

	struct client c[64] = {0};
	uint64_t ops = 0, kept = 0;
	double rate = 0;

	for (int i = 0; i < clients; i++) {
		c[i].seed = 88172645463325252u + (uint64_t)i * 2654435761u;
		c[i].room = (uint64_t)(seconds * 2e6) + 1;
		c[i].latency_ns = malloc(c[i].room * sizeof(uint32_t));
		if (!c[i].latency_ns || pthread_create(&c[i].thread, NULL, run, &c[i]))
			die("client");
	}
	for (int i = 0; i < clients; i++) {
		pthread_join(c[i].thread, NULL);
		ops += c[i].ops;
		rate += (double)c[i].ops / ((double)c[i].elapsed_ns / 1e9);
	}
	uint32_t *all = malloc((ops + 1) * sizeof(uint32_t));

	if (!all)
		die("memory");
	for (int i = 0; i < clients; i++) {
		uint64_t n = c[i].ops < c[i].room ? c[i].ops : c[i].room;

		memcpy(all + kept, c[i].latency_ns, n * sizeof(uint32_t));
		kept += n;
	}
	qsort(all, kept, sizeof(*all), by_value);
	printf("{\"ops\":%llu,\"iops\":%.0f,\"mbps\":%.1f,\"p50_us\":%.2f,\"p99_us\":%.2f}\n",
	       (unsigned long long)ops, rate, rate * (double)bs / 1e6, all[kept / 2] / 1e3,
	       all[kept - 1 - kept / 100] / 1e3);
	return 0;
}
