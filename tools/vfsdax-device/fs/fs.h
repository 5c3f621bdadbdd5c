/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fs: what the files of the file-system half share: the file system itself and one operation on
 * its way through it. Knows nothing of rings, sockets or guest memory beyond request.h.
 *
 * Order of locks, outermost first. Whoever holds one may take only those below it.
 *
 *   session_lock           the end and the beginning of a session (INIT, DESTROY, reset)
 *   handle.dir_lock        one directory stream: its position (handle.h)
 *   dax.mutex              what is mapped where; held while the front end maps (dax.h)
 *   inodes.by_key shards   identity -> inode, and nlookup (inode.h)
 *   inodes.by_id shards    nodeid -> inode
 *   handles shards         fh -> handle (handle.h)
 *   locks.order            the host's locks and what is written down of them, of some files
 *   watch.by_handle shards handle -> nodeid; held while a mark is set (watch.h)
 *   tell.delivering, tell.lock   what is to be told (tell.h)
 *   locks.mutex            lock owners, blocked locks, early interrupts (lock.h)
 */
#ifndef VFSDAX_DEVICE_FS_H
#define VFSDAX_DEVICE_FS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "wire/agreement.h"
#include "wire/fuse.h"

#include "dax.h"
#include "inode_fd.h"
#include "lock.h"
#include "mounts.h"
#include "table.h"
#include "request.h"
#include "stale.h"
#include "watch.h"

#define FS_MAX_WRITE_BYTES MIB
#define FS_MAX_PAGES	   256
/* What Linux maps at once, at multiples of it, past the end of a file too; FUSE_DAX_SHIFT there. */
#define DAX_FOREIGN_BYTES  (2 * MIB)

struct inode;
struct xattrmap;

struct inode_table {
	struct table by_id;
	struct table by_key;
	_Atomic uint64_t next_id;
	struct inode *root;
	struct fd_budget fds; /* inode_fd.h */
	struct mounts mounts;
	unsigned sweep_shard; /* where inode_sweep() goes on; of the one thread that calls it */
};

struct handle_table {
	struct table by_fh;
	_Atomic uint64_t next_fh;
};

struct fs {
	struct fs_options options;
	struct shmem *shmem;
	int proc_fd; /* O_PATH of /proc/self/fd: the way from an O_PATH descriptor to an open one */
	bool privileged; /* may become the caller; else everything runs as the process user */
	uint64_t root_dev;
	bool offsets_stay; /* those of directories, whoever opens them; on the root's device */
	struct xattrmap *xattrmap; /* NULL: names are the host's */

	/* The session: written under session_lock by INIT, DESTROY and fs_reset, which may come on
	 * several queues at once; read by every request. */
	pthread_mutex_t session_lock;
	_Atomic bool ready;
	_Atomic bool init_refused;   /* and logged */
	_Atomic uint64_t init_flags; /* what both sides agreed on, flags2 in the upper half */
	/* Beyond FUSE, with our own driver: enum agreement_flags. Until the next INIT, so that a
	 * request which is still under way when its session ends is not judged by other rules. */
	_Atomic uint32_t agreed;

	struct inode_table inodes;
	struct handle_table handles;
	struct lock_table locks;
	struct dax_table dax;
	struct watch watch;
	struct stale stale;
};

static inline bool fs_agreed(struct fs *fs, uint64_t flag)
{
	return atomic_load_explicit(&fs->init_flags, memory_order_relaxed) & flag;
}

/* Beyond FUSE: one of enum agreement_flags. */
static inline bool fs_agreed_beyond(const struct fs *fs, uint32_t flag)
{
	return atomic_load_explicit(&fs->agreed, memory_order_relaxed) & flag;
}

/*
 * True: nothing checks rights on the other side, so each request is done as its caller. False: the
 * guest's kernel has allowed what it sends, as with every virtio-fs mount.
 */
static inline bool fs_checks_rights(const struct fs *fs)
{
	return fs->options.check_permissions || fs_agreed_beyond(fs, AGREE_CHECK_PERMISSIONS);
}

/* Else it is one as Linux's, whose mappings are all of DAX_FOREIGN_BYTES. */
static inline bool fs_maps_any_size(const struct fs *fs)
{
	return fs_agreed_beyond(fs, AGREE_DAX_ANY_SIZE);
}

/*
 * Forgets the session there was, and begins one with these flags (of INIT, and beyond FUSE), or
 * (fs_end_session) none. The device is running, so what is mapped is taken out of the window as
 * well. Other threads may be inside requests; what they hold stays valid until they let go of it.
 */
void fs_begin_session(struct fs *fs, uint64_t init_flags, uint32_t agreed);
void fs_end_session(struct fs *fs);

/* One request being served. Lives on the stack of its thread. */
struct op {
	struct fs *fs;
	struct request *req;
	struct fuse_in_header in; /* our copy; in.len is checked against the readable bytes */
	struct bytes args;	  /* our copy of the arguments, without the extensions */
	struct inode *node;	  /* in.nodeid, referenced, where the table asks for it */
	bool nobody;		  /* the caller has an id that --translate-uid or -gid forbids */
	/* Supplementary groups of the caller: one of FUSE_CREATE_SUPP_GROUP, or all of them. Of 4
	 * bytes each, not aligned. */
	uint32_t n_groups;
	const uint8_t *groups;
	/* label.h: what a new file gets; name NULL: nothing. */
	const char *label_name;
	const uint8_t *label;
	uint32_t label_len;
	/* note.h: there is room for a note; one has come back, and which. */
	bool noted, repeats;
	struct agreement_note note;
};

/* Takes the fixed part of the arguments, whose length the table has checked. */
static inline void op_take(struct op *op, void *in, size_t len)
{
	if (!bytes_take(&op->args, in, len))
		memset(in, 0, len); /* a row with too small a min_args; never with this table */
}

/*
 * Takes a name from the arguments: one path component that is neither empty, "." nor "..", and at
 * most NAME_MAX bytes. This check and O_NOFOLLOW are what keeps a request inside the directory.
 */
int op_take_name(struct op *op, const char **name);

#endif
