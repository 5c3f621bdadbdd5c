/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VFSDAX_TESTS_FUZZ_DEVICE_STATE_STATE_H
#define VFSDAX_TESTS_FUZZ_DEVICE_STATE_STATE_H

#include <stddef.h>
#include <stdint.h>

/* What the device may take for anything. */
#define STATE_PATIENCE_MS 60000

/* Once, before the first thread. */
void state_set_up(void);
/* One input: a session from its beginning to its end. A broken promise aborts. */
void state_run(const uint8_t *data, size_t size);
/* Sent so far. */
uint64_t state_requests(void);

#endif
