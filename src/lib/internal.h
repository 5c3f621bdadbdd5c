/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/internal: what the files of libvfsdax share.
 *
 *   vfsdax.h  ─  share open file names xattr dir io map queue      one file a chapter of the header
 *                  └─ path: a path to a node, by LOOKUPs
 *                       └─ call: one message and its answer
 *                            └─ wait: which thread reaps, which block
 *                                 └─ bridge/caller.h
 *   away: another device in the place of one that failed; errstr: the words for a failure
 *
 * Locks, none taken inside another except as noted: lane.lock (its lane's functions; done() of a
 * call runs under some lane's, and away.c takes all of them, in their order), lane.gate (read:
 * around what uses the bridge without a lane; not across a wait), wait_lock (the waiters),
 * queue.lock, map.lock and away.lock (leaves), late_lock.
 */
#ifndef VFSDAX_LIB_INTERNAL_H
#define VFSDAX_LIB_INTERNAL_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/bytes.h"
#include "base/list.h"
#include "base/log.h"
#include "base/spin.h"
#include "bridge/caller.h"
#include "fs/fs.h"
#include "lib/away.h"
#include "lib/errstr.h"
#include "vfsdax/vfsdax.h"
#include "wire/fuse.h"

/* ------------------------------------------------------------------ a share */

struct lane {
	struct bridge_lane *bridge; /* NULL: the device is away; written under all lanes' locks */
	pthread_mutex_t lock;
	/* Who reads vfsdax.bridge and vfsdax.device locks one of them, who writes all. Taken only
	 * where the share goes on with another device. */
	pthread_rwlock_t gate;
	atomic_uint watchers; /* descriptors of queues that need its calls */
	atomic_flag polled;   /* a thread has claimed `spin` for the length of its wait */
	struct spin spin;
} __attribute__((aligned(64)));

/* A directory and how it was reached, for "..". Each has one lookup. */
struct dir {
	atomic_uint refs;
	uint64_t nodeid;
	struct dir *parent; /* NULL: the root, which is the share's own */
};

/* A thread that waits for a done(). */
enum { WAITER_RUNS, WAITER_BLOCKS, WAITER_LEADS, WAITER_WOKEN };
struct waiter {
	_Atomic uint32_t state;
	struct list link; /* vfsdax.waiters, while share_wait() runs */
};

struct vfsdax {
	struct log_sink log;
	void (*log_to)(void *ctx, enum vfsdax_log_level level, const char *line);
	void *log_ctx;
	unsigned timeout_ms;
	bool readonly, no_dax, no_watch;
	bool goes_on;	    /* VFSDAX_ATTACH_RECONNECT */
	bool checks_rights; /* the first device, so the others must */
	unsigned queues;
	uint64_t map_budget_wanted;
	_Atomic uint64_t map_budget_bytes;
	char *source;

	struct bridge_kept *kept;
	struct device *device; /* NULL: away */
	struct bridge *bridge; /* the device's; NULL: away */
	struct away away;
	struct vfsdax_info info; /* of the last device, as far as it does not change */
	uint64_t flags;		 /* bridge_flags() */
	uint32_t io_max;	 /* bytes of one READ or WRITE */
	uint32_t uid, gid, pid, umask;
	struct dir root;

	unsigned n_lanes;
	struct lane *lanes;
	unsigned cpus;
	atomic_uint pollers; /* threads that poll a lane now */
	bool no_calls;	     /* some lane has no descriptor: to be polled */

	/* One waiter leads: it reaps for all and blocks in epoll; the others block on their state.
	 */
	pthread_mutex_t wait_lock;
	struct list waiters;
	struct waiter *leader;
	int epoll_fd, wake_fd;

	atomic_uint objects;	       /* files, maps and queues that are not closed */
	atomic_uint posted;	       /* calls without a waiter */
	atomic_bool forgot;	       /* a FORGET may not be published yet */
	atomic_bool ends;	       /* vfsdax_detach() has begun */
	atomic_bool lost;	       /* the loss of the device was reported to the maps */
	atomic_bool tending;	       /* a thread is in share_tend() */
	_Atomic uint64_t mapped_bytes; /* of vfsdax_map(), by length */
	atomic_bool no_flush, no_fsync, no_fsyncdir; /* the device does not know these */
	/* Files to be released as soon as messages can be sent. */
	pthread_mutex_t late_lock;
	struct list late;
	atomic_uint n_late;
};

/* vfsdax_attach(), to `transport`, which the share then owns, or where that is NULL to a source. */
int share_attach(const char *source, struct transport *transport,
		 const struct vfsdax_options *options, struct vfsdax **share);

/* Around the body of each public function: log lines go to the share's handler, and what it has
 * forgotten is on its way when it returns. */
struct scope {
	const struct log_sink *before;
	struct vfsdax *share; /* NULL: it has ended inside */
};
static inline struct scope scope_enter(struct vfsdax *s)
{
	return (struct scope){log_swap_thread(&s->log), s};
}
static inline void scope_leave(struct scope *scope)
{
	struct vfsdax *s = scope->share;

	if (s && atomic_load_explicit(&s->forgot, memory_order_relaxed))
		share_flush_forgets(s);
	log_swap_thread(scope->before);
}
#define IN_SCOPE_OF(share)                                                         \
	__attribute__((cleanup(scope_leave), unused)) struct scope scope_of_call = \
		scope_enter(share)

/* Calls the maps' stale() once the device is lost. Without a lock of the library, not in a
 * callback. */
void share_report_loss(struct vfsdax *s);
/* The same, and releases files that are due, which waits for answers. */
void share_tend(struct vfsdax *s);

/* ------------------------------------------------------------------ wait.c */

int wait_open(struct vfsdax *s);
void wait_close(struct vfsdax *s);
/* Adds to an epoll descriptor: `fds` level-triggered, each lane's call edge-triggered. 0 or -errno.
 * Again for another device. No lane is locked. */
int wait_watch(struct vfsdax *s, int epoll_fd, const int *fds, unsigned n);
int wait_watch_edge(int epoll_fd, int fd);
/* Whoever leads looks at the lanes again. */
static inline void wait_again(struct vfsdax *s)
{
	eventfd_write(s->wake_fd, 1);
}
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
/* share_wait() for no particular answer. */
void share_pause(struct vfsdax *s, struct lane *lane, uint64_t until_ns);
/* Reaps one lane; nothing where another thread has its lock. The number of done()s. */
unsigned lane_reap(struct lane *lane);
/* The same with the lock held. */
unsigned lane_reap_locked(struct lane *lane);
/* With the lock held. */
static inline void lane_flush(struct lane *lane)
{
	if (lane->bridge)
		bridge_lane_flush(lane->bridge);
}
unsigned share_reap(struct vfsdax *s);
/* The lane for this thread, now. */
struct lane *share_lane(struct vfsdax *s);
/* When something must be reaped without a call of the device; UINT64_MAX: never. */
uint64_t share_deadline(struct vfsdax *s);
/* Asks the device to signal all lanes. True: something is there already. */
bool share_calls_on(struct vfsdax *s);

/* ------------------------------------------------------------------ the device, which may be away
 */

/* Keeps s->bridge and s->device as they are until gate_unlock(). */
static inline struct lane *gate_lock(struct vfsdax *s)
{
	struct lane *lane = s->lanes;

	if (s->goes_on) {
		lane = share_lane(s);
		pthread_rwlock_rdlock(&lane->gate);
	}
	return lane;
}
static inline void gate_unlock(struct vfsdax *s, struct lane *lane)
{
	if (s->goes_on)
		pthread_rwlock_unlock(&lane->gate);
}
/* The same, for what needs the device: NULL where it is away. */
static inline struct lane *share_enter(struct vfsdax *s)
{
	struct lane *lane = gate_lock(s);

	if (s->bridge)
		return lane;
	gate_unlock(s, lane);
	return NULL;
}
/* Inside: the device has failed, and another one may follow. */
static inline bool device_may_return(const struct vfsdax *s)
{
	struct transport *t = s->device->transport;

	return s->goes_on && transport_failed(t) && transport_may_return(t);
}
/* The same from outside; also where it has gone. */
bool share_is_away(struct vfsdax *s);

/* ------------------------------------------------------------------ call.c */

/* One FUSE message and where its answer goes (compare struct fuse_args of the kernel). */
struct fuse_args {
	uint32_t opcode;
	uint64_t nodeid;
	struct fuse_arg {
		const void *p;
		size_t len;
	} in[4]; /* what follows the header */
	/* The answer is exactly out_len bytes, with out_var at most; another length is -EIO. */
	void *out;
	size_t out_len;
	bool out_var;
	bool in_place; /* READ: the device's data arrives in `out` */
};

#define ARG_OF(x)               \
	{                       \
		&(x), sizeof(x) \
	}
#define OUT_OF(x) .out = &(x), .out_len = sizeof(x)
static inline struct fuse_arg arg_string(const char *string)
{
	return (struct fuse_arg){string, strlen(string) + 1};
}

/* Sends it and waits: 0, with out_var the bytes of the answer, or -errno, never -EINTR. No lock is
 * held. */
int share_call(struct vfsdax *s, const struct fuse_args *args);
/* The same, but -EIO instead of a wait for another device, and -EINTR; does not share_tend(). */
int share_ask(struct vfsdax *s, const struct fuse_args *args);
/* The same for an opcode that a device need not know: from its first ENOSYS on `unknown` is set and
 * the result 0. */
int call_if_known(struct vfsdax *s, const struct fuse_args *args, atomic_bool *unknown);
/* Sends it without waiting; the answer is dropped. -EAGAIN: no buffer is free. */
int share_post(struct vfsdax *s, const struct fuse_args *args);
static inline void
share_call_init(struct share_call *c, struct vfsdax *s, const struct fuse_args *args,
		void (*done)(struct bridge_call *call, int err, const uint8_t *payload, size_t len))
{
	*c = (struct share_call){
		.call = {.done = done, .held = share_hold}, .share = s, .args = args};
}
/* Sends it, under the lane's lock and without a flush; call.done() follows, perhaps with another
 * device. False: no buffer is free. */
bool lane_send(struct lane *lane, struct share_call *c);
/* What done() got: checks its length and copies it. As share_call(), but for -EINTR. */
int args_take_answer(const struct fuse_args *args, int err, const uint8_t *payload, size_t len);
/* -errno as a program may see it: -EINTR would mean a signal of its own. */
static inline int caller_error(int err)
{
	return err == -EINTR ? -EIO : err;
}

/* ------------------------------------------------------------------ path.c */

struct dir *dir_get(struct dir *dir);
void dir_put(struct vfsdax *s, struct dir *dir);

#define WALK_FOLLOW  (1u << 0) /* a symbolic link at the end is followed */
#define WALK_MISSING (1u << 1) /* the last name need not exist: then nodeid is 0 */
#define WALK_NAME    (1u << 2) /* the last name is not looked up at all */

/* Where a path leads. */
struct path_node {
	struct dir *dir;	 /* the directory that it is, or that it is in */
	char name[NAME_MAX + 1]; /* in `dir`; "": it is `dir` */
	bool slash;		 /* the path ends with "/" */
	uint64_t nodeid;	 /* 0: nothing of that name, or not looked up */
	bool owned;		 /* its lookup is ours, not that of `dir` */
	bool fresh; /* `attr` is from the device, and valid now; else only its type is */
	struct fuse_attr attr;
};

/* `from`: NULL: the root. 0, to be ended with path_put(), or -errno. */
int path_walk(struct vfsdax *s, struct dir *from, const char *path, unsigned how,
	      struct path_node *p);
void path_put(struct vfsdax *s, struct path_node *p);
/* path_walk() for what must exist. */
static inline int path_resolve(struct vfsdax *s, const char *path, bool follow, struct path_node *p)
{
	return path_walk(s, NULL, path, follow ? WALK_FOLLOW : 0, p);
}
/* share_call() for the node that `path` leads to. */
int path_call(struct vfsdax *s, const char *path, struct fuse_args *args);

/* Check a node that an answer names. */
bool entry_sane(const struct fuse_entry_out *entry);
bool attr_sane(const struct fuse_attr *attr);
int readlink_node(struct vfsdax *s, uint64_t nodeid, char target[PATH_MAX]);

/* ------------------------------------------------------------------ open.c, file.c */

struct vfsdax_file {
	struct vfsdax *share;
	char *path; /* as it was opened, for messages; NULL: no memory */
	uint64_t nodeid, fh;
	struct node *node;
	/* Of a directory, with the lookup; NULL: a file, whose lookup is its own. */
	struct dir *dir;
	int flags;		 /* O_ACCMODE, O_APPEND, O_SYNC, O_DSYNC */
	bool no_handle;		 /* the device has no OPEN: nothing to release */
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

/* GETATTR. */
int node_getattr(struct vfsdax *s, uint64_t nodeid, struct fuse_attr *attr);
/* -EIO for attributes that no file has. */
int attr_to_stat(const struct fuse_attr *attr, struct stat *st);
/* SETATTR of what `in->valid` names. */
int node_setattr(struct vfsdax *s, uint64_t nodeid, const struct fuse_setattr_in *in);
/* A write or truncation by this process must clear suid and sgid bits. */
static inline bool share_kills_suid(const struct vfsdax *s)
{
	return s->uid != 0;
}

/* ------------------------------------------------------------------ io.c */

/* One READ or WRITE as a message. It stays until its answer is taken. */
struct io_request {
	struct fuse_args args;
	union {
		struct fuse_read_in read;
		struct fuse_write_in write;
	} in;
	struct fuse_write_out written;
};

/* `len` is at most io_max. */
void io_request_init(struct io_request *r, const struct vfsdax_file *f, bool write, void *buf,
		     size_t len, uint64_t off);
/* The bytes read or written, of what share_call() or args_take_answer() gave. */
ssize_t io_request_bytes(const struct io_request *r, int result);
/* Copies through the window without a message; -EAGAIN: send one. */
ssize_t file_copy(struct vfsdax_file *f, bool write, void *buf, size_t len, uint64_t off);
/* One READ or WRITE of at most io_max bytes: how many were moved. */
ssize_t file_send_io(struct vfsdax_file *f, bool write, void *buf, size_t len, uint64_t off);
/* 0, or why the file cannot be read or written there. */
int file_check_io(const struct vfsdax_file *f, bool write, size_t len, uint64_t off);

/* ------------------------------------------------------------------ map.c */

/* vfsdax_map() and vfsdax_prefetch(), without a note for vfsdax_errstr(). */
int map_file(struct vfsdax_file *f, uint64_t off, size_t len, unsigned flags,
	     struct vfsdax_map **map);
int prefetch_file(struct vfsdax_file *f, uint64_t off, uint64_t len);

#endif
