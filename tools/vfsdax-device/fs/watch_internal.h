/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* watch_internal: watch.c has the marks and the thread, watch_read.c what the events mean. */
#ifndef VFSDAX_DEVICE_FS_WATCH_INTERNAL_H
#define VFSDAX_DEVICE_FS_WATCH_INTERNAL_H

#include "fs.h"
#include "watch_event.h"

/* Inodes of one file, in other mounts, or of several files whose handles are alike. */
#define WATCH_ALIKE_MAX 8

/* How many there are that the driver knows, and their nodeids. NULL: none. */
unsigned watch_find(struct watch *w, const struct file_handle *h, uint64_t ids[WATCH_ALIKE_MAX]);
/* Reads what there is, at most so much at once. True: there was something. */
bool watch_read_events(struct fs *fs);

#endif
