/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * proc_path: a path for the calls that take nothing else. There are no *xattrat calls on the
 * kernels we run on, so the file is named through /proc. The link there leads to the file itself,
 * also when that is a symbolic link, a device or a FIFO.
 */
#ifndef VFSDAX_DEVICE_FS_PROC_PATH_H
#define VFSDAX_DEVICE_FS_PROC_PATH_H

#include "inode.h"

/* Good for the calling thread, whose working directory becomes fs->proc_fd: in a sandbox no /proc
 * is mounted. */
struct fd_name proc_path(const struct inode *inode);

#endif
