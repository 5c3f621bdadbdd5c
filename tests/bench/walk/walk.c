/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * walk: once through a file from its beginning to its end, each byte added up, in MiB/s: a line for
 * each round, with a column for each way. For walk.sh.
 *
 *     walk SOURCE PATH HOST_FILE ROUNDS cold|warm
 *
 * "cold": nothing of the file is in the page cache. In both cases nothing of it is in the window,
 * since each way has a share of its own.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <vfsdax/vfsdax.h>

#define PIECE ((size_t)16 << 20)

static const char *source, *path, *host;
static size_t size;
static char *buf;

static void die(const char *what)
{
	fprintf(stderr, "walk: %s: %s\n", what, vfsdax_errstr());
	exit(1);
}

static uint64_t sum(const void *p, size_t len)
{
	const uint64_t *at = p;
	uint64_t s = 0;

	for (size_t i = 0; i < len / 8; i++)
		s += at[i];
	return s;
}

/* ------------------------------------------------------------------ the ways */

static uint64_t by_read(struct vfsdax_file *f)
{
	int fd = open(host, O_RDONLY);
	uint64_t s = 0;
	ssize_t n;

	(void)f;
	while ((n = read(fd, buf, 1 << 20)) > 0)
		s += sum(buf, (size_t)n);
	close(fd);
	return s;
}

static uint64_t by_mmap(struct vfsdax_file *f)
{
	int fd = open(host, O_RDONLY);
	void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	uint64_t s = p == MAP_FAILED ? 0 : sum(p, size);

	(void)f;
	munmap(p, size);
	close(fd);
	return s;
}

static uint64_t by_vfsdax_read(struct vfsdax_file *f)
{
	uint64_t s = 0, off = 0;
	ssize_t n;

	while ((n = vfsdax_read(f, buf, 1 << 20, off)) > 0) {
		s += sum(buf, (size_t)n);
		off += (uint64_t)n;
	}
	return s;
}

static uint64_t walk_maps(struct vfsdax_file *f, int populate)
{
	uint64_t s = 0, off = 0;
	struct vfsdax_map *m;

	while (off < size) {
		if (populate && vfsdax_populate(f, off, PIECE) < 0)
			die("populate");
		if (vfsdax_map(f, off, PIECE, 0, &m))
			die("map");
		s += sum(vfsdax_map_addr(m), vfsdax_map_len(m));
		off += vfsdax_map_len(m);
		vfsdax_unmap(m);
	}
	return s;
}

static uint64_t by_map(struct vfsdax_file *f)
{
	return walk_maps(f, 0);
}

static uint64_t by_populated_map(struct vfsdax_file *f)
{
	return walk_maps(f, 1);
}

static const struct way {
	const char *name;
	uint64_t (*walk)(struct vfsdax_file *f);
	int shares;
} ways[] = {
	{"read", by_read, 0},
	{"mmap", by_mmap, 0},
	{"vfsdax_read", by_vfsdax_read, 1},
	{"map", by_map, 1},
	{"populate+map", by_populated_map, 1},
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* ------------------------------------------------------------------ a measurement */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void drop(void)
{
	int fd = open(host, O_RDONLY);

	fdatasync(fd);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
}

static double measure(const struct way *way, int cold, uint64_t *total)
{
	struct vfsdax *share = NULL;
	struct vfsdax_file *f = NULL;
	double start, took;

	if (cold)
		drop();
	if (way->shares && vfsdax_attach(source, NULL, &share))
		die("attach");
	if (way->shares && vfsdax_open(share, path, O_RDONLY, 0, &f))
		die("open");
	start = now();
	*total = way->walk(f);
	took = now() - start;
	vfsdax_close(f);
	vfsdax_detach(share);
	return (double)size / took / (1 << 20);
}

int main(int argc, char **argv)
{
	uint64_t total, first = 0;
	struct stat st;
	int cold;

	if (argc != 6 || stat(argv[3], &st) || st.st_size % 4096 || !(buf = malloc(1 << 20))) {
		fprintf(stderr, "usage: walk SOURCE PATH HOST_FILE ROUNDS cold|warm\n");
		return 2;
	}
	source = argv[1];
	path = argv[2];
	host = argv[3];
	size = (size_t)st.st_size;
	cold = strcmp(argv[5], "cold") == 0;
	for (size_t i = 0; i < WAYS; i++)
		printf("%s%c", ways[i].name, i == WAYS - 1 ? '\n' : '\t');
	for (int round = 0; round < atoi(argv[4]); round++) {
		double rate[WAYS];

		/* Another one is the first in each round. */
		for (size_t k = 0; k < WAYS; k++) {
			size_t i = (k + (size_t)round) % WAYS;

			rate[i] = measure(&ways[i], cold, &total);
			if (first && total != first) {
				fprintf(stderr, "walk: %s read something else\n", ways[i].name);
				return 1;
			}
			first = total;
		}
		for (size_t i = 0; i < WAYS; i++)
			printf("%.0f%c", rate[i], i == WAYS - 1 ? '\n' : '\t');
		fflush(stdout);
	}
	return 0;
}
