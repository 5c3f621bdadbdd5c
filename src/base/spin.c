/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/spin.h"

#include <sched.h>

#include "base/bytes.h"
#include "base/clock.h"

#define GAP_CAP_NS	 (1 * NS_PER_MS)
#define BACKOFF_FIRST_NS (2 * NS_PER_MS)
#define BACKOFF_MOST_NS	 (256 * NS_PER_MS)

void spin_init(struct spin *s, enum spin_mode mode)
{
	cpu_set_t cpus;
	bool alone = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) < 2;

	*s = (struct spin){
		.mode = mode,
		.alone = alone,
		.gap_ns = SPIN_NEAR_NS / 2,
		.backoff_ns = BACKOFF_FIRST_NS,
	};
}

void spin_event(struct spin *s)
{
	if (!s->dry_ns)
		return;
	s->gap_ns = (7 * s->gap_ns + MIN(clock_now_ns() - s->dry_ns, GAP_CAP_NS)) / 8;
	s->dry_ns = 0;
	if (s->backoff_ns > BACKOFF_FIRST_NS)
		s->backoff_ns -= s->backoff_ns / 64;
}

static void wait_begins(struct spin *s, uint64_t now)
{
	s->dry_ns = s->turn_ns = now;
	s->wait_turns = 0;
	s->until_ns = now + SPIN_NEAR_NS;
	if (s->mode == SPIN_AUTO)
		s->until_ns = now + MIN(MAX(2 * s->gap_ns, SPIN_LEAST_NS), SPIN_NEAR_NS);
}

/* Or has anybody else use for the CPU? */
static bool may_go_on(struct spin *s, uint64_t now)
{
	if (s->alone || now < s->not_before_ns)
		return false;
	if (now - s->turn_ns <= SPIN_CONTENDED_NS)
		return true;
	s->not_before_ns = now + s->backoff_ns;
	s->backoff_ns = MIN(2 * s->backoff_ns, BACKOFF_MOST_NS);
	return false;
}

bool spin_again(struct spin *s)
{
	uint64_t now;

	if (s->mode == SPIN_NEVER)
		return false;
	now = clock_now_ns();
	if (!s->dry_ns)
		wait_begins(s, now);
	if (now >= s->until_ns)
		return false;
	if (s->mode == SPIN_AUTO) {
		if (s->gap_ns > SPIN_NEAR_NS)
			return false;
		if (s->wait_turns >= SPIN_BRIEF && !may_go_on(s, now))
			return false;
	}
	s->turn_ns = now;
	s->turns++;
	s->wait_turns++;
	sched_yield();
	return true;
}
