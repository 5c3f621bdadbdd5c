/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lock: the table, and how owners end. See lock.h; owners are in lock_owner.c, waiting in
 * lock_wait.c. */
#include "lock_internal.h"

#include <fcntl.h>
#include <sys/file.h>

#include "fs.h"
#include "handle.h"
#include "inode.h"

int lock_table_init(struct fs *fs)
{
	struct lock_table *t = &fs->locks;

	pthread_mutex_init(&t->mutex, NULL);
	for (unsigned i = 0; i < LOCK_ORDERS; i++)
		pthread_mutex_init(&t->order[i], NULL);
	for (unsigned i = 0; i < LOCK_BUCKETS; i++) {
		list_init(&t->files[i]);
		list_init(&t->owners[i]);
	}
	return lock_wait_init(t);
}

void lock_table_fini(struct fs *fs)
{
	for (unsigned i = 0; i < LOCK_ORDERS; i++)
		pthread_mutex_destroy(&fs->locks.order[i]);
	pthread_cond_destroy(&fs->locks.changed);
	pthread_mutex_destroy(&fs->locks.mutex);
}

/* ------------------------------------------------------------------ the ends */

/* Explicitly: a blocked lock may keep the description open for a while. `h` NULL: all handles are
 * about to be closed. */
static void owner_unlock(const struct lock_owner *o, const struct handle *h)
{
	struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	if (!o->bsd)
		fcntl(o->fd, F_OFD_SETLK, &all);
	else if (h)
		flock(h->fd, LOCK_UN);
}

/* With the mutex held: ends those that came by the handle (NULL: all), and refers to them. */
static void end_owners(struct lock_table *t, struct lock_file *file, const struct handle *h,
		       struct list *ended)
{
	struct list *next;

	for (struct list *pos = file->owners.next; pos != &file->owners; pos = next) {
		struct lock_owner *o = container_of(pos, struct lock_owner, link);

		next = pos->next;
		if (h && o->fh != h->fh)
			continue;
		o->refs++;
		lock_owner_end(t, o);
		list_push_back(ended, &o->link);
	}
}

/*
 * Unlocks all before it closes the first, and the oldest first: the host's kernel looks for a lock
 * from there, and closing a file walks through all locks that others still have on it.
 */
static void unlock_owners(struct list *ended, const struct handle *h)
{
	list_for_each (pos, ended)
		owner_unlock(container_of(pos, struct lock_owner, link), h);
}

static void put_owners(struct fs *fs, struct list *ended)
{
	struct list *link;

	while ((link = list_pop_front(ended)))
		lock_owner_put(fs, container_of(link, struct lock_owner, link));
}

/* With the order held. */
static void end_owner(struct fs *fs, const struct handle *h, uint64_t id)
{
	struct lock_wish wish = {.handle = (struct handle *)h, .owner = id};
	struct lock_table *t = &fs->locks;
	struct lock_owner *o = lock_owner_known(t, &wish);

	if (!o)
		return;
	owner_unlock(o, h);
	pthread_mutex_lock(&t->mutex);
	if (!o->ended)
		lock_owner_end(t, o);
	pthread_mutex_unlock(&t->mutex);
	lock_owner_put(fs, o);
}

void lock_flush(struct fs *fs, struct handle *h, uint64_t owner)
{
	struct lock_table *t = &fs->locks;
	uint64_t nodeid = h->inode->nodeid, now = clock_now_ns();
	struct lock_file *file;

	pthread_mutex_lock(lock_order(t, nodeid));
	end_owner(fs, h, owner);
	pthread_mutex_lock(&t->mutex);
	file = lock_file_find(t, nodeid);
	if (file)
		list_for_each (pos, &file->owners) {
			struct lock_owner *o = container_of(pos, struct lock_owner, link);

			if (o->fh == h->fh)
				file->flushed_ns = o->flushed_ns = now;
		}
	pthread_mutex_unlock(&t->mutex);
	pthread_mutex_unlock(lock_order(t, nodeid));
}

void lock_release(struct fs *fs, struct handle *h)
{
	struct lock_table *t = &fs->locks;
	pthread_mutex_t *order = lock_order(t, h->inode->nodeid);
	struct lock_file *file;
	struct list ended;

	list_init(&ended);
	lock_wait_cancel(t, h);
	pthread_mutex_lock(order);
	pthread_mutex_lock(&t->mutex);
	file = lock_file_find(t, h->inode->nodeid);
	if (file)
		end_owners(t, file, h, &ended);
	pthread_mutex_unlock(&t->mutex);
	unlock_owners(&ended, h);
	pthread_mutex_unlock(order);
	put_owners(fs, &ended);
}

/* Without the orders: a thread that asks a dead file system has one. What it is granted meanwhile
 * is gone when it lets go of the owner. */
static void end_all_owners(struct fs *fs)
{
	struct lock_table *t = &fs->locks;
	struct list ended;

	list_init(&ended);
	pthread_mutex_lock(&t->mutex);
	for (unsigned i = 0; i < LOCK_BUCKETS; i++)
		list_for_each (pos, &t->files[i])
			end_owners(t, container_of(pos, struct lock_file, link), NULL, &ended);
	pthread_mutex_unlock(&t->mutex);
	unlock_owners(&ended, NULL);
	put_owners(fs, &ended);
}

bool lock_table_clear(struct fs *fs)
{
	bool all = lock_wait_cancel_all(&fs->locks);

	end_all_owners(fs);
	return all;
}
