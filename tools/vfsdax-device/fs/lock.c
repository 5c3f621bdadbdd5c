/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lock: owners, their descriptions and their ends. See lock.h; waiting is in lock_wait.c. */
#include "lock_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "fs.h"
#include "handle.h"
#include "inode.h"

int lock_table_init(struct fs *fs)
{
	struct lock_table *t = &fs->locks;

	pthread_mutex_init(&t->mutex, NULL);
	for (unsigned i = 0; i < LOCK_BUCKETS; i++) {
		pthread_mutex_init(&t->order[i], NULL);
		list_init(&t->owners[i]);
	}
	return lock_wait_init(t);
}

void lock_table_fini(struct fs *fs)
{
	for (unsigned i = 0; i < LOCK_BUCKETS; i++)
		pthread_mutex_destroy(&fs->locks.order[i]);
	pthread_cond_destroy(&fs->locks.changed);
	pthread_mutex_destroy(&fs->locks.mutex);
}

static pthread_mutex_t *lock_order(struct lock_table *t, uint64_t nodeid)
{
	return &t->order[lock_bucket(nodeid)];
}

static uint64_t wish_id(const struct lock_wish *wish)
{
	return wish->bsd ? wish->handle->fh : wish->owner;
}

/* ------------------------------------------------------------------ one owner; the mutex is held
 */

static struct lock_owner *owner_find(struct lock_table *t, uint64_t nodeid, bool bsd, uint64_t id)
{
	list_for_each (pos, &t->owners[lock_bucket(nodeid)]) {
		struct lock_owner *o = container_of(pos, struct lock_owner, link);

		if (o->nodeid == nodeid && o->id == id && o->bsd == bsd)
			return o;
	}
	return NULL;
}

/* To be freed without the mutex: or NULL. */
static struct lock_owner *put_locked(struct lock_table *t, struct lock_owner *o)
{
	/* Without a lock and without a user there is nothing to know about it. */
	if (--o->refs == 1 && !o->ended && !o->held.n) {
		list_del(&o->link);
		o->ended = true;
		o->refs--;
	}
	if (o->refs)
		return NULL;
	t->n_held -= o->held.n;
	return o;
}

static struct lock_owner *end_locked(struct lock_table *t, struct lock_owner *o)
{
	list_del(&o->link);
	o->ended = true;
	pthread_cond_broadcast(&t->changed);
	return put_locked(t, o);
}

static void owner_free(struct lock_owner *o)
{
	if (!o)
		return;
	if (o->fd >= 0)
		close(o->fd);
	free(o->held.at);
	free(o);
}

void lock_owner_put(struct fs *fs, struct lock_owner *o)
{
	struct lock_owner *gone;

	pthread_mutex_lock(&fs->locks.mutex);
	gone = put_locked(&fs->locks, o);
	pthread_mutex_unlock(&fs->locks.mutex);
	owner_free(gone);
}

/* ------------------------------------------------------------------ making one */

/*
 * As ourselves, not as the caller: whether the caller may lock follows from how it opened the
 * file, which the guest's kernel has checked. Write locks want a writable descriptor.
 */
static int open_description(struct fs *fs, struct inode *inode)
{
	int fd = -EROFS;

	if (!inode_is_reg(inode))
		return -EBADF;
	if (!fs->options.readonly)
		fd = inode_open(fs, inode, O_RDWR | O_NONBLOCK);
	if (fd == -EROFS || fd == -EACCES || fd == -EPERM || fd == -ETXTBSY)
		fd = inode_open(fs, inode, O_RDONLY | O_NONBLOCK);
	return fd;
}

static int owner_new(struct fs *fs, const struct lock_wish *wish, struct lock_owner **out)
{
	struct inode *inode = wish->handle->inode;
	struct lock_owner *o;
	int fd = wish->bsd ? -1 : open_description(fs, inode);

	if (fd < 0 && !wish->bsd)
		return fd;
	o = calloc(1, sizeof(*o));
	if (!o) {
		if (fd >= 0)
			close(fd);
		return -ENOLCK;
	}
	*o = (struct lock_owner){
		.nodeid = inode->nodeid, .id = wish_id(wish), .bsd = wish->bsd, .fd = fd};
	list_init(&o->link);
	*out = o;
	return 0;
}

/* Two threads of one guest process may get here at once; the first one's is taken. */
static struct lock_owner *owner_publish(struct lock_table *t, struct lock_owner *fresh)
{
	struct lock_owner *o;

	pthread_mutex_lock(&t->mutex);
	o = owner_find(t, fresh->nodeid, fresh->bsd, fresh->id);
	if (!o) {
		o = fresh;
		o->refs = 1;
		list_push_back(&t->owners[lock_bucket(o->nodeid)], &o->link);
	}
	o->refs++;
	pthread_mutex_unlock(&t->mutex);
	return o;
}

static struct lock_owner *owner_known(struct lock_table *t, const struct lock_wish *wish)
{
	struct lock_owner *o;

	pthread_mutex_lock(&t->mutex);
	o = owner_find(t, wish->handle->inode->nodeid, wish->bsd, wish_id(wish));
	if (o)
		o->refs++;
	pthread_mutex_unlock(&t->mutex);
	return o;
}

int lock_owner_get(struct fs *fs, const struct lock_wish *wish, struct lock_owner **out)
{
	struct lock_owner *fresh;
	int r;

	*out = owner_known(&fs->locks, wish);
	if (*out)
		return 0;
	r = owner_new(fs, wish, &fresh);
	if (r < 0)
		return r;
	*out = owner_publish(&fs->locks, fresh);
	if (*out != fresh)
		owner_free(fresh);
	return 0;
}

/* ------------------------------------------------------------------ SETLK */

static struct flock wish_flock(const struct lock_wish *wish)
{
	return (struct flock){
		.l_type = wish->type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)wish->first,
		.l_len = wish->last >= INT64_MAX ? 0 : (off_t)(wish->last - wish->first + 1),
	};
}

int lock_ask_host(const struct lock_wish *wish, const struct lock_owner *o, bool wait)
{
	static const int operations[] = {
		[F_RDLCK] = LOCK_SH, [F_WRLCK] = LOCK_EX, [F_UNLCK] = LOCK_UN};
	struct flock fl = wish_flock(wish);
	int r;

	if (wish->bsd)
		r = flock(wish->handle->fd, operations[wish->type] | (wait ? 0 : LOCK_NB));
	else
		r = fcntl(o->fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &fl);
	if (r == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno; /* POSIX allows either; Linux has the latter */
}

/* With the order held: the host has granted the wish, or the owner has lost what it had. */
static void held_replace(struct lock_table *t, const struct lock_wish *wish, struct lock_owner *o,
			 struct held_list *next)
{
	struct held_list old;

	pthread_mutex_lock(&t->mutex);
	old = o->held;
	o->held = *next;
	t->n_held += next->n - old.n;
	o->fh = wish->handle->fh;
	o->pid = wish->pid;
	o->flushed_ns = 0;
	if (!next->n)
		pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->mutex);
	free(old.at);
}

static bool held_too_many(struct lock_table *t, const struct lock_owner *o, unsigned n)
{
	bool many;

	pthread_mutex_lock(&t->mutex);
	many = n > o->held.n && t->n_held + (n - o->held.n) > LOCK_HELD_MAX;
	pthread_mutex_unlock(&t->mutex);
	return many;
}

/* With the order held. */
static int set_in_order(struct fs *fs, const struct lock_wish *wish, struct lock_owner *o)
{
	struct lock_table *t = &fs->locks;
	struct held_list next;
	int r;

	if (o->ended)
		return -ESTALE;
	r = held_after(&o->held, wish, &next);
	if (r == 0 && held_too_many(t, o, next.n))
		r = -ENOLCK;
	if (r == 0)
		r = lock_ask_host(wish, o, false);
	/* flock(2) gives up the old lock before it looks for the new one. */
	if (r == -EAGAIN && wish->bsd)
		next.n = 0;
	if (r == 0 || (r == -EAGAIN && wish->bsd))
		held_replace(t, wish, o, &next);
	else
		free(next.at);
	return r;
}

int lock_set_owner(struct fs *fs, const struct lock_wish *wish, struct lock_owner *o)
{
	pthread_mutex_t *order = lock_order(&fs->locks, o->nodeid);
	int r;

	pthread_mutex_lock(order);
	r = set_in_order(fs, wish, o);
	pthread_mutex_unlock(order);
	return r;
}

static int set_once(struct fs *fs, const struct lock_wish *wish)
{
	struct lock_owner *o;
	int r;

	if (wish->type == F_UNLCK) {
		o = owner_known(&fs->locks, wish);
		if (!o)
			return 0; /* unlocks what it never locked */
	} else {
		r = lock_owner_get(fs, wish, &o);
		if (r < 0)
			return r;
	}
	r = lock_set_owner(fs, wish, o);
	lock_owner_put(fs, o);
	return r;
}

int lock_set(struct fs *fs, const struct lock_wish *wish)
{
	int r;

	do
		r = set_once(fs, wish);
	while (r ==
	       -ESTALE); /* each time another thread of the guest's process has closed the file */
	return r;
}

/* ------------------------------------------------------------------ GETLK */

/* With the mutex held: the guest's process behind what the host found; 0: it is not the guest's. */
static uint32_t holder_pid(struct lock_table *t, const struct lock_wish *wish,
			   const struct fuse_file_lock *found)
{
	uint64_t nodeid = wish->handle->inode->nodeid;

	list_for_each (pos, &t->owners[lock_bucket(nodeid)]) {
		const struct lock_owner *o = container_of(pos, struct lock_owner, link);

		if (o->nodeid != nodeid || o->bsd || o->id == wish->owner)
			continue;
		for (unsigned i = 0; i < o->held.n; i++) {
			const struct held *h = &o->held.at[i];

			if (h->first == found->start && h->last == found->end &&
			    (uint32_t)h->type == found->type)
				return o->pid;
		}
	}
	return 0;
}

int lock_get(struct fs *fs, const struct lock_wish *wish, struct fuse_file_lock *out)
{
	struct lock_table *t = &fs->locks;
	uint64_t nodeid = wish->handle->inode->nodeid;
	struct flock fl = wish_flock(wish);
	struct lock_owner *o;
	int r;

	pthread_mutex_lock(lock_order(t, nodeid));
	o = owner_known(t, wish);
	/* Who has no lock here has none that it would have to look past. */
	r = fcntl(o ? o->fd : wish->handle->fd, F_OFD_GETLK, &fl) < 0 ? -errno : 0;
	*out = (struct fuse_file_lock){.type = F_UNLCK};
	if (r == 0 && fl.l_type != F_UNLCK) {
		out->type = (uint32_t)fl.l_type;
		out->start = (uint64_t)fl.l_start;
		out->end = fl.l_len ? (uint64_t)(fl.l_start + fl.l_len - 1) : INT64_MAX;
		pthread_mutex_lock(&t->mutex);
		out->pid = holder_pid(t, wish, out);
		pthread_mutex_unlock(&t->mutex);
	}
	pthread_mutex_unlock(lock_order(t, nodeid));
	if (o)
		lock_owner_put(fs, o);
	return r;
}

/* ------------------------------------------------------------------ the ends */

uint64_t lock_closing_until(struct fs *fs, const struct lock_wish *wish)
{
	struct lock_table *t = &fs->locks;
	uint64_t nodeid = wish->handle->inode->nodeid, until = 0;

	pthread_mutex_lock(&t->mutex);
	list_for_each (pos, &t->owners[lock_bucket(nodeid)]) {
		const struct lock_owner *o = container_of(pos, struct lock_owner, link);

		if (o->nodeid == nodeid && o->bsd == wish->bsd && o->flushed_ns &&
		    o->fh != wish->handle->fh && (o->bsd || held_against(o, wish)))
			until = MAX(until, o->flushed_ns + LOCK_CLOSING_NS);
	}
	pthread_mutex_unlock(&t->mutex);
	return until > clock_now_ns() ? until : 0;
}

/* With the order held. Explicitly: a blocked lock may keep the description open for a while. */
static void owner_unlock(const struct lock_owner *o, const struct handle *h)
{
	struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	if (o->bsd)
		flock(h->fd, LOCK_UN);
	else
		fcntl(o->fd, F_OFD_SETLK, &all);
}

/* With the order held: the next owner on the file that ends, its last reference the caller's. */
static struct lock_owner *owner_of_handle(struct lock_table *t, const struct handle *h)
{
	struct lock_owner *found = NULL;

	pthread_mutex_lock(&t->mutex);
	list_for_each (pos, &t->owners[lock_bucket(h->inode->nodeid)]) {
		struct lock_owner *o = container_of(pos, struct lock_owner, link);

		if (!found && o->nodeid == h->inode->nodeid && o->fh == h->fh)
			found = o;
	}
	if (found)
		found->refs++;
	pthread_mutex_unlock(&t->mutex);
	return found;
}

/* With the order held; takes the reference. */
static void owner_end(struct lock_table *t, struct lock_owner *o, const struct handle *h)
{
	struct lock_owner *gone = NULL;

	owner_unlock(o, h);
	pthread_mutex_lock(&t->mutex);
	if (!o->ended)
		end_locked(t, o);
	gone = put_locked(t, o);
	pthread_mutex_unlock(&t->mutex);
	owner_free(gone);
}

void lock_flush(struct fs *fs, struct handle *h, uint64_t owner)
{
	struct lock_wish wish = {.handle = h, .owner = owner};
	struct lock_table *t = &fs->locks;
	uint64_t nodeid = h->inode->nodeid;
	struct lock_owner *o;

	pthread_mutex_lock(lock_order(t, nodeid));
	o = owner_known(t, &wish);
	if (o)
		owner_end(t, o, h);
	pthread_mutex_lock(&t->mutex);
	list_for_each (pos, &t->owners[lock_bucket(nodeid)]) {
		o = container_of(pos, struct lock_owner, link);
		if (o->nodeid == nodeid && o->fh == h->fh)
			o->flushed_ns = clock_now_ns();
	}
	pthread_mutex_unlock(&t->mutex);
	pthread_mutex_unlock(lock_order(t, nodeid));
}

void lock_release(struct fs *fs, struct handle *h)
{
	struct lock_table *t = &fs->locks;
	pthread_mutex_t *order = lock_order(t, h->inode->nodeid);
	struct lock_owner *o;

	lock_wait_cancel(t, h);
	pthread_mutex_lock(order);
	while ((o = owner_of_handle(t, h)))
		owner_end(t, o, h);
	pthread_mutex_unlock(order);
}

static void end_all_owners(struct lock_table *t)
{
	for (unsigned i = 0; i < LOCK_BUCKETS; i++) {
		pthread_mutex_lock(&t->mutex);
		while (!list_empty(&t->owners[i]))
			owner_free(end_locked(
				t, container_of(t->owners[i].next, struct lock_owner, link)));
		pthread_mutex_unlock(&t->mutex);
	}
}

bool lock_table_clear(struct fs *fs)
{
	bool all = lock_wait_cancel_all(&fs->locks);

	end_all_owners(&fs->locks);
	return all;
}
