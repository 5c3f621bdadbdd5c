/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* inode_fd: closing and opening again the descriptors of inodes. See inode_fd.h. */
#include "inode_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "inode.h"

/* Of the descriptors that a process may have; the rest is for open files and locks. */
#define SHARE_NUM   3
#define SHARE_DEN   4
/* Numbers for the front end: a memory table of 8 regions, and what comes meanwhile. */
#define RESERVE	    64
#define RESERVE_DEN 8 /* and at most this part of all */
/* Closed at once, so that not each new one has to search. */
#define BATCH	    256

/* With the mode that was asked for. */
static int settle_for_descriptors(struct fd_budget *b, enum file_handles mode)
{
	if (mode == FILE_HANDLES_MANDATORY) {
		log_error("--inode-file-handles mandatory: there are none here; they need root "
			  "(CAP_DAC_READ_SEARCH) and a file system that has them: use prefer");
		return -ENOTSUP;
	}
	if (mode == FILE_HANDLES_PREFER)
		log_info("no file handles here (they need root and a file system that has them): "
			 "the guest can know at most %zu files at a time",
			 b->limit);
	return 0;
}

int inode_fds_init(struct fs *fs, int root_fd, const struct statx *stx)
{
	struct fd_budget *b = &fs->inodes.fds;
	struct rlimit limit = {0};
	int r;

	getrlimit(RLIMIT_NOFILE, &limit);
	b->limit = (size_t)MIN(limit.rlim_cur, (rlim_t)UINT32_MAX) / SHARE_DEN * SHARE_NUM;
	b->ceiling = (int)(MIN(limit.rlim_cur, (rlim_t)INT_MAX) -
			   MIN(limit.rlim_cur / RESERVE_DEN, (rlim_t)RESERVE));
	atomic_init(&b->n_open, 1);
	atomic_init(&b->next_shard, 0);
	b->use_handles = mounts_init(fs, root_fd, stx->stx_mnt_id) &&
			 fs->options.file_handles != FILE_HANDLES_NEVER;
	if (b->use_handles)
		return 0;
	r = settle_for_descriptors(b, fs->options.file_handles);
	if (r < 0)
		inode_fds_fini(fs);
	return r;
}

void inode_fds_fini(struct fs *fs)
{
	mounts_fini(&fs->inodes.mounts);
}

struct mount *inode_fds_mount(struct fs *fs, int path_fd, const struct statx *stx,
			      const struct found_at *at)
{
	return fs->inodes.fds.use_handles
		       ? mount_get(fs, stx->stx_mnt_id, path_fd, stx->stx_mode, at)
		       : NULL;
}

int inode_fd_admit(struct fs *fs, int fd)
{
	struct fd_budget *b = &fs->inodes.fds;
	bool near = fd >= b->ceiling - RESERVE;

	if (fd < 0)
		return fd;
	if (near != atomic_load_explicit(&b->near, memory_order_relaxed))
		atomic_store_explicit(&b->near, near, memory_order_relaxed);
	if (fd < b->ceiling)
		return fd;
	close(fd);
	errno = EMFILE;
	return -1;
}

bool inode_fds_left(struct fs *fs)
{
	int fd;

	if (!atomic_load_explicit(&fs->inodes.fds.near, memory_order_relaxed))
		return true;
	do
		fd = inode_fd_admit(fs, fcntl(fs->proc_fd, F_DUPFD_CLOEXEC, 0));
	while (fd < 0 && errno == EMFILE && inode_fds_make_room(fs));
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* ------------------------------------------------------------------ closing */

/*
 * With the by_id shard locked. One reference is the tables' own; another could only be taken under
 * this lock, or by the key, and who finds an inode by its key pins it under this lock.
 */
static bool may_close(const struct inode *inode)
{
	return inode->fd >= 0 && !inode->no_handle && inode->mount && inode->mount->has_handles &&
	       atomic_load_explicit(&inode->refs.n, memory_order_acquire) == 1;
}

bool inode_fd_let_go(struct inode *inode)
{
	if (!may_close(inode))
		return false;
	if (!inode->handle)
		inode->handle = mount_handle(inode->fd);
	if (!inode->handle) {
		inode->no_handle = true;
		return false;
	}
	inode_fd_close(inode);
	return true;
}

/* Each use buys one more round of the search. */
static void close_if_idle(struct table_node *node, void *ctx)
{
	struct inode *inode = container_of(node, struct inode, by_id);
	size_t *n_closed = ctx;

	if (may_close(inode) && !atomic_exchange(&inode->recent, false) && inode_fd_let_go(inode))
		(*n_closed)++;
}

bool inode_fds_make_room(struct fs *fs)
{
	struct fd_budget *b = &fs->inodes.fds;
	size_t n_closed = 0;

	if (!b->use_handles)
		return false;
	/* Twice around at most: the first round may only take marks away. */
	for (unsigned i = 0; i < 2 * TABLE_SHARDS && n_closed < BATCH; i++)
		table_visit_shard(&fs->inodes.by_id,
				  atomic_fetch_add(&b->next_shard, 1) % TABLE_SHARDS, close_if_idle,
				  &n_closed);
	return n_closed > 0;
}

/* How many of a mount's files have one. */
static void count_at_mount(struct mount *mount, int more)
{
	if (mount)
		atomic_fetch_add(&mount->n_open, (unsigned)more);
}

void inode_fds_opened(struct inode *inode)
{
	struct fs *fs = inode->fs;
	struct fd_budget *b = &fs->inodes.fds;

	count_at_mount(inode->mount, 1);
	if (atomic_fetch_add(&b->n_open, 1) >= b->limit)
		inode_fds_make_room(fs);
}

void inode_fd_close(struct inode *inode)
{
	if (inode->fd < 0)
		return;
	close(inode->fd);
	inode->fd = -1;
	count_at_mount(inode->mount, -1);
	atomic_fetch_sub(&inode->fs->inodes.fds.n_open, 1);
}

/* ------------------------------------------------------------------ opening again */

void inode_fd_swap(struct inode *to, struct inode *from)
{
	if (to->fd >= 0)
		return;
	to->fd = from->fd;
	from->fd = -1;
	count_at_mount(to->mount, 1);
	count_at_mount(from->mount, -1);
}

/* Two may get here at once; the first one's descriptor stays. */
static void inode_fd_install(struct inode *inode, int fd)
{
	struct table_shard *s = table_lock(&inode->fs->inodes.by_id, inode->by_id.hash);

	if (inode->fd < 0) {
		inode->fd = fd;
		fd = -1;
	}
	table_unlock(s);
	if (fd >= 0)
		close(fd);
	else
		inode_fds_opened(inode);
}

int inode_fd_pin(struct inode *inode)
{
	struct fs *fs = inode->fs;
	struct table_shard *s = table_lock(&fs->inodes.by_id, inode->by_id.hash);
	int fd = inode->fd;

	table_unlock(s);
	atomic_store_explicit(&inode->recent, true, memory_order_relaxed);
	if (fd >= 0)
		return 0;
	/* Once closed there is a handle, and it does not change; or the file is gone. */
	if (!inode->handle)
		return -ESTALE;
	do
		fd = mount_open_handle(fs, inode->mount, inode->handle);
	while (fd == -EMFILE && inode_fds_make_room(fs));
	if (fd < 0)
		return fd;
	inode_fd_install(inode, fd);
	return 0;
}
