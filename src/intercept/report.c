/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* intercept/report: with VFSDAX_RUN_REPORT=1, what of each file was served here, and why the rest
 * was not: on stderr at the end of the process. Without it nothing of this is used. */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "intercept.h"

#define LINES_MAX 512

struct line {
	uint64_t dev, ino;
	char path[256];
	char why[160];	/* guarded by nothing: the last that wrote */
	bool inherited; /* the parent's: of what this process does not use it says nothing */
	_Atomic uint64_t calls[REPORT_COUNTS], bytes[REPORT_COUNTS];
};

bool report_wanted;
static struct line lines[LINES_MAX];
static _Atomic unsigned n_lines = 1; /* 0 is none */
static _Atomic uint16_t of_fd[FD_MAX];
static _Atomic bool ended;
static int out = -1;

void report_start(void)
{
	const char *wish = getenv("VFSDAX_RUN_REPORT");

	if (!wish || strcmp(wish, "1") != 0)
		return;
	/* The program may close or redirect its own. */
	out = dup(STDERR_FILENO);
	if (out >= 0)
		out = fd_own(out);
	report_wanted = out >= 0;
}

unsigned report_open(int fd, uint64_t dev, uint64_t ino)
{
	char proc[40], path[256];
	ssize_t len;
	unsigned n = atomic_load(&n_lines);

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	len = readlink(proc, path, sizeof(path) - 1);
	path[len > 0 ? len : 0] = '\0';
	for (unsigned i = 1; i < n && i < LINES_MAX; i++)
		if (lines[i].ino == ino && lines[i].dev == dev && strcmp(lines[i].path, path) == 0)
			return i;
	n = atomic_fetch_add(&n_lines, 1);
	if (n >= LINES_MAX)
		return 0;
	memcpy(lines[n].path, path, sizeof(path));
	lines[n].dev = dev;
	lines[n].ino = ino;
	return n;
}

void report_count_(unsigned line, enum report_count what, uint64_t bytes)
{
	if (!line)
		return;
	atomic_fetch_add(&lines[line].calls[what], 1);
	atomic_fetch_add(&lines[line].bytes[what], bytes);
}

void report_why(unsigned line, const char *why)
{
	if (line)
		snprintf(lines[line].why, sizeof(lines[line].why), "%s", why);
}

void report_fd(int fd, unsigned line)
{
	if ((unsigned)fd < FD_MAX)
		atomic_store(&of_fd[fd], (uint16_t)line);
}

unsigned report_of_fd(int fd)
{
	return report_wanted && (unsigned)fd < FD_MAX ? atomic_load(&of_fd[fd]) : 0;
}

void report_in_child(void)
{
	for (unsigned i = 1; i < atomic_load(&n_lines) && i < LINES_MAX; i++) {
		lines[i].inherited = true;
		for (int what = 0; what < REPORT_COUNTS; what++) {
			atomic_store(&lines[i].calls[what], 0);
			atomic_store(&lines[i].bytes[what], 0);
		}
	}
}

static bool is_used(const struct line *l)
{
	bool used = !l->inherited;

	for (int what = 0; what < REPORT_COUNTS; what++)
		used |= l->calls[what] != 0;
	return used;
}

static void say_line(const struct line *l)
{
	char text[640];
	int n = snprintf(
		text, sizeof(text),
		"vfsdax-run: %d: %s: %llu reads (%llu bytes), %llu writes (%llu bytes), %llu "
		"maps here; %llu calls by the kernel%s%s\n",
		(int)getpid(), l->path, (unsigned long long)l->calls[REPORT_READS],
		(unsigned long long)l->bytes[REPORT_READS],
		(unsigned long long)l->calls[REPORT_WRITES],
		(unsigned long long)l->bytes[REPORT_WRITES],
		(unsigned long long)l->calls[REPORT_MAPS],
		(unsigned long long)l->calls[REPORT_KERNEL], l->why[0] ? ": " : "", l->why);

	if (n > 0)
		(void)!real.write(out, text,
				  (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

__attribute__((destructor)) void report_end(void)
{
	unsigned n = atomic_load(&n_lines);

	if (!report_wanted || !files_are_mine() || atomic_exchange(&ended, true))
		return;
	for (unsigned i = 1; i < n && i < LINES_MAX; i++)
		if (is_used(&lines[i]))
			say_line(&lines[i]);
}
