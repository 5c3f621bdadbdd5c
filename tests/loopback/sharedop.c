/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sharedop: what can be mapped?
 *
 *   sharedop map FILE HOW        can it be mapped? HOW: shared, shared-read, private
 *   sharedop again FILE N        opens, maps and closes it N times
 *   sharedop hold FILE SECONDS   keeps it open for both, and waits; then stores and looks
 *
 * Status 2: the kernel refuses to map it, which stderr says as "mmap: ERRNO".
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u

#define CHECK(cond)                                                                           \
	do {                                                                                  \
		if (!(cond)) {                                                                \
			fprintf(stderr, "sharedop: line %d: %s: errno %s\n", __LINE__, #cond, \
				strerrorname_np(errno));                                      \
			exit(1);                                                              \
		}                                                                             \
	} while (0)

static void *map_of(int fd, size_t len, int prot, int flags)
{
	void *at = mmap(NULL, len, prot, flags, fd, 0);

	if (at == MAP_FAILED) {
		fprintf(stderr, "mmap: %s\n", strerrorname_np(errno));
		exit(2);
	}
	return at;
}

/* ------------------------------------------------------------------ */

static int try_map(const char *path, const char *how)
{
	bool writes = strcmp(how, "shared") == 0;
	int fd = open(path, writes ? O_RDWR : O_RDONLY);
	uint8_t *at;

	CHECK(fd >= 0);
	at = map_of(fd, PAGE, PROT_READ | (writes ? PROT_WRITE : 0),
		    strcmp(how, "private") ? MAP_SHARED : MAP_PRIVATE);
	printf("%u\n", at[0]);
	return 0;
}

static int again(const char *path, long n)
{
	while (n--) {
		int fd = open(path, O_RDWR);

		CHECK(fd >= 0);
		CHECK(!munmap(map_of(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED), PAGE));
		CHECK(!close(fd));
	}
	return 0;
}

static int hold(const char *path, unsigned seconds)
{
	int fd = open(path, O_RDWR);
	uint8_t *at, buf[PAGE];

	CHECK(fd >= 0);
	at = map_of(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	for (unsigned i = 0; i < 100 * seconds; i++) {
		at[0] = (uint8_t)i;
		CHECK(pread(fd, buf, PAGE, 0) == PAGE && buf[0] == (uint8_t)i);
		buf[1] = (uint8_t)i;
		CHECK(pwrite(fd, buf + 1, 1, 1) == 1 && at[1] == (uint8_t)i);
		usleep(10000);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";

	if (argc == 4 && strcmp(what, "map") == 0)
		return try_map(argv[2], argv[3]);
	if (argc == 4 && strcmp(what, "again") == 0)
		return again(argv[2], atol(argv[3]));
	if (argc == 4 && strcmp(what, "hold") == 0)
		return hold(argv[2], (unsigned)atoi(argv[3]));
	fprintf(stderr, "usage: see the head of sharedop.c\n");
	return 125;
}
