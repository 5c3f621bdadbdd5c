/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bridge/backing.h"

#include <sys/ioctl.h>

#include "bridge/node_internal.h"

static void tell_kernel(struct node_table *t, uint64_t id)
{
	uint32_t backing_id = (uint32_t)id;
	int fd = atomic_load(&t->fuse_fd);

	/* After the unmount it has none any more. */
	if (fd >= 0)
		ioctl(fd, FUSE_DEV_IOC_BACKING_CLOSE, &backing_id);
}

struct backing *backing_new(struct node_table *t, const struct node *n,
			    const struct backing_view *what)
{
	struct backing *backing = t->ledger ? ledger_new(t->ledger, sizeof(*backing)) : NULL;

	if (!backing)
		return NULL;
	backing->rights = what->rights;
	backing->nodeid = n->nodeid;
	backing->dev = what->dev;
	backing->ino = what->ino;
	backing->id = what->id;
	atomic_fetch_add(&t->n_backings, 1);
	return backing;
}

/* In this order: of an id that the kernel does not know any more nothing must be left. */
void backing_free(struct node_table *t, struct backing *backing)
{
	uint64_t id = backing->id;

	ledger_remove(t->ledger, backing);
	tell_kernel(t, id);
	atomic_fetch_sub(&t->n_backings, 1);
}

uint64_t backing_count(struct node_table *t)
{
	return atomic_load(&t->n_backings);
}

void node_backing(struct node_table *t, struct node *n, struct backing_view *view)
{
	struct shard *s = shard_lock(t, n->nodeid);
	const struct backing *backing = n->backing;

	*view = (struct backing_view){0};
	if (backing) {
		view->id = backing->id;
		view->dev = backing->dev;
		view->ino = backing->ino;
		view->rights = ledger_get(backing->rights);
	}
	shard_unlock(s);
}

bool node_settle_open(struct node_table *t, struct node *n, struct backing *fresh)
{
	struct shard *s = shard_lock(t, n->nodeid);
	bool taken = fresh && !n->backing && !n->opens_here && !n->opening;

	if (taken) {
		n->backing = fresh;
		ledger_enter(fresh, RECORD_BACKING);
	}
	n->opens_here += !n->backing;
	n->passed_last = n->backing;
	shard_unlock(s);
	return taken;
}

bool node_passed_last(struct node_table *t, uint64_t nodeid)
{
	struct shard *s = shard_lock(t, nodeid);
	struct node *n = shard_find_node(s, nodeid);
	bool passed = n && n->passed_last;

	shard_unlock(s);
	return passed;
}

void node_drop_backing(struct node_table *t, struct node *n)
{
	struct shard *s = shard_lock(t, n->nodeid);
	struct backing *last = n->opens || n->opening ? NULL : n->backing;

	if (last)
		n->backing = NULL;
	shard_unlock(s);
	if (last)
		backing_free(t, last);
}

bool node_opens_as_it_is(struct node_table *t, struct node *n, uint32_t rights, bool direct)
{
	struct shard *s = shard_lock(t, n->nodeid);
	bool of_use;

	/* What there is was opened for less, or cannot be opened like that, for all we know. */
	if (n->backing)
		of_use = rights & ~ledger_get(n->backing->rights) || direct;
	else
		of_use = !n->opens_here && !may_lose_bits(n->mode);
	n->opening += !of_use;
	shard_unlock(s);
	return !of_use;
}

void node_opened_as_it_is(struct node_table *t, struct node *n)
{
	struct shard *s = shard_lock(t, n->nodeid);

	n->opening--;
	shard_unlock(s);
	node_drop_backing(t, n);
}

void node_backing_proven(struct node_table *t, struct node *n, uint32_t rights)
{
	struct shard *s = shard_lock(t, n->nodeid);

	if (n->backing)
		ledger_set(n->backing->rights, ledger_get(n->backing->rights) | rights);
	shard_unlock(s);
}

/* ------------------------------------------------------------------ another driver's */

static int load(void *ctx, void *record, size_t size)
{
	struct node_table *t = ctx;
	struct backing *backing = record;
	struct node *n = node_find(t, backing->nodeid);

	(void)size;
	atomic_fetch_add(&t->n_backings, 1);
	if (n && n->opens && !n->backing) {
		n->backing = backing;
		n->passed_last = true;
		n->opens_here = 0;
	} else {
		backing->next = t->backings_lost;
		t->backings_lost = backing;
	}
	return 0;
}

int backings_load(struct node_table *t)
{
	return ledger_each(t->ledger, RECORD_BACKING, sizeof(struct backing), load, t);
}

void backings_connect(struct node_table *t, int fuse_fd)
{
	struct backing *lost;

	atomic_store(&t->fuse_fd, fuse_fd);
	while ((lost = t->backings_lost)) {
		t->backings_lost = lost->next;
		backing_free(t, lost);
	}
}
