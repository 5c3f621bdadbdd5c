/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/caller: a bridge for a program instead of a mount. The program makes the FUSE messages
 * that a kernel would send, and the bridge does with them what it always does: nodes, sizes, window
 * or queue, truncations, times. Instead of /dev/fuse there are lanes, one for each request queue.
 *
 * File data has a short cut without a message (bridge_read, bridge_write), and maps are pins that
 * last.
 */
#ifndef VFSDAX_BRIDGE_CALLER_H
#define VFSDAX_BRIDGE_CALLER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/list.h"
#include "bridge/bridge.h"
#include "bridge/node.h"
#include "wire/agreement.h"

/*
 * Negotiates with the device and makes the window and params->workers lanes (at most one for each
 * channel of the session). params.polling, cache, cpus and ended_fd do not count. Ends with
 * bridge_close(), as every bridge: no lane is in use, no map left. 0 or -errno after one log line.
 *
 * Where params.kept goes on it may end with bridge_leave() instead, after bridge_abandon_maps(),
 * and be followed by another one with as many lanes: see bridge_open().
 */
int bridge_open_caller(struct fs_session *s, const struct bridge_params *params,
		       struct bridge **out);

/* ------------------------------------------------------------------ messages */

struct bridge_lane;

unsigned bridge_lane_count(struct bridge *b);
struct bridge_lane *bridge_lane(struct bridge *b, unsigned i);
struct bridge *bridge_of_lane(struct bridge_lane *lane);

/* A request of the program. Its memory stays until done() was called. */
struct bridge_call {
	/*
	 * Once, from inside bridge_lane_request() or a reap of any lane. err: 0, or -errno of the
	 * device or ours. The payload is what follows the header of the answer; it lies in memory
	 * that the device may change: copy once, check the copy. Valid during the call only. It
	 * must not call the bridge.
	 */
	void (*done)(struct bridge_call *call, int err, const uint8_t *payload, size_t len);
	/* Instead of done(), where the device has failed and another one may follow: the same
	 * message is to be made for that one, with this call. Set where params.kept goes on. */
	void (*held)(struct bridge_call *call);
	/* READ: where its data is to be, `data_len` at least the size asked for; then done() has
	 * payload == data and the number of bytes. NULL for the others. */
	uint8_t *data;
	size_t data_len;
	/* The bridge's: the note that the device which failed has left of it (notes.c). */
	bool noted;
	struct agreement_note note;
};

/*
 * A lane's functions are for one thread at a time: the caller has a lock for each, which is held
 * in done() when it comes from a reap of that lane.
 */

/* How much the bridge may add to a message: the caller's groups, and the note of a call that was
 * held. With it a message of more than FS_IN_BYTES is a long one. */
size_t bridge_extension_room(struct bridge *b);
static inline size_t note_of_call(const struct bridge_call *call)
{
	return call->noted ? AGREEMENT_EXT_NOTE_BYTES : 0;
}
/* Where the next message is to be written: iov[0] is FS_IN_BYTES, iov[1] a payload buffer for the
 * rest of a long one, absent (length 0) unless `long_message`. False: reap first, all are in use.
 */
bool bridge_lane_buffer(struct bridge_lane *lane, bool long_message, struct iovec iov[2]);
/* The message is there, behind room for its header `h`, which is written by this call. */
void bridge_lane_request(struct bridge_lane *lane, const struct fuse_in_header *h,
			 struct bridge_call *call);
/* Lets a device that looks by itself begin with what was requested. A flush must follow. */
void bridge_lane_publish(struct bridge_lane *lane);
/* Makes what was requested known to the device, with one kick at most. */
void bridge_lane_flush(struct bridge_lane *lane);
/* Collects answers, notices time-outs: how many done()s there were, about. */
unsigned bridge_lane_reap(struct bridge_lane *lane);
/* Requests under way, and when reap() must be called at the latest though nothing came. */
unsigned bridge_lane_busy(struct bridge_lane *lane, uint64_t *deadline_ns);
/* Before sleeping: asks for calls. True: there is something to reap, do not sleep. */
bool bridge_lane_calls_on(struct bridge_lane *lane);
void bridge_lane_calls_off(struct bridge_lane *lane);
/* Signalled by the device; edge-triggered, never read; several lanes may have the same. -1: poll.
 */
int bridge_lane_call_fd(struct bridge_lane *lane);

/* A unique number for a message. */
uint64_t bridge_unique(struct bridge *b);
/* The node that an answer named; valid as long as its lookup is not forgotten, whatever becomes of
 * the device. NULL: not known. Any thread. */
struct node *bridge_kept_node(struct bridge_kept *kept, uint64_t nodeid);
/* Gives `nlookup` lookups of a node back: its FORGET. Any thread. */
void bridge_forget(struct bridge *b, uint64_t nodeid, uint64_t nlookup);
/* Its last lookup was given back, and the FORGET waits until it has left the window. */
bool bridge_forgets(struct bridge_kept *kept, uint64_t nodeid);
/* One lookup more of a node that has maps, to be given back with bridge_forget(). False: it has
 * none. Any thread. */
bool bridge_hold_mapped(struct bridge_kept *kept, uint64_t nodeid);
/* 0: it is not used. */
uint64_t bridge_window_bytes(struct bridge *b);
/* Flags of the device that count for the program (FUSE_HANDLE_KILLPRIV_V2, FUSE_SETXATTR_EXT ...).
 */
uint64_t bridge_flags(struct bridge *b);

/* ------------------------------------------------------------------ data without a message */

/*
 * Copies between the window and `buf`. Bytes, at least 1; or -EAGAIN: not from the window now, send
 * a READ or WRITE (after which it is, the next time). Never waits; any thread, no lane. Of
 * a WRITE all bytes or none: `open_flags` and `kills_suid` are as in its message.
 */
ssize_t bridge_read(struct bridge *b, struct node *node, void *buf, size_t len, uint64_t off);
ssize_t bridge_write(struct bridge *b, struct node *node, const void *buf, size_t len, uint64_t off,
		     uint32_t open_flags, bool kills_suid);

/* ------------------------------------------------------------------ maps */

#define BRIDGE_MAP_WRITE (1u << 0)
#define BRIDGE_MAP_WHOLE (1u << 1) /* all of it, or -ENOSPC */
#define BRIDGE_MAP_NOWAIT                                                      \
	(1u << 2) /* start what is needed, but -EAGAIN instead of -EINPROGRESS \
		   */
/* For who reads and writes the file itself (DIRECT_F_IO): no time is moved for it. */
#define BRIDGE_MAP_IO (1u << 3)

/* A piece of a file that stays in the window. Embedded in the caller's own structure. */
struct bridge_map {
	/*
	 * Set by the caller before bridge_map(), may be NULL. Called when the file is about to
	 * become shorter (-ESTALE, nothing has happened yet: bridge_unmap() in here lets it go on,
	 * else it is refused with -EBUSY), was found to be shorter, or the device is lost
	 * (-ENODEV). On the thread that noticed, perhaps with a lane's lock held, perhaps before
	 * bridge_map() has returned on another: then the map is not yet to be given back. It must
	 * not call the bridge but for bridge_unmap() of this map.
	 */
	void (*revoke)(struct bridge_map *map, int err);
	/* Told by bridge_map(): */
	uint8_t *va;  /* of the byte at file_off */
	uint64_t len; /* bytes, perhaps fewer than asked for */
	uint64_t file_off;
	uint64_t win_off;  /* in the window, of the byte at file_off */
	_Atomic int stale; /* 0, or the last err of revoke() */
	/* the bridge's own */
	struct list link, node_link;
	struct bridge *bridge;
	struct node *node;
	struct window_pin pin;
	unsigned flags;
	uint64_t revoke_round;	     /* the round in which revoke() was called last */
	struct map_revoker *revoker; /* the thread that is in revoke() now */
};

/*
 * Pins [off, off + len), clipped to the whole pages inside the file. 0; -EINPROGRESS: `waiter` will
 * be woken, then call again (somebody must reap meanwhile: lanes, or bridge_reap()); -ESTALE: the
 * size has not been asked for lately, send a GETATTR first; -ENODATA, -ENODEV, -EOPNOTSUPP,
 * -ENOSPC, -EAGAIN as vfsdax_map(). The node is referenced by the caller during the call, not
 * longer. Any thread.
 */
int bridge_map(struct bridge *b, struct node *node, uint64_t off, uint64_t len, unsigned flags,
	       struct bridge_map *map, struct window_waiter *waiter);
/* Any thread, also inside revoke(); waits for a revoke() of this map on another thread. */
void bridge_unmap(struct bridge_map *map);
/* For a thread that waits for the window and is neither in a lane nor a worker: collects answers,
 * and ends what has timed out. How many there were, about. */
unsigned bridge_reap(struct bridge *b);
/* How many there are, and their bytes. */
unsigned bridge_maps(struct bridge *b, uint64_t *bytes);
/* The device is lost: calls every map's revoke() with `err`. Once is enough. */
void bridge_fail_maps(struct bridge *b, int err);
/* The device has failed: all pins are given back, and the maps have nothing of the bridge any more.
 * Nobody is in bridge_map() or bridge_unmap(), which must not follow either. */
void bridge_abandon_maps(struct bridge *b);
/* A wish that [off, off + len) be in the window: starts set-ups, at most what has room. 0 or -errno
 * as bridge_map(). */
int bridge_prefetch(struct bridge *b, struct node *node, uint64_t off, uint64_t len);

#endif
