/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sweeper: reads the same sequence of places from each of several files, in turn for a moment each,
 * and says how fast that was. Whatever else the machine does meanwhile, it does to all of them.
 *
 *     sweeper [--bs BYTES] [--seconds S] [--slice S] [--range BYTES] [--zipf THETA] [--scan
 * PERCENT]
 *             [--scan-bs BYTES] [--warm S] [--seed N] FILE...
 *
 * Random reads of --bs (4096) in the first --range bytes of FILE, uniform, or with --zipf after
 * Gray et al., "Quickly Generating Billion-Record Synthetic Databases" (SIGMOD 1994), ranks
 * scattered over the file by a hash. --scan: this share of the bytes is read by a sequential scan
 * instead, in pieces of --scan-bs (128 KiB) taken in turn with the random reads; 100: all of them.
 * --warm: the first S seconds of each do not count. One JSON object a file: reads per second (of
 * all sizes), MB/s, the 50th and 99th percentile of random reads.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LATENCIES 4000000
#define SUBJECTS  24

static uint64_t state;

static uint64_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * UINT64_C(0x2545f4914f6cdd1d);
}

static double unit(void)
{
	return (double)(rnd() >> 11) / 9007199254740992.0;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "sweeper: %s: %s\n", what, strerror(errno));
	exit(1);
}

struct zipf {
	uint64_t n;
	double theta, alpha, zetan, eta;
};

static void zipf_init(struct zipf *z, uint64_t n, double theta)
{
	double zeta2 = 1 + pow(0.5, theta);

	z->n = n;
	z->theta = theta;
	z->alpha = 1 / (1 - theta);
	z->zetan = 0;
	for (uint64_t i = 1; i <= n; i++)
		z->zetan += pow(1.0 / (double)i, theta);
	z->eta = (1 - pow(2.0 / (double)n, 1 - theta)) / (1 - zeta2 / z->zetan);
}

static uint64_t zipf_next(const struct zipf *z)
{
	double u = unit(), uz = u * z->zetan;

	if (uz < 1)
		return 0;
	if (uz < 1 + pow(0.5, z->theta))
		return 1;
	return (uint64_t)((double)z->n * pow(z->eta * u - z->eta + 1, z->alpha)) % z->n;
}

/* Rank to place: a bijection would do as well; a few ranks that meet change nothing. */
static uint64_t scatter(uint64_t rank, uint64_t n)
{
	uint64_t h = (rank + 1) * UINT64_C(0x9e3779b97f4a7c15);

	h ^= h >> 32;
	h *= UINT64_C(0xd6e8feb86659fd93);
	h ^= h >> 32;
	return h % n;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

struct subject {
	const char *path;
	int fd;
	uint64_t state, scan_at, took_ns, warmed_ns;
	uint64_t ops, bytes, n;
	double debt;
	uint32_t *latency_ns;
};

static uint64_t bs = 4096, scan_bs = 131072, range, blocks;
static double seconds = 1, slice = 0.02, warm, theta, scan;
static struct zipf zipf;
static uint8_t *buf;

/* Reads for the length of a slice. */
static void turn(struct subject *s, bool counts)
{
	uint64_t start = now_ns(), before = start, end = start + (uint64_t)(slice * 1e9);

	state = s->state;
	while (before < end) {
		/* So much by scanning that it is the wanted share of all. */
		bool scanning = scan >= 1 || s->debt >= (double)scan_bs;
		uint64_t len = scanning ? scan_bs : bs, off, after;

		if (scanning) {
			if (s->scan_at + len > range)
				s->scan_at = 0;
			off = s->scan_at;
			s->scan_at += len;
			s->debt -= scan < 1 ? (double)len : 0;
		} else {
			off = (theta > 0 ? scatter(zipf_next(&zipf), blocks) : rnd() % blocks) * bs;
			s->debt += (double)len * scan / (1 - scan);
		}
		if (pread(s->fd, buf, len, (off_t)off) != (ssize_t)len)
			die(s->path);
		after = now_ns();
		if (counts) {
			if ((!scanning || scan >= 1) && s->n < LATENCIES)
				s->latency_ns[s->n++] = (uint32_t)(after - before);
			s->ops++;
			s->bytes += len;
		}
		before = after;
	}
	s->state = state;
	if (counts)
		s->took_ns += before - start;
	else
		s->warmed_ns += before - start;
}

static void report(const struct subject *s)
{
	double took = (double)s->took_ns / 1e9;

	qsort(s->latency_ns, s->n, sizeof(*s->latency_ns), by_value);
	printf("{\"ops\":%llu,\"iops\":%.0f,\"mbps\":%.1f,\"p50_us\":%.2f,\"p99_us\":%.2f}\n",
	       (unsigned long long)s->ops, (double)s->ops / took, (double)s->bytes / took / 1e6,
	       s->n ? s->latency_ns[s->n / 2] / 1e3 : 0,
	       s->n ? s->latency_ns[s->n - 1 - s->n / 100] / 1e3 : 0);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"bs", required_argument, NULL, 'b'},	 {"seconds", required_argument, NULL, 's'},
		{"range", required_argument, NULL, 'r'}, {"zipf", required_argument, NULL, 'z'},
		{"scan", required_argument, NULL, 'c'},	 {"scan-bs", required_argument, NULL, 'B'},
		{"warm", required_argument, NULL, 'w'},	 {"seed", required_argument, NULL, 'e'},
		{"slice", required_argument, NULL, 'l'}, {0}};
	static struct subject subjects[SUBJECTS];
	uint64_t seed = 0;
	int o, n;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 'b':
			bs = strtoull(optarg, NULL, 0);
			break;
		case 'B':
			scan_bs = strtoull(optarg, NULL, 0);
			break;
		case 's':
			seconds = atof(optarg);
			break;
		case 'l':
			slice = atof(optarg);
			break;
		case 'w':
			warm = atof(optarg);
			break;
		case 'r':
			range = strtoull(optarg, NULL, 0);
			break;
		case 'z':
			theta = atof(optarg);
			break;
		case 'c':
			scan = atof(optarg) / 100;
			break;
		case 'e':
			seed = strtoull(optarg, NULL, 0);
			break;
		default:
			return 2;
		}
	}
	n = argc - optind;
	if (n < 1 || n > SUBJECTS || !bs || !scan_bs || scan > 1 || slice <= 0) {
		fprintf(stderr, "sweeper: see the head of sweeper.c\n");
		return 2;
	}
	for (int i = 0; i < n; i++) {
		struct subject *s = &subjects[i];
		struct stat st;

		s->path = argv[optind + i];
		s->fd = open(s->path, O_RDONLY | O_CLOEXEC);
		if (s->fd < 0 || fstat(s->fd, &st))
			die(s->path);
		if (!range || range > (uint64_t)st.st_size)
			range = (uint64_t)st.st_size;
		s->state = 88172645463325252u + seed * 2654435761u;
		s->latency_ns = malloc(LATENCIES * sizeof(uint32_t));
		if (!s->latency_ns)
			die("memory");
	}
	blocks = range / bs;
	buf = mmap(NULL, scan_bs > bs ? scan_bs : bs, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (buf == MAP_FAILED || blocks < 2 || range < scan_bs)
		die("memory, or a file that is too short");
	if (theta > 0)
		zipf_init(&zipf, blocks, theta);
	while ((double)subjects[n - 1].warmed_ns < warm * 1e9)
		for (int i = 0; i < n; i++)
			turn(&subjects[i], false);
	while ((double)subjects[n - 1].took_ns < seconds * 1e9)
		for (int i = 0; i < n; i++)
			turn(&subjects[i], true);
	for (int i = 0; i < n; i++)
		report(&subjects[i]);
	return 0;
}
