/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bridge/op: the life of a request. */
#ifndef VFSDAX_BRIDGE_OP_H
#define VFSDAX_BRIDGE_OP_H

#include <stdatomic.h>

#include "bridge/caller.h"
#include "fs/fs.h"
#include "wire/agreement.h"
#include "window/window.h"

struct bridge_worker;
struct kept_note;
struct op;
struct route;

/*
 * From op_begin() to op_end(). It lives in its slot's user area.
 *
 *                        op_park()                      op_submit()
 *   op_begin() ─> RUNNING ──────> PARKED       RUNNING ───────────> AT_DEVICE
 *                    │ ^             │ woken      ^                     │ answer, time-out, failure
 *                    │ └─── then() ──┘            └────── then() ───────┘
 *                    v
 *                  ENDED: op_end() unblocks the node, answers the caller, frees the slot, in this
 * order
 *
 * One thread at a time works on an op; each change of hands goes through a lock of the window or of
 * a channel. After the answer nothing is touched of what the caller's references kept: node and
 * handle.
 *
 * Two things may be left after it. An answer that the kernel did not want (its caller was killed)
 * is given back: RELEASE from the op's slot, FORGET. And where the caller was answered before the
 * device answered (time-out, INTERRUPT), the slot stays with the device, and a late answer is given
 * back in the same way (fs.h, FS_REQ_LATE).
 */
enum op_state { OP_RUNNING, OP_PARKED, OP_AT_DEVICE, OP_ENDED };

/* The one continuation. err: 0, or -errno of the wait. What the device answered, its errors
 * included, is in op->req->answer. */
typedef void (*op_then)(struct op *op, int err);

/* Arguments that the driver may change; those of a SETATTR are the longest. */
#define OP_ARGS_KEPT sizeof(struct fuse_setattr_in)

struct op {
	struct bridge *bridge;
	struct bridge_worker *worker; /* that took it and counts it as outstanding */
	struct bridge_worker *here;   /* on whose thread it runs now */
	struct fs_req *req;
	const struct route *route;
	struct fuse_in_header h;  /* never was in memory that the device can write */
	int fd;			  /* where the kernel waits for the answer ... */
	struct bridge_call *call; /* ... or a program; NULL: the kernel */
	enum op_state state;
	op_then then;	     /* while it is parked or at the device */
	op_then after_times; /* op_set_times() */
	bool forwarded;	     /* to the device, as a request of the caller's */
	bool answered;	     /* while it was parked: its caller was killed */
	uint8_t attempts;    /* through the window */
	uint64_t size_clock; /* bridge.size_clock when the request went out */
	struct node *node;   /* set where `blocked`, or the route keeps it */
	bool blocked;	     /* a window_block() and a truncation of `node` have begun */
	/* Its attributes may be others afterwards (names.c); `other_dir` is RENAME's. */
	struct node *dir, *other_dir;
	uint64_t dir_turn;
	uint64_t dir_id; /* dirs.c: the kernel's handle of a directory */
	uint64_t dir_fh; /* the device's, opened for this request alone, if dir_opened */
	bool dir_opened, opens_dir;
	bool lists; /* READDIR, READDIRPLUS: the answer begins with a struct agreement_listing */
	bool moves_mtime;	   /* AGREE_MTIME_FIRST */
	bool opening;		   /* OPEN of a node, see passthrough_ask() */
	bool kills_suid;	   /* WRITE clears suid and sgid */
	uint32_t open_flags;	   /* of OPEN and CREATE */
	uint64_t arg_off, arg_len; /* of READ, WRITE, truncations; RENAME's other directory */
	uint64_t privs_clock;	   /* of WRITE's node, when the request went out */
	uint32_t head_len;	   /* bytes of a READ that the window delivered already */
	uint32_t sent_among; /* if it is measured: as one of how many it went to the device ... */
	uint64_t sent_ns;    /* ... and when */
	uint64_t begun_ns;   /* op_begin(), if its latency is measured */
	/* What the answer gave, to be given back when it is not wanted. */
	uint64_t given_nodeid, given_fh;
	bool given_open;
	/* The device is asked for this node on behalf of the op, by one of its names; see
	 * rebuild.c. */
	uint64_t asked_node, asked_name;
	uint64_t given_number;	     /* the kernel's, of given_fh */
	uint32_t note_at;	     /* in req->out; 0: the device was not asked for one */
	struct kept_note *kept_note; /* the same for another driver; NULL: none */
	struct window_waiter waiter;
	struct fs_payload_waiter payload_waiter;
	struct list link; /* INTERRUPT: bridge.interrupts */
	uint64_t due_ns;  /* INTERRUPT */
	/* What follows is not cleared by op_begin(). CREATE: the answer, while the truncation that
	 * it asked for is made up for. */
	_Alignas(8) uint8_t saved[sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out)];
	/* How the message was before we changed it, of a mount that may go on with another device.
	 */
	uint32_t kept_len;
	struct agreement_note note; /* notes.c */
	_Alignas(8) uint8_t kept_head[sizeof(struct fuse_in_header) + OP_ARGS_KEPT];
	/* PARKED: where its caller waits, and h.unique, with bit 0 when it was killed and has its
	 * answer; else 0. Who changes it from h.unique decides who answers. Read by any thread. */
	_Atomic int parked_fd;
	_Atomic uint64_t parked_unique;
};

/* The message in w->slot, of `len` bytes, whose header is `h`. It is answered on `fd`, or, where
 * there is one, to `call`. */
void op_begin(struct bridge_worker *w, const struct fuse_in_header *h, int fd,
	      struct bridge_call *call, size_t len);
/* What the slot has to send: the op's message. */
void op_message(struct op *op);
/* The end: unblocks, answers with -errno or the payload, frees. */
void op_end(struct op *op, int err, const void *payload, size_t len);
/* The same for READ's data: where answer_data_at() says, or in the payload buffer. */
void op_end_data(struct op *op, const uint8_t *data, size_t len);
/* The same without an answer. */
void op_drop(struct op *op);
/* Hands the request in the slot to the device. The op goes on in `then`. */
void op_submit(struct op *op, op_then then);
/* The same for a request of the driver's own on behalf of the op, whose message stays in the slot.
 */
void op_ask(struct op *op, uint32_t opcode, uint64_t nodeid, const void *arg, size_t arg_len,
	    size_t room, op_then then);
void op_ask_as_caller(struct op *op, uint32_t opcode, uint64_t nodeid, const void *arg,
		      size_t arg_len, size_t room, op_then then);
/* ... about a node of which only the device's number is there. */
void op_ask_raw(struct op *op, uint32_t opcode, uint64_t device_id, const void *arg, size_t arg_len,
		size_t room, op_then then);
/* What the device answered to that: 0 and a copy of its first `len` bytes, or -errno for the
 * caller. */
int op_asked(struct op *op, int err, void *out, size_t len);
/* Before a wait for the window begins, which ends in op->waiter.wake(). */
void op_park(struct op *op, op_then then);
/* The wait did not begin after all. */
void op_unpark(struct op *op);
/* The slot is free, the op is no more. */
void op_free(struct op *op);
/* The arguments behind the header; at least route->arg_min bytes are there. */
static inline uint8_t *op_args(struct op *op)
{
	return op->req->in + sizeof(struct fuse_in_header);
}
/* Where the payload of the device's answer is. */
static inline uint8_t *op_device_payload(struct op *op)
{
	struct fs_req *req = op->req;

	return req->out_payload_len ? req->payload->va + req->out_payload_off
				    : req->out + sizeof(struct fuse_out_header);
}

#endif
