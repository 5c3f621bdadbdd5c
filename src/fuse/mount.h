/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuse/mount: the kernel's side of a mount: checking the mountpoint, mounting through libfuse3
 * (which knows fusermount3 for users), clones of /dev/fuse, unmounting.
 */
#ifndef VFSDAX_FUSE_MOUNT_H
#define VFSDAX_FUSE_MOUNT_H

#include <stdbool.h>
#include <sys/types.h>

#define FUSE_MOUNT_SUBTYPE "vfsdax"

/* Flags of mount(2), MS_*, that are set and cleared; those that are in neither stay. */
struct fusemnt_flags {
	unsigned long set, clear;
};
/* Older headers do not have it. */
#define MOUNT_NOSYMFOLLOW 256ul

struct fusemnt;

struct fusemnt_params {
	const char *mountpoint;
	const char *fsname; /* what mount(8) shows as the device */
	/* Options for the kernel and libfuse3, comma-separated: "ro,allow_other"; may be "". */
	const char *options;
	bool nonempty;
	/* What libfuse3 knows nothing of. */
	struct fusemnt_flags flags;
};

/*
 * Is the mountpoint an existing, empty directory that is not mounted by us already? One that a
 * killed daemon left dead (ENOTCONN) is unmounted first. 0 or -errno after one log line.
 */
int fusemnt_check(const struct fusemnt_params *params);

/* Mounts. 0 or -errno after one log line. The kernel's INIT waits on fusemnt_fd() then. */
int fusemnt_open(const struct fusemnt_params *params, struct fusemnt **out);
/*
 * The mount of another driver, which has died, at this canonical path: its connection and its
 * clones of that, which are the mount's from here on, also if it fails. 0 or -errno.
 */
int fusemnt_adopt(const char *path, int fd, const int *clones, unsigned n, struct fusemnt **out);
/*
 * Then: what that driver has read and not answered is there to be read again, before all else. 0;
 * -ENOTSUP: before Linux 6.9 the kernel cannot, and their callers got ECONNABORTED; or -errno.
 */
int fusemnt_resend(struct fusemnt *m);
/* Changes the flags of what is mounted there, and nothing if they are so already; -errno of
 * mount(2) or, where nothing of ours is mounted, -EINVAL. */
int fusemnt_set_flags(const char *mountpoint, const struct fusemnt_flags *flags);
int fusemnt_fd(const struct fusemnt *m);
/* Where it is mounted, or was. */
const char *fusemnt_path(const struct fusemnt *m);
/* The i-th further descriptor of the same connection, i < FUSEMNT_CLONES, with a processing list of
 * its own: requests that were read from it are answered on it, and lost when it is closed. So it is
 * the mount's, and the same as long as that. -errno. */
#define FUSEMNT_CLONES 1024
int fusemnt_clone(struct fusemnt *m, unsigned i);
unsigned fusemnt_clones(const struct fusemnt *m); /* how many there are */
/* The device number that files of the mount have (st_dev). -ENOENT: it is not mounted any more. */
int fusemnt_device(const struct fusemnt *m, dev_t *dev);
/* Detaches the mount, also when it is busy or has been unmounted already. */
void fusemnt_unmount(struct fusemnt *m);
/* Unmounts if that was not done and closes the connection: readers and callers get ENODEV. */
void fusemnt_close(struct fusemnt *m);

#endif
