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
#include <sys/types.h>

#include "base/extents.h"

struct fs;

struct mapping {
	struct extent x; /* of the window */
	uint64_t nodeid;
	uint64_t file_off;
};

struct dax_table {
	/* Guards the table and orders it with the front end: held while that maps or unmaps. */
	pthread_mutex_t mutex;
	struct extents mappings; /* struct mapping */
};

/*
 * May files of this mode be in the window? A front end that takes only descriptors which are open
 * for writing makes the guest a writer of each file that it reads, and the host executes none that
 * has a writer (ETXTBSY).
 */
bool dax_may_map(struct fs *fs, mode_t mode);

void dax_table_init(struct fs *fs);
/* `unmap`: also takes them out of the window. */
void dax_table_clear(struct fs *fs, bool unmap);
void dax_table_fini(struct fs *fs);

#endif
