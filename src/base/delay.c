/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/delay.h"

#ifdef VFSDAX_DELAYS
#include <fnmatch.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint64_t max_us = 2000, one_in = 16;
static const char *points = "*";
static _Thread_local uint64_t state;

static void read_environment(void)
{
	const char *us = getenv("VFSDAX_DELAY_US"), *in = getenv("VFSDAX_DELAY_ONE_IN");
	const char *glob = getenv("VFSDAX_DELAY_POINTS");

	if (us)
		max_us = strtoull(us, NULL, 10);
	if (in && strtoull(in, NULL, 10))
		one_in = strtoull(in, NULL, 10);
	if (glob)
		points = glob;
}

/* xorshift64* (Vigna, 2014). */
static uint64_t next_random(void)
{
	if (!state)
		state = clock_now_ns() ^ (uint64_t)gettid() << 32;
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * UINT64_C(0x2545f4914f6cdd1d);
}

void delay_point(const char *name)
{
	uint64_t random, ns;

	pthread_once(&once, read_environment);
	random = next_random() >> 16;
	if (!max_us || random % one_in || fnmatch(points, name, 0))
		return;
	ns = random / one_in % (max_us * NS_PER_US);
	nanosleep(&(struct timespec){.tv_sec = (time_t)(ns / NS_PER_S),
				     .tv_nsec = (long)(ns % NS_PER_S)},
		  NULL);
}
#else
/* (a translation unit may not be empty) */
typedef int delay_points_are_off;
#endif
