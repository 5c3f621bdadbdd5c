/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * inode: the files that the guest knows, by nodeid. An inode owns an O_PATH descriptor, which
 * keeps the host's inode number from being used again while the guest knows the file; when there
 * are too many of them, inode_fd.h closes some that are not in use and opens them again later.
 * Says nothing about open files (handle.h) or mappings (dax.h).
 *
 * nodeids count up and are never used twice, so a generation is not needed: an old nodeid is
 * unknown, never another file. (A session would need 2^64 lookups to wrap.)
 */
#ifndef VFSDAX_DEVICE_FS_INODE_H
#define VFSDAX_DEVICE_FS_INODE_H

#include <sys/stat.h>

#include "fs.h"

/* Two names are one inode when all of it is equal. The mount counts because flags hang on it. */
struct inode_key {
	uint64_t dev;
	uint64_t ino;
	uint64_t mnt_id;
};

struct inode {
	struct table_node by_id;  /* hash of nodeid */
	struct table_node by_key; /* hash of key */
	struct inode_key key;
	uint64_t nodeid;
	struct ref refs;  /* one for the tables, one for each user */
	uint64_t nlookup; /* guarded by the by_key shard; 0 once it has left the tables */
	/*
	 * O_PATH | O_NOFOLLOW, or -1. Guarded by the by_id shard; every reference that the
	 * functions below give out keeps it open, so their users read it without a lock.
	 */
	int fd;
	struct mount *mount;	    /* of which the handle is; NULL: fd stays open */
	struct file_handle *handle; /* the way back, once fd was closed; guarded like it */
	bool no_handle;		    /* the file system has none for it; guarded like it */
	bool linked;		    /* had a name when it was found: so st_nlink means something */
	_Atomic bool recent;	    /* used since the last search for something to close */
	bool dead; /* was deleted on the host while closed; guarded by the by_key shard */
	struct fs *fs;
	mode_t type; /* the S_IFMT bits; they never change */
	/* FS_DAX_FL as last read: the ctime it was read at, in ns, shifted left, and the flag. */
	_Atomic uint64_t dax_flag_cache;
	_Atomic unsigned opens; /* handles of it */
	_Atomic bool dirtied;	/* data was written, or may be through the window */
	/* A directory without an ACL at this ctime, in ns; search.h. */
	_Atomic uint64_t no_acl_at;
	/* watch.h. NULL, and 0: what the host does to it is not seen. Else watch.clock when its
	 * mark was set: attributes that were asked for before may be older than what was told. */
	struct watched *watched;
	_Atomic uint64_t marked_at;
	_Atomic unsigned passed;     /* handles by which the driver's kernel writes it by itself */
	_Atomic bool ignored;	     /* what is written to it makes no events; watch_ignore() */
	_Atomic uint64_t passed_end; /* watch.passed_ends when the last one of them was closed */
};

/* Takes root_fd, also when it fails. */
int inode_table_init(struct fs *fs, int root_fd, const struct statx *stx);
/* Forgets all inodes except the root. */
void inode_table_clear(struct fs *fs);
void inode_table_fini(struct fs *fs);

/* A reference on a known inode; -ESTALE when there is none. */
int inode_get(struct fs *fs, uint64_t nodeid, struct inode **out);
void inode_put(struct inode *inode);

/*
 * Finds `name` (checked by op_take_name) in a directory with the credentials that the thread has,
 * counts one lookup, and returns a referenced inode and its attributes.
 */
int inode_lookup(struct fs *fs, struct inode *parent, const char *name, struct inode **out,
		 struct statx *stx);
/* The same for a file that is already open; `fd` stays the caller's. */
int inode_of_open_file(struct fs *fs, int fd, struct inode **out, struct statx *stx);

/* Takes lookups back; at 0 the nodeid is unknown. Unknown nodeids and the root are left alone. */
void inode_forget(struct fs *fs, uint64_t nodeid, uint64_t nlookup);

/*
 * Opens the file behind the inode with the credentials that the thread has; a descriptor or
 * -errno. Not for symbolic links, and never for devices or FIFOs: opening those does things.
 */
int inode_open(struct fs *fs, const struct inode *inode, int flags);

/* inode_sweep.c: closes descriptors of inodes that were not used for a few calls. */
void inode_sweep(struct fs *fs);

/* What statx says about a descriptor, with what the tables and replies need. */
int inode_statx(int fd, struct statx *stx);

/* "123": a descriptor's name below fs->proc_fd. */
struct fd_name {
	char s[12];
};
struct fd_name fd_name(int fd);

/* Data of the file was, or is about to be, written. */
static inline void inode_dirty(struct inode *inode)
{
	if (!atomic_load_explicit(&inode->dirtied, memory_order_relaxed))
		atomic_store(&inode->dirtied, true);
}

static inline bool inode_is_dirtied(const struct inode *inode)
{
	return atomic_load(&inode->dirtied);
}

static inline bool inode_is_reg(const struct inode *inode)
{
	return S_ISREG(inode->type);
}

static inline bool inode_is_dir(const struct inode *inode)
{
	return S_ISDIR(inode->type);
}

#endif
