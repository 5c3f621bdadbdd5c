/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * random: state.c with random inputs, for builds without libFuzzer (ThreadSanitizer):
 *
 *   device_state [SECONDS [SEED]]      a failing run says its seed
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "state.h"

int main(int argc, char **argv)
{
	unsigned seconds = argc > 1 ? (unsigned)atoi(argv[1]) : 5;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : clock_now_ns();
	uint64_t begun, inputs = 0;
	static uint8_t input[1 + 256 * 12];

	printf("device_state: seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	state_set_up();
	begun = clock_now_ns();
	do {
		for (size_t i = 0; i < sizeof(input); i++)
			input[i] = (uint8_t)hash_u64(seed * 1000003 + inputs * sizeof(input) + i);
		state_run(input, sizeof(input));
		inputs++;
	} while (clock_now_ns() - begun < seconds * NS_PER_S);
	printf("device_state: %llu sessions, %llu requests, %llu a second\n",
	       (unsigned long long)inputs, (unsigned long long)state_requests(),
	       (unsigned long long)(state_requests() * NS_PER_S / (clock_now_ns() - begun)));
	return 0;
}
