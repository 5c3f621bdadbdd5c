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
 * file, which the guest's kernel has checked. Write locks want a descriptor that is open for
 * writing, and only then is it one: the host executes no file that has a writer.
 */
int lock_open_description(struct fs *fs, const struct lock_wish *wish)
{
	bool writes = wish->type == F_WRLCK && !fs->options.readonly;
	int mode = writes ? O_RDWR : O_RDONLY;

	if (!inode_is_reg(wish->handle->inode))
		return -EBADF;
	return inode_open(fs, wish->handle->inode, mode | O_NONBLOCK);
}

static int owner_new(struct fs *fs, const struct lock_wish *wish, struct lock_owner **out)
{
	struct inode *inode = wish->handle->inode;
	struct lock_owner *o;
	int fd = wish->bsd ? -1 : lock_open_description(fs, wish);

	if (fd < 0 && !wish->bsd)
		return fd;
	o = calloc(1, sizeof(*o));
	if (!o) {
		if (fd >= 0)
			close(fd);
		return -ENOLCK;
	}
	*o = (struct lock_owner){.nodeid = inode->nodeid,
				 .id = wish_id(wish),
				 .bsd = wish->bsd,
				 .fd = fd,
				 .writes = wish->type == F_WRLCK};
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

struct lock_owner *lock_owner_known(struct lock_table *t, const struct lock_wish *wish)
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

	*out = lock_owner_known(&fs->locks, wish);
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

/* ------------------------------------------------------------------ the ends */

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
	o = lock_owner_known(t, &wish);
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
