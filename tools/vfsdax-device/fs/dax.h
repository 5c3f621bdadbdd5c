/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dax: what is mapped where in the window. A mapping is of a file's pages, not of an inode: it
 * outlives FORGET and unlink, and holds nothing open on our side.
 */
#ifndef VFSDAX_DEVICE_FS_DAX_H
#define VFSDAX_DEVICE_FS_DAX_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fs;

struct mapping {
	uint64_t win_off;
	uint64_t len_bytes;
	uint64_t nodeid;
	uint64_t file_off;
};

struct dax_table {
	/* Guards the table and orders it with the front end: held while that maps or unmaps. */
	pthread_mutex_t mutex;
	struct mapping *sorted; /* by win_off; they do not overlap */
	size_t n, capacity;
};

void dax_table_init(struct fs *fs);
/* `unmap`: also takes them out of the window. */
void dax_table_clear(struct fs *fs, bool unmap);
void dax_table_fini(struct fs *fs);

#endif
