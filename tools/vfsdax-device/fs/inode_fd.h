/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * inode_fd: how many inodes may hold a descriptor. A guest's kernel remembers as many names as
 * it has memory for, more than a process may have files open. So when there are too many,
 * descriptors of inodes that are not in use are closed; the file's handle
 * (name_to_handle_at(2)) is kept, by which it is opened again when it is asked for.
 *
 * A handle names a file and its generation, so a file deleted meanwhile is -ESTALE and never the
 * next one that got its number. The handles are our own: no byte of them comes from the guest.
 *
 * It needs CAP_DAC_READ_SEARCH and a file system with handles, for each mount in the share
 * (mounts.h). Elsewhere inodes keep their descriptors and the guest gets EMFILE in the end.
 */
#ifndef VFSDAX_DEVICE_FS_INODE_FD_H
#define VFSDAX_DEVICE_FS_INODE_FD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fs;
struct found_at;
struct inode;
struct mount;
struct statx;

struct fd_budget {
	bool use_handles; /* they work for the root */
	size_t limit;
	int ceiling; /* numbers from here on are for the front end's descriptors, not for files */
	_Atomic bool near; /* the last one came close to it */
	_Atomic size_t n_open;
	_Atomic unsigned next_shard; /* where the search for something to close continues */
};

/* Asks the limit of the process, which main raises before. -ENOTSUP where handles are mandatory and
 * do not work, after one line of log. */
int inode_fds_init(struct fs *fs, int root_fd, const struct statx *stx);
void inode_fds_fini(struct fs *fs);

/* The mount of a file that the guest did not know, for its inode; NULL: it keeps its descriptor. */
struct mount *inode_fds_mount(struct fs *fs, int path_fd, const struct statx *stx,
			      const struct found_at *at);

/*
 * What a guest can have opened must not keep a message of the front end from being received. The
 * descriptor that was just opened for the guest, unless its number is among those kept for that:
 * then it is closed, and errno is EMFILE. -1 passes.
 */
int inode_fd_admit(struct fs *fs, int fd);
/* Before a file is made, which could not be taken back: false where there is no number for it. */
bool inode_fds_left(struct fs *fs);

/* Counts a descriptor that an inode owns from now on; others may be closed for it. */
void inode_fds_opened(struct inode *inode);
/* Closes some; false when there was nothing to close. To be called on EMFILE. */
bool inode_fds_make_room(struct fs *fs);

/*
 * Makes a referenced inode's descriptor stay open until the reference is put. 0; -ESTALE when the
 * file is gone.
 */
int inode_fd_pin(struct inode *inode);
/* With the by_id shard locked: gives `to` the descriptor of `from` if it has none. */
void inode_fd_swap(struct inode *to, struct inode *from);
/* With the by_id shard locked: closes it where nobody uses it and there is a handle. */
bool inode_fd_let_go(struct inode *inode);
/* Of an inode that no other thread can reach, or with the by_id shard locked and no users. */
void inode_fd_close(struct inode *inode);

#endif
