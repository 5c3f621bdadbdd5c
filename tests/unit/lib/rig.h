/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rig: a share whose device is the test's. A thread of the fake device answers as a device with one
 * file ("f", node 2) and one directory ("d", node 3) would, and to the opcode of a `lie` with that.
 */
#ifndef VFSDAX_TESTS_LIB_RIG_H
#define VFSDAX_TESTS_LIB_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake/fake.h"
#include "lib/internal.h"

#define NODE_FILE 2
#define NODE_DIR  3

struct lie {
	uint32_t opcode; /* 0: none */
	int error;
	size_t len;
	unsigned times; /* 0: always */
	bool silent;	/* never answered */
	uint8_t payload[8192];
};

struct rig {
	struct fake_device *dev;
	struct vfsdax *s;
	struct lie lie;
	atomic_uint forgets; /* lookups given back, root's excluded */
	atomic_uint lookups; /* given out */
	atomic_uint requests[64];
	atomic_bool hold; /* requests are kept until rig_release() */
	pthread_mutex_t lock;
	struct fake_request *held[256];
	unsigned n_held;
	atomic_uint lines; /* of the log */
	/* rig_open_watched(): it has a window, and buffers for what it says unasked */
	bool watched, heard;
	_Atomic uint64_t size; /* of the file */
	struct fake_request *notices[128];
	unsigned n_notices;
};

void rig_open(struct rig *r, unsigned queues, unsigned timeout_ms);
/* A device that tells what its host has changed, with one request queue. */
void rig_open_watched(struct rig *r, unsigned flags, unsigned timeout_ms);
/* It does: FUSE_NOTIFY_INVAL_INODE about this node. */
void rig_tell(struct rig *r, uint64_t nodeid);
void rig_tell_bytes(struct rig *r, const void *bytes, size_t len);
/* With each lookup given back. */
void rig_close(struct rig *r);
/* Of a device that is dead. */
void rig_end(struct rig *r);
/* From now on: the answer to this opcode. */
void rig_lie(struct rig *r, uint32_t opcode, int error, const void *payload, size_t len);
void rig_truth(struct rig *r);
/* Answers the kept requests, the last first. */
void rig_release(struct rig *r);
/* Answers the last of them only, and still keeps new ones. */
void rig_release_last(struct rig *r);
unsigned rig_held(struct rig *r);
struct vfsdax_file *rig_file(struct rig *r, int flags);
struct fuse_entry_out rig_entry(uint64_t nodeid, uint32_t mode);

#endif
