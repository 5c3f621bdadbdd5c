/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sharedop: does memory that is shared by a file tell the truth?
 *
 *   sharedop count FILE N             adds 1 to the number at the file's beginning, N times, by an
 *                                     atomic instruction on a MAP_SHARED
 *   sharedop count-lib SOURCE NAME N  the same by a map of libvfsdax
 *   sharedop views FILE OTHER         OTHER is the same file by another way: what each kind of
 * store (map, write, direct write) puts into one is loaded from both by each kind of load, in the
 * next call sharedop map FILE HOW             can it be mapped? HOW: shared, shared-read, private
 *   sharedop again FILE N             opens, maps and closes it N times
 *   sharedop hold FILE SECONDS        keeps it open for both, and waits; then stores and looks
 *
 * Status 2: the kernel refuses to map it, which stderr says as "mmap: ERRNO".
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vfsdax/vfsdax.h>

#define PAGE  4096u
#define PAGES 8u

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

static void add(void *at, long n)
{
	_Atomic uint64_t *number = at;

	for (long i = 0; i < n; i++)
		atomic_fetch_add(number, 1);
}

static int count(const char *path, long n)
{
	int fd = open(path, O_RDWR);

	CHECK(fd >= 0);
	add(map_of(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED), n);
	return 0;
}

static int count_lib(const char *source, const char *name, long n)
{
	struct vfsdax *share;
	struct vfsdax_file *file;
	struct vfsdax_map *map;

	CHECK((errno = -vfsdax_attach(source, NULL, &share)) == 0);
	CHECK((errno = -vfsdax_open(share, name, O_RDWR, 0, &file)) == 0);
	CHECK((errno = -vfsdax_map(file, 0, PAGE, VFSDAX_MAP_WRITE, &map)) == 0);
	add(vfsdax_map_addr(map), n);
	vfsdax_unmap(map);
	vfsdax_close(file);
	vfsdax_detach(share);
	return 0;
}

/* ------------------------------------------------------------------ views */

struct side {
	int fd, direct;
	uint8_t *map;
};

static struct side side_of(const char *path)
{
	struct side s = {.fd = open(path, O_RDWR), .direct = open(path, O_RDWR | O_DIRECT)};

	CHECK(s.fd >= 0 && s.direct >= 0);
	s.map = map_of(s.fd, PAGE * PAGES, PROT_READ | PROT_WRITE, MAP_SHARED);
	return s;
}

/* A page is `v` then. */
static void store(const struct side *s, unsigned how, unsigned page, uint8_t v)
{
	static _Alignas(PAGE) uint8_t buf[PAGE];

	memset(buf, v, PAGE);
	if (how == 0)
		memcpy(s->map + page * PAGE, buf, PAGE);
	else
		CHECK(pwrite(how == 1 ? s->fd : s->direct, buf, PAGE, page * PAGE) == PAGE);
}

static void load(const struct side *s, unsigned how, unsigned page, uint8_t *buf)
{
	if (how == 0)
		memcpy(buf, s->map + page * PAGE, PAGE);
	else
		CHECK(pread(how == 1 ? s->fd : s->direct, buf, PAGE, page * PAGE) == PAGE);
}

static int views(const char *one, const char *other)
{
	static const char *const hows[] = {"map", "call", "direct"};
	const struct side sides[2] = {side_of(one), side_of(other)};
	static _Alignas(PAGE) uint8_t buf[PAGE], want[PAGE];
	uint8_t v = 1;

	for (unsigned round = 0; round < 40; round++)
		for (unsigned to = 0; to < 6; to++)
			for (unsigned from = 0; from < 6; from++) {
				unsigned page = (round + to) % PAGES;

				store(&sides[to / 3], to % 3, page, ++v);
				memset(want, v, PAGE);
				load(&sides[from / 3], from % 3, page, buf);
				if (memcmp(buf, want, PAGE) == 0)
					continue;
				fprintf(stderr,
					"sharedop: stored by %s at side %u, not seen by %s "
					"at side %u\n",
					hows[to % 3], to / 3, hows[from % 3], from / 3);
				return 1;
			}
	return 0;
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

	if (argc == 4 && strcmp(what, "count") == 0)
		return count(argv[2], atol(argv[3]));
	if (argc == 5 && strcmp(what, "count-lib") == 0)
		return count_lib(argv[2], argv[3], atol(argv[4]));
	if (argc == 4 && strcmp(what, "views") == 0)
		return views(argv[2], argv[3]);
	if (argc == 4 && strcmp(what, "map") == 0)
		return try_map(argv[2], argv[3]);
	if (argc == 4 && strcmp(what, "again") == 0)
		return again(argv[2], atol(argv[3]));
	if (argc == 4 && strcmp(what, "hold") == 0)
		return hold(argv[2], (unsigned)atoi(argv[3]));
	fprintf(stderr, "usage: see the head of sharedop.c\n");
	return 125;
}
