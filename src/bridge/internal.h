/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bridge/internal: what the files of this floor share. */
#ifndef VFSDAX_BRIDGE_INTERNAL_H
#define VFSDAX_BRIDGE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "bridge/bridge.h"
#include "bridge/caller.h"
#include "bridge/node.h"
#include "fuse/crew.h"

#define OP_TAKEN 1
#define OPCODES_COUNTED 64
/* Slots that requests of the kernel leave for the driver's own (mapping, times). */
#define SLOTS_RESERVED	8
#define PINS_MAX	8
/* In a big buffer the data of an answer stands here: page-aligned, with room for a header. */
#define DATA_AT		4096u

struct op;

/* What an answer carries behind its header, so that the bridge can look at it. */
enum route_payload {
	PAYLOAD_OPAQUE, /* never looked at */
	PAYLOAD_ATTR,	/* struct fuse_attr_out */
	PAYLOAD_ENTRY,	/* struct fuse_entry_out */
	PAYLOAD_CREATE, /* struct fuse_entry_out, struct fuse_open_out */
	PAYLOAD_OPEN,	/* struct fuse_open_out */
	PAYLOAD_READ,	/* file data */
	PAYLOAD_WRITE,	/* struct fuse_write_out */
	PAYLOAD_DIRPLUS, /* struct fuse_direntplus, many */
	PAYLOAD_STATX,	 /* struct fuse_statx_wire_out */
	PAYLOAD_EMPTY,	 /* nothing; that it succeeded is what is looked at */
};

struct route {
	uint32_t opcode;
	const char *name;
	/* Begins the request; it ends in op_reply_*() or op_drop(). */
	void (*start)(struct op *op);
	/* Looks at, and may change, a copy of a successful answer before the kernel gets it. 0: send
	 * it; a negative errno: answer that; OP_TAKEN: the op goes on by itself. */
	int (*finish)(struct op *op, uint8_t *payload, size_t len);
	enum route_payload payload;
	uint16_t arg_min;   /* bytes of arguments that `start` looks at */
	uint16_t reply_max; /* room for the answer's payload ... */
	int8_t size_at;	    /* ... plus the u32 at this place of the arguments; -1: none */
};

/* Counters of one worker; read by anybody, written by it alone. */
struct tally {
	_Atomic uint64_t window_read_bytes, window_write_bytes;
	_Atomic uint64_t queue_read_bytes, queue_write_bytes;
	_Atomic uint64_t copy_faults, mtime_updates;
	_Atomic uint64_t queue_requests[OPCODES_COUNTED];
} __attribute__((aligned(64)));

static inline void tally_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

struct bridge_worker {
	struct bridge *bridge;
	struct fuse_worker *thread;
	struct fs_channel *channel;
	/* The slot (with a big buffer) into which the next request is read; NULL: none at hand. */
	struct fs_req *fetch;
	/* Copies of answers that are looked at live here: shared memory may change under us. */
	uint8_t *scratch; /* FS_BIG_BYTES */
	/* Requests of this worker that wait for the window, so are neither with the device nor
	 * answered: it must not block in read(2), since another thread may send them on. */
	atomic_uint parked;
	/* The slot that carries this worker's REMOVEMAPPING. */
	struct fs_req *remover;
	unsigned sample; /* counts what may be measured; the worker's own thread */
	struct tally tally;
};

struct bridge {
	struct fs_session *session;
	struct transport *transport;
	struct bridge_params params;
	struct node_table *nodes;
	uint64_t kernel_flags; /* granted to the kernel by our INIT answer */

	struct window *window; /* NULL: no DAX */
	uint8_t *window_va;    /* where it begins */
	bool per_inode_dax;    /* FUSE_ATTR_DAX decides */
	struct router router; /* what both ways cost */
	uint64_t calibration_ns;
	const char *no_window_reason;
	char refusal_reason[64];
	atomic_bool hiprio_waits; /* FORGETs wait for room: some worker must see to them */
	atomic_bool dax_seen; /* some inode was marked for DAX */
	struct fs_req *remover; /* as that of a worker, for threads that are none */
	uint8_t *scratch;

	/* Truncations begun and ended; see node.h, sizes. */
	_Atomic uint64_t size_clock;
	struct bridge_proofs *proofs; /* NULL: no direct maps. Made and freed by who serves them */

	/* Of a program they are its lanes, without a thread, and there is no crew. */
	unsigned n_workers;
	struct bridge_worker **workers;
	int *cpus;
	struct fuse_crew *crew;
	struct tally others; /* of threads that are no workers */
	atomic_uint strays;  /* mapping requests of such threads that are under way */

	pthread_mutex_t reap_lock; /* guards `scratch` in bridge_reap(); the locks of all floors below in it */
	pthread_mutex_t hold_lock; /* guards what follows and the bridge's part of holds; taken inside nothing */
	pthread_cond_t hold_told;
	struct list holds;
	uint64_t hold_rounds;
	uint64_t hold_bytes;
	atomic_uint n_holds;
};

struct hold_teller {
	pthread_t thread;
	bool gone; /* bridge_unhold() was called inside revoke() */
};


/* A request under way; lives in its slot's user area. */
struct op {
	struct bridge *bridge;
	struct bridge_worker *worker; /* that read it */
	struct fs_req *req;
	const struct route *route;
	struct fuse_in_header h; /* a checked copy; the slot is shared memory */
	int fd;			 /* where the kernel waits for the answer ... */
	struct bridge_call *call; /* ... or a program; NULL: the kernel */
	uint64_t size_clock;	 /* bridge.size_clock when the request went out */
	struct node *node;	 /* set where `blocked`, or the route keeps it */
	bool blocked;		 /* holds a window_block() and a truncation of `node` */
	uint8_t attempts;	 /* through the window */
	uint32_t open_flags;	 /* of OPEN and CREATE */
	uint64_t arg_off, arg_len; /* of READ, WRITE, truncations */
	uint32_t kept_len, kept_big_len; /* of the request, while a GETATTR goes out from its slot */
	uint64_t privs_clock;	 /* of WRITE's node, when the request went out */
	bool kills_suid;	 /* WRITE clears suid and sgid */
	uint32_t head_len;	 /* bytes of a READ that the window delivered already */
	uint64_t sent_ns;	 /* when it went to the device, if it is measured ... */
	uint32_t sent_among;	 /* ... as one of how many */
	/* Taken back when the kernel does not want the answer any more. */
	uint64_t undo_nodeid, undo_fh;
	bool undo_open;
	/* CREATE: the answer, while the truncation that it asked for is made up for. */
	_Alignas(8) uint8_t saved[sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out)];
	/* Continues after a wait. */
	void (*resume)(struct op *op, int err);
	struct window_waiter waiter;
};

/* The worker whose thread this is, or NULL. */
extern _Thread_local struct bridge_worker *bridge_self;

static inline struct tally *bridge_tally(struct bridge *b)
{
	return bridge_self ? &bridge_self->tally : &b->others;
}

/* route.c */
const struct route *route_find(uint32_t opcode);
/* The message in w->fetch. It is answered on `fd`, or, where there is one, to `call`. */
void route_request(struct bridge_worker *w, int fd, struct bridge_call *call, size_t len);

/* answer.c: to the kernel or the program. 0, or what fuse/reply.h says; -ENOENT: not wanted any more. */
int answer_error(struct op *op, int err);
int answer_payload(struct op *op, const void *payload, size_t len);
/* Data of a READ that is where answer_data_at() says; from the beginning, `len` bytes. */
int answer_data(struct op *op, size_t len);
uint8_t *answer_data_at(struct op *op);

/* bridge.c: what bridge_open() and bridge_open_caller() have in common */
struct bridge *bridge_new(struct fs_session *s, const struct bridge_params *params);
void bridge_free(struct bridge *b);
/* INIT is through: the root's node and the window. */
int bridge_ready(struct bridge *b);
/* NULL: out of memory. */
struct bridge_worker *bridge_worker_new(struct bridge *b, unsigned channel);
void bridge_worker_free(struct bridge_worker *w);
/* As bridge_lane_buffer() and bridge_lane_flush(). */
bool bridge_worker_buffer(struct bridge_worker *w, bool big, struct iovec iov[2]);
void bridge_worker_flush(struct bridge_worker *w);

/* route_queue.c: the stairs down to the ring and up again */
void op_forward(struct op *op);
void op_submit(struct op *op, void (*done)(struct fs_req *req, int err));
void op_reply_error(struct op *op, int err);
void op_reply_payload(struct op *op, const void *payload, size_t len);
void op_drop(struct op *op);
void op_answered(struct fs_req *req, int err);
/* The arguments behind the header; at least route->arg_min bytes are there. */
static inline uint8_t *op_args(struct op *op)
{
	return op->req->in + sizeof(struct fuse_in_header);
}
void start_forward(struct op *op);
void start_forget(struct op *op);
void start_interrupt(struct op *op);
void start_refuse(struct op *op);
void start_drop(struct op *op);
void start_lock_wait(struct op *op);
void start_open(struct op *op);
void start_create(struct op *op);
void start_setattr(struct op *op);
void start_fallocate(struct op *op);
void start_times(struct op *op);
void start_setxattr(struct op *op);
void start_copy(struct op *op);
/* Notes what an answer says about the op's node. */
void op_note_attr(struct op *op, struct fuse_attr *attr);
int finish_attr(struct op *op, uint8_t *payload, size_t len);
int finish_entry(struct op *op, uint8_t *payload, size_t len);
int finish_create(struct op *op, uint8_t *payload, size_t len);
int finish_open(struct op *op, uint8_t *payload, size_t len);
int finish_read(struct op *op, uint8_t *payload, size_t len);
int finish_write(struct op *op, uint8_t *payload, size_t len);
int finish_setxattr(struct op *op, uint8_t *payload, size_t len);
int finish_statx(struct op *op, uint8_t *payload, size_t len);
int finish_copy(struct op *op, uint8_t *payload, size_t len);
int finish_dirplus(struct op *op, uint8_t *payload, size_t len);

/* route_window.c */
void start_read(struct op *op);
void start_write(struct op *op);

/* Waits for the window: op->resume will be called through op->waiter. Before the wait begins. */
void op_park(struct op *op, void (*resume)(struct op *op, int err));
/* The wait did not begin after all. */
void op_unpark(struct op *op);

/* The pinned pieces of one request, in order. */
struct pins {
	struct window_pin pin[PINS_MAX];
	unsigned n;
};
/* Pins [off, off + len); WINDOW_QUEUE may leave the first pieces pinned, the others none. */
enum window_result pins_take(struct pins *pins, const struct node_view *view, uint64_t off,
			     uint64_t len, unsigned flags, struct window_waiter *waiter);
void pins_drop(struct pins *pins);
/* False: the host took a page away; node_note_shrunk() is to follow. */
bool pins_copy_out(struct bridge *b, const struct pins *pins, uint8_t *to, uint64_t len);
/* The bytes come in two pieces. */
bool pins_copy_in(struct bridge *b, const struct pins *pins, struct iovec from[2], uint64_t len);
void file_shrank(struct bridge *b, struct node *node, uint64_t off);
/* May this write be a mere store? What the host's write(2) does besides must not be owed. */
bool store_suffices(const struct node_view *view, uint32_t open_flags, bool kills_suid);
/* The store is to be seen in the times. Before its first byte, and after its last. */
void store_begins(struct bridge *b, struct node *node, const struct node_view *view);
void store_ends(struct bridge *b, struct node *node);
/* A size that nobody has confirmed for so long is asked for; see node.h. */
#define SIZE_BELIEVED_NS NS_PER_S

/* hold.c: an answer has told the node's attributes, so perhaps another size. */
void holds_note_size(struct bridge *b, struct node *node);
/* The node is to become shorter. 0, or -EBUSY where a hold stays. */
int holds_revoke(struct bridge *b, struct node *node);

/* proof.c: direct maps; the same requests, and notes for what files are open */
void start_ioctl(struct op *op);
void start_release(struct op *op);
int finish_open_file(struct op *op, uint8_t *payload, size_t len);
int finish_create_file(struct op *op, uint8_t *payload, size_t len);
void proof_undo_open(struct op *op);

/* measure.c: the router's figures */
void measure_start(struct bridge *b);
void measure_sent(struct op *op);
void measure_answered(struct op *op);
/* The queue is the faster way for this, though a range may be there. */
bool measure_avoids(struct bridge *b, enum router_dir dir, uint64_t len);
struct copy_sample {
	uint64_t len, start_ns;
	enum router_dir dir;
	enum router_copy how;
	bool timed;
};
/* How to copy, and whether it is timed; measure_copied() when it is through. */
struct copy_sample measure_copy(struct bridge *b, enum router_dir dir, uint64_t len);
void measure_copied(struct bridge *b, const struct copy_sample *s, bool first);
void measure_emit(struct bridge *b, const struct window_stats *w,
		  void (*emit)(void *ctx, const char *name, uint64_t value), void *ctx);

/* mapping.c: the window's callbacks as FUSE requests */
extern const struct window_ops bridge_window_ops;
/*
 * A truncation, or the like, of the op's node begins: takes the ranges from `off` on out of the
 * window and keeps the inode out of it until op_unblock(), then calls `next`. `size`: what the file
 * will be cut to (UINT64_MAX: it will not). -ETXTBSY: a hold of the node stays where it is.
 */
void op_block(struct op *op, struct node *node, uint64_t off, uint64_t size,
	      void (*next)(struct op *op, int err));
/* The truncation has ended. Harmless where none began. */
void op_unblock(struct op *op);

#endif
