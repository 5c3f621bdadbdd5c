/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * handle: open files and directories, by fh. A handle owns its descriptor and a reference on
 * its inode. What a guest says about an fh is believed only when the kind and the nodeid agree.
 * fh values count up and are never used twice in the life of the process.
 */
#ifndef VFSDAX_DEVICE_FS_HANDLE_H
#define VFSDAX_DEVICE_FS_HANDLE_H

#include "fs.h"
#include "inode.h"

enum handle_kind { HANDLE_FILE, HANDLE_DIR };

struct handle {
	struct table_node by_fh;
	uint64_t fh;
	struct ref refs; /* one for the table, one for each user */
	enum handle_kind kind;
	int fd;
	struct inode *inode;
	_Atomic bool passed; /* inode.passed counts it */
	_Atomic bool locked; /* a lock was asked for through it: RELEASE has one to look for */

	/* HANDLE_DIR. Guards the stream's position, which the descriptor has only one of. */
	pthread_mutex_t dir_lock;
	uint64_t dir_pos;   /* the cookie at which the descriptor stands... */
	bool dir_begun;	    /* it was read from its beginning, once */
	bool dir_pos_known; /* ...unless a reply ended between two entries of a getdents */
};

int handle_table_init(struct fs *fs);
void handle_table_clear(struct fs *fs);
void handle_table_fini(struct fs *fs);

/* Makes a handle that owns `fd` (closed on failure). 0 and the fh. */
int handle_open(struct fs *fs, struct inode *inode, enum handle_kind kind, int fd, uint64_t *fh);

/* A referenced handle, or NULL when this guest has no such handle of this kind and file. */
struct handle *handle_get(struct fs *fs, uint64_t fh, enum handle_kind kind, uint64_t nodeid);
void handle_put(struct handle *handle);
/* The driver's kernel has the file from here on, opened like this: if it may write, or map for
 * writing, no request says so. */
void handle_pass(struct handle *handle, uint32_t open_flags);

/* Makes fh unknown and passes the table's reference to the caller; NULL when it was unknown. */
struct handle *handle_take(struct fs *fs, uint64_t fh, enum handle_kind kind);

#endif
