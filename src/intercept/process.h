/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* process and mounts, for files.c. */
#ifndef VFSDAX_INTERCEPT_PROCESS_H
#define VFSDAX_INTERCEPT_PROCESS_H

#include "intercept.h"
#include "lib/direct.h"

/* What the calling thread had before process_enter(). */
struct before {
	sigset_t signals;
	int cancel;
};

/* Never waits. False: another thread is there, a handler of the program's runs, or the memory is
 * not this process's. No handler of the program's runs inside, and no thread is cancelled there. */
bool process_enter(struct before *b);
void process_leave(const struct before *b);

extern struct file files[FILES_MAX];
/* files.c: from now on it is not served. */
void file_becomes_kernels(struct file *f, const char *why);
/* ends.c: the mount at the other end knows of none of its files any more. */
void files_note_gone(int sock);
/* What is open now the child will have too, and write: the mount is not told of an end. */
void files_before_fork(void);
/* Memory of the window is the parent's. */
void files_in_child(void);
/* The parent does not know of this child, and may tell the mount. */
void files_in_unknown_child(void);

/* ---- fetch.c; inside process_enter() ---- */

/* What the mount gives for a file. */
struct given {
	int host;
	uint64_t id;
	struct direct_view view; /* .gate: NULL where it gives the host's file */
};

/* 0 or -errno; with 0 all of it is the caller's. */
int fetch_file(struct mount *m, int fd, bool writes, struct given *given);
/* But for `host` and `id` it becomes the file's, which has them already. */
void fetch_into(struct file *f, const struct given *given);

/* ---- paged.c; inside process_enter() ---- */

struct statx;
bool paged_has(const struct statx *stx);
void paged_add(const struct statx *stx);

/* ---- mounts.c ---- */

#define ENDED_MAX 64

/* Device numbers that have been seen; process_enter() guards all but the first three fields. */
struct mount {
	unsigned major, minor;
	enum { MOUNT_NONE, MOUNT_ELSEWHERE, MOUNT_OURS } kind;
	struct vfsdax_conn *conn; /* NULL: none yet */
	bool refused;
	bool windowed; /* it has no files of the host's */
	char why[DIRECT_REASON_BYTES];
	_Atomic uint64_t ended[ENDED_MAX]; /* ids of files that are no more; 0: free */
};

struct mount *mount_find(unsigned major, unsigned minor);
/* What a device number is of; NULL: not to be found out now. */
struct mount *mount_learn(unsigned major, unsigned minor);
/* Inside process_enter(). 0 or -errno, and the mount is refused. */
int mount_connect(struct mount *m, int fd);
/* A file is no more. Takes no lock: the mount hears of it with the next request, since a connection
 * is used by one thread at a time. */
void mount_note_ended(struct mount *m, uint64_t id);
void mount_tell_ended(struct mount *m);
void mounts_in_child(void);
/* No connection has this socket any more. */
void mounts_evict(int sock);

#endif
