/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stale.h"

#include <stdatomic.h>

#include "base/clock.h"

/* It looks again at once, but a busy machine is slow; and names are believed for as long. */
#define AGAIN_MS 1000u

static uint32_t now_ms(void)
{
	return (uint32_t)(clock_now_ns() / NS_PER_MS);
}

/* A thread has one request at a time, so what is its own does not change meanwhile. */
bool stale_may_open(struct stale *s, uint32_t thread, uint64_t nodeid)
{
	_Atomic uint64_t *told = &s->told[thread % STALE_SLOTS].thread;
	_Atomic uint64_t *may = &s->told[thread % STALE_SLOTS].nodeid;
	uint64_t was = atomic_exchange(told, 0);

	return was && was >> 32 == thread && now_ms() - (uint32_t)was < AGAIN_MS &&
	       atomic_load(may) == nodeid;
}

void stale_refused(struct stale *s, uint32_t thread, uint64_t nodeid)
{
	atomic_store(&s->told[thread % STALE_SLOTS].nodeid, nodeid);
	/* (thread 0, of another PID name space, in its first millisecond: refused twice) */
	atomic_store(&s->told[thread % STALE_SLOTS].thread, (uint64_t)thread << 32 | now_ms());
}

void stale_found(struct stale *s, uint32_t thread, uint64_t nodeid)
{
	_Atomic uint64_t *told = &s->told[thread % STALE_SLOTS].thread;
	uint64_t was = atomic_load_explicit(told, memory_order_relaxed);

	if (!was || was >> 32 != thread)
		return;
	if (nodeid)
		atomic_store(&s->told[thread % STALE_SLOTS].nodeid, nodeid);
	else
		atomic_compare_exchange_strong(told, &was, 0);
}
