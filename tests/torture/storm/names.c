/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * names: operations that make, move and remove names. Each may be refused for a reason that the
 * model knows (the name is there, is not there, is a directory, is not empty), and must then be
 * refused with that error: who repeats a request has to tell its own work from another's.
 */
#include <linux/fs.h>

#include "storm.h"

struct place {
	int dir, slot, node; /* node -1: no such name */
	char path[PATH_LEN];
};

static struct place place_of(struct thread *t, int dir, int slot)
{
	struct place p = {.dir = dir, .slot = slot, .node = t->dirs[dir].node[slot]};

	name_path(t, dir, slot, p.path);
	return p;
}

static struct place draw_place(struct thread *t)
{
	int dir = draw_dir(t);

	return place_of(t, dir, (int)draw(t, NAMES));
}

/* One that is there: most of the time, so that not all is refused. */
static struct place draw_there(struct thread *t)
{
	struct place p = draw_place(t);
	int tries = draw(t, 8) ? 8 : 0;

	for (int i = 0; i < tries && p.node < 0; i++)
		p = draw_place(t);
	return p;
}

static struct node *node_at(struct thread *t, const struct place *p)
{
	return p->node < 0 ? NULL : &t->nodes[p->node];
}

/* Its last name is about to go, and what is open without a name does not outlive the device. */
static void before_drop(struct thread *t, const struct place *p)
{
	if (p->node >= 0 && t->nodes[p->node].links == 1)
		let_go(t, p->node);
}

void do_create(struct thread *t)
{
	struct place p = draw_place(t);
	struct call c = {
		.op = OP_CREATE, .path = p.path, .fd = -1, .flags = O_RDWR | O_CREAT | O_EXCL};
	int64_t fd;

	if (p.node >= 0) {
		gives(t, &c, -EEXIST);
		return;
	}
	fd = issue(t, &c);
	if (fd < 0) {
		fault(t, "%s: %s, not success%s", t->doing, error_name((int)-fd),
		      fd == -EEXIST ? " (done twice?)" : "");
		return;
	}
	t->dirs[p.dir].node[p.slot] = node_new(t, REGULAR);
	gives(t, &(struct call){.op = OP_CLOSE, .fd = (int)fd}, 0);
}

void do_mkdir(struct thread *t)
{
	struct place p = draw_place(t);
	struct call c = {.op = OP_MKDIR, .path = p.path, .fd = -1};
	int dir;

	if (p.node >= 0) {
		gives(t, &c, -EEXIST);
		return;
	}
	dir = dir_new(t, p.dir, p.slot);
	if (dir < 0 || !gives(t, &c, 0))
		return;
	p.node = node_new(t, DIRECTORY);
	t->nodes[p.node].dir = dir;
	t->dirs[p.dir].node[p.slot] = p.node;
}

void do_symlink(struct thread *t)
{
	struct place p = draw_place(t);
	char target[32];
	int node = p.node < 0 ? node_new(t, SYMLINK) : -1;

	snprintf(target, sizeof(target), "to %u", node < 0 ? 0 : t->nodes[node].serial);
	gives(t, &(struct call){.op = OP_SYMLINK, .path = p.path, .other = target, .fd = -1},
	      p.node < 0 ? 0 : -EEXIST);
	if (node >= 0)
		t->dirs[p.dir].node[p.slot] = node;
}

void do_link(struct thread *t)
{
	struct place to = draw_place(t), from;
	struct stat st;
	int dir, slot;

	if (!draw_file(t, &dir, &slot))
		return;
	from = place_of(t, dir, slot);
	/* Linux makes no link of a file whose links it counts as none, and may count one too few:
	 * an attribute that another thread's listing brought after an UNLINK was done and before it
	 * was answered is counted down once more. To be asked for it anew puts that right. */
	if (!gives(t, &(struct call){.op = OP_LSTAT, .path = from.path, .fd = -1, .buf = &st}, 0))
		return;
	gives(t, &(struct call){.op = OP_LINK, .path = from.path, .other = to.path, .fd = -1},
	      to.node < 0 ? 0 : -EEXIST);
	if (to.node >= 0)
		return;
	t->dirs[to.dir].node[to.slot] = from.node;
	t->nodes[from.node].links++;
}

/* What the kernel, or the host's, refuses; in their order. */
static int refused(struct thread *t, const struct place *from, const struct place *to,
		   unsigned flags)
{
	const struct node *a = node_at(t, from), *b = node_at(t, to);
	bool exchange = flags & RENAME_EXCHANGE;

	if (!a || (exchange && !b))
		return -ENOENT;
	if ((flags & RENAME_NOREPLACE) && b)
		return -EEXIST;
	if (a->kind == DIRECTORY && dir_is_within(t, to->dir, a->dir))
		return -EINVAL;
	if (b && b->kind == DIRECTORY && dir_is_within(t, from->dir, b->dir))
		return exchange ? -EINVAL : -ENOTEMPTY;
	if (!b || a == b || exchange)
		return 0;
	if ((a->kind == DIRECTORY) != (b->kind == DIRECTORY))
		return a->kind == DIRECTORY ? -ENOTDIR : -EISDIR;
	return b->kind == DIRECTORY && !dir_is_empty(t, b->dir) ? -ENOTEMPTY : 0;
}

static void put(struct thread *t, const struct place *at, int node)
{
	t->dirs[at->dir].node[at->slot] = node;
	if (node >= 0 && t->nodes[node].kind == DIRECTORY) {
		t->dirs[t->nodes[node].dir].up = at->dir;
		t->dirs[t->nodes[node].dir].slot = at->slot;
	}
}

static void rename_with(struct thread *t, unsigned flags)
{
	struct place from = draw_there(t),
		     to = flags & RENAME_EXCHANGE ? draw_there(t) : draw_place(t);
	int want = refused(t, &from, &to, flags);

	if (!want && from.node != to.node && !(flags & RENAME_EXCHANGE))
		before_drop(t, &to);
	if (!gives(t,
		   &(struct call){.op = OP_RENAME,
				  .path = from.path,
				  .other = to.path,
				  .fd = -1,
				  .flags = (int)flags},
		   want) ||
	    want || from.node == to.node)
		return;
	if (flags & RENAME_EXCHANGE) {
		put(t, &from, to.node);
	} else {
		if (to.node >= 0)
			name_drop(t, to.dir, to.slot);
		t->dirs[from.dir].node[from.slot] = -1;
	}
	put(t, &to, from.node);
}

void do_rename(struct thread *t)
{
	rename_with(t, able.noreplace && draw(t, 4) == 0 ? RENAME_NOREPLACE : 0);
}

/* Done twice it is not done at all. */
void do_exchange(struct thread *t)
{
	rename_with(t, able.exchange ? RENAME_EXCHANGE : 0);
}

static void remove_dir(struct thread *t, const struct place *p)
{
	const struct node *n = node_at(t, p);
	int want = !n			     ? -ENOENT
		   : n->kind != DIRECTORY    ? -ENOTDIR
		   : dir_is_empty(t, n->dir) ? 0
					     : -ENOTEMPTY;

	if (gives(t, &(struct call){.op = OP_RMDIR, .path = p->path, .fd = -1}, want) && !want)
		name_drop(t, p->dir, p->slot);
}

static void remove_name(struct thread *t, const struct place *p)
{
	const struct node *n = node_at(t, p);
	int want = !n ? -ENOENT : n->kind == DIRECTORY ? -EISDIR : 0;

	if (!want)
		before_drop(t, p);
	if (gives(t, &(struct call){.op = OP_UNLINK, .path = p->path, .fd = -1}, want) && !want)
		name_drop(t, p->dir, p->slot);
}

void do_unlink(struct thread *t)
{
	struct place p = draw_there(t);

	remove_name(t, &p);
}

void do_rmdir(struct thread *t)
{
	struct place p = draw_there(t);

	remove_dir(t, &p);
}

/* rm -r of a directory, as far as there are no others in it */
void do_clear(struct thread *t)
{
	int dir = SHARED_DIR + 1 + (int)draw(t, DIRS - SHARED_DIR - 1);
	struct place p;

	if (!t->dirs[dir].used)
		return;
	for (int i = 0; i < NAMES && !t->failed; i++) {
		p = place_of(t, dir, i);
		if (p.node >= 0 && node_at(t, &p)->kind != DIRECTORY)
			remove_name(t, &p);
	}
	p = place_of(t, t->dirs[dir].up, t->dirs[dir].slot);
	if (!t->failed)
		remove_dir(t, &p);
}

/* ---- one name for all: who makes it has it alone; who is told that it is there must have company
 */

static const char contended[] = "shared/contended";
static _Atomic uint64_t tries;
static _Atomic unsigned busy, owner;

void do_contend(struct thread *t)
{
	struct call make = {
		.op = OP_CREATE, .path = contended, .fd = -1, .flags = O_RDWR | O_CREAT | O_EXCL};
	uint64_t before = atomic_fetch_add(&tries, 1);
	bool alone = atomic_fetch_add(&busy, 1) == 0;
	int64_t fd = issue(t, &make);
	unsigned other;

	alone = alone && atomic_load(&tries) == before + 1;
	if (fd == -EEXIST && alone)
		fault(t,
		      "%s: EEXIST, though no other thread has it (done twice, or its unlink was "
		      "lost?)",
		      t->doing);
	else if (fd < 0 && fd != -EEXIST)
		fault(t, "%s: %s", t->doing, error_name((int)-fd));
	if (fd >= 0) {
		other = atomic_exchange(&owner, t->number + 1);
		if (other)
			fault(t, "%s: success, though thread %u has made it and not removed it",
			      t->doing, other - 1);
		/* open without a name it would not outlive the device */
		gives(t, &(struct call){.op = OP_CLOSE, .fd = (int)fd}, 0);
		atomic_store(&owner, 0);
		gives(t, &(struct call){.op = OP_UNLINK, .path = contended, .fd = -1}, 0);
	}
	atomic_fetch_sub(&busy, 1);
}

bool contended_is_left(void)
{
	struct stat st;

	return lstat(contended, &st) == 0;
}
