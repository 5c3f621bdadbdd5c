/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuse/worker: the loop that serves a mount. A worker reads a request from its own clone of
 * /dev/fuse, has it handled to the end (a window hit) or as far as the ring, and goes on; answers
 * of the device are collected by the same thread. How it waits:
 *
 *   nothing outstanding    read(2) blocks in the kernel: one system call a request
 *   something outstanding  polls the ring (base/spin.h), and the request descriptor where there was
 *                          something of late; then blocks in epoll on both
 *   poll mode              polls the request descriptor too; the workers of a mount are a pool,
 * which decides that (fuse/pool.h)
 *
 * What a request is, and where answers come from, is behind struct fuse_worker_ops.
 */
#ifndef VFSDAX_FUSE_WORKER_H
#define VFSDAX_FUSE_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/spin.h"

#define FUSE_WORKER_IOV 3

/* All are called on the worker's thread with the ctx of its parameters. */
struct fuse_worker_ops {
	/* Where the next request is to be read: its header to iov[0], the rest to the other pieces;
	 * together at least max_write + 4096 bytes. False: none is free, collect answers first.
	 * Asked before every read. */
	bool (*buffer)(void *ctx, struct iovec iov[FUSE_WORKER_IOV]);
	/* A request of `len` bytes (at least a header) lies there, in memory that is the callee's
	 * now. Answers go to `fd`. */
	void (*request)(void *ctx, int fd, const struct iovec iov[FUSE_WORKER_IOV], size_t len);
	/* Collects answers of the device. How many there were. */
	unsigned (*reap)(void *ctx);
	/* Makes what was queued known to the device; before every wait. */
	void (*flush)(void *ctx);
	/* What is outstanding, and the nearest time (monotonic, ns) at which reap() must be called
	 * although nothing came. Only at 0 the worker blocks in read(2). */
	unsigned (*busy)(void *ctx, uint64_t *deadline_ns);
	/* Before sleeping: asks for calls. True: there is something to reap, do not sleep. */
	bool (*calls_on)(void *ctx);
	void (*calls_off)(void *ctx);
};

struct fuse_held;
struct fuse_pool;

struct fuse_worker_params {
	const struct fuse_worker_ops *ops;
	void *ctx;
	int fd; /* of /dev/fuse; the caller's, open until fuse_worker_free() */
	/* Requests that were read before, which are taken first; NULL: there are none. */
	struct fuse_held *held;
	int call_fds[2]; /* signalled by the device; -1 where there is none. Never read. */
	int ended_fd;	 /* an eventfd that is signalled when the thread ends; the caller's */
	int cpu;	 /* to run on, or -1 */
	enum spin_mode polling;
	/* The workers of the mount, and this one's place among them; NULL: it works alone. The
	 * pool outlives its workers. */
	struct fuse_pool *pool;
	unsigned place;
};

struct fuse_worker;

struct fuse_worker_stats {
	uint64_t requests; /* read from /dev/fuse */
	uint64_t calls;	   /* wake-ups by the device */
	uint64_t sleeps;   /* waits in epoll */
	uint64_t spins;	   /* polls that found nothing */
};

/* Starts the thread. 0 or -errno. */
int fuse_worker_start(const struct fuse_worker_params *params, struct fuse_worker **out);
/* The calling thread is one. */
bool fuse_worker_here(void);
/* Asks the worker to end; it does so at once, or when it wakes. From any thread. */
void fuse_worker_stop(struct fuse_worker *w);
/* True when the thread has ended: the mount is gone, or it was stopped. */
bool fuse_worker_ended(const struct fuse_worker *w);
/* Waits for the thread; it must have been stopped or the mount be gone. Answers that are still
 * under way use the descriptor. */
void fuse_worker_join(struct fuse_worker *w);
void fuse_worker_free(struct fuse_worker *w);
void fuse_worker_get_stats(const struct fuse_worker *w, struct fuse_worker_stats *out);

#endif
