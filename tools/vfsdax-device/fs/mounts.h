/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mounts: an open file of each mount in the share of which the guest knows files, for
 * open_by_handle_at(2), which wants one of the same mount. A mount stays in use as long, as it
 * would by the files' own descriptors.
 */
#ifndef VFSDAX_DEVICE_FS_MOUNTS_H
#define VFSDAX_DEVICE_FS_MOUNTS_H

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/list.h"

struct fs;

struct mounts {
	struct mount *root; /* of the share itself: used without the lock, not counted */
	pthread_mutex_t lock;
	struct list all; /* the others */
};

struct mount {
	struct list link;
	uint64_t id;
	unsigned refs; /* guarded by the lock */
	int fd;	       /* -1: its files have no handles, or they open nothing */
};

/* With the share's own mount as the first; false: its files have no handles. */
bool mounts_init(struct fs *fs, int root_fd, uint64_t id);
/* No file is left. */
void mounts_fini(struct mounts *m);

/* The mount of a file that is open with O_PATH: a reference, or NULL when it cannot be opened now.
 * Only a directory or a regular file makes a mount known that is not. */
struct mount *mount_get(struct fs *fs, uint64_t id, int path_fd, mode_t type);
void mount_put(struct mounts *m, struct mount *mount);

/* The handle of an open file, to be freed, or NULL where there are none. */
struct file_handle *mount_handle(int fd);
/* What it is of, O_PATH; or -errno. */
int mount_open_handle(struct fs *fs, const struct mount *mount, struct file_handle *handle);

#endif
