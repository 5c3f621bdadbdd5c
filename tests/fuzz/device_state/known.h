/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* known: what a guest knows of its session: nodes with their lookups, open handles, and what has
 * ended. */
#ifndef VFSDAX_TESTS_FUZZ_DEVICE_STATE_KNOWN_H
#define VFSDAX_TESTS_FUZZ_DEVICE_STATE_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

/* A new session: only the root. `driver`: with a device that does for us what it does for our
 * driver (AGREE_DRIVER). */
void known_reset(bool driver);
/* Nothing is known any more of what is live: the session was begun anew in its middle. */
void known_loose(void);
/* What a successful answer gives and takes. Refuses nodeids that have had their end. */
void known_note_answer(const struct message *m, const uint8_t *payload, size_t len);
/* All lookups of one node, for its FORGET; 0: the root, which has none. */
uint64_t known_forget(uint8_t which, uint64_t *nodeid);
/* Nothing else is under way: must the device refuse this? */
bool known_dead(const struct message *m);

#endif
