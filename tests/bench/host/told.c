/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * told MOUNT HOST NAME N PAUSE_MS: how long it takes from a write on the host to the event that a
 * watcher of the mount gets. Writes to HOST/NAME N times, each when the last one was seen and after
 * a pause of up to PAUSE_MS; MOUNT is watched by inotify. Says p50, p99 and the longest, in
 * milliseconds, and how many were not seen within 10 s.
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 10000

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* True: it was modified. */
static int seen(int fd, const char *name, int timeout_ms)
{
	_Alignas(struct inotify_event) static char bytes[1 << 16];
	double end = now_ms() + timeout_ms;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		double left = end - now_ms();
		ssize_t n;

		if (left < 0 || poll(&p, 1, (int)left + 1) < 1)
			return 0;
		n = read(fd, bytes, sizeof(bytes));
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *e = (const void *)(bytes + at);

			if (e->mask & IN_MODIFY && e->len && !strcmp(e->name, name))
				return 1;
			at += (ssize_t)(sizeof(*e) + e->len);
		}
	}
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	unsigned n = argc == 6 ? (unsigned)atoi(argv[4]) : 0, missed = 0, got = 0;
	int pause_ms = argc == 6 ? atoi(argv[5]) : 0, fd, file;
	double *ms = calloc(n ? n : 1, sizeof(*ms));
	char path[PATH_MAX];

	if (!n || !ms)
		return 2;
	snprintf(path, sizeof(path), "%s/%s", argv[2], argv[3]);
	file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (file < 0 || fd < 0 || inotify_add_watch(fd, argv[1], IN_MODIFY) < 0)
		return 1;
	for (unsigned i = 0; i < n; i++) {
		double begun;

		usleep((useconds_t)(rand() % (pause_ms * 1000 + 1)));
		while (seen(fd, argv[3], 0))
			;
		begun = now_ms();
		if (pwrite(file, &i, sizeof(i), 0) != sizeof(i))
			return 1;
		if (seen(fd, argv[3], WAIT_MS))
			ms[got++] = now_ms() - begun;
		else
			missed++;
	}
	qsort(ms, got, sizeof(*ms), compare);
	if (got)
		printf("p50 %.2f ms, p99 %.2f ms, longest %.2f ms, ", ms[got / 2],
		       ms[(got * 99) / 100], ms[got - 1]);
	printf("not seen %u of %u\n", missed, n);
	return 0;
}
