/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * frame: a driver for the file-system half without a device: builds requests, fakes the window,
 * and keeps what was answered. Each test has a directory of its own to share.
 */
#ifndef VFSDAX_TEST_DEVICE_FS_FRAME_H
#define VFSDAX_TEST_DEVICE_FS_FRAME_H

/* cmocka wants these in front of it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "vfsdax-device/fs/request.h"
#include "wire/agreement.h"
#include "wire/fuse.h"

#define REPLY_MAX (1 << 16)
#define WINDOW	  (64 * MIB)

/* What the fake front end has mapped; a test may make it refuse. */
struct shmem {
	uint64_t size;
	int map_error, unmap_error;
	int refuse_writable; /* -errno for writable maps only */
	bool wants_rdwr;     /* as QEMU: a descriptor that is open for reading only is refused */
	int last_accmode;    /* of the descriptor that was mapped last */
	unsigned n;
	struct {
		uint64_t win_off, len, fd_off;
		bool writable;
	} live[64];
	unsigned n_map, n_unmap;
};

struct frame {
	char dir[64];
	struct shmem shmem;
	struct fs_options options;
	struct fs *fs;
	uint64_t unique;
	uint32_t uid, gid;
	/* the last answer */
	uint32_t written;
	struct fuse_out_header head;
	uint8_t body[REPLY_MAX];
	size_t body_len;
	/* AGREE_NOTES: calls have room for one, which begins as `note` and is there afterwards; and
	 * what a repeated one brings, NULL: nothing. */
	bool noted;
	struct agreement_note note;
	const struct agreement_note *brings;
	int dies; /* what comes back when the note was stored: nothing is done any more */
};

/* A request that is answered later, maybe by another thread. */
struct pending {
	struct request req; /* first */
	bool pinned;	    /* for `req`, by whoever starts it */
	struct iovec in, out;
	uint8_t in_bytes[4096];
	uint8_t out_bytes[4096];
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
	uint32_t written;
};

/* Shares a new directory and sends INIT with everything offered. For cmocka's setup/teardown. */
struct frame *frame_new(enum dax_mode dax, enum cache_mode cache, unsigned flags);
#define FRAME_READONLY	      (1u << 0)
#define FRAME_NO_XATTR	      (1u << 1)
#define FRAME_ACL	      (1u << 2)
#define FRAME_NO_WINDOW	      (1u << 3)
#define FRAME_NO_INIT	      (1u << 4)
#define FRAME_CHECK	      (1u << 5) /* rights */
#define FRAME_LABEL	      (1u << 7)
#define FRAME_XATTRMAP	      (1u << 6) /* "trusted." is "user.host.trusted." */
#define FRAME_MAP_EXECUTABLES (1u << 8)
#define FRAME_WATCH	      (1u << 9)
void frame_free(struct frame *f);
int frame_setup(void **state); /* DAX_ALWAYS, CACHE_AUTO */
int frame_teardown(void **state);

/* The host's pages, in frames that are made from now on; 0: those of this machine. */
extern uint32_t frame_page_bytes;

int frame_init(struct frame *f, uint64_t flags);
int frame_init_asking(struct frame *f, uint64_t flags, uint32_t agreement);
int frame_init_foreign(struct frame *f, uint64_t flags); /* by another driver than ours */

/* One request of exactly these bytes; 0, or the error of the answer. The answer is in f. */
int call_raw(struct frame *f, const void *bytes, size_t len, size_t reply_bytes);
/* Header made; args are one or two parts. */
int call(struct frame *f, uint32_t opcode, uint64_t nodeid, const void *args, size_t len);
int call2(struct frame *f, uint32_t opcode, uint64_t nodeid, const void *a, size_t a_len,
	  const void *b, size_t b_len);
#define call_in(f, opcode, nodeid, in) call(f, opcode, nodeid, in, sizeof(*(in)))

/* Answers in flight. */
void pending_start(struct frame *f, struct pending *p, uint64_t unique, uint32_t opcode,
		   uint64_t nodeid, const void *args, size_t len);
/* A buffer of so many bytes, at most 4096, for a notification; and offered. */
void pending_prepare(struct pending *p, size_t bytes);
void pending_offer(struct frame *f, struct pending *p, size_t bytes);
bool pending_wait(struct pending *p, int timeout_ms);
int pending_error(struct pending *p);

/* Shorthands; they fail the test when the operation fails. */
uint64_t lookup(struct frame *f, uint64_t parent, const char *name);
uint64_t open_file(struct frame *f, uint64_t nodeid, uint32_t flags);
uint64_t open_dir(struct frame *f, uint64_t nodeid);
/* The error of a CREATE; nodeid and fh of the new file. */
int create(struct frame *f, uint64_t parent, const char *name, uint32_t flags, uint32_t mode,
	   uint32_t umask, uint64_t *nodeid, uint64_t *fh);
void release(struct frame *f, uint64_t nodeid, uint64_t fh);

/* On the host's side of the directory. */
const char *host_path(struct frame *f, const char *name);
void host_file(struct frame *f, const char *name, const char *content);
void host_file_of_size(struct frame *f, const char *name, off_t size);

/* Descriptors open in this process. */
unsigned count_fds(void);

#endif
