/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * alive: waits for a descriptor as long as the process does anything. No clock judges: on a loaded
 * machine a thread that could run may wait for a CPU for any time. What is hung shows otherwise:
 * all other threads sleep, and none has run since the last looks.
 */
#ifndef VFSDAX_TESTS_FUZZ_ALIVE_H
#define VFSDAX_TESTS_FUZZ_ALIVE_H

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "require.h"

/* Together longer than any time-out of the code under test, which makes a thread run. */
#define ALIVE_LOOK_MS 1000
#define ALIVE_LOOKS   20

/* How often thread `tid` has given its CPU up; *sleeps: it waits for something now. */
static inline uint64_t alive_switches(const char *tid, bool *sleeps)
{
	unsigned long long n, sum = 0;
	char line[256];
	FILE *f;

	snprintf(line, sizeof(line), "/proc/self/task/%.20s/status", tid);
	f = fopen(line, "re");
	*sleeps = true; /* also of one that has ended */
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "State:", 6) == 0)
			*sleeps = strchr(line, '(') && strstr(line, "(sleeping)");
		else if (sscanf(line, "voluntary_ctxt_switches: %llu", &n) == 1 ||
			 sscanf(line, "nonvoluntary_ctxt_switches: %llu", &n) == 1)
			sum += n;
	}
	if (f)
		fclose(f);
	return sum;
}

/* Has a thread besides the caller run since the last call, or could one run now? */
static inline bool alive_others(uint64_t *switches)
{
	DIR *tasks = opendir("/proc/self/task");
	bool sleeps, runnable = false;
	uint64_t before = *switches;
	struct dirent *d;

	REQUIRE(tasks);
	*switches = 0;
	while ((d = readdir(tasks))) {
		if (d->d_name[0] == '.' || atoi(d->d_name) == gettid())
			continue;
		*switches += alive_switches(d->d_name, &sleeps);
		runnable |= !sleeps;
	}
	closedir(tasks);
	return runnable || *switches != before;
}

/* Waits until `fd` is readable. False: the process is hung. */
static inline bool alive_wait(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t switches = 0;

	for (unsigned looks = 0; looks < ALIVE_LOOKS;) {
		int n = poll(&p, 1, ALIVE_LOOK_MS);

		if (n == 1)
			return true;
		/* libFuzzer's interval timer interrupts it. */
		REQUIRE(n == 0 || errno == EINTR);
		if (n == 0)
			looks = alive_others(&switches) ? 0 : looks + 1;
	}
	return false;
}

#endif
