/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * names: creates or unlinks empty files and says how fast that was.
 *
 *     names --create|--unlink [--count N] DIR
 *
 * A file is created by open(O_CREAT | O_EXCL) and close(2): over FUSE a LOOKUP, a CREATE, a FLUSH and a
 * RELEASE, which nobody waits for. Only the named half is timed. Prints one JSON object as reader does.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "names: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void one(const char *dir, unsigned i, bool create)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/name-%u", dir, i);
	if (!create) {
		if (unlink(path))
			die(path);
		return;
	}
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
	if (fd < 0 || close(fd))
		die(path);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	bool create = argc > 1 && strcmp(argv[1], "--create") == 0;
	unsigned count = 1000;
	uint64_t *took, start, total;
	const char *dir = argc > 2 ? argv[argc - 1] : NULL;

	if (argc == 5 && strcmp(argv[2], "--count") == 0)
		count = (unsigned)strtoul(argv[3], NULL, 10);
	else if (argc != 3)
		dir = NULL;
	if (!dir || !count || (!create && strcmp(argv[1], "--unlink"))) {
		fprintf(stderr, "names: names --create|--unlink [--count N] DIR\n");
		return 2;
	}
	took = calloc(count, sizeof(*took));
	if (!took)
		die("memory");
	for (unsigned i = 0; !create && i < count; i++)
		one(dir, i, true);
	start = now_ns();
	for (unsigned i = 0; i < count; i++) {
		uint64_t before = now_ns();

		one(dir, i, create);
		took[i] = now_ns() - before;
	}
	total = now_ns() - start;
	for (unsigned i = 0; create && i < count; i++)
		one(dir, i, false);
	qsort(took, count, sizeof(*took), by_value);
	printf("{\"iops\": %.1f, \"mbps\": 0, \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
	       count * 1e9 / (double)total, (double)took[count / 2] / 1e3,
	       (double)took[count * 99ull / 100] / 1e3);
	free(took);
	return 0;
}
