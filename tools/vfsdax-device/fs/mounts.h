/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mounts: an open file of each mount in the share of which the guest knows files, for
 * open_by_handle_at(2), which wants one of the same mount. While it is open the host cannot
 * unmount it. So it is closed, too, when none of these files has a descriptor, and opened again by
 * the name at which the guest came to the mount. What is no longer there is -ESTALE, as its files
 * are.
 */
#ifndef VFSDAX_DEVICE_FS_MOUNTS_H
#define VFSDAX_DEVICE_FS_MOUNTS_H

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/list.h"

struct fs;
struct inode;

struct mounts {
	struct mount *root; /* of the share itself: used without the lock, not counted */
	pthread_mutex_t lock;
	struct list all; /* the others */
};

struct mount {
	struct list link;
	uint64_t id;
	bool has_handles;	 /* its files do, and they open something */
	_Atomic unsigned n_open; /* descriptors that inodes of it have */
	/* The rest is guarded by the lock. */
	unsigned refs;
	int fd;		/* -1: closed */
	unsigned users; /* of fd */
	bool recent;	/* used since the last sweep */
	/* Where it is mounted: a directory of another one, by its handle, and a name there. NULL:
	 * not known, so fd stays open. */
	struct mount *above;
	unsigned depth; /* more than that of the one above */
	struct file_handle *dir;
	char name[NAME_MAX + 1];
};

/* By which name a file was found; of a file that was made or open already, NULL. */
struct found_at {
	const struct inode *dir;
	const char *name;
};

/* With the share's own mount as the first; false: its files have no handles. */
bool mounts_init(struct fs *fs, int root_fd, uint64_t id);
/* No file is left. */
void mounts_fini(struct mounts *m);

/* The mount of a file that is open with O_PATH: a reference, or NULL when it cannot be opened now.
 * Only a directory or a regular file makes a mount known that is not. */
struct mount *mount_get(struct fs *fs, uint64_t id, int path_fd, mode_t type,
			const struct found_at *at);
void mount_put(struct mounts *m, struct mount *mount);

/* The handle of an open file, to be freed, or NULL where there are none. */
struct file_handle *mount_handle(int fd);
/* What it is of, O_PATH; or -errno. */
int mount_open_handle(struct fs *fs, struct mount *mount, struct file_handle *handle);
/* Closes those that were not used since the last call. */
void mounts_sweep(struct fs *fs);

#endif
