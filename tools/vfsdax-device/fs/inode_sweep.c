/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * inode_sweep: an inode that is not in use keeps nothing of the host's for long. A guest's kernel
 * remembers names for as long as it has memory, and a descriptor of ours keeps a file that the host
 * has removed, and its space.
 *
 * What has a handle is closed and opened again by it when it is asked for (inode_fd.h). What has
 * none is closed once it has no name any more; from then on it is -ESTALE, as it would be by a
 * handle.
 */
#include "inode.h"

#include <fcntl.h>

#include "base/list.h"

/* All shards in SWEEP_ROUND calls, each second one of which an inode must have been used in. */
#define SWEEP_ROUND 4
/* What a shard is locked for at most, each about a microsecond. */
#define SHARD_WORK  4096

static bool is_removed(const struct inode *inode)
{
	struct statx stx;

	/* What is known must do: a dead server must not hold us up. */
	return inode->linked &&
	       statx(inode->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_NLINK, &stx) == 0 &&
	       stx.stx_mask & STATX_NLINK && stx.stx_nlink == 0;
}

/* With the by_id shard locked. */
static void sweep_inode(struct table_node *node, void *ctx)
{
	struct inode *inode = container_of(node, struct inode, by_id);
	unsigned *work = ctx;

	if (inode->fd < 0 || !*work || inode->nodeid == FUSE_ROOT_ID ||
	    atomic_load_explicit(&inode->refs.n, memory_order_acquire) != 1 ||
	    atomic_exchange(&inode->recent, false))
		return;
	--*work;
	if (!inode_fd_let_go(inode) && is_removed(inode))
		inode_fd_close(inode);
}

void inode_sweep(struct fs *fs)
{
	for (unsigned i = 0; i < TABLE_SHARDS / SWEEP_ROUND; i++) {
		unsigned work = SHARD_WORK;

		table_visit_shard(&fs->inodes.by_id, fs->inodes.sweep_shard++ % TABLE_SHARDS,
				  sweep_inode, &work);
	}
	if (fs->inodes.sweep_shard % TABLE_SHARDS == 0)
		mounts_sweep(fs);
}
