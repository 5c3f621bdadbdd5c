/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* attr: struct statx -> struct fuse_attr. See attr.h. */
#include "attr.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "cred.h"
#include "reply.h"

uint64_t attr_valid_s(const struct fs *fs, const struct inode *inode)
{
	static const uint64_t seconds[] = {
		[CACHE_NEVER] = 0,
		[CACHE_AUTO] = 1,
		[CACHE_ALWAYS] = 24 * 60 * 60,
		[CACHE_METADATA] = 24 * 60 * 60,
	};
	uint64_t valid_s = atomic_load(&inode->ignored) ? 0 : seconds[fs->options.cache];

	/* A driver that is told what changes relies on that; of this file it would not be. */
	if (fs_agreed_beyond(fs, AGREE_CHANGES) && !atomic_load(&inode->marked_at))
		valid_s = MIN(valid_s, seconds[CACHE_AUTO]);
	return valid_s;
}

uint32_t open_flags_file(const struct fs *fs)
{
	static const uint32_t flags[] = {
		[CACHE_NEVER] = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
		[CACHE_AUTO] = 0,
		[CACHE_ALWAYS] = FOPEN_KEEP_CACHE,
		[CACHE_METADATA] = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
	};

	return flags[fs->options.cache];
}

uint32_t open_flags_dir(const struct fs *fs)
{
	return (fs->options.cache == CACHE_ALWAYS || fs->options.cache == CACHE_METADATA) &&
			       !fs_checks_rights(fs)
		       ? FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE
		       : 0;
}

uint64_t attr_ino(const struct fs *fs, uint64_t dev, uint64_t ino)
{
	return dev == fs->root_dev ? ino : ino ^ (hash_u64(dev) & UINT64_C(0x7fff000000000000));
}

/* FS_DAX_FL is not in statx's answer; STATX_ATTR_DAX says only what the host itself does. */
static bool read_dax_flag(struct fs *fs, const struct inode *inode)
{
	struct fsxattr x = {0};
	uint32_t caller = cred_self_begin();
	int fd = inode_open(fs, inode, O_RDONLY | O_NOATIME | O_NONBLOCK);
	bool dax;

	cred_self_end(caller);
	if (fd < 0)
		return false;
	dax = ioctl(fd, FS_IOC_FSGETXATTR, &x) == 0 && x.fsx_xflags & FS_XFLAG_DAX;
	close(fd);
	return dax;
}

/*
 * Changing the flag moves ctime, so it is read again only when ctime has moved. Two changes in one
 * tick of the clock may be missed: that costs speed, never data.
 */
static bool dax_by_flag(struct fs *fs, struct inode *inode, const struct statx *stx)
{
	uint64_t ctime = (uint64_t)stx->stx_ctime.tv_sec * NS_PER_S + stx->stx_ctime.tv_nsec + 1;
	uint64_t cached = atomic_load_explicit(&inode->dax_flag_cache, memory_order_relaxed);

	if (stx->stx_attributes & STATX_ATTR_DAX)
		return true;
	if (cached >> 1 != ctime << 1 >> 1) {
		cached = ctime << 1 | read_dax_flag(fs, inode);
		atomic_store_explicit(&inode->dax_flag_cache, cached, memory_order_relaxed);
	}
	return cached & 1;
}

/*
 * Nothing is mapped past the end of a file (dax.h), and Linux has no other way to the data of a
 * file that it has found marked, until nobody there uses it: reading is EINVAL. So what it cannot
 * map must have no mark. A file that can be mapped may still grow, here or there, with its mark:
 * that is taken into the bargain only where the administrator has named a policy.
 */
static bool client_can_map(const struct fs *fs, const struct statx *stx)
{
	return fs_maps_any_size(fs) || (fs->options.dax != DAX_AUTO && stx->stx_size > 0 &&
					stx->stx_size % DAX_FOREIGN_BYTES == 0);
}

static bool dax_wanted(struct fs *fs, struct inode *inode, const struct statx *stx)
{
	if (!S_ISREG(stx->stx_mode) || !fs_agreed(fs, FUSE_HAS_INODE_DAX) ||
	    !dax_may_map(fs, stx->stx_mode) || !client_can_map(fs, stx))
		return false;
	switch (fs->options.dax) {
	case DAX_AUTO:
	case DAX_ALWAYS:
		return true;
	case DAX_INODE:
		return dax_by_flag(fs, inode, stx);
	case DAX_FILESIZE:
		return stx->stx_size > fs->options.dax_threshold_bytes;
	case DAX_NONE:
		break;
	}
	return false;
}

void attr_fill(struct fs *fs, struct inode *inode, const struct statx *stx, struct fuse_attr *out)
{
	*out = (struct fuse_attr){
		.ino = attr_ino(fs, inode->key.dev, stx->stx_ino),
		.size = stx->stx_size,
		.blocks = stx->stx_blocks,
		.atime = (uint64_t)stx->stx_atime.tv_sec,
		.mtime = (uint64_t)stx->stx_mtime.tv_sec,
		.ctime = (uint64_t)stx->stx_ctime.tv_sec,
		.atimensec = stx->stx_atime.tv_nsec,
		.mtimensec = stx->stx_mtime.tv_nsec,
		.ctimensec = stx->stx_ctime.tv_nsec,
		.mode = stx->stx_mode,
		.nlink = stx->stx_nlink,
		.uid = translate_to_guest(&fs->options.uids, stx->stx_uid),
		.gid = translate_to_guest(&fs->options.gids, stx->stx_gid),
		.rdev = (uint32_t)makedev(stx->stx_rdev_major, stx->stx_rdev_minor),
		.blksize = stx->stx_blksize,
		.flags = dax_wanted(fs, inode, stx) ? FUSE_ATTR_DAX : 0,
	};
}

/* The same number may be another file's later; the time of its birth is not. Not for a kernel,
 * which would take a file for another one when an overlay copies it up. */
static uint64_t generation_of(const struct fs *fs, const struct statx *stx)
{
	if (!fs_agreed_beyond(fs, AGREE_BIRTH) || !(stx->stx_mask & STATX_BTIME))
		return 0;
	return (uint64_t)stx->stx_btime.tv_sec * NS_PER_S + stx->stx_btime.tv_nsec;
}

void entry_fill(struct fs *fs, const struct inode *parent, struct inode *inode,
		const struct statx *stx, struct fuse_entry_out *out)
{
	*out = (struct fuse_entry_out){
		.nodeid = inode->nodeid,
		.generation = generation_of(fs, stx),
		/* Else a name that one user has looked up would be there for all. */
		.entry_valid = fs_checks_rights(fs) ? 0 : attr_valid_s(fs, parent),
		.attr_valid = attr_valid_s(fs, inode),
	};
	attr_fill(fs, inode, stx, &out->attr);
}

void entry_mark_submount(const struct inode *parent, const struct inode *inode,
			 struct fuse_entry_out *out)
{
	if (inode_is_dir(inode) && inode->key.mnt_id != parent->key.mnt_id &&
	    fs_agreed(inode->fs, FUSE_SUBMOUNTS))
		out->attr.flags |= FUSE_ATTR_SUBMOUNT;
}

static void fill_found(struct op *op, struct inode *inode, const struct statx *stx,
		       struct fuse_entry_out *out)
{
	entry_fill(op->fs, op->node, inode, stx, out);
	entry_mark_submount(op->node, inode, out);
	inode_put(inode);
}

int reply_entry(struct op *op, struct inode *inode, const struct statx *stx)
{
	struct fuse_entry_out out;

	fill_found(op, inode, stx, &out);
	return reply(op, &out, sizeof(out));
}

int reply_made(struct op *op, struct inode *inode, const struct statx *stx)
{
	struct fuse_entry_out out;

	fill_found(op, inode, stx, &out);
	return reply_names(op, &out, sizeof(out));
}

int reply_names(struct op *op, const void *body, size_t len)
{
	struct fuse_attr_out dir = {.attr_valid = attr_valid_s(op->fs, op->node)};
	uint8_t both[NAMES_BODY_MAX + sizeof(dir)];
	struct statx stx;

	if (!fs_agreed_beyond(op->fs, AGREE_DIRECTORY_ATTR) ||
	    len + sizeof(dir) > reply_room(op->req) || inode_statx(op->node->fd, &stx) < 0)
		return reply(op, body, len);
	attr_fill(op->fs, op->node, &stx, &dir.attr);
	if (len)
		memcpy(both, body, len);
	memcpy(both + len, &dir, sizeof(dir));
	return reply(op, both, len + sizeof(dir));
}

int reply_attr(struct op *op, struct inode *inode, const struct statx *stx)
{
	struct fuse_attr_out out = {.attr_valid = attr_valid_s(op->fs, inode)};

	attr_fill(op->fs, inode, stx, &out.attr);
	return reply(op, &out, sizeof(out));
}
