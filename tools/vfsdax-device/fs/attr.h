/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * attr: what replies say about a file: attributes, how long they may be cached, and whether it
 * is for the DAX window (FUSE_ATTR_DAX, by the policy of --dax).
 */
#ifndef VFSDAX_DEVICE_FS_ATTR_H
#define VFSDAX_DEVICE_FS_ATTR_H

#include "fs.h"
#include "inode.h"

void attr_fill(struct fs *fs, struct inode *inode, const struct statx *stx, struct fuse_attr *out);
void entry_fill(struct fs *fs, const struct inode *parent, struct inode *inode,
		const struct statx *stx, struct fuse_entry_out *out);

/* Tells a guest that wants to know (FUSE_SUBMOUNTS) that the entry is the root of another mount
 * than its parent's: it then has a device number of its own there. */
void entry_mark_submount(const struct inode *parent, const struct inode *inode,
			 struct fuse_entry_out *out);

/* Seconds for which attributes are valid, and of a directory the names in it, by --cache. */
uint64_t attr_valid_s(const struct fs *fs, const struct inode *inode);

/*
 * The inode number as the guest sees it. Where mounts inside the directory are shown
 * as plain directories of one file system, numbers of other devices are out of the way of ours.
 */
uint64_t attr_ino(const struct fs *fs, uint64_t dev, uint64_t ino);

/* FOPEN_ flags by --cache. */
uint32_t open_flags_file(const struct fs *fs);
uint32_t open_flags_dir(const struct fs *fs);

/* Answer with an entry, which puts the inode, or with attributes, which does not. */
int reply_entry(struct op *op, struct inode *inode, const struct statx *stx);
/* The same for an entry that was made. */
int reply_made(struct op *op, struct inode *inode, const struct statx *stx);
/* Names in op->node have changed: `body`, at most NAMES_BODY_MAX bytes, and what it is like now,
 * for a client that wants to know (AGREE_DIRECTORY_ATTR). */
#define NAMES_BODY_MAX (sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out))
int reply_names(struct op *op, const void *body, size_t len);
int reply_attr(struct op *op, struct inode *inode, const struct statx *stx);

#endif
