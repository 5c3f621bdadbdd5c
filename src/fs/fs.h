/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fs: a session with a virtio-fs device: features, configuration, tag, queues, request slots,
 * INIT and DESTROY. It knows FUSE headers (length, unique, error) and INIT; what a request is for
 * is decided above.
 *
 *   session ── channel[0..n)  one request queue each: virtqueue, slots, payload buffers, time-outs
 *           └─ hiprio         FORGET and INTERRUPT: small slots, an overflow list, no answers
 *
 * The life of a request slot. done() is called once for each arrow that says so.
 *
 *   FREE ─ fs_req_get ─> OWNED ─ fs_req_submit ─> (WAITING for ring space) ─> IN_FLIGHT
 *    ^ └── fs_req_put ─────┘ ^                                                 │     │
 *    │                       └───────────── done(0 or -errno) ─────────────────┘     │
 *    │                                         time-out or fs_cancel(): done(-errno) v
 *    └────── done(0) in state LATE <── the device returns it, after fs_req_put ── ABANDONED
 *
 * An abandoned slot stays the device's: it may still write there. It is FREE again only when the
 * device has returned it, or can no longer write (transport_fail()).
 */
#ifndef VFSDAX_FS_FS_H
#define VFSDAX_FS_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "fs/init.h"
#include "transport/transport.h"
#include "wire/fuse.h"
#include "wire/virtio.h"

struct fs_session;
struct fs_channel;

/* Sizes of a slot's own two areas; larger messages continue in, or come to, a payload buffer. */
#define FS_IN_BYTES	 8192u
#define FS_OWN_BYTES	 512u /* behind `in`: for fs_req_ask() */
#define FS_OUT_BYTES	 8192u
#define FS_PAYLOAD_BYTES (FS_IO_BYTES_MAX + 4096u)

/* FS_PAYLOAD_BYTES of DMA memory: the rest of a long request, or the data of an answer. */
struct fs_payload {
	struct list link;
	uint8_t *va;
	uint64_t iova;
};

enum fs_req_state {
	FS_REQ_FREE,
	FS_REQ_OWNED,
	FS_REQ_WAITING,
	FS_REQ_IN_FLIGHT,
	FS_REQ_ABANDONED,
	FS_REQ_LATE,
};

struct fs_req {
	struct fs_channel *channel;
	uint8_t *in;  /* FS_IN_BYTES: the request, or its beginning */
	uint8_t *out; /* FS_OUT_BYTES: the answer, or its beginning */
	/* Attached by the user with fs_payload_get(); goes back with fs_req_put(). */
	struct fs_payload *payload;

	/* Set for fs_req_submit(): */
	uint32_t in_off;	  /* where in `in` the request begins: 0, or FS_IN_BYTES */
	uint32_t in_len;	  /* bytes from there */
	uint32_t in_payload_len;  /* bytes of `payload` that continue the request */
	uint32_t out_len;	  /* room in `out`, at least 16 unless the opcode has no answer */
	uint32_t out_payload_off; /* where in `payload` the answer continues ... */
	uint32_t out_payload_len; /* ... and the room there */
	uint32_t timeout_ms;	  /* 0: the session's */
	bool untimed;		  /* may take for ever by its nature (SETLKW) */
	bool fatal_on_timeout;	  /* unanswered in time means that the device is broken, not slow */
	/*
	 * Since when somebody waits for the answer of a fatal one (of clock_now_ns()); 0: nobody
	 * does, and there is no hurry. NULL: since it was submitted. With the channel's lock held:
	 * it may look, and no more.
	 */
	uint64_t (*awaited_ns)(const struct fs_req *req);
	/*
	 * Without locks, on the thread that reaps; `ctx` is the argument of fs_channel_reap(). err
	 * is 0 (then `answer` is valid) or -errno. Then put it, unless its state is FS_REQ_LATE:
	 * such an answer is only there to be undone, and the slot is freed afterwards.
	 */
	void (*done)(struct fs_req *req, void *ctx, int err);

	/* A checked copy of the answer's header: 16 <= len <= room, the unique is ours, error in
	 * (-512, 0]. Its payload lies in `out` + 16 and `payload` + out_payload_off: not
	 * checked. */
	struct fuse_out_header answer;

	/* fs's own */
	struct list link;
	enum fs_req_state state;
	bool put, returned;	/* of an abandoned one: by its user; by the device */
	uint32_t written_bytes; /* by the device, as the ring has it */
	uint64_t in_iova, out_iova;
	uint64_t unique;
	uint64_t deadline_ns;
	/* user_bytes of session parameters follow */
	void *user;
};

struct fs_params {
	/* Request queues to use; 0: as many as `workers`, at most as many as the device has. */
	unsigned queues;
	unsigned workers;
	unsigned timeout_ms; /* 0: 60 000 */
	unsigned slots;	     /* requests a channel; 0: 128 */
	unsigned payloads;   /* payload buffers a channel; 0: 6 + two for each worker */
	size_t user_bytes;   /* of fs_req.user */
	uint32_t ask;	     /* of our own device: enum agreement_flags */
};

/*
 * Negotiates features, reads the configuration, sets up all queues and starts the device. The
 * transport stays the caller's to close, after fs_session_close(). 0 or -errno after one log line.
 */
int fs_session_open(struct transport *t, const struct fs_params *params, struct fs_session **out);

/*
 * FUSE_INIT with the device, then GETATTR of its root, both bounded by the time-out. Call once,
 * before any other request and before other threads use the session.
 */
int fs_session_init(struct fs_session *s, uint64_t kernel_flags, uint32_t max_readahead);

/* DESTROY (bounded, ignored where unknown), then stops the device. No other thread is inside, no
 * mapping request in flight. Unfinished requests are done() with -ENODEV. */
void fs_session_close(struct fs_session *s);

/*
 * Gives up on everything that the device still has: done() with err, now, and never in state LATE.
 * For a user that goes away before the session does. The conditions of fs_session_close().
 */
void fs_session_abandon(struct fs_session *s, void *ctx, int err);

/*
 * Of a device that may end without a sign (transport.ends_unseen) and agreed to it: gives it up
 * when it is gone, which takes four seconds of requests or messages in flight. To be called each
 * second by a thread that does nothing else, where fs_session_watched(); any thread.
 */
void fs_session_look(struct fs_session *s);
bool fs_session_watched(const struct fs_session *s);

struct transport *fs_transport(struct fs_session *s);
const char *fs_tag(const struct fs_session *s); /* valid until close */
const struct fs_limits *fs_limits(const struct fs_session *s);
/* The attributes of the root as fs_session_init() found them. */
const struct fuse_attr *fs_root_attr(const struct fs_session *s);
/* The memory that is shared with the device: a file, the session's; and where in it a slot's or a
 * buffer's byte is. What is there lasts if somebody else has it open. */
int fs_memory_fd(const struct fs_session *s);
uint64_t fs_memory_offset(const struct fs_session *s, const void *va);
unsigned fs_channel_count(const struct fs_session *s);
struct fs_channel *fs_channel(struct fs_session *s, unsigned i);
/* All slots, whatever their state. */
struct fs_req *fs_channel_slots(struct fs_channel *ch, unsigned *n);

/* Called once, by a thread that put a payload buffer, which is the waiter's now; NULL: the device
 * was given up. `ctx` is that of the reap or put. */
struct fs_payload_waiter {
	void (*got)(struct fs_payload_waiter *waiter, void *ctx, struct fs_payload *payload);
	struct list link;
};

/* A slot in state OWNED, or NULL when fewer than `leave` + 1 are free. From any thread. */
struct fs_req *fs_req_get(struct fs_channel *ch, unsigned leave);
/* `ctx`: for the callbacks that follow from it. */
void fs_req_put(struct fs_req *req, void *ctx);
/* NULL unless more than `leave` are free. */
struct fs_payload *fs_payload_get(struct fs_channel *ch, unsigned leave);
unsigned fs_payloads_free(struct fs_channel *ch);
/* NULL: none is free, the waiter will be called. */
struct fs_payload *fs_payload_get_or_wait(struct fs_channel *ch, struct fs_payload_waiter *waiter);

/*
 * Hands the request to the device; fs_channel_flush() makes it known. 0: done() is called later,
 * from the thread that reaps; else the -errno for which the device was given up, and the slot is
 * still the caller's. The first 40 bytes of `in` are a struct fuse_in_header whose len and unique
 * are right.
 */
int fs_req_submit(struct fs_req *req);
/* The caller of the request with this unique number does not wait any longer: abandons it with err.
 * False: no channel has it in flight. */
bool fs_cancel(struct fs_session *s, uint64_t unique, void *ctx, int err);
/* May one more untimed request be submitted? They get half of the slots: what ends their wait needs
 * one, too. */
bool fs_channel_may_wait(struct fs_channel *ch);
/* Lets a device that looks by itself begin with what was submitted, while more is being prepared;
 * the kick of one that sleeps is fs_channel_flush()'s, which must follow. */
void fs_channel_publish(struct fs_channel *ch);
/* Publishes what was submitted; one kick at the most. */
void fs_channel_flush(struct fs_channel *ch);
/* Takes answers off the ring and calls done() with `ctx`; publishes what waited for ring space. The
 * count. */
unsigned fs_channel_reap(struct fs_channel *ch, void *ctx);
/* Requests that the device has and that are not abandoned, and when reap must be called at the
 * latest though nothing came (UINT64_MAX: never). */
unsigned fs_channel_busy(struct fs_channel *ch, uint64_t *deadline_ns);
/* Those that are abandoned and still the device's: nobody waits for them, but a late answer may
 * have to be undone. */
unsigned fs_channel_abandoned(struct fs_channel *ch);
/* True: something is to be reaped, do not sleep. Else a call will signal fs_channel_call_fd(). */
bool fs_channel_enable_calls(struct fs_channel *ch);
void fs_channel_disable_calls(struct fs_channel *ch);
int fs_channel_call_fd(struct fs_channel *ch);

/* A unique number for a request of the driver's own. */
uint64_t fs_unique(struct fs_session *s);
/* Fills a header at req->in for a request of the driver's own with `arg_len` bytes behind it. */
void fs_req_header(struct fs_req *req, uint32_t opcode, uint64_t nodeid, uint32_t arg_len);

/* A request on behalf of the one whose message is in `in`, which stays: it is written behind that,
 * with `room` bytes for the payload of its answer. `unique`: of the request that it serves. */
void fs_req_ask(struct fs_req *req, uint32_t opcode, uint64_t nodeid, uint64_t unique,
		const void *arg, uint32_t arg_len, uint32_t room);

/* Drops `nlookup` references of a node: FORGET through hiprio. Never fails, never blocks. */
void fs_forget(struct fs_session *s, uint64_t nodeid, uint64_t nlookup);
/* INTERRUPT of the request with this unique number, through hiprio; best effort. */
void fs_interrupt(struct fs_session *s, uint64_t unique);
/* Reaps hiprio and sends what waited. True while something still waits for room. */
bool fs_hiprio_progress(struct fs_session *s);

/*
 * Notifications (virtio 1.3, 5.11.6): what the device says unasked. For one thread, which waits for
 * fs_notify_fd() (see transport_ops.call_fd); false and -1 where there are none.
 */
bool fs_notifies(const struct fs_session *s);
int fs_notify_fd(const struct fs_session *s);
#define FS_NOTIFY_BYTES_MAX 4096u
/* A copy of the next one, whose length is checked to be that of its header, in (0, 4096]; its
 * buffer is the device's again. 0: there is none, and fs_notify_fd() will be signalled; or -errno,
 * and the device was given up. */
int fs_notify_take(struct fs_session *s, uint8_t out[FS_NOTIFY_BYTES_MAX]);

/*
 * One request of the driver's own, answered before it returns (bounded by the time-out); for
 * start and end of a session, when no other thread reaps. Copies up to out_len bytes of payload.
 * The number of payload bytes, or -errno (the device's or ours).
 */
int fs_call(struct fs_session *s, uint32_t opcode, uint64_t nodeid, const void *arg,
	    uint32_t arg_len, void *out, uint32_t out_len);

/* What a caller of the file system sees of a device failure: -ENODEV, -ENOTCONN or -EIO. */
int fs_caller_error(int err);

struct fs_stats {
	uint64_t kicks, submitted, answered, timeouts, forgets;
};
void fs_get_stats(struct fs_session *s, struct fs_stats *out);

#endif
