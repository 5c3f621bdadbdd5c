/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lock: lock owners and their descriptors. See lock.h; waiting is in lock_wait.c. */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "fs.h"
#include "inode.h"
#include "lock_wait.h"

struct lock_owner {
	struct list link; /* in its bucket, or alone after lock_drop_owner */
	uint64_t nodeid;
	uint64_t owner;
	int fd;
	unsigned refs; /* guarded by the table's mutex; one is the bucket's */
};

static struct list *owner_bucket(struct lock_table *t, uint64_t nodeid, uint64_t owner)
{
	return &t->owners[hash_pair(nodeid, owner) % LOCK_BUCKETS];
}

int lock_table_init(struct fs *fs)
{
	struct lock_table *t = &fs->locks;

	pthread_mutex_init(&t->mutex, NULL);
	for (unsigned i = 0; i < LOCK_BUCKETS; i++)
		list_init(&t->owners[i]);
	return lock_wait_init(t);
}

static struct lock_owner *owner_find(struct lock_table *t, uint64_t nodeid, uint64_t owner)
{
	list_for_each (pos, owner_bucket(t, nodeid, owner)) {
		struct lock_owner *o = container_of(pos, struct lock_owner, link);

		if (o->nodeid == nodeid && o->owner == owner)
			return o;
	}
	return NULL;
}

/* The descriptor to close outside the mutex, or -1. */
static int put_locked(struct lock_owner *o)
{
	int fd = o->fd;

	if (--o->refs)
		return -1;
	free(o);
	return fd;
}

void lock_owner_put(struct fs *fs, struct lock_owner *o)
{
	int fd;

	pthread_mutex_lock(&fs->locks.mutex);
	fd = put_locked(o);
	pthread_mutex_unlock(&fs->locks.mutex);
	if (fd >= 0)
		close(fd);
}

int lock_owner_fd(const struct lock_owner *o)
{
	return o->fd;
}

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

static int owner_new(struct fs *fs, struct inode *inode, uint64_t owner, struct lock_owner **out)
{
	int fd = open_description(fs, inode);
	struct lock_owner *o;

	if (fd < 0)
		return fd;
	o = malloc(sizeof(*o));
	if (!o) {
		close(fd);
		return -ENOMEM;
	}
	*o = (struct lock_owner){.nodeid = inode->nodeid, .owner = owner, .fd = fd};
	list_init(&o->link);
	*out = o;
	return 0;
}

/* Two threads of one guest process may get here at once; the first one's is taken. */
static struct lock_owner *owner_publish(struct lock_table *t, struct lock_owner *fresh)
{
	struct lock_owner *o;

	pthread_mutex_lock(&t->mutex);
	o = owner_find(t, fresh->nodeid, fresh->owner);
	if (!o) {
		o = fresh;
		o->refs = 1;
		list_push_back(owner_bucket(t, o->nodeid, o->owner), &o->link);
	}
	o->refs++;
	pthread_mutex_unlock(&t->mutex);
	return o;
}

int lock_owner_get(struct fs *fs, struct inode *inode, uint64_t owner, bool create,
		   struct lock_owner **out)
{
	struct lock_table *t = &fs->locks;
	struct lock_owner *fresh;
	int r;

	pthread_mutex_lock(&t->mutex);
	*out = owner_find(t, inode->nodeid, owner);
	if (*out)
		(*out)->refs++;
	pthread_mutex_unlock(&t->mutex);
	if (*out)
		return 0;
	if (!create)
		return -ENOENT;
	r = owner_new(fs, inode, owner, &fresh);
	if (r < 0)
		return r;
	*out = owner_publish(t, fresh);
	if (*out != fresh) {
		close(fresh->fd);
		free(fresh);
	}
	return 0;
}

void lock_drop_owner(struct fs *fs, uint64_t nodeid, uint64_t owner)
{
	struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
	struct lock_table *t = &fs->locks;
	struct lock_owner *o;
	int fd = -1;

	pthread_mutex_lock(&t->mutex);
	o = owner_find(t, nodeid, owner);
	if (o) {
		list_del(&o->link);
		/* A blocked lock of another of its threads may keep the description open. */
		fcntl(o->fd, F_OFD_SETLK, &all);
		fd = put_locked(o);
	}
	pthread_mutex_unlock(&t->mutex);
	if (fd >= 0)
		close(fd);
}

static void drop_owners(struct lock_table *t)
{
	for (unsigned i = 0; i < LOCK_BUCKETS; i++) {
		struct list *link;

		pthread_mutex_lock(&t->mutex);
		while ((link = list_pop_front(&t->owners[i]))) {
			int fd = put_locked(container_of(link, struct lock_owner, link));

			if (fd >= 0)
				close(fd);
		}
		pthread_mutex_unlock(&t->mutex);
	}
}

bool lock_table_clear(struct fs *fs)
{
	bool all = lock_wait_cancel_all(&fs->locks);

	drop_owners(&fs->locks);
	return all;
}

void lock_table_fini(struct fs *fs)
{
	pthread_cond_destroy(&fs->locks.waiter_gone);
	pthread_mutex_destroy(&fs->locks.mutex);
}
