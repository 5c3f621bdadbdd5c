/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lock_set: SETLK and GETLK: asking the host, and writing down what it granted. See lock.h. */
#include "lock_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "fs.h"
#include "handle.h"
#include "inode.h"

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
	o->file->n_held += next->n - old.n;
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
	unsigned more = n > o->held.n ? n - o->held.n : 0;
	bool many;

	pthread_mutex_lock(&t->mutex);
	many = more && !lock_has_room(t, o->file, more);
	pthread_mutex_unlock(&t->mutex);
	return many;
}

/*
 * With the order held: the first write lock of an owner that had read locks only. Its new
 * description gets them before the old one gives them up (which a wait may keep for a while): they
 * exclude nothing that the old ones do not. It takes the old one's number, since other threads may
 * be about to use that.
 */
static int become_writer(struct fs *fs, const struct lock_wish *wish, struct lock_owner *o)
{
	struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
	int fd = lock_open_description(fs, wish), r = fd < 0 ? fd : 0;

	for (unsigned i = 0; r == 0 && i < o->held.n; i++) {
		struct lock_wish held = {
			.type = F_RDLCK, .first = o->held.at[i].first, .last = o->held.at[i].last};
		struct flock fl = wish_flock(&held);

		r = fcntl(fd, F_OFD_SETLK, &fl) < 0 ? -errno : 0;
	}
	if (r == 0)
		r = fcntl(o->fd, F_OFD_SETLK, &all) < 0 ? -errno : 0;
	if (r == 0)
		r = dup3(fd, o->fd, O_CLOEXEC) < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	o->writes = r == 0;
	return r;
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
	if (r == 0 && wish->type == F_WRLCK && !wish->bsd && !o->writes)
		r = become_writer(fs, wish, o);
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
	pthread_mutex_t *order = lock_order(&fs->locks, o->file->nodeid);
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
		o = lock_owner_known(&fs->locks, wish);
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
	struct lock_file *file = lock_file_find(t, wish->handle->inode->nodeid);

	if (!file)
		return 0;
	list_for_each (pos, &file->owners) {
		const struct lock_owner *o = container_of(pos, struct lock_owner, link);

		if (o->bsd || o->id == wish->owner)
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
	o = lock_owner_known(t, wish);
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

/* ------------------------------------------------------------------ closed, perhaps */

/* With the mutex held. */
static uint64_t closing_until(const struct lock_file *file, const struct lock_wish *wish)
{
	uint64_t flushed_ns = 0;

	list_for_each (pos, &file->owners) {
		const struct lock_owner *o = container_of(pos, struct lock_owner, link);

		if (o->bsd == wish->bsd && o->flushed_ns > flushed_ns &&
		    o->fh != wish->handle->fh && (o->bsd || held_against(o, wish)))
			flushed_ns = o->flushed_ns;
	}
	return flushed_ns ? flushed_ns + LOCK_CLOSING_NS : 0;
}

uint64_t lock_closing_until(struct fs *fs, const struct lock_wish *wish)
{
	struct lock_table *t = &fs->locks;
	uint64_t until = 0, now = clock_now_ns();
	struct lock_file *file;

	pthread_mutex_lock(&t->mutex);
	file = lock_file_find(t, wish->handle->inode->nodeid);
	if (file && now < file->flushed_ns + LOCK_CLOSING_NS)
		until = closing_until(file, wish);
	pthread_mutex_unlock(&t->mutex);
	return until > now ? until : 0;
}
