/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/forget: lookups that are given back. Nobody waits for a FORGET, and a program may make its
 * last call for hours: so each call publishes its own before it returns, and the end of a file
 * waits until the file has left the window, since its FORGET comes after that.
 */
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "lib/internal.h"

/* A removal takes one answer of the device. Beyond that a later call does it. */
#define SEE_OFF_NS   (200 * NS_PER_MS)
#define LOOK_EACH_NS 20000

struct forget {
	struct list link;
	uint64_t nodeid;
};

/* Without memory the node stays the device's until the share ends. */
static void forget_later(struct vfsdax *s, uint64_t nodeid)
{
	struct forget *f = malloc(sizeof(*f));

	if (!f)
		return;
	f->nodeid = nodeid;
	pthread_mutex_lock(&s->away.lock);
	list_push_back(&s->away.forgets, &f->link);
	pthread_mutex_unlock(&s->away.lock);
}

void share_forget(struct vfsdax *s, uint64_t nodeid)
{
	struct lane *lane = gate_lock(s);

	if (s->bridge)
		bridge_forget(s->bridge, nodeid, 1);
	else
		forget_later(s, nodeid);
	gate_unlock(s, lane);
	atomic_store(&s->forgot, true);
}

void forget_held(struct vfsdax *s, struct bridge *b)
{
	struct list *l;

	do {
		pthread_mutex_lock(&s->away.lock);
		l = list_pop_front(&s->away.forgets);
		pthread_mutex_unlock(&s->away.lock);
		if (!l)
			return;
		if (b)
			bridge_forget(b, container_of(l, struct forget, link)->nodeid, 1);
		free(container_of(l, struct forget, link));
	} while (true);
}

void share_flush_forgets(struct vfsdax *s)
{
	struct lane *lane = share_lane(s);

	/* The holder of the lock is inside a call, which ends here as well; or it is this thread,
	 * in a callback. */
	if (pthread_mutex_trylock(&lane->lock))
		return;
	atomic_store(&s->forgot, false);
	lane_flush(lane);
	pthread_mutex_unlock(&lane->lock);
}

void share_see_off(struct vfsdax *s, uint64_t nodeid)
{
	uint64_t until = 0;

	while (bridge_forgets(s->kept, nodeid) && !share_is_away(s)) {
		uint64_t now = clock_now_ns();

		until = until ? until : now + SEE_OFF_NS;
		if (share_reap(s))
			continue;
		if (now >= until)
			return;
		nanosleep(&(struct timespec){.tv_nsec = LOOK_EACH_NS}, NULL);
	}
}
