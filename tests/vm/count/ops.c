/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ops: does one thing N times between marks (mark.h), so that what plugin.c counted between
 * them, divided by their number, is what it costs.
 *
 *   vm_ops OP DIR N      in DIR: the file "data" of 4 MiB, and "names/0" to "names/N-1"
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../loopback/op.h"
#include "mark.h"

#define KIB 1024
#define PARTS                                                                                  \
	10 /* in which N is done, with a mark after each: the median part is free of what else \
	      happens */

static void mark(void)
{
#ifdef __x86_64__
	__asm__ volatile(".byte " MARK_TEXT(MARK_BYTES));
#endif
}

static int data_fd;
static char *buffer;

static void must(ssize_t rc, ssize_t want, const char *what)
{
	if (rc != want)
		die("%s: %zd: %s", what, rc, strerror(errno));
}

static off_t block(unsigned i, size_t bytes)
{
	return (off_t)(i * 37 % (4 * KIB * KIB / bytes) * bytes);
}

static void read_4k(unsigned i)
{
	must(pread(data_fd, buffer, 4 * KIB, block(i, 4 * KIB)), 4 * KIB, "pread");
}

static void read_1m(unsigned i)
{
	must(pread(data_fd, buffer, KIB * KIB, block(i, KIB * KIB)), KIB * KIB, "pread");
}

static void write_4k(unsigned i)
{
	must(pwrite(data_fd, buffer, 4 * KIB, block(i, 4 * KIB)), 4 * KIB, "pwrite");
}

static void write_fsync(unsigned i)
{
	write_4k(i);
	must(fsync(data_fd), 0, "fsync");
}

static const char *name(const char *kind, unsigned i)
{
	static char path[64];

	snprintf(path, sizeof(path), "names/%s%u", kind, i);
	return path;
}

static void lookup(unsigned i)
{
	struct stat st;

	must(stat(name("", i), &st), 0, "stat");
}

/* What the file system itself says, not what the kernel remembers. */
static void getattr(unsigned i)
{
	struct statx stx;

	(void)i;
	must(statx(data_fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &stx), 0,
	     "statx");
}

static void create(unsigned i)
{
	int fd = open(name("new", i), O_CREAT | O_EXCL | O_WRONLY, 0644);

	must(fd >= 0, 1, "create");
	close(fd);
}

static void unlink_new(unsigned i)
{
	must(unlink(name("new", i)), 0, "unlink");
}

static const struct op {
	const char *name;
	void (*run)(unsigned i);
	int flags; /* of "data" */
	bool warm; /* N times before, on the same open file: a kernel drops its cache when it is
		      opened */
} ops[] = {{"read-4k", read_4k, O_RDONLY | O_DIRECT, false},
	   {"read-4k-cached", read_4k, O_RDONLY, true},
	   {"read-1m", read_1m, O_RDONLY | O_DIRECT, false},
	   {"write-4k", write_4k, O_RDWR | O_DIRECT, false},
	   {"write+fsync", write_fsync, O_RDWR, false},
	   {"getattr", getattr, O_RDONLY, false},
	   {"lookup", lookup, O_RDONLY, false},
	   {"create", create, O_RDONLY, false},
	   {"unlink", unlink_new, O_RDONLY, false}};

static const struct op *find_op(const char *name)
{
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (!strcmp(ops[i].name, name))
			return &ops[i];
	die("there is no operation %s", name);
}

int main(int argc, char **argv)
{
	const struct op *op;
	unsigned n;

	if (argc != 4)
		die("vm_ops OP DIR N");
	op = find_op(argv[1]);
	n = (unsigned)number(argv[3]);
	if (chdir(argv[2]))
		die("%s: %s", argv[2], strerror(errno));
	data_fd = open_or_die("data", op->flags);
	buffer = aligned_alloc(4 * KIB, KIB * KIB);
	if (!buffer)
		die("no memory");
	memset(buffer, 'x', KIB * KIB);
	for (unsigned i = 0; op->warm && i < n; i++)
		op->run(i);
	mark();
	for (unsigned part = 0; part < PARTS; part++) {
		for (unsigned i = part * n / PARTS; i < (part + 1) * n / PARTS; i++)
			op->run(i);
		mark();
	}
	return 0;
}
