/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/internal: what the files of this floor share.
 *
 *   bridge.c  INIT, the window, failure      route.c         the table of opcodes
 *   close.c   the end of a mount             route_window.c  READ and WRITE by a copy (pins.c)
 *   worker.c  what a thread works with       route_queue.c   by the device
 *   op.h, op.c  the life of a request        truncate.c      what makes a file shorter
 *   answer.c  to the kernel, to a program    attr.c          attributes, times
 *   node*.c   the table of nodes             entry.c, open.c nodes and handles that answers give
 *   program_map.c    pins that last                 interrupt.c     callers that were killed
 *   authorise.c   the same for other processes   mapping.c       the window's callbacks
 *   measure.c latencies, the router's figures           stats.c         counters
 *   passthrough.h  files that the kernel reads by itself, and backing.h
 *   rights.c  the groups of callers          dirs.c          open directories
 *   names.c   what is kept of a directory's attributes after a change in it
 *   notice.c  what the host changes, as the device says unasked
 *   kept.h    what outlives a device    numbers.c, handles.c, locks.c   that
 *   rebuild.h another device: hold.c, rebuild.c, notes.c
 */
#ifndef VFSDAX_BRIDGE_INTERNAL_H
#define VFSDAX_BRIDGE_INTERNAL_H

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/latency.h"
#include "bridge/bridge.h"
#include "bridge/caller.h"
#include "bridge/kept.h"
#include "bridge/op.h"
#include "fuse/pool.h"
#include "wire/agreement.h"

#define OPCODES_COUNTED	    64
/* Slots that requests of the kernel leave for the driver's own (mapping, times). */
#define SLOTS_RESERVED	    8
/* How often what belongs to closed files is looked for. */
#define DROP_CLOSED_EACH_NS (NS_PER_S / 2)
/* Payload buffers that requests which wait for the window leave for others. */
#define PAYLOADS_SPARED	    2
#define PINS_MAX	    8
#define DIR_FLAGS_UNKNOWN   UINT32_MAX
/* In a payload buffer or in scratch memory the data of an answer stands here: page-aligned, with
 * room for a header. */
#define DATA_AT		    4096u

/* What an answer carries behind its header, so that the bridge can look at it. */
enum route_payload {
	PAYLOAD_OPAQUE,	 /* never looked at */
	PAYLOAD_ATTR,	 /* struct fuse_attr_out */
	PAYLOAD_ENTRY,	 /* struct fuse_entry_out */
	PAYLOAD_CREATE,	 /* struct fuse_entry_out, struct fuse_open_out */
	PAYLOAD_OPEN,	 /* struct fuse_open_out */
	PAYLOAD_READ,	 /* file data */
	PAYLOAD_WRITE,	 /* struct fuse_write_out */
	PAYLOAD_DIRPLUS, /* struct fuse_direntplus, many */
	PAYLOAD_STATX,	 /* struct fuse_statx_wire_out */
	PAYLOAD_STATFS,	 /* struct fuse_statfs_out */
	PAYLOAD_EMPTY,	 /* nothing; that it succeeded is what is looked at */
};

/* The op was taken over by the function that says so, which ends it. */
#define OP_TAKEN 1

struct route {
	uint32_t opcode;
	const char *name;
	/* Begins the request, which ends in op_end(). */
	void (*start)(struct op *op);
	/* Looks at, and may change, a copy of a successful answer before the kernel gets it. 0:
	 * send it; a negative errno: answer that; OP_TAKEN: the op goes on by itself. */
	int (*finish)(struct op *op, uint8_t *payload, size_t len);
	enum route_payload payload;
	uint16_t arg_min;   /* bytes of arguments that `start` looks at */
	uint16_t reply_max; /* room for the answer's payload ... */
	int8_t size_at;	    /* ... plus the u32 at this place of the arguments, or one of these */
};
#define SIZE_NONE  (-1)
#define SIZE_NAMES (-2) /* it changes names: the answer may end with a struct fuse_attr_out */

/* Counters of one worker; read by anybody, written by it alone. */
struct worker_stats {
	_Atomic uint64_t window_read_bytes, window_write_bytes;
	_Atomic uint64_t queue_read_bytes, queue_write_bytes;
	_Atomic uint64_t window_reads, window_writes;
	_Atomic uint64_t copy_faults, mtime_updates, interrupts;
	_Atomic uint64_t queue_requests[OPCODES_COUNTED];
	_Atomic uint64_t latency_ns[LATENCY_KIND_COUNT]; /* the sum of what the buckets count */
	_Atomic uint64_t latency[LATENCY_KIND_COUNT][LATENCY_BUCKETS];
} __attribute__((aligned(64)));

static inline void stats_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/*
 * Requests that were taken for a channel and have not ended, wherever they are (running, parked, at
 * the device), and mapping requests sent through it. Raised before another thread can know of one,
 * lowered when nothing is left to do for it. Only at 0 a worker of the channel blocks in read(2),
 * where no call wakes it. One counter for all workers that share a channel: any of them may be the
 * last to turn the channel's calls off. tests/model/worker.pml authorises that nothing is left
 * behind.
 */
struct outstanding {
	atomic_uint n;
} __attribute__((aligned(64)));

/*
 * What a thread works with: a worker of a mount, a lane of a program, or bridge.aside, for threads
 * that are neither. It is for one thread at a time.
 */
struct bridge_worker {
	struct bridge *bridge;
	struct fuse_worker *thread; /* of a mount's worker */
	struct fs_channel *channel;
	/* Where the next request is read: a slot, and where a long one continues. The header comes
	 * to `head`, since the device can write into the others. NULL: to be had first. */
	struct fs_req *slot;
	struct fs_payload *payload;
	struct fuse_in_header head;
	/* FS_PAYLOAD_BYTES of our own memory: copies of answers that are checked, data from the
	 * window on its way to the kernel. */
	uint8_t *scratch;
	struct outstanding *outstanding; /* of its channel; of `aside`, its own */
	/* The slot that carries this worker's REMOVEMAPPING. */
	struct fs_req *remover;
	unsigned sample;	 /* counts what may be measured ... */
	unsigned latency_sample; /* ... and, apart from that, the READs and WRITEs that begin */
	struct worker_stats stats;
};

struct bridge {
	struct fs_session *session;
	struct transport *transport;
	struct bridge_params params;
	struct bridge_kept *kept; /* what follows is in it, too */
	bool own_kept;		  /* it ends with the bridge */
	struct node_table *nodes;
	struct numbers *numbers;
	uint64_t opened_ns;		 /* since when its counters count */
	_Atomic uint64_t drop_closed_ns; /* when bridge_drop_closed() looks again */
	uint64_t kernel_flags;		 /* granted to the kernel by our INIT answer */
	int fuse_fd;			 /* of the connection; -1: a program */
	atomic_bool passthrough;	 /* files are asked for (passthrough.c) */
	_Atomic uint64_t passthrough_opens, passthrough_refused;
	_Atomic uint64_t passthrough_dev; /* whose files are data, the last that was seen; +1 */

	struct window *window; /* NULL: no DAX */
	uint8_t *window_va;    /* where it begins */
	bool per_inode_dax;    /* FUSE_ATTR_DAX decides */
	struct router router;  /* what both ways cost */
	const char *no_window_reason;
	char refusal_reason[64];
	atomic_bool hiprio_waits; /* FORGETs wait for room: some worker must come back for them */
	atomic_bool dax_seen;	  /* some inode was marked for DAX */
	atomic_bool failed;	  /* bridge_note_failure() has been through */

	struct dirs *dirs;	    /* NULL: handles of directories are the device's */
	bool listing_opens;	    /* AGREE_LISTING_OPENS is used */
	bool listing_alone;	    /* ... and AGREE_LISTING_ALONE */
	_Atomic uint32_t dir_flags; /* of every OPENDIR's answer, or DIR_FLAGS_UNKNOWN */

	/* Truncations begun and ended; see node.h, sizes. */
	_Atomic uint64_t size_clock;
	/* Under way; and since when there has been one: old while there is none. */
	atomic_uint n_truncating;
	_Atomic uint64_t truncating_ns;
	struct bridge_authorisations
		*authorisations; /* NULL: no direct maps. Made and freed by who serves them */

	/* Of a program they are its lanes, without a thread, and there is no pool. */
	unsigned n_workers;
	struct bridge_worker **workers;
	struct bridge_worker *aside;
	struct outstanding *outstanding; /* one for each channel, one for `aside` */
	int *cpus;
	struct fuse_pool *pool;
	struct notices *notices; /* NULL: nobody listens, or the device says nothing */

	pthread_mutex_t reap_lock; /* whose turn `aside` is; the locks of all floors below in it */

	pthread_mutex_t
		interrupt_lock; /* guards what follows; taken inside nothing, nothing inside it */
	struct list interrupts; /* ops of INTERRUPT, in the order of their time */
	_Atomic uint64_t interrupt_ns; /* when the first is due; UINT64_MAX: never */

	pthread_mutex_t map_lock; /* guards what follows and the bridge's part of maps; taken
				      inside nothing */
	pthread_cond_t map_revoked;
	struct list maps;
	uint64_t map_rounds;
	uint64_t map_bytes;
	atomic_uint n_maps;
};

struct map_revoker {
	pthread_t thread;
	bool gone; /* bridge_unmap() was called inside revoke() */
};

/* 0, or what every caller gets from the failure of the device on. The first thing that every way
 * in asks: a message (op_begin), a copy without a message, a pin that lasts. */
static inline int bridge_failure(struct bridge *b)
{
	int err = transport_failed(b->transport);

	return err ? fs_caller_error(err) : 0;
}

/* Is a file with these attributes to be served from the window? */
static inline bool bridge_wants_window(const struct bridge *b, const struct fuse_attr *attr)
{
	return b->window && (!b->per_inode_dax || attr->flags & FUSE_ATTR_DAX);
}

/* ------------------------------------------------------------------ file by file */

/* route.c */
const struct route *route_find(uint32_t opcode);

/* answer.c: to the kernel or the program. 0, or what fuse/reply.h says; -ENOENT: not wanted any
 * more. */
int answer_error(struct op *op, int err);
int answer_payload(struct op *op, const void *payload, size_t len);
/* READ's data: in memory of the device, or at answer_data_at(). */
int answer_data(struct op *op, const uint8_t *data, size_t len);
/* Where data from the window goes: to the program, or into our own memory. */
uint8_t *answer_data_at(struct op *op);

/* bridge.c: what bridge_open() and bridge_open_caller() have in common */
struct bridge *bridge_new(struct fs_session *s, const struct bridge_params *params);
void bridge_free(struct bridge *b);
/* Before it ends, where another one may follow. */
void bridge_unbind(struct bridge *b);
/* INIT, the root's node and the window, and what is kept, where there has been another device. The
 * kernel's INIT comes on `fuse_fd`; -1: a program, whose is in `kept`. 0, or as bridge_open(). */
int bridge_begin(struct bridge *b, int fuse_fd);
/* NULL: out of memory. */
struct bridge_worker *bridge_worker_new(struct bridge *b, unsigned channel);
void bridge_worker_free(struct bridge_worker *w);
/* A slot is there for the next message, and a payload buffer where it may be long. False: reap
 * first. */
bool bridge_worker_buffer(struct bridge_worker *w, bool long_message);
void bridge_worker_flush(struct bridge_worker *w);
/* Collects answers; ends what has waited too long. */
unsigned bridge_worker_reap(struct bridge_worker *w);
/* What is outstanding, and when bridge_worker_reap() must be called though nothing came. */
unsigned bridge_worker_busy(struct bridge_worker *w, uint64_t *deadline_ns);
/*
 * The device has failed: enters the state of failure, once. In this order: no new requests and pins
 * (bridge_failure() says so since transport_fail(), after which the device cannot write any more
 * either), no new pins in the window, those that wait for it are woken; then the callers answer
 * what is on the channels, each its own.
 */
void bridge_note_failure(struct bridge_worker *here);

/* caller.c: bridge_forget() on a worker */
void forget_lookups(struct bridge_worker *here, uint64_t nodeid, uint64_t nlookup);

/* interrupt.c */
void start_interrupt(struct op *op);
/* Ends what was interrupted a while ago, or all that was interrupted; when the next is due. */
uint64_t interrupts_expire(struct bridge_worker *here, bool all);

/* route_queue.c: down to the ring and up again */
void op_forward(struct op *op);
/* The same as a continuation. */
void op_forward_after(struct op *op, int err);
/* The next `len` bytes of the message behind *at, whichever buffer they are in. False: it is
 * shorter. */
bool op_take_bytes(struct op *op, size_t *at, void *out, size_t len);
void start_forward(struct op *op);
void start_forget(struct op *op);
void start_refuse(struct op *op);
void start_drop(struct op *op);
void start_lock(struct op *op);
void start_setxattr(struct op *op);
int finish_read(struct op *op, uint8_t *payload, size_t len);
int finish_write(struct op *op, uint8_t *payload, size_t len);
int finish_setxattr(struct op *op, uint8_t *payload, size_t len);

/* rights.c */
/* The kernel lets everybody in, but the mount is for its owner and root. */
bool rights_owner_only(const struct op *op);
/* Adds the caller's groups to the message, where the device is to know them. */
void rights_add(struct op *op);
/* Those of this process, for the requests of a program. */
void rights_take_own_groups(struct bridge_kept *k);
/* From the text of /proc/PID/status: at most AGREEMENT_GROUPS_MAX; none where uid and gid are
 * others. How many. */
unsigned rights_parse_groups(const char *status, uint32_t uid, uint32_t gid, uint32_t *groups);

/* entry.c, open.c: what answers give, and giving it back */
int finish_entry(struct op *op, uint8_t *payload, size_t len);
int finish_open(struct op *op, uint8_t *payload, size_t len);
int finish_dirplus(struct op *op, uint8_t *payload, size_t len);
void start_release(struct op *op);
/* Counts a lookup; `name` in the op's directory, or NULL. NULL for a negative entry, or when memory
 * ran out (*err is set then). */
struct node *note_entry(struct op *op, struct fuse_entry_out *entry, const char *name, int *err);
/* How the kernel is to treat the open file's data. 0, or -errno: it cannot be open beside others.
 */
int note_open(struct op *op, struct node *node, struct fuse_open_out *out);
static inline bool open_writes(uint32_t open_flags)
{
	return (open_flags & O_ACCMODE) != O_RDONLY;
}
/* Now and then, with a request that opens or closes. */
void bridge_drop_closed(struct bridge_worker *here);
/* A handle is closed, or was not wanted. */
void note_released(struct op *op, uint64_t nodeid, uint32_t open_flags);
/* The op's own slot is the device's: a RELEASE or RELEASEDIR goes out in another one. */
void release_apart(struct op *op, uint32_t opcode, uint64_t device_id, uint64_t fh);
/* The kernel did not want the answer. `payload` is what it was not given. Frees the op. */
void give_back(struct op *op, const void *payload, size_t len);
/* An answer came after its caller had one. */
void give_back_late(struct op *op);

/* attr.c: attributes and times */
void start_times(struct op *op);
void start_flush(struct op *op);
void start_getattr(struct op *op);
void start_statfs(struct op *op);
/* The device did not answer the request that was to move them. */
void times_not_moved(struct op *op);
/* Sets the times of the op's node if the window was written, or has the op's request do so, then
 * goes on. */
void op_set_times(struct op *op, op_then then);
int finish_attr(struct op *op, uint8_t *payload, size_t len);
int finish_statx(struct op *op, uint8_t *payload, size_t len);
int finish_statfs(struct op *op, uint8_t *payload, size_t len);
/* Notes what an answer says about the node, and hides from the kernel what is between the device
 * and us. `node` may be NULL. */
void note_attr(struct op *op, struct node *node, struct fuse_attr *attr);
/* The device is late: true when the op was answered with what is known. */
bool answer_from_memory(struct op *op);

/* names.c: what changes names in a directory, and what is kept of its attributes */
void start_names(struct op *op);
void start_rename(struct op *op);
void start_touch(struct op *op);
/* The op may change what GETATTR says of its node, and its answer will not say how. */
void names_touch(struct op *op);
/* The op moves the directory's atime. */
void names_read(struct op *op);
/* Room that an answer of such a request needs for the directory's attributes. */
size_t names_room(const struct op *op);
/* Takes them off an answer of `len` bytes; how long it is then. */
size_t names_answered(struct op *op, size_t len);
/* Whether or not it was answered; before its caller is. */
void names_end(struct op *op);
/* The host has changed it. */
void names_drop(struct bridge *b, uint64_t nodeid);
/* True: a GETATTR was answered from what is kept. */
bool names_getattr(struct op *op);

/* dirs.c: open directories, of a mount or a program; the session is there. */
void dirs_begin(struct bridge *b);
void start_opendir(struct op *op);
void start_releasedir(struct op *op);
void start_readdir(struct op *op);
/* FSYNCDIR, IOCTL: whose arguments begin with the handle of a directory. */
void start_on_dir(struct op *op);
int finish_opendir(struct op *op, uint8_t *payload, size_t len);
/* The request is over: gives back what was opened for it alone. */
void dirs_end(struct op *op);
/* The kernel did not want the handle that it was given. */
void dir_not_wanted(struct op *op);
/* Room that an answer needs for what our device says of a listing. */
size_t listing_room(const struct op *op);
/* Takes it off a successful answer. 0 or -EIO. */
int listing_answered(struct op *op, const uint8_t **payload, size_t *len);
/* An OPENDIR on behalf of another request was answered when nobody waited any more. */
void opened_late(struct op *op, const uint8_t *payload, size_t len);
/* The same as listing_answered() then: how many bytes it is. */
size_t listing_late(struct op *op, const uint8_t *payload, size_t len);

/* truncate.c: what makes a file shorter, or moves its pages */
void start_open(struct op *op);
void start_create(struct op *op);
void start_setattr(struct op *op);
void start_fallocate(struct op *op);
void start_copy(struct op *op);
int finish_create(struct op *op, uint8_t *payload, size_t len);
int finish_copy(struct op *op, uint8_t *payload, size_t len);
/* The op's truncation, if it began one, has ended: op->size_clock is then that of its end, unless
 * another truncation of the node was under way meanwhile. */
void op_unblock(struct op *op);

/* route_window.c */
void start_read(struct op *op);
void start_write(struct op *op);

/* The pinned pieces of one request, in order. */
struct pins {
	struct window_pin pin[PINS_MAX];
	unsigned n;
};
/* Pins [off, off + len); WINDOW_QUEUE may leave the first pieces pinned, the others none. */
enum window_result pins_take(struct bridge_worker *here, struct pins *pins,
			     const struct node_view *view, uint64_t off, uint64_t len,
			     unsigned flags, struct window_waiter *waiter);
void pins_drop(struct bridge_worker *here, struct pins *pins);
/* False: the host took a page away; node_note_shrunk() is to follow. */
bool pins_copy_out(struct bridge_worker *here, const struct pins *pins, uint8_t *to, uint64_t len);
/* The bytes come in two pieces. */
bool pins_copy_in(struct bridge_worker *here, const struct pins *pins, struct iovec from[2],
		  uint64_t len);
void file_shrank(struct bridge_worker *here, struct node *node, uint64_t off);
/* May this write be a mere store? What the host's write(2) does besides must not be owed. */
bool store_suffices(const struct node_view *view, uint32_t open_flags, bool kills_suid);
/* The store is to be seen in the times. Before its first byte, and after its last. */
void store_begins(struct bridge *b, struct node *node, const struct node_view *view);
void store_ends(struct bridge *b, struct node *node);
/* A size that nobody has confirmed for so long is asked for; see node.h. */
#define SIZE_BELIEVED_NS NS_PER_S

/* program_map.c: an answer has brought the node's attributes, perhaps another size. */
void maps_note_size(struct bridge *b, struct node *node);
/* bridge_map() on a worker, which reaps what has to be set up for it. */
int map_on(struct bridge_worker *here, struct node *node, uint64_t off, uint64_t len,
	   unsigned flags, struct bridge_map *map, struct window_waiter *waiter);
/* The node is to become shorter. 0, or -EBUSY where a map stays. */
int maps_revoke(struct bridge *b, struct node *node);

/* authorise.c: direct maps */
void start_ioctl(struct op *op);

/* notice.c: what the device says unasked. Ending it twice is harmless. */
void notice_start(struct bridge *b);
void notice_stop(struct bridge *b);
struct notice_stats {
	uint64_t heard, inodes, names, everything, ignored;
};
void notice_get_stats(struct bridge *b, struct notice_stats *out);

/* touched.c: a request of who tells the kernel what the host has done. True: it has ended; else it
 * is one that changes nothing. */
bool touched(struct op *op);

/* measure.c: latencies, of requests that are answered ... */
void measure_begun(struct op *op);
void measure_ended(struct op *op);
/* ... and the router's figures */
void measure_sent(struct op *op);
void measure_answered(struct op *op);
/* The queue is the faster way for this, though a range may be there. */
bool measure_avoids(struct bridge_worker *here, enum router_dir dir, uint64_t len);
/* Or so it may be for this read, which shows it. */
bool measure_tries_queue(struct op *op, uint64_t len);
struct copy_sample {
	uint64_t len, start_ns;
	enum router_dir dir;
	bool timed;
};
/* Whether a copy is timed; measure_copied() when it is through. */
struct copy_sample measure_copy(struct bridge_worker *here, enum router_dir dir, uint64_t len);
void measure_copied(struct bridge *b, const struct copy_sample *s);

/* mapping.c: the window's callbacks as FUSE requests. `by` is a struct bridge_worker everywhere. */
extern const struct window_ops bridge_window_ops;

#endif
