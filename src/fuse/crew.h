/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuse/crew: which of a mount's workers read requests, and how they wait for them.
 *
 * A wake-up on another CPU costs more than all the rest of a small request; which of several
 * blocked readers the kernel wakes is not ours to choose; and looking instead of sleeping pays only
 * where a CPU has nothing better to do. What is best depends on the machine (a guest under
 * emulation is not a server) and on the clients (how many, on which CPU), so it is measured: while
 * requests come quickly, short trials of the other manners alternate with long stretches of the
 * best one so far.
 *
 *   ALL     every worker blocks in read(2), each on its own CPU: many clients
 *   NEAR    only the worker of the client's CPU reads, blocking: one client, wake-ups on one CPU
 *   LOOK    only a worker of another CPU reads, and looks instead of sleeping: dear wake-ups
 *
 * A worker that does not read is parked; what it has at the device it still finishes. Without load
 * the manner is ALL, and nothing looks.
 *
 * All functions may be called from any thread.
 */
#ifndef VFSDAX_FUSE_CREW_H
#define VFSDAX_FUSE_CREW_H

#include <stdbool.h>
#include <stdint.h>

#include "fuse/worker.h"

enum fuse_manner { FUSE_MANNER_ALL, FUSE_MANNER_NEAR, FUSE_MANNER_LOOK, FUSE_MANNERS };

/* `cpus[i]` is the CPU of the worker at place i (-1: any). -ENOMEM. */
int fuse_crew_create(enum fuse_polling polling, const int *cpus, unsigned n, struct fuse_crew **out);
/* After the workers were joined. */
void fuse_crew_destroy(struct fuse_crew *crew);

/* How the worker at `place` is to wait now. */
struct fuse_duty {
	bool reads; /* else it is parked */
	bool looks; /* instead of blocking */
};
struct fuse_duty fuse_crew_duty(struct fuse_crew *crew, unsigned place);

/*
 * A request of thread `pid` was read by the worker at `place`. Now and then decides anew, and then
 * signals those that are parked and may read again.
 */
void fuse_crew_request(struct fuse_crew *crew, unsigned place, uint32_t pid);

/* How a parked worker is woken. Set by its start, before it can be parked. */
void fuse_crew_join(struct fuse_crew *crew, unsigned place, int wake_fd);

/* The mount is gone, as one worker found when it read: all others are to find it too. */
void fuse_crew_end(struct fuse_crew *crew, unsigned place);

enum fuse_manner fuse_crew_manner(struct fuse_crew *crew);
const char *fuse_manner_name(enum fuse_manner manner);

#endif
