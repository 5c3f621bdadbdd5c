/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge: between a FUSE mount and a virtio-fs session. Each request that a worker reads is looked
 * up in one table (route.c) and goes through the window (route_window.c) or the queue
 * (route_queue.c). The bridge owns the node table and the window's callbacks.
 */
#ifndef VFSDAX_BRIDGE_BRIDGE_H
#define VFSDAX_BRIDGE_BRIDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/fs.h"
#include "fuse/worker.h"
#include "wire/agreement.h"
#include "window/window.h"

enum bridge_dax { BRIDGE_DAX_AUTO, BRIDGE_DAX_ALWAYS, BRIDGE_DAX_NEVER, BRIDGE_DAX_INODE };
/* What the guest's page cache is for: by file (direct where the window serves it), never, always.
 */
enum bridge_cache { BRIDGE_CACHE_AUTO, BRIDGE_CACHE_NONE, BRIDGE_CACHE_ALWAYS };

/* What a MAP_SHARED is of a file that is not passed through: pages of this kernel; refused, since
 * those are not what the host has; and with the last one also of what could be passed through. */
enum bridge_shared_mmap {
	BRIDGE_SHARED_MMAP_CACHED,
	BRIDGE_SHARED_MMAP_COHERENT,
	BRIDGE_SHARED_MMAP_DENY
};

/* What outlives a device: see kept.h. */
struct bridge_kept;

/* `goes_on`: a device that fails may be followed by another one; `lasts`: and this driver, too.
 * NULL: out of memory. */
struct bridge_kept *bridge_kept_create(bool goes_on, bool lasts);
/* After the last bridge. Requests that were held get no answer. NULL is fine. */
void bridge_kept_destroy(struct bridge_kept *kept);
struct fuse_held *bridge_held(struct bridge_kept *kept);
/* What is kept, as a file that lasts if somebody else has it open; -1: it does not go on. */
int bridge_kept_fd(const struct bridge_kept *kept);
/* What another driver, which has died, has kept in this file: closed if it fails. *why is NULL, or
 * with -EPROTO says in words that continue "the state is ..." why it cannot be used. */
int bridge_kept_load(int fd, struct bridge_kept **out, const char **why);
/* The same question while that driver lives; the descriptor stays the caller's. */
int bridge_kept_check(int fd, const char **why);
/* After bridge_kept_load(), when bridge_held() has all requests that the kernel has sent again;
 * `noted_fd`: the memory that driver shared with its device (fs_memory_fd()), which is closed when
 * it has been read. */
int bridge_kept_resume(struct bridge_kept *kept, int noted_fd);
/* Which device, and its tag, once there has been one. */
const char *bridge_kept_source(const struct bridge_kept *kept);
const char *bridge_kept_tag(const struct bridge_kept *kept);
/* How often a driver has followed another one. */
uint64_t bridge_kept_takeovers(const struct bridge_kept *kept);
/* No other device will follow: the bridge that is there fails for good, if its device does. */
void bridge_kept_end(struct bridge_kept *kept);

/*
 * What the host has done, for who keeps it: a mount's kernel, or a program's maps. Called on a
 * thread that serves no request and holds no lock, so they may wait for requests to end; but not
 * after `stop_fd` has become readable. Numbers are the kernel's; names are one component each, and
 * whole. Without a kernel only `inode` and `doubt` are there.
 */
struct bridge_heard {
	/* Attributes are other ones, and with `data` contents (of a directory: names). */
	void (*inode)(void *ctx, int stop_fd, uint64_t nodeid, bool data);
	/* Of a file that is passed through, perhaps by who watches: attributes may be others. */
	void (*passed)(void *ctx, uint64_t nodeid);
	/* The same may be; nobody knows. And of a name, what file it is. */
	void (*doubt)(void *ctx, int stop_fd, uint64_t nodeid);
	void (*doubt_name)(void *ctx, int stop_fd, uint64_t dir, const char *name);
	void (*change)(void *ctx, int stop_fd, const struct agreement_change *c, const char *name,
		       const char *to_name);
	void *ctx;
};

struct bridge_params {
	struct bridge_kept *kept;  /* of a mount; the caller's */
	struct bridge_heard heard; /* NULLs: nobody listens */
	enum bridge_dax dax;
	enum bridge_cache cache;
	enum bridge_shared_mmap shared_mmap;
	bool passthrough; /* of files that the device gives, if the kernel can */
	unsigned workers; /* at least 1 */
	const int
		*cpus; /* of each worker; -1: any. NULL: any for all. Used by bridge_open() only. */
	bool readonly;
	enum spin_mode polling;
	unsigned timeout_ms;
	unsigned queues; /* 0: one for each worker */
	int ended_fd;	 /* an eventfd, signalled whenever a worker has ended; the caller's */
	unsigned window_ranges_max; /* 0: the window's default */
	enum window_admit window_admit;
	/* The device must agree to check rights: the kernel does not. */
	bool check_permissions;
	bool owner_only; /* only `owner` and root are served, though the kernel lets all in */
	uint32_t owner;
};

struct bridge;

/* The size of fs_req.user that the bridge needs; for fs_params.user_bytes. */
size_t bridge_user_bytes(void);

/*
 * Reads the kernel's INIT from `fuse_fd`, negotiates with the device, answers the kernel, and makes
 * the window. The session is the caller's, and outlives the bridge. 0 or -errno after one log line.
 *
 * After bridge_leave() the kernel is not asked again: the device must be able to do what the kernel
 * was told, and is asked for the files and locks that it knows. What that device does not have is
 * ESTALE from then on. -EAGAIN, with or without a log line: the device failed meanwhile.
 */
int bridge_open(struct fs_session *s, int fuse_fd, const struct bridge_params *params,
		struct bridge **out);

/* Starts the next worker on a descriptor of the mount, which outlives the bridge. Call
 * params.workers times. */
int bridge_start_worker(struct bridge *b, int fuse_fd);

/* True when every worker has ended (the mount is gone). */
bool bridge_ended(struct bridge *b);

/*
 * Stops the workers, takes every range out of the window and every node's count to zero at the
 * device. The session is quiet afterwards. Bounded by the time-out. NULL is fine.
 */
void bridge_close(struct bridge *b);

/* params.heard is called from now on: of bridge_open_caller(), when the lanes may be used; with
 * bridge_open() it is from the beginning. Where that cannot be the transport fails. */
void bridge_hear(struct bridge *b);
/* It is not called any more; before the end, while requests are served. */
void bridge_hear_no_more(struct bridge *b);

/* The device has failed, and another one may follow: ends as bridge_close(), but what the kernel
 * knows stays in params.kept, and what was not answered is held there. */
void bridge_leave(struct bridge *b);

/* Takes files out of the window that nobody has had open for a while, and looks whether the device
 * is still there. Returns after how many milliseconds it is to be called again; -1: not at all.
 * From any thread. */
int bridge_tidy(struct bridge *b);

/* Why reads do not come from the window; NULL when they do or may. Static or the bridge's. */
const char *bridge_no_dax_reason(struct bridge *b);

/*
 * The counters, as lines of "name value" into `emit`; names are dotted paths as in
 * vfsdax-stat(1), grouped by prefix. From any thread.
 */
void bridge_emit_stats(struct bridge *b, void (*emit)(void *ctx, const char *name, uint64_t value),
		       void *ctx);

#endif
