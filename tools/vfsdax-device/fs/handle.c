/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* handle: fh -> descriptor. See handle.h. */
#include "handle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/list.h"

int handle_table_init(struct fs *fs)
{
	atomic_init(&fs->handles.next_fh, 1);
	return table_init(&fs->handles.by_fh);
}

void handle_table_clear(struct fs *fs)
{
	struct table_shard *s;
	struct table_node *node;

	while ((node = table_pop(&fs->handles.by_fh, &s))) {
		table_unlock(s);
		handle_put(container_of(node, struct handle, by_fh));
	}
}

void handle_table_fini(struct fs *fs)
{
	handle_table_clear(fs);
	table_fini(&fs->handles.by_fh);
}

int handle_open(struct fs *fs, struct inode *inode, enum handle_kind kind, int fd, uint64_t *fh)
{
	struct handle *h = calloc(1, sizeof(*h));
	struct table_shard *s;

	if (!h) {
		close(fd);
		return -ENOMEM;
	}
	h->fh = atomic_fetch_add_explicit(&fs->handles.next_fh, 1, memory_order_relaxed);
	h->by_fh.hash = hash_u64(h->fh);
	h->kind = kind;
	h->fd = fd;
	h->inode = inode;
	ref_get(&inode->refs);
	atomic_fetch_add(&inode->opens, 1);
	ref_init(&h->refs, 1);
	pthread_mutex_init(&h->dir_lock, NULL);
	h->dir_pos_known = true;
	*fh = h->fh;

	s = table_lock(&fs->handles.by_fh, h->by_fh.hash);
	shard_insert(s, &h->by_fh);
	table_unlock(s);
	return 0;
}

static struct handle *handle_find(struct table_shard *s, uint64_t hash, enum handle_kind kind)
{
	struct table_node *node = shard_find(s, hash);
	struct handle *h = node ? container_of(node, struct handle, by_fh) : NULL;

	return h && h->kind == kind ? h : NULL;
}

struct handle *handle_get(struct fs *fs, uint64_t fh, enum handle_kind kind, uint64_t nodeid)
{
	uint64_t hash = hash_u64(fh);
	struct table_shard *s = table_lock(&fs->handles.by_fh, hash);
	struct handle *h = handle_find(s, hash, kind);

	if (h && h->inode->nodeid != nodeid)
		h = NULL;
	if (h)
		ref_get(&h->refs);
	table_unlock(s);
	return h;
}

void handle_put(struct handle *h)
{
	if (!h || !ref_put(&h->refs))
		return;
	close(h->fd);
	if (h->passed)
		watch_pass_no_more(h->inode);
	atomic_fetch_sub(&h->inode->opens, 1);
	inode_put(h->inode);
	pthread_mutex_destroy(&h->dir_lock);
	free(h);
}

struct handle *handle_take(struct fs *fs, uint64_t fh, enum handle_kind kind)
{
	uint64_t hash = hash_u64(fh);
	struct table_shard *s = table_lock(&fs->handles.by_fh, hash);
	struct handle *h = handle_find(s, hash, kind);

	if (h)
		shard_remove(s, &h->by_fh);
	table_unlock(s);
	return h;
}

void handle_pass(struct handle *h, uint32_t open_flags)
{
	if ((open_flags & O_ACCMODE) == O_RDONLY)
		return;
	inode_dirty(h->inode);
	if (!(open_flags & (O_APPEND | O_DIRECT)) && !atomic_exchange(&h->passed, true))
		watch_pass(h->inode);
}
