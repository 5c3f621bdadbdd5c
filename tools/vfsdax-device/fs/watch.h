/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * watch: what happens on the host to the files that the driver knows. Each inode gets a mark of a
 * fanotify group when it comes into the table, and loses it when it leaves; so what is watched is
 * what is known, whatever else goes on in the file system, and whichever name a change comes by. A
 * group without capabilities does (Linux 5.17): it tells our own process's changes from others',
 * and files by their handles, which are the key here.
 *
 * Before anything of a file is answered that may be believed for long it has its mark: see
 * inode.c. What cannot be marked (there are fs.fanotify.max_user_marks, and file systems without
 * handles) is not believed for long; attr.c. Nor is what lies on a server, where others change it
 * unseen.
 *
 * Nothing tells of what is stored through a mapping of a file (mmap(2)). What the driver's kernel
 * writes by itself to a file that it has been passed makes events that say nothing: while that goes
 * on the file has a mark to ignore them; watch_ignore().
 */
#ifndef VFSDAX_DEVICE_FS_WATCH_H
#define VFSDAX_DEVICE_FS_WATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "table.h"
#include "tell.h"

struct fs;
struct inode;
struct statx;
struct watched;

struct watch {
	int fd;		/* the fanotify group; -1: nothing can be watched */
	int wake_fd;	/* eventfd: a buffer has come, or the end */
	atomic_bool on; /* somebody wants to be told */
	atomic_bool ends;
	atomic_bool complained;	    /* that something cannot be watched */
	_Atomic uint64_t local_dev; /* the last one that is_local() has found; +1, 0: none */
	_Atomic uint64_t clock;	    /* how many marks were set; inode.marked_at */
	/* Files that the driver's kernel has written by itself until they were closed, counted
	 * (inode.passed_end); all up to `drained` have no event left that is not read. */
	_Atomic uint64_t passed_ends, drained;
	atomic_bool idle; /* the thread sleeps until something comes */
	/* Hash of the handle -> struct watched. Its shards are taken inside those of the inode
	 * tables, and held while a mark is set or taken away. */
	struct table by_handle;
	pthread_t thread;
	struct tell tell;
};

/* The thread runs then, if anything can be watched. Never fails: without it nothing is told. */
void watch_init(struct fs *fs);
/* The thread ends; the inodes may still have marks. */
void watch_stop(struct fs *fs);
void watch_fini(struct fs *fs);

/* A session begins, or is over (then nothing is agreed on). */
void watch_begin(struct fs *fs, uint32_t agreed);
/* The driver is gone: every buffer has been given back, and nobody wants to be told. */
void watch_end(struct fs *fs);

/* A new inode, whose descriptor is open; before it can be found by others, or with the shard of its
 * key locked. */
void watch_add(struct inode *inode);
/* Its mark may be younger than the attributes that were asked for when watch.clock was `clock`:
 * then they are asked for again, so that no change is missed in between. */
void watch_ask_again(const struct inode *inode, uint64_t clock, struct statx *stx);
/* The driver's kernel writes the file by itself, by a handle more, or less: what is written then
 * is not the host's doing. */
void watch_pass(struct inode *inode);
void watch_pass_no_more(struct inode *inode);
/* It has left the tables, and nobody uses it. */
void watch_remove(struct inode *inode);

#endif
