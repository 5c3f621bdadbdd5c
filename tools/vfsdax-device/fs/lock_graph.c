/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lock_graph: who waits for whom, for EDEADLK. An owner that waits points to each owner that has
 * something against its wish; when the way leads back to the one that is about to wait, nobody on
 * it would ever get on.
 *
 * That is so for POSIX locks only: the other threads of a process may unlock an open file's lock
 * meanwhile, and a BSD lock is none of fcntl(2)'s. On the wire an OFD owner is a number like a
 * POSIX one; but two owners of one process are never both processes, so no way leads through them.
 */
#include "lock_internal.h"

#include "handle.h"

/* Looks at owners, all in all: a guest that has very many waits without EDEADLK. */
#define STEPS_MAX 65536

struct walk {
	struct lock_table *t;
	const struct waiter *from;
	unsigned steps;
	/* Waiters whose wishes are still to be followed. */
	const struct waiter *todo[LOCK_WAITERS_MAX];
	unsigned n_todo;
};

/* Each waiter once. */
static void follow(struct walk *walk, const struct lock_owner *owner)
{
	list_for_each (pos, &walk->t->waiters) {
		struct waiter *w = container_of(pos, struct waiter, link);

		if (w->wish.bsd || w->until_ns || w->seen || !w->owner ||
		    w->owner->id != owner->id || w->wish.pid == walk->from->wish.pid ||
		    walk->n_todo == LOCK_WAITERS_MAX)
			continue;
		w->seen = 1;
		walk->todo[walk->n_todo++] = w;
	}
}

/* True: `w` waits for the one that the walk began with. */
static bool visit_blockers(struct walk *walk, const struct waiter *w)
{
	list_for_each (pos, &w->owner->file->owners) {
		const struct lock_owner *o = container_of(pos, struct lock_owner, link);

		if (walk->steps++ == STEPS_MAX)
			return false;
		if (o->bsd || o->id == w->owner->id || o->pid == w->wish.pid ||
		    !held_against(o, &w->wish))
			continue;
		if (o->id == walk->from->owner->id)
			return true;
		follow(walk, o);
	}
	return false;
}

bool lock_deadlocks(struct lock_table *t, const struct waiter *w)
{
	struct walk walk = {.t = t, .from = w};

	if (w->wish.bsd || w->until_ns)
		return false;
	list_for_each (pos, &t->waiters)
		container_of(pos, struct waiter, link)->seen = 0;
	if (visit_blockers(&walk, w))
		return true;
	for (unsigned i = 0; i < walk.n_todo; i++)
		if (visit_blockers(&walk, walk.todo[i]))
			return true;
	return false;
}
