/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bridge/node: what is known of a node. */
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "bridge/node_internal.h"

/* Called with the shard's lock held: the kernel writes it, and says nothing; or others may, with
 * whom its writers here share it. */
static bool others_write(const struct node *n)
{
	return n->writers && (n->backing || n->table->writes_are_shared);
}

void nodes_share_writes(struct node_table *t, bool shared)
{
	t->writes_are_shared = shared;
}

void node_look(struct node_table *t, struct node *n, struct node_view *view)
{
	struct shard *s = shard_lock(t, n->nodeid);

	view->size = n->size;
	view->mapped_end = n->mapped_end;
	view->mode = n->mode;
	view->opens_here = n->opens_here;
	view->wanted = n->dax;
	view->dax = n->dax && !n->truncating;
	view->mtime_late = n->mtime_late;
	view->paged = n->paged;
	view->written_beside = n->ios > 0 || others_write(n);
	view->caps_clear = n->caps_clear;
	view->suid_clear = n->suid_clear;
	view->privs_clock = n->privs_clock;
	view->asked_ns = n->asked_ns;
	view->window = n->window;
	shard_unlock(s);
}

/* Called with the shard's lock held. */
static void privs_changed(struct node *n)
{
	n->caps_clear = n->suid_clear = false;
	n->privs_clock++;
}

/* The host may have set a capability or a bit: any change of the inode may have been that. Called
 * with the shard's lock held. */
static void note_ctime(struct node *n, uint64_t sec, uint32_t nsec)
{
	if (sec != n->ctime_s || nsec != n->ctime_ns)
		privs_changed(n);
	n->ctime_s = sec;
	n->ctime_ns = nsec;
}

void node_note_ctime(struct node_table *t, struct node *n, uint64_t sec, uint32_t nsec)
{
	struct shard *s = shard_lock(t, n->nodeid);

	note_ctime(n, sec, nsec);
	shard_unlock(s);
}

bool node_note_attr(struct node_table *t, struct node *n, const struct fuse_attr *attr, bool dax,
		    uint64_t size_clock)
{
	struct shard *s = shard_lock(t, n->nodeid);
	bool left;

	n->mode = attr->mode;
	left = n->dax && !dax && n->window;
	n->dax = dax && S_ISREG(attr->mode);
	if (attr->size < n->size || (!n->truncating && size_clock >= n->truncated_at))
		n->size = attr->size;
	note_ctime(n, attr->ctime, attr->ctimensec);
	/* An answer that is older than a change does not confirm what it says. */
	if (size_clock >= n->truncated_at)
		n->asked_ns = clock_now_ns();
	shard_unlock(s);
	return left;
}

void node_note_reach(struct node_table *t, struct node *n, uint64_t end)
{
	struct shard *s = shard_lock(t, n->nodeid);

	if (!n->truncating && end > n->size)
		n->size = end;
	shard_unlock(s);
}

void node_note_shrunk(struct node_table *t, struct node *n, uint64_t size)
{
	struct shard *s = shard_lock(t, n->nodeid);

	n->size = MIN(n->size, size);
	shard_unlock(s);
}

void node_truncate_begin(struct node_table *t, struct node *n, uint64_t size)
{
	struct shard *s = shard_lock(t, n->nodeid);

	n->truncating++;
	n->size = MIN(n->size, size);
	shard_unlock(s);
}

bool node_truncate_end(struct node_table *t, struct node *n, uint64_t now, uint64_t begun)
{
	struct shard *s = shard_lock(t, n->nodeid);
	bool alone;

	n->truncating--;
	alone = !n->truncating && n->truncated_at <= begun;
	n->truncated_at = MAX(n->truncated_at, now);
	shard_unlock(s);
	return alone;
}

void node_note_mapped(struct node_table *t, struct node *n, uint64_t end)
{
	struct shard *s = shard_lock(t, n->nodeid);

	n->mapped_end = MAX(n->mapped_end, end);
	shard_unlock(s);
}

struct window_inode *node_window(struct node_table *t, struct node *n, struct window *w)
{
	struct shard *s = shard_lock(t, n->nodeid);
	struct window_inode *made = NULL, *got;

	got = n->window;
	shard_unlock(s);
	if (got)
		return got;
	if (window_inode_create(w, n->nodeid, &made))
		return NULL;
	pthread_mutex_lock(&s->lock);
	if (!n->window) {
		n->window = made;
		made = NULL;
		window_set_closed(n->window, n->opens ? 0 : clock_now_ns());
	}
	got = n->window;
	shard_unlock(s);
	if (made)
		window_inode_free(made); /* another thread was faster */
	return got;
}

bool node_take_asking(struct node_table *t, struct node *n, uint64_t now_ns, uint64_t old_ns)
{
	struct shard *s = shard_lock(t, n->nodeid);
	bool old;

	old = now_ns > n->asked_ns && now_ns - n->asked_ns > old_ns;
	if (old)
		n->asked_ns = now_ns;
	shard_unlock(s);
	return old;
}

void node_privs_changed(struct node_table *t, struct node *n)
{
	struct shard *s = shard_lock(t, n->nodeid);

	privs_changed(n);
	shard_unlock(s);
}

void node_privs_cleared(struct node_table *t, struct node *n, bool suid, uint64_t privs_clock)
{
	struct shard *s = shard_lock(t, n->nodeid);

	if (n->privs_clock == privs_clock) {
		n->caps_clear = true;
		n->suid_clear |= suid;
	}
	shard_unlock(s);
}

void node_note_written(struct node_table *t, struct node *n)
{
	struct shard *s = shard_lock(t, n->nodeid);

	n->written = true;
	shard_unlock(s);
}

void node_note_locked(struct node_table *t, struct node *n)
{
	struct shard *s = shard_lock(t, n->nodeid);

	n->locked = true;
	shard_unlock(s);
}

bool node_take_flush(struct node_table *t, struct node *n)
{
	struct shard *s = shard_lock(t, n->nodeid);
	bool due = n->written || n->locked || (n->backing && n->writers);

	n->written = false;
	shard_unlock(s);
	return due;
}

bool node_note_opened(struct node_table *t, struct node *n, bool writes)
{
	struct shard *s = shard_lock(t, n->nodeid);
	bool first = writes && !n->writers;

	n->opens++;
	n->writers += writes;
	if (n->window)
		window_set_closed(n->window, 0);
	shard_unlock(s);
	return first && t->writes_are_shared;
}

bool node_note_released(struct node_table *t, struct node *n, bool writes)
{
	struct shard *s = shard_lock(t, n->nodeid);
	bool last_writer = writes && n->writers == 1;

	n->writers -= writes && n->writers;
	n->opens -= n->opens > 0;
	n->opens_here -= n->opens_here > 0;
	n->paged = n->paged && n->opens;
	if (n->window && !n->opens)
		window_set_closed(n->window, clock_now_ns());
	shard_unlock(s);
	return last_writer;
}

void node_note_paged(struct node_table *t, struct node *n)
{
	struct shard *s = shard_lock(t, n->nodeid);

	n->paged = true;
	shard_unlock(s);
}

void node_set_mtime_late(struct node_table *t, struct node *n)
{
	struct shard *s = shard_lock(t, n->nodeid);

	n->mtime_late = n->written = true;
	if (n->origin)
		ledger_set(n->origin->mtime_late, true);
	shard_unlock(s);
}

bool node_take_mtime_late(struct node_table *t, struct node *n)
{
	struct shard *s = shard_lock(t, n->nodeid);
	bool late;

	late = n->mtime_late;
	n->mtime_late = false;
	if (late && n->origin)
		ledger_set(n->origin->mtime_late, false);
	shard_unlock(s);
	return late;
}
