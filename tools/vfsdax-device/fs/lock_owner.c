/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lock_owner: who has locks on which file: finding and making them, and their descriptions. */
#include "lock_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs.h"
#include "handle.h"
#include "inode.h"

static uint64_t wish_id(const struct lock_wish *wish)
{
	return wish->bsd ? wish->handle->fh : wish->owner;
}

/* ------------------------------------------------------------------ one owner; the mutex is held
 */

static struct list *bucket_of_file(struct lock_table *t, uint64_t nodeid)
{
	return &t->files[hash_u64(nodeid) % LOCK_BUCKETS];
}

static struct list *bucket_of_owner(struct lock_table *t, uint64_t nodeid, uint64_t id)
{
	return &t->owners[hash_pair(nodeid, id) % LOCK_BUCKETS];
}

struct lock_file *lock_file_find(struct lock_table *t, uint64_t nodeid)
{
	list_for_each (pos, bucket_of_file(t, nodeid)) {
		struct lock_file *file = container_of(pos, struct lock_file, link);

		if (file->nodeid == nodeid)
			return file;
	}
	return NULL;
}

bool lock_has_room(const struct lock_table *t, const struct lock_file *file, unsigned more)
{
	return t->n_held + more <= LOCK_HELD_MAX && (!file || file->n_held + more <= LOCK_FILE_MAX);
}

static struct lock_file *file_get(struct lock_table *t, uint64_t nodeid)
{
	struct lock_file *file = lock_file_find(t, nodeid);

	if (!file) {
		file = malloc(sizeof(*file));
		if (!file)
			return NULL;
		*file = (struct lock_file){.nodeid = nodeid};
		list_init(&file->owners);
		list_push_back(bucket_of_file(t, nodeid), &file->link);
	}
	file->n_owners++;
	return file;
}

static void file_put(struct lock_file *file)
{
	if (--file->n_owners)
		return;
	list_del(&file->link);
	free(file);
}

static struct lock_owner *owner_find(struct lock_table *t, uint64_t nodeid, bool bsd, uint64_t id)
{
	list_for_each (pos, bucket_of_owner(t, nodeid, id)) {
		struct lock_owner *o = container_of(pos, struct lock_owner, in_hash);

		if (o->file->nodeid == nodeid && o->id == id && o->bsd == bsd)
			return o;
	}
	return NULL;
}

void lock_owner_end(struct lock_table *t, struct lock_owner *o)
{
	list_del(&o->link);
	list_del(&o->in_hash);
	o->ended = true;
	o->refs--;
	pthread_cond_broadcast(&t->changed);
}

/* To be freed without the mutex: or NULL. */
static struct lock_owner *put_locked(struct lock_table *t, struct lock_owner *o)
{
	/* Without a lock and without a user there is nothing to know about it. */
	if (--o->refs == 1 && !o->ended && !o->held.n)
		lock_owner_end(t, o);
	if (o->refs)
		return NULL;
	t->n_held -= o->held.n;
	o->file->n_held -= o->held.n;
	file_put(o->file);
	return o;
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
	*o = (struct lock_owner){
		.id = wish_id(wish), .bsd = wish->bsd, .fd = fd, .writes = wish->type == F_WRLCK};
	list_init(&o->link);
	list_init(&o->in_hash);
	*out = o;
	return 0;
}

/* Two threads of one guest process may get here at once; the first one's is taken. NULL: no memory.
 */
static struct lock_owner *owner_publish(struct lock_table *t, uint64_t nodeid,
					struct lock_owner *fresh)
{
	struct lock_owner *o;

	pthread_mutex_lock(&t->mutex);
	o = owner_find(t, nodeid, fresh->bsd, fresh->id);
	if (!o) {
		fresh->file = file_get(t, nodeid);
		if (fresh->file) {
			o = fresh;
			o->refs = 1;
			list_push_back(&o->file->owners, &o->link);
			list_push_back(bucket_of_owner(t, nodeid, o->id), &o->in_hash);
		}
	}
	if (o)
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

/* Before a description is opened for it: a guest that asks for very many has its answer soon. */
static bool one_more_fits(struct lock_table *t, uint64_t nodeid)
{
	bool fits;

	pthread_mutex_lock(&t->mutex);
	fits = lock_has_room(t, lock_file_find(t, nodeid), 1);
	pthread_mutex_unlock(&t->mutex);
	return fits;
}

int lock_owner_get(struct fs *fs, const struct lock_wish *wish, struct lock_owner **out)
{
	struct lock_owner *fresh;
	int r;

	*out = lock_owner_known(&fs->locks, wish);
	if (*out)
		return 0;
	if (!one_more_fits(&fs->locks, wish->handle->inode->nodeid))
		return -ENOLCK;
	r = owner_new(fs, wish, &fresh);
	if (r < 0)
		return r;
	*out = owner_publish(&fs->locks, wish->handle->inode->nodeid, fresh);
	if (*out != fresh)
		owner_free(fresh);
	return *out ? 0 : -ENOLCK;
}
