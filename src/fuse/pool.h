/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuse/pool: the workers of a mount: which of them read requests, and how they wait for them.
 *
 * A wake-up on another CPU costs more than all the rest of a small request; which of several
 * blocked readers the kernel wakes is not ours to choose; and polling instead of blocking pays only
 * where a CPU has nothing better to do. What is best depends on the machine and on the clients (how
 * many, on which CPU), so it is measured: while requests come quickly, short trials of the other
 * modes alternate with long stretches of the best one so far.
 *
 *   ALL     every worker blocks in read(2), each on its own CPU: many clients
 *   LOCAL   only one worker reads, blocking: one client, which wake-ups bring to its CPU
 *   POLL    only one worker reads, and polls: expensive wake-ups, as under emulation
 *
 * Which one is tried in turn. To ask /proc on which CPU a client runs is no way: reading that waits
 * for a lock that the client may hold while it waits for us, and the two can never be killed.
 *
 * A worker that does not read sleeps; what it has at the device it still finishes. Without load the
 * mode is ALL.
 *
 * All functions may be called from any thread. There is no lock: the thread that ends a period
 * claims the decision, which nobody waits for.
 */
#ifndef VFSDAX_FUSE_POOL_H
#define VFSDAX_FUSE_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "fuse/worker.h"

enum fuse_pool_mode { FUSE_POOL_ALL, FUSE_POOL_LOCAL, FUSE_POOL_POLL, FUSE_POOL_MODES };

/* Of n workers, in places 0 to n - 1. -ENOMEM. */
int fuse_pool_create(enum spin_mode polling, unsigned n, struct fuse_pool **out);
/* After the workers were joined. */
void fuse_pool_destroy(struct fuse_pool *pool);

/* How the worker at `place` is to wait now. */
struct fuse_role {
	bool reads;
	bool polls; /* instead of blocking */
	bool alone; /* nobody else reads */
};
struct fuse_role fuse_pool_role(struct fuse_pool *pool, unsigned place);

/* A request was read by the worker at `place`. Now and then decides anew, and then wakes those that
 * may read again. */
void fuse_pool_request(struct fuse_pool *pool, unsigned place);

/* How a worker that does not read is woken. Set by its start, before it can be in that role. */
void fuse_pool_join(struct fuse_pool *pool, unsigned place, int wake_fd);

/* The mount is gone, as one worker found when it read: all others are to find it too. */
void fuse_pool_end(struct fuse_pool *pool, unsigned place);

enum fuse_pool_mode fuse_pool_mode(struct fuse_pool *pool);

#endif
