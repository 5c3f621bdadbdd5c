/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/internal: what the files of libvfsdax share.
 *
 *   vfsdax.h  ─  share open file names xattr dir io map queue      one file a chapter of the header
 *                  └─ path: walks of LOOKUPs                       who is meant by a path
 *                       └─ call: one message and its answer
 *                            └─ wait: who reaps, who sleeps
 *                                 └─ bridge/caller.h
 *
 * Locks, none taken inside another unless it says so: lane.lock (its lane's functions; done() of a
 * call runs under some lane's), wait_lock (the waiters), queue.lock and map.lock (leaves),
 * late_lock.
 */
#ifndef VFSDAX_LIB_INTERNAL_H
#define VFSDAX_LIB_INTERNAL_H

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/bytes.h"
#include "base/list.h"
#include "base/log.h"
#include "base/spin.h"
#include "bridge/caller.h"
#include "fs/fs.h"
#include "vfsdax/vfsdax.h"
#include "wire/fuse.h"

struct claim;

/* ------------------------------------------------------------------ a share */

struct lane {
	struct bridge_lane *bridge;
	pthread_mutex_t lock;
	atomic_uint watchers; /* descriptors of queues that want its calls */
	atomic_flag polled; /* a thread has claimed `spin` for the length of its wait */
	struct spin spin;
} __attribute__((aligned(64)));

/* A directory and how it was reached, for "..". Each holds one lookup. */
struct dir {
	atomic_uint refs;
	uint64_t nodeid;
	struct dir *parent; /* NULL: the root, which is the share's own */
};

/* Somebody who waits for something that a done() tells. */
enum { WAITER_RUNS, WAITER_SLEEPS, WAITER_LEADS, WAITER_WOKEN };
struct waiter {
	_Atomic uint32_t state;
	struct list link; /* vfsdax.waiters, while share_wait() runs */
};

struct vfsdax {
	struct log_sink log;
	void (*log_to)(void *ctx, enum vfsdax_log_level level, const char *line);
	void *log_ctx;
	unsigned timeout_ms;
	bool readonly;
	uint64_t map_budget_bytes;

	struct transport *transport;
	struct claim *claim; /* NULL for a socket */
	struct fs_session *session;
	struct bridge *bridge;
	uint64_t flags;	 /* bridge_flags() */
	uint32_t io_max; /* bytes of one READ or WRITE */
	uint32_t uid, gid, pid, umask;
	struct dir root;

	unsigned n_lanes;
	struct lane *lanes;
	unsigned cpus;
	atomic_uint pollers; /* threads that poll a lane now */
	bool no_calls;	     /* some lane has no descriptor: to be polled */

	/* One waiter leads: it reaps for all, and sleeps in epoll; the others sleep on their own.
	 */
	pthread_mutex_t wait_lock;
	struct list waiters;
	struct waiter *leader;
	int epoll_fd, wake_fd;

	atomic_uint objects;	       /* files, maps and queues that are not closed */
	atomic_uint posted;	       /* calls that nobody waits for */
	atomic_bool lost;	       /* the holds were told that the device is gone */
	atomic_bool tending;	       /* somebody is in share_tend() */
	_Atomic uint64_t mapped_bytes; /* of vfsdax_map(), by length */
	atomic_bool no_flush, no_fsync, no_fsyncdir; /* the device does not know these */
	/* Files to be released as soon as messages can be sent. */
	pthread_mutex_t late_lock;
	struct list late;
	atomic_uint n_late;
};

/* vfsdax_attach(), to a transport that is there already and is the share's then, or to a source. */
int share_attach(const char *source, struct transport *transport,
		 const struct vfsdax_options *options, struct vfsdax **share);

/* Around the body of each function that a program calls: log lines go to the share's user. */
struct scope {
	const struct log_sink *before;
};
static inline struct scope scope_enter(const struct vfsdax *s)
{
	return (struct scope){log_swap_thread(&s->log)};
}
static inline void scope_leave(struct scope *scope)
{
	log_swap_thread(scope->before);
}
#define IN_SCOPE_OF(share)                                                         \
	__attribute__((cleanup(scope_leave), unused)) struct scope scope_of_call = \
		scope_enter(share)

/* What is to be done now and then by whoever comes along, without a lock of the library, not inside
 * a callback: tells holds that the device is lost; and releases files, which waits for answers. */
void share_tell_loss(struct vfsdax *s);
void share_tend(struct vfsdax *s);

/* ------------------------------------------------------------------ wait.c */

int wait_open(struct vfsdax *s);
void wait_close(struct vfsdax *s);
static inline void waiter_init(struct waiter *w)
{
	atomic_init(&w->state, WAITER_RUNS);
}
static inline bool waiter_woken(struct waiter *w)
{
	return atomic_load_explicit(&w->state, memory_order_acquire) == WAITER_WOKEN;
}
/* From any thread, also in done(). The waiter may be gone as soon as its state is set. */
void waiter_wake(struct vfsdax *s, struct waiter *w);
/* Reaps and blocks until the waiter is woken (true) or until_ns. Polls `lane` first. */
bool share_wait(struct vfsdax *s, struct waiter *w, struct lane *lane, uint64_t until_ns);
/* Reaps one lane, or, where another thread is at it, does nothing. How many done()s. */
unsigned lane_reap(struct lane *lane);
/* The same for who has the lock. */
unsigned lane_reap_locked(struct lane *lane);
unsigned share_reap(struct vfsdax *s);
/* The lane for this thread, now. */
struct lane *share_lane(struct vfsdax *s);
/* When something must be reaped though nothing came; UINT64_MAX: never. */
uint64_t share_deadline(struct vfsdax *s);
/* Asks the device to signal all lanes. True: something is there already. */
bool share_calls_on(struct vfsdax *s);

/* ------------------------------------------------------------------ call.c */

#define REQUEST_PIECES 4

struct request {
	uint32_t opcode;
	uint64_t nodeid;
	struct {
		const void *p;
		size_t len;
	} in[REQUEST_PIECES]; /* what follows the header */
	/* READ: where the data goes. */
	uint8_t *data;
	size_t data_len;
	/* The others: a copy of the answer; fewer bytes than out_min are -EIO, more than out_max
	 * too. */
	void *out;
	size_t out_min, out_max;
};

/* Sends it and waits: the bytes of the answer, or -errno, never -EINTR. No lock is held. */
ssize_t share_call(struct vfsdax *s, const struct request *r);
/* Sends it; nobody waits, the answer is not looked at. -EAGAIN: no buffer is free. */
int share_post(struct vfsdax *s, const struct request *r);
/* Writes it into the lane's buffer, but its header to `h`. False: no buffer is free. Under the lock. */
bool lane_write(struct vfsdax *s, struct lane *lane, const struct request *r,
		struct fuse_in_header *h);
/* -errno as a program may see it. */
int caller_error(int err);

/* ------------------------------------------------------------------ path.c */

struct dir *dir_get(struct dir *dir);
void dir_put(struct vfsdax *s, struct dir *dir);

#define WALK_FOLLOW  (1u << 0) /* a symbolic link at the end is followed */
#define WALK_MISSING (1u << 1) /* the last name need not exist: then nodeid is 0 */
#define WALK_NAME    (1u << 2) /* the last name is not looked up at all */

/* Where a path leads. */
struct place {
	struct dir *dir;	 /* the directory that it is, or that it is in */
	char name[NAME_MAX + 1]; /* in `dir`; "": it is `dir` */
	bool slash;		 /* the path ends with "/" */
	uint64_t nodeid;	 /* 0: nothing of that name, or not looked up */
	bool owned;		 /* its lookup is ours, not that of `dir` */
	bool fresh;		 /* `attr` is what the device says now; else only its type is */
	struct fuse_attr attr;
};

/* `from`: NULL: the root. 0: place_drop() it; -errno. */
int place_find(struct vfsdax *s, struct dir *from, const char *path, unsigned how, struct place *p);
void place_drop(struct vfsdax *s, struct place *p);
/* place_find() for what must exist. */
static inline int place_of(struct vfsdax *s, const char *path, bool follow, struct place *p)
{
	return place_find(s, NULL, path, follow ? WALK_FOLLOW : 0, p);
}

/* Checks a node that an answer names. */
bool entry_sane(const struct fuse_entry_out *entry);
bool attr_sane(const struct fuse_attr *attr);
int readlink_node(struct vfsdax *s, uint64_t nodeid, char target[PATH_MAX]);

/* ------------------------------------------------------------------ open.c, file.c */

struct vfsdax_file {
	struct vfsdax *share;
	uint64_t nodeid, fh;
	struct node *node;
	struct dir
		*dir;	/* of a directory, which has the lookup; NULL: a file, its lookup is ours */
	int flags;	/* O_ACCMODE, O_APPEND, O_SYNC, O_DSYNC */
	bool no_handle; /* the device has no OPEN: nothing to release */
	atomic_uint refs;	 /* the program's, and each map's */
	struct list late;	 /* vfsdax.late */
	struct listing *listing; /* dir.c */
};

static inline bool file_reads(const struct vfsdax_file *f)
{
	return (f->flags & O_ACCMODE) != O_WRONLY;
}
static inline bool file_writes(const struct vfsdax_file *f)
{
	return (f->flags & O_ACCMODE) != O_RDONLY;
}
/* Drops a reference; the last one releases the file: now, or where messages cannot be sent (in
 * done() and revoke()), with the next share_tend(). */
void file_put(struct vfsdax_file *f, bool may_send);
void file_release(struct vfsdax_file *f);
void listing_free(struct listing *l);

/* The device's words for it now. */
int node_getattr(struct vfsdax *s, uint64_t nodeid, struct fuse_attr *attr);
/* -EIO for attributes that no file has. */
int attr_to_stat(const struct fuse_attr *attr, struct stat *st);
/* SETATTR; `in->valid` says what. */
int node_setattr(struct vfsdax *s, uint64_t nodeid, const struct fuse_setattr_in *in);
/* Somebody who may not keep suid and sgid bits writes. */
static inline bool share_kills_suid(const struct vfsdax *s)
{
	return s->uid != 0;
}

/* ------------------------------------------------------------------ io.c */

struct fuse_read_in read_args(const struct vfsdax_file *f, size_t len, uint64_t off);
struct fuse_write_in write_args(const struct vfsdax_file *f, size_t len, uint64_t off);
/* Without a message; -EAGAIN: send one. */
ssize_t file_read_now(struct vfsdax_file *f, void *buf, size_t len, uint64_t off);
ssize_t file_write_now(struct vfsdax_file *f, const void *buf, size_t len, uint64_t off);
/* 0, or why it may not be. */
int file_may_read(const struct vfsdax_file *f, size_t len, uint64_t off);
int file_may_write(const struct vfsdax_file *f, size_t len, uint64_t off);

#endif
