/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lock_internal: what the files of the lock table share. See lock.h. */
#ifndef VFSDAX_DEVICE_FS_LOCK_INTERNAL_H
#define VFSDAX_DEVICE_FS_LOCK_INTERNAL_H

#include <stdatomic.h>

#include "base/hash.h"
#include "lock.h"
#include "wire/fuse.h"

/* A range that an owner has locked. */
struct held {
	uint64_t first, last;
	short type;
};

/* Changed under the order of its file and the mutex, both; so read under either. */
struct held_list {
	struct held *at; /* by offset; neighbours of one type are one */
	unsigned n;
};

/* A file with owners. Guarded by the mutex, but for the nodeid. */
struct lock_file {
	struct list link; /* in a bucket */
	uint64_t nodeid;
	struct list owners;  /* the oldest first, as the host's kernel has their locks */
	unsigned n_owners;   /* with those that have ended and have users */
	unsigned n_held;     /* ranges, of all of these */
	uint64_t flushed_ns; /* the last time that an owner's was set */
};

/* On its lists while it has locks or users; alone once it has ended. */
struct lock_owner {
	struct list link;    /* of its file */
	struct list in_hash; /* of its bucket */
	struct lock_file *file;
	uint64_t id; /* the guest's number, or of a BSD lock the fh */
	bool bsd;
	int fd;	     /* its description; of a BSD lock -1 */
	bool writes; /* that is open for writing; changes under the order */
	/* The rest is guarded by the mutex. */
	unsigned refs;	    /* its users'; one more while it has not ended */
	_Atomic bool ended; /* also read under the order alone */
	uint64_t fh;	    /* the handle by which the last lock came */
	uint32_t pid;
	uint64_t flushed_ns; /* the last FLUSH of that handle since; 0: none */
	struct held_list held;
};

struct waiter {
	struct list link; /* on waiters, then on finished */
	struct fs *fs;
	pthread_t thread;
	_Atomic bool cancelled;
	struct request
		*req; /* guarded by the mutex; NULL once a thread has taken it to answer it */
	uint64_t unique;
	struct lock_wish wish; /* with a reference on the handle */
	/* NULL: it only looks, or waits no more. Changes under the mutex. */
	struct lock_owner *owner;
	struct fuse_lk_out found; /* then */
	uint64_t until_ns;
	unsigned seen; /* by lock_graph.c */
};

static inline pthread_mutex_t *lock_order(struct lock_table *t, uint64_t nodeid)
{
	return &t->order[nodeid % LOCK_ORDERS];
}

/* ---- lock_owner.c ---- */

/* With the mutex held: the file, or NULL when nobody has locks on it. */
struct lock_file *lock_file_find(struct lock_table *t, uint64_t nodeid);
/* With the mutex held: may there be `more` ranges, and as many on the file (NULL: it has none)? */
bool lock_has_room(const struct lock_table *t, const struct lock_file *file, unsigned more);
/* With the mutex held: from now on it has no locks, and is not found. */
void lock_owner_end(struct lock_table *t, struct lock_owner *owner);
/* The owner that the wish names, with a reference; NULL: there is none. */
struct lock_owner *lock_owner_known(struct lock_table *t, const struct lock_wish *wish);
/* The same, made where there is none. -ENOLCK, -EMFILE ... */
int lock_owner_get(struct fs *fs, const struct lock_wish *wish, struct lock_owner **out);
void lock_owner_put(struct fs *fs, struct lock_owner *owner);
/* A new description of the file, for locks like this one. */
int lock_open_description(struct fs *fs, const struct lock_wish *wish);

/* ---- lock_set.c ---- */

/* lock_set for an owner that is known; -ESTALE once it has ended. */
int lock_set_owner(struct fs *fs, const struct lock_wish *wish, struct lock_owner *owner);
/* The host's call for it. */
int lock_ask_host(const struct lock_wish *wish, const struct lock_owner *owner, bool wait);

/* ---- lock_held.c ---- */

/* What the owner has after the wish was granted: a new list. -ENOLCK: too many, or no memory. */
int held_after(const struct held_list *now, const struct lock_wish *wish, struct held_list *out);
/* Does the owner have something that stands against the wish of another one? */
const struct held *held_against(const struct lock_owner *owner, const struct lock_wish *wish);

/* ---- lock_wait.c ---- */

int lock_wait_init(struct lock_table *t);
/* Ends all waits; false when a thread could not be woken in time and was left behind. */
bool lock_wait_cancel_all(struct lock_table *t);
/* Ends the waits of a handle, in bounded time. */
void lock_wait_cancel(struct lock_table *t, const struct handle *handle);

/* ---- lock_graph.c: the mutex is held ---- */

/* Would the owner, waiting for its wish, wait for itself? */
bool lock_deadlocks(struct lock_table *t, const struct waiter *w);

#endif
