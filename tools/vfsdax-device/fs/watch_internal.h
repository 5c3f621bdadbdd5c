/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* watch_internal: watch.c has the marks, watch_thread.c the thread, watch_read.c what the events
 * mean. */
#ifndef VFSDAX_DEVICE_FS_WATCH_INTERNAL_H
#define VFSDAX_DEVICE_FS_WATCH_INTERNAL_H

#include "fs.h"
#include "watch_event.h"

/* Inodes of one file, in other mounts, or of several files whose handles are alike. */
#define WATCH_ALIKE_MAX 8

struct watch_found {
	uint64_t nodeid;
	bool passed; /* events may be of what the driver's kernel has written */
};
/* How many there are that the driver knows. NULL: none. */
unsigned watch_find(struct watch *w, const struct file_handle *h,
		    struct watch_found found[WATCH_ALIKE_MAX]);
/* Reads what there is, at most so much at once. True: there was something. */
bool watch_read_events(struct fs *fs);

/* No events of what is written to a file that the driver's kernel writes by itself: each costs more
 * than such a write. Until the last one of its handles is closed; then whatever was written
 * meanwhile is told at once, and meanwhile its attributes are believed for no time (attr.c). */
void watch_ignore(struct inode *inode);
/* ... if that was so. */
bool watch_hear(struct inode *inode);

void *watch_main(void *fs);
void watch_wake(struct watch *w);

#endif
