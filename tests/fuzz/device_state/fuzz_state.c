/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fuzz_state: state.c for libFuzzer. */
#include "state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int ready;

	if (!ready)
		state_set_up();
	ready = 1;
	state_run(data, size);
	return 0;
}
