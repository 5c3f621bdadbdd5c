/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * posixop: what the loopback theme "posix" does to files where a shell cannot. Each subcommand is one
 * check, says what is wrong, and exits with 0 or 1.
 * `posixop` alone lists them.
 */
#include <inttypes.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "loopback/op.h"

#define PAGE 4096u

static void put(int fd, const void *from, size_t len, uint64_t off)
{
	ssize_t n = pwrite(fd, from, len, (off_t)off);

	if (n != (ssize_t)len)
		die("write of %zu at %" PRIu64 ": %zd, %s", len, off, n, strerror(errno));
}

static uint64_t size_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		die("fstat: %s", strerror(errno));
	return (uint64_t)st.st_size;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- append FILE HOST_FILE: O_APPEND set and cleared after the open is what counts -------------- */
static int cmd_append(char **a)
{
	int fd = open_or_die(a[0], O_RDWR), appending = open_or_die(a[0], O_RDWR | O_APPEND);
	int host = open_or_die(a[1], O_RDWR);
	uint64_t size = size_of(host);
	char text[100], found[10];

	memset(text, 'h', sizeof(text));
	put(host, text, sizeof(text), size);
	if (fcntl(fd, F_SETFL, O_APPEND))
		die("F_SETFL: %s", strerror(errno));
	if (write(fd, "0123456789", 10) != 10)
		die("append: %s", strerror(errno));
	if (size_of(host) != size + 110)
		die("after the host's 100 bytes and 10 appended the size is %" PRIu64 ", expected %" PRIu64,
		    size_of(host), size + 110);
	if (pread(host, found, 10, (off_t)size + 100) != 10 || memcmp(found, "0123456789", 10))
		die("what was appended is not at the end");

	if (fcntl(appending, F_SETFL, 0))
		die("F_SETFL: %s", strerror(errno));
	put(appending, "begin", 5, 0);
	if (size_of(host) != size + 110)
		die("without O_APPEND any more a write at 0 went to the end");
	if (pread(host, found, 5, 0) != 5 || memcmp(found, "begin", 5))
		die("without O_APPEND any more a write at 0 is not there");
	return 0;
}

/* ---- dsync FILE COUNT: durable writes on a descriptor that is not --------------------------------- */
static int cmd_dsync(char **a)
{
	int fd = open_or_die(a[0], O_RDWR);
	char data[PAGE];
	struct iovec iov = {data, sizeof(data)};

	memset(data, 'd', sizeof(data));
	for (uint64_t i = 0, n = number(a[1]); i < n; i++)
		if (pwritev2(fd, &iov, 1, (off_t)(i * PAGE), RWF_DSYNC) != PAGE)
			die("pwritev2: %s", strerror(errno));
	return 0;
}

/* ---- overwrite FILE OFFSET LENGTH COUNT: in place ---------------------------------------------------- */
static int cmd_overwrite(char **a)
{
	int fd = open_or_die(a[0], O_RDWR);
	size_t len = number(a[2]);
	uint8_t *data = malloc(len);

	if (!data)
		die("out of memory");
	for (uint64_t i = 0, n = number(a[3]); i < n; i++) {
		memset(data, (int)('a' + i % 26), len);
		put(fd, data, len, number(a[1]));
	}
	return 0;
}

/* ---- read-is FILE OFFSET LENGTH EXPECTED: how many bytes one read gives --------------------------- */
static int cmd_read_is(char **a)
{
	int fd = open_or_die(a[0], O_RDONLY);
	size_t len = number(a[2]);
	uint8_t *data = malloc(len);
	ssize_t n = data ? pread(fd, data, len, (off_t)number(a[1])) : -1;

	if (n != (ssize_t)number(a[3]))
		die("%s: a read of %zu at %s gives %zd, expected %s", a[0], len, a[1], n, a[3]);
	return 0;
}

static struct timespec mtime_of(int fd)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &stx))
		die("statx: %s", strerror(errno));
	return (struct timespec){stx.stx_mtime.tv_sec, stx.stx_mtime.tv_nsec};
}

/* ---- refused-time FILE: who may write but does not own cannot set times, and loses none by trying --- */
static int cmd_refused_time(char **a)
{
	struct timespec times[2] = {{1, 0}, {1, 0}};
	int fd = open_or_die(a[0], O_RDWR);

	put(fd, "x", 1, 100);
	if (!futimens(fd, times) || errno != EPERM)
		die("futimens as another than the owner was not refused");
	if (mtime_of(fd).tv_sec < 1500000000)
		die("after a write and a refused futimens st_mtime is still %jd", (intmax_t)mtime_of(fd).tv_sec);
	return 0;
}

/* ---- cached FILE: how many of its bytes are in this machine's page cache after a read of all ----------------------------- */
static int cmd_cached(char **a)
{
	int fd = open_or_die(a[0], O_RDONLY);
	size_t size = (size_t)size_of(fd), pages = (size + PAGE - 1) / PAGE, cached = 0;
	uint8_t *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0), *there = malloc(pages);
	static uint8_t data[64 << 10];

	for (size_t off = 0; off < size; off += sizeof(data))
		if (pread(fd, data, sizeof(data), (off_t)off) < 0)
			die("%s: read: %s", a[0], strerror(errno));
	if (map == MAP_FAILED || !there || mincore(map, size, there))
		die("%s: mincore: %s", a[0], strerror(errno));
	for (size_t i = 0; i < pages; i++)
		cached += there[i] & 1;
	printf("%zu\n", cached * PAGE);
	return 0;
}

/* ---- layout-race DIRECTORY SECONDS: readers see old data, new data, zeros or the end -------------- */
#define RACE_BYTES (4u << 20)

static void race_fill(uint64_t *data, size_t len, uint64_t off, uint64_t tag)
{
	for (size_t i = 0; i < len / 8; i++)
		data[i] = tag << 56 | (off / 8 + i + 1);
}

static void race_write(int fd, uint64_t off, size_t len, uint64_t tag, uint64_t *data)
{
	race_fill(data, len, off, tag);
	put(fd, data, len, off);
}

/* Byte by byte: nothing makes a word of it whole while it is written, or zeroed, by the host. */
static bool race_knows(uint64_t found, uint64_t word)
{
	uint64_t tag = found >> 56;

	for (unsigned i = 0; i < 7; i++) {
		uint8_t byte = (uint8_t)(found >> i * 8);

		if (byte && byte != (uint8_t)(word >> i * 8))
			return false;
	}
	return tag <= 2;
}

static int race_reader(const char *path, uint64_t seed)
{
	static uint64_t data[(512u << 10) / 8];
	uint64_t state = seed * 2654435769u + 88172645463325252u;
	int fd = open_or_die(path, O_RDONLY);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		uint64_t off, len;
		ssize_t n;

		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		off = state % (RACE_BYTES / 8) * 8;
		len = 8 + (state >> 32) % (state & 7 ? 16384 : sizeof(data) - 8) / 8 * 8;
		n = pread(fd, data, len, (off_t)off);
		if (n < 0)
			die("read of %" PRIu64 " at %" PRIu64 ": %s", len, off, strerror(errno));
		for (ssize_t i = 0; i < n / 8; i++) {
			uint64_t word = off / 8 + (uint64_t)i + 1;

			if (!race_knows(data[i], word))
				die("at %" PRIu64 " stands %016" PRIx64 ", which is nothing of this file",
				    (word - 1) * 8, data[i]);
		}
	}
}

static int cmd_layout_race(char **a)
{
	static uint64_t data[RACE_BYTES / 8];
	uint64_t end = now_ms() + number(a[1]) * 1000, round = 0, state = 88172645463325252u;
	char path[4096], other[4096];
	int fd, from, status;
	pid_t reader[2];

	snprintf(path, sizeof(path), "%s/layout", a[0]);
	snprintf(other, sizeof(other), "%s/layout.from", a[0]);
	fd = open_or_die(path, O_RDWR | O_CREAT | O_TRUNC);
	from = open_or_die(other, O_RDWR | O_CREAT | O_TRUNC);
	race_write(fd, 0, RACE_BYTES, 1, data);
	race_write(from, 0, RACE_BYTES, 2, data);
	for (unsigned i = 0; i < 2; i++) {
		reader[i] = fork();
		if (reader[i] == 0)
			exit(race_reader(path, i + 1));
	}
	for (; now_ms() < end; round++) {
		uint64_t off, len;
		off_t in, out;

		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		off = state % (RACE_BYTES - (64u << 10)) / 8 * 8;
		len = (8 + (state >> 40) % (64u << 10)) / 8 * 8;
		switch (round % 6) {
		case 0:
			if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len))
				die("punch: %s", strerror(errno));
			break;
		case 1:
			if (fallocate(fd, FALLOC_FL_ZERO_RANGE, (off_t)off, (off_t)len) && errno != EOPNOTSUPP)
				die("zero: %s", strerror(errno));
			break;
		case 2:
		case 3:
			in = out = (off_t)off;
			if (copy_file_range(from, &in, fd, &out, len, 0) <= 0)
				die("copy: %s", strerror(errno));
			break;
		case 4:
			if (ftruncate(fd, (off_t)off) || ftruncate(fd, RACE_BYTES))
				die("truncate: %s", strerror(errno));
			race_write(fd, off, RACE_BYTES - off, 1, data);
			break;
		default:
			if (round % 36 == 5) {
				close(open_or_die(path, O_WRONLY | O_TRUNC));
				race_write(fd, 0, RACE_BYTES, 1, data);
			} else {
				race_write(fd, off, len, 1, data);
			}
		}
		for (unsigned i = 0; i < 2; i++)
			if (waitpid(reader[i], &status, WNOHANG) > 0)
				die("a reader found something wrong (operation %" PRIu64 ", %" PRIu64 "+%" PRIu64 ")",
				    round % 6, off, len);
	}
	for (unsigned i = 0; i < 2; i++) {
		kill(reader[i], SIGKILL);
		waitpid(reader[i], &status, 0);
	}
	printf("%" PRIu64 " operations\n", round);
	return 0;
}

/* ---- touch DIRECTORY COUNT SIZE STEP: a page of each step (their number not a multiple of 7) of the files 0 to COUNT - 1, which are only
 * opened where the step is 0 */
static int cmd_touch(char **a)
{
	uint64_t count = number(a[1]), size = number(a[2]), step = number(a[3]);
	static uint8_t data[PAGE];
	char path[4096];

	for (int again = 0; again < 2; again++)
		for (uint64_t i = 0; i < count; i++) {
			int fd;

			snprintf(path, sizeof(path), "%s/%" PRIu64, a[0], i);
			fd = open_or_die(path, O_RDONLY);
			/* not in order: a sequential reader gets larger ranges */
			for (uint64_t k = 0, n = step ? size / step : 0; k < n; k++) {
				uint64_t off = k * 7 % n * step;

				if (pread(fd, data, sizeof(data), (off_t)off) != sizeof(data))
					die("%s: read at %" PRIu64 ": %s", path, off, strerror(errno));
			}
			close(fd);
		}
	return 0;
}

static const struct command {
	const char *name;
	int args;
	int (*run)(char **args);
	const char *usage;
} commands[] = {
	{"append", 2, cmd_append, "FILE HOST_FILE"},
	{"dsync", 2, cmd_dsync, "FILE COUNT"},
	{"overwrite", 4, cmd_overwrite, "FILE OFFSET LENGTH COUNT"},
	{"read-is", 4, cmd_read_is, "FILE OFFSET LENGTH EXPECTED"},
	{"refused-time", 1, cmd_refused_time, "FILE"},
	{"layout-race", 2, cmd_layout_race, "DIRECTORY SECONDS"},
	{"cached", 1, cmd_cached, "FILE"},
	{"touch", 4, cmd_touch, "DIRECTORY COUNT SIZE STEP"},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (argc > 1 && !strcmp(argv[1], commands[i].name) && argc == commands[i].args + 2)
			return commands[i].run(argv + 2);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(stderr, "posixop %s %s\n", commands[i].name, commands[i].usage);
	return 2;
}
