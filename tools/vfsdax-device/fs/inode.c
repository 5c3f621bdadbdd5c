/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* inode: nodeid <-> O_PATH descriptor. See inode.h. */
#include "inode.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/list.h"

#define INODE_STATX_MASK (STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID)

static uint64_t key_hash(const struct inode_key *key)
{
	return hash_pair(key->ino, hash_pair(key->dev, key->mnt_id));
}

static bool key_equal(const struct inode_key *a, const struct inode_key *b)
{
	return a->ino == b->ino && a->dev == b->dev && a->mnt_id == b->mnt_id;
}

static struct inode_key key_of(const struct statx *stx)
{
	return (struct inode_key){
		.dev = (uint64_t)stx->stx_dev_major << 32 | stx->stx_dev_minor,
		.ino = stx->stx_ino,
		.mnt_id = stx->stx_mask & STATX_MNT_ID ? stx->stx_mnt_id : 0,
	};
}

struct fd_name fd_name(int fd)
{
	struct fd_name name;

	snprintf(name.s, sizeof(name.s), "%d", fd);
	return name;
}

int inode_statx(int fd, struct statx *stx)
{
	return statx(fd, "", AT_EMPTY_PATH, INODE_STATX_MASK, stx) < 0 ? -errno : 0;
}

int inode_open(struct fs *fs, const struct inode *inode, int flags)
{
	int fd;

	if (!inode_is_reg(inode) && !inode_is_dir(inode))
		return S_ISLNK(inode->type) ? -ELOOP : -ENXIO;
	do
		fd = inode_fd_admit(fs, openat(fs->proc_fd, fd_name(inode->fd).s,
					       (flags & ~O_NOFOLLOW) | O_CLOEXEC));
	while (fd < 0 && errno == EMFILE && inode_fds_make_room(fs));
	return fd < 0 ? -errno : fd;
}

static struct inode *inode_new(struct fs *fs, int fd, const struct statx *stx)
{
	struct inode *inode = calloc(1, sizeof(*inode));

	if (!inode)
		return NULL;
	inode->key = key_of(stx);
	inode->by_key.hash = key_hash(&inode->key);
	inode->nodeid = atomic_fetch_add_explicit(&fs->inodes.next_id, 1, memory_order_relaxed);
	inode->by_id.hash = hash_u64(inode->nodeid);
	inode->fd = fd;
	inode->type = stx->stx_mode & S_IFMT;
	inode->linked = stx->stx_nlink > 0;
	inode->fs = fs;
	return inode;
}

static void inode_free(struct inode *inode)
{
	watch_remove(inode);
	inode_fd_close(inode);
	mount_put(&inode->fs->inodes.mounts, inode->mount);
	free(inode->handle);
	free(inode);
}

void inode_put(struct inode *inode)
{
	if (inode && ref_put(&inode->refs))
		inode_free(inode);
}

/* A reference; `open` says whether the descriptor was open, and so stays open with it. */
static struct inode *find_by_id(struct fs *fs, uint64_t nodeid, bool *open)
{
	uint64_t hash = hash_u64(nodeid);
	struct table_shard *s = table_lock(&fs->inodes.by_id, hash);
	struct table_node *node = shard_find(s, hash);
	struct inode *inode = node ? container_of(node, struct inode, by_id) : NULL;

	if (inode) {
		ref_get(&inode->refs);
		*open = inode->fd >= 0;
	}
	table_unlock(s);
	return inode;
}

int inode_get(struct fs *fs, uint64_t nodeid, struct inode **out)
{
	bool open;
	int r = 0;

	*out = find_by_id(fs, nodeid, &open);
	if (!*out)
		return -ESTALE;
	if (open)
		atomic_store_explicit(&(*out)->recent, true, memory_order_relaxed);
	else
		r = inode_fd_pin(*out);
	if (r < 0) {
		inode_put(*out);
		*out = NULL;
	}
	return r;
}

/* With the by_key shard locked: one more lookup and one more reference, or NULL. */
static struct inode *count_known(struct table_shard *s, const struct inode_key *key, uint64_t hash)
{
	for (struct table_node *n = shard_find(s, hash); n; n = shard_find_next(n)) {
		struct inode *inode = container_of(n, struct inode, by_key);

		if (!inode->dead && key_equal(&inode->key, key)) {
			inode->nlookup++;
			ref_get(&inode->refs);
			return inode;
		}
	}
	return NULL;
}

/*
 * The file of this number was deleted while we did not hold it open: what has the number now is
 * another one. Who still knows the old one gets -ESTALE.
 */
static void bury(struct fs *fs, struct inode *inode)
{
	struct table_shard *s = table_lock(&fs->inodes.by_key, inode->by_key.hash);

	inode->dead = true;
	table_unlock(s);
	inode_forget(fs, inode->nodeid, 1); /* the lookup that found it */
	inode_put(inode);
}

/* A known inode, counted and referenced; -ENOENT when there is none. */
static int lookup_known(struct fs *fs, const struct statx *stx, struct inode **out)
{
	struct inode_key key = key_of(stx);
	uint64_t hash = key_hash(&key);
	struct table_shard *s = table_lock(&fs->inodes.by_key, hash);
	struct inode *inode = count_known(s, &key, hash);
	int r;

	table_unlock(s);
	if (!inode)
		return -ENOENT;
	r = inode_fd_pin(inode);
	*out = inode;
	if (r == 0)
		return 0;
	if (r == -ESTALE) {
		bury(fs, inode);
		return -ENOENT;
	}
	inode_forget(fs, inode->nodeid, 1);
	inode_put(inode);
	return r;
}

/* With the by_key shard locked. */
static void link_inode(struct fs *fs, struct table_shard *key_shard, struct inode *inode)
{
	struct table_shard *s = table_lock(&fs->inodes.by_id, inode->by_id.hash);

	shard_insert(s, &inode->by_id);
	table_unlock(s);
	shard_insert(key_shard, &inode->by_key);
}

/* Finds or makes the inode of an O_PATH descriptor, which passes to the table or is closed. */
static int adopt(struct fs *fs, int fd, const struct statx *stx, const struct found_at *at,
		 struct inode **out)
{
	struct inode *fresh = inode_new(fs, fd, stx);
	struct table_shard *s;
	struct inode *known;

	if (!fresh) {
		close(fd);
		return -ENOMEM;
	}
	fresh->mount = inode_fds_mount(fs, fd, stx, at);
	inode_fds_opened(fresh);
	s = table_lock(&fs->inodes.by_key, fresh->by_key.hash);
	known = count_known(s, &fresh->key, fresh->by_key.hash);
	if (!known) {
		fresh->nlookup = 1;
		ref_init(&fresh->refs, 2); /* the tables' and the caller's */
		watch_add(fresh);
		link_inode(fs, s, fresh);
	}
	table_unlock(s);
	*out = known ? known : fresh;
	if (!known)
		return 0;
	/* Somebody was faster; and its descriptor is of the file that ours is of. */
	s = table_lock(&fs->inodes.by_id, known->by_id.hash);
	inode_fd_swap(known, fresh);
	table_unlock(s);
	inode_free(fresh);
	return 0;
}

/*
 * A file that is known already costs one system call: its number cannot have been given to another
 * file, because we hold it open (or have just opened it again). Only a new one is opened by name.
 */
static int find(struct fs *fs, struct inode *parent, const char *name, struct inode **out,
		struct statx *stx)
{
	int fd, r;

	if (statx(parent->fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, INODE_STATX_MASK, stx) <
	    0)
		return -errno;
	r = lookup_known(fs, stx, out);
	if (r != -ENOENT)
		return r;
	do
		fd = inode_fd_admit(fs, openat(parent->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
	while (fd < 0 && errno == EMFILE && inode_fds_make_room(fs));
	if (fd < 0)
		return -errno;
	/* Again, of what was opened: the name may have changed hands in between. */
	r = inode_statx(fd, stx);
	if (r < 0) {
		close(fd);
		return r;
	}
	return adopt(fs, fd, stx, &(struct found_at){parent, name}, out);
}

int inode_lookup(struct fs *fs, struct inode *parent, const char *name, struct inode **out,
		 struct statx *stx)
{
	uint64_t clock = atomic_load(&fs->watch.clock);
	int r = find(fs, parent, name, out, stx);

	/* It has lost the name meanwhile. (Where st_nlink means nothing, that is no reason.) */
	for (int i = 0; r == 0 && !stx->stx_nlink && i < 3; i++) {
		inode_forget(fs, (*out)->nodeid, 1);
		inode_put(*out);
		r = find(fs, parent, name, out, stx);
	}
	if (r == 0)
		watch_ask_again(*out, clock, stx);
	return r;
}

static int find_open(struct fs *fs, int fd, struct inode **out, struct statx *stx)
{
	int path_fd, r = inode_statx(fd, stx);

	if (r < 0)
		return r;
	r = lookup_known(fs, stx, out);
	if (r != -ENOENT)
		return r;
	path_fd = inode_fd_admit(fs, openat(fs->proc_fd, fd_name(fd).s, O_PATH | O_CLOEXEC));
	if (path_fd < 0)
		return -errno;
	return adopt(fs, path_fd, stx, &(struct found_at){0}, out);
}

int inode_of_open_file(struct fs *fs, int fd, struct inode **out, struct statx *stx)
{
	uint64_t clock = atomic_load(&fs->watch.clock);
	int r = find_open(fs, fd, out, stx);

	if (r == 0)
		watch_ask_again(*out, clock, stx);
	return r;
}

void inode_forget(struct fs *fs, uint64_t nodeid, uint64_t nlookup)
{
	struct table_shard *s, *id_shard;
	bool gone = false, open;
	struct inode *inode = nodeid == FUSE_ROOT_ID ? NULL : find_by_id(fs, nodeid, &open);

	if (!inode)
		return;
	s = table_lock(&fs->inodes.by_key, inode->by_key.hash);
	if (inode->nlookup) {
		inode->nlookup -= MIN(nlookup, inode->nlookup);
		gone = !inode->nlookup;
	}
	if (gone) {
		shard_remove(s, &inode->by_key);
		id_shard = table_lock(&fs->inodes.by_id, inode->by_id.hash);
		shard_remove(id_shard, &inode->by_id);
		table_unlock(id_shard);
	}
	table_unlock(s);
	if (gone)
		inode_put(inode); /* the tables' */
	inode_put(inode);
}

int inode_table_init(struct fs *fs, int root_fd, const struct statx *stx)
{
	struct inode_table *t = &fs->inodes;
	struct table_shard *s;
	int r = table_init(&t->by_id);

	if (r < 0)
		goto err_fd;
	r = table_init(&t->by_key);
	if (r < 0)
		goto err_by_id;
	atomic_init(&t->next_id, FUSE_ROOT_ID);
	t->root = inode_new(fs, root_fd, stx);
	if (!t->root) {
		r = -ENOMEM;
		goto err_by_key;
	}
	r = inode_fds_init(fs, root_fd, stx);
	if (r < 0)
		goto err_root;
	t->root->nlookup = 1;
	ref_init(&t->root->refs, 2); /* the tables' and ours: its descriptor stays open */
	s = table_lock(&t->by_key, t->root->by_key.hash);
	link_inode(fs, s, t->root);
	table_unlock(s);
	return 0;

err_root:
	free(t->root);
err_by_key:
	table_fini(&t->by_key);
err_by_id:
	table_fini(&t->by_id);
err_fd:
	close(root_fd);
	return r;
}

/*
 * The by_key shard decides which thread releases an inode: the one that brings nlookup to 0 under
 * its lock, a forget or this, takes it out of both tables and puts their reference.
 */
void inode_table_clear(struct fs *fs)
{
	struct inode *root = fs->inodes.root;
	struct table_shard *s, *id_shard;
	struct table_node *node;

	while ((node = table_pop(&fs->inodes.by_key, &s))) {
		struct inode *inode = container_of(node, struct inode, by_key);

		inode->nlookup = 0;
		id_shard = table_lock(&fs->inodes.by_id, inode->by_id.hash);
		shard_remove(id_shard, &inode->by_id);
		table_unlock(id_shard);
		table_unlock(s);
		if (inode != root)
			inode_put(inode); /* the tables' */
	}
	s = table_lock(&fs->inodes.by_key, root->by_key.hash);
	root->nlookup = 1;
	link_inode(fs, s, root);
	table_unlock(s);
}

void inode_table_fini(struct fs *fs)
{
	inode_table_clear(fs);
	inode_put(fs->inodes.root); /* the tables' */
	inode_put(fs->inodes.root); /* ours */
	inode_fds_fini(fs);
	table_fini(&fs->inodes.by_key);
	table_fini(&fs->inodes.by_id);
}
