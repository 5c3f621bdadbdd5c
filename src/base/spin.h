/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * spin: how long a thread polls for its next event before it blocks. One policy for the mount's
 * workers, libvfsdax and the device:
 *
 *     for (;;) {
 *             if (take_one()) { spin_event(&s); continue; }
 *             if (spin_again(&s)) continue;
 *             arm_and_block();                      (then an event ends the wait as well)
 *     }
 *
 * Polling pays when the next event is near and a CPU is free. Near: the smoothed time from "nothing
 * there" to the next event is below SPIN_NEAR_NS; then the thread polls for twice that time. A
 * thread that blocks goes on measuring, so a source that becomes fast again is polled again. Free:
 * each turn yields the CPU; a turn that took SPIN_CONTENDED_NS means that another thread had use
 * for it, and polling stops for a while, twice as long each time. The first SPIN_BRIEF turns
 * of a wait are made whoever has use for the CPU, also where there is only one: who yields to the
 * thread that has the answer need not sleep for it.
 *
 * SPIN_ALWAYS polls for SPIN_NEAR_NS in each wait, whatever was measured. A struct spin belongs to
 * one thread at a time.
 */
#ifndef VFSDAX_BASE_SPIN_H
#define VFSDAX_BASE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

enum spin_mode { SPIN_AUTO, SPIN_NEVER, SPIN_ALWAYS };

#define SPIN_NEAR_NS	  UINT64_C(150000)
#define SPIN_BRIEF	  2u
#define SPIN_LEAST_NS	  UINT64_C(10000)
#define SPIN_CONTENDED_NS UINT64_C(50000)

struct spin {
	enum spin_mode mode;
	bool alone;		/* the process may run on one CPU only */
	uint64_t gap_ns;	/* smoothed wait for an event; capped at 1 ms */
	uint64_t dry_ns;	/* when the present wait began; 0: no wait */
	uint64_t until_ns;	/* end of polling in the present wait */
	uint64_t turn_ns;	/* start of the present turn */
	uint64_t not_before_ns; /* after contention */
	uint64_t backoff_ns;
	unsigned wait_turns; /* of the present wait */
	uint64_t turns;	     /* polls that found nothing; a counter */
};

void spin_init(struct spin *s, enum spin_mode mode);
/* An event came. Ends the present wait, if one began, and learns from it. */
void spin_event(struct spin *s);
/* Nothing is there. True: poll once more (the CPU was yielded); false: block. */
bool spin_again(struct spin *s);
/* The present wait ends without an event that could be learnt from. */
static inline void spin_forget(struct spin *s)
{
	s->dry_ns = 0;
}

#endif
