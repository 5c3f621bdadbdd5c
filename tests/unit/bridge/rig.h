/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rig: a bridge between a kernel and a device that the test plays both.
 *
 *   test ── ask(), answer_of() ── socketpair ── worker ── bridge ── session ── fake device ── test
 *                                                                   device_gets(), device_answers()
 *
 * The device's part is played by the test's own thread, step by step, until rig_close(), from where
 * on a thread of the fake device answers what is left, properly, and notes what it was.
 */
#ifndef VFSDAX_TESTS_BRIDGE_RIG_H
#define VFSDAX_TESTS_BRIDGE_RIG_H

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "bridge/bridge.h"
#include "capture.h"
#include "fake/fake.h"
#include "fs/fs.h"

#define WAIT_MS	    20000
#define RIG_WORKERS 2
#define HEARD_MAX   4096
#define MIB_BYTES   (1u << 20)

struct rig_params {
	uint64_t window_bytes; /* 0: 64 MiB */
	bool no_window;
	struct bridge_params bridge;
	unsigned workers;    /* 0: 1; each on a queue of its own, unless bridge.queues says less */
	unsigned timeout_ms; /* 0: 20 000 */
	uint64_t kernel_flags;		     /* 0: all */
	uint64_t device_flags;		     /* 0: all */
	uint32_t kernel_minor, device_minor; /* 0: 38 */
	uint32_t ask, agrees; /* of and by the device, beyond FUSE: enum agreement_flags */
	bool no_init;	      /* the kernel's end is closed before it said anything */
};

struct rig {
	struct transport *t;
	struct fake_device *dev;
	struct fs_session *s;
	struct bridge *b;
	unsigned workers;
	int kernel[RIG_WORKERS], ours[RIG_WORKERS]; /* the kernel's ends, a clone each, and ours */
	int ended_fd;
	uint8_t *window;
	struct fuse_init_out granted; /* the kernel's INIT answer */
	struct fuse_init_in offered;  /* the device's INIT */
	uint64_t next_unique;
	uint32_t uid, gid, pid; /* of who asks; 1000, 1001, 1234 */
	bool serving;		/* the device's thread runs */

	/* What the device's thread heard, in order. */
	atomic_uint n_heard;
	struct heard {
		uint32_t opcode;
		uint64_t nodeid, nlookup;
	} heard[HEARD_MAX];
};

/* 0, or what bridge_open() said: then there is nothing to close. */
int rig_try_open(struct rig *rig, const struct rig_params *params);
void rig_open(struct rig *rig, const struct rig_params *params);
/* Unmounts: the workers see the end of the mount, and all is torn down, within 10 s. */
void rig_close(struct rig *rig);
/* From here on a thread answers all requests properly. */
void rig_serve(struct rig *rig);
/* How often the device's thread heard it. */
unsigned rig_heard(struct rig *rig, uint32_t opcode, uint64_t nodeid);

/* ---- the kernel's side */

struct answer {
	int error;
	size_t len;
	uint8_t payload[256 * 1024];
};

/* Sends a request on clone `k`; its unique number. */
uint64_t ask_on(struct rig *rig, unsigned k, uint32_t opcode, uint64_t nodeid, const void *args,
		size_t len);
uint64_t ask(struct rig *rig, uint32_t opcode, uint64_t nodeid, const void *args, size_t len);
/* The next answer, which must be to `unique`. The rig's own memory, until the next one. */
const struct answer *answer_on(struct rig *rig, unsigned k, uint64_t unique);
const struct answer *answer_of(struct rig *rig, uint64_t unique);
void assert_answer(struct rig *rig, uint64_t unique, int error);
/* Nothing is to be read by the kernel now. */
void assert_no_answer(struct rig *rig);

/* ---- the device's side */

/* The next request on a ring, of which the opcode is known. */
struct fake_request *device_gets_on(struct rig *rig, uint16_t queue, uint32_t opcode);
struct fake_request *device_gets(struct rig *rig, uint32_t opcode);
struct fuse_in_header header_of(const struct fake_request *r);
/* The arguments behind the header; they must have at least `len` bytes. */
void args_of(const struct fake_request *r, void *out, size_t len);
void device_answers(struct rig *rig, struct fake_request *r, int error, const void *payload,
		    size_t len);

/*
 * A request goes through as it is, so everything that was queued before it has been published too,
 * and nothing that should not be is on the ring before it.
 */
void ping(struct rig *rig);

/* ---- whole exchanges */

struct file {
	uint64_t nodeid, size;
	uint32_t mode; /* 0: S_IFREG | 0644 */
	bool no_dax;
	uint64_t fh;
};

struct fuse_attr attr_of(const struct file *f);
struct fuse_entry_out entry_of(const struct file *f);
/* LOOKUP; what the kernel got. */
struct fuse_entry_out lookup(struct rig *rig, const struct file *f);
/* LOOKUP and OPEN. */
void open_file(struct rig *rig, const struct file *f);
void forget(struct rig *rig, uint64_t nodeid, uint64_t nlookup);

uint64_t ask_read(struct rig *rig, const struct file *f, uint64_t off, uint32_t size);
/* The device maps it and fills it with the file's contents. */
struct fuse_setupmapping_in device_maps(struct rig *rig, const struct file *f);
void device_unmaps(struct rig *rig);
/* The byte that every file has at this offset. */
uint8_t content(uint64_t nodeid, uint64_t off);
void assert_content(const struct answer *a, const struct file *f, uint64_t off, size_t len);
/* READ answered by the device, from offset and size of its arguments. */
void device_reads(struct rig *rig, const struct file *f);

/* `data` NULL: bytes of 'w'. */
uint64_t ask_write(struct rig *rig, const struct file *f, uint64_t off, uint32_t size,
		   uint32_t open_flags, uint32_t write_flags);
void device_writes(struct rig *rig);

uint64_t stat_of(struct rig *rig, const char *name);

#endif
