/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/fuse: the FUSE messages. The installed <linux/fuse.h> may be older than the kernels that
 * we talk to, so what came after 7.38 (Debian 12) stands here under the kernel's own names.
 */
#ifndef VFSDAX_WIRE_FUSE_H
#define VFSDAX_WIRE_FUSE_H

#include <assert.h>
#include <linux/fuse.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

#ifndef FUSE_CREATE_SUPP_GROUP
#define FUSE_CREATE_SUPP_GROUP (1ULL << 34)
#define FUSE_EXT_GROUPS	       32
struct fuse_supp_groups {
	uint32_t nr_groups;
	uint32_t groups[];
};
#endif
#ifndef FUSE_HAS_EXPIRE_ONLY
#define FUSE_HAS_EXPIRE_ONLY (1ULL << 35)
#endif
#ifndef FUSE_DIRECT_IO_ALLOW_MMAP
#define FUSE_DIRECT_IO_ALLOW_MMAP (1ULL << 36)
#endif
#ifndef FUSE_PASSTHROUGH
#define FUSE_PASSTHROUGH (1ULL << 37)
#endif
#ifndef FUSE_NO_EXPORT_SUPPORT
#define FUSE_NO_EXPORT_SUPPORT (1ULL << 38)
#endif
#ifndef FUSE_HAS_RESEND
#define FUSE_HAS_RESEND (1ULL << 39)
#endif
#ifndef FUSE_ALLOW_IDMAP
#define FUSE_ALLOW_IDMAP (1ULL << 40)
#endif
#ifndef FUSE_OVER_IO_URING
#define FUSE_OVER_IO_URING (1ULL << 41)
#endif
#ifndef FUSE_REQUEST_TIMEOUT
#define FUSE_REQUEST_TIMEOUT (1ULL << 42)
#endif

/* 7.40: how deep the file systems of backing files may be stacked; where 7.38 has unused words. And
 * struct fuse_open_out's last word is the backing id. */
#define FUSE_INIT_OUT_STACK_DEPTH_OFFSET 36
#ifndef FOPEN_PASSTHROUGH
#define FOPEN_PASSTHROUGH (1 << 7)
#endif
#ifndef FUSE_DEV_IOC_BACKING_OPEN
struct fuse_backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
#define FUSE_DEV_IOC_BACKING_OPEN  _IOW(FUSE_DEV_IOC_MAGIC, 1, struct fuse_backing_map)
#define FUSE_DEV_IOC_BACKING_CLOSE _IOW(FUSE_DEV_IOC_MAGIC, 2, uint32_t)
#endif
#define FUSE_OPEN_OUT_BACKING_OFFSET 12

/* Opcodes after 7.38 (enumerators cannot be tested for, hence names of our own) */
#define FUSE_OP_STATX		   52
#define FUSE_OP_COPY_FILE_RANGE_64 53

struct fuse_statx_wire_in {
	uint32_t getattr_flags;
	uint32_t reserved;
	uint64_t fh;
	uint32_t sx_flags;
	uint32_t sx_mask;
};
struct fuse_statx_wire_time {
	int64_t tv_sec;
	uint32_t tv_nsec;
	int32_t reserved;
};
struct fuse_statx_wire_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	uint32_t flags;
	uint64_t spare[2];
	/* bit for bit struct statx of statx(2) */
	uint32_t mask;
	uint32_t blksize;
	uint64_t attributes;
	uint32_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint16_t mode;
	uint16_t spare0;
	uint64_t ino;
	uint64_t size;
	uint64_t blocks;
	uint64_t attributes_mask;
	struct fuse_statx_wire_time atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint64_t spare2[14];
};
static_assert(sizeof(struct fuse_statx_wire_out) == 32 + 256, "fuse.h, struct fuse_statx_out");
struct fuse_copy_file_range_wire_out {
	uint64_t bytes_copied;
};

/* Notifications after 7.38, as the opcodes above. */
#define FUSE_NOTIFICATION_INC_EPOCH 8
#ifndef FUSE_EXPIRE_ONLY
#define FUSE_EXPIRE_ONLY (1 << 0) /* of fuse_notify_inval_entry_out, whose padding it was */
#endif

/* Bit 63 of a unique id: the request was sent again (HAS_RESEND). */
#define FUSE_UNIQUE_RESEND_BIT (1ULL << 63)
/* Bit 62: the driver's own requests. The kernel counts up from 0 by twos and never gets there. */
#define FUSE_UNIQUE_OWN_BIT    (1ULL << 62)
/* Bit 61: a request of the driver's own that serves the one with the rest of the id. */
#define FUSE_UNIQUE_ASK_BIT    (1ULL << 61)
/* Bit 0: INTERRUPT of the request whose id is the rest. */
#define FUSE_UNIQUE_INTERRUPT  1ULL

static_assert(sizeof(struct fuse_in_header) == 40, "fuse.h");
static_assert(sizeof(struct fuse_out_header) == 16, "fuse.h");
static_assert(sizeof(struct fuse_init_in) == 64 && sizeof(struct fuse_init_out) == 64, "7.36");
static_assert(sizeof(struct fuse_attr) == 88 && sizeof(struct fuse_entry_out) == 128, "7.9");
static_assert(sizeof(struct fuse_setupmapping_in) == 40, "7.31");
static_assert(sizeof(struct fuse_removemapping_one) == 16, "7.31");

/* Nobody waits for an answer to the others. */
static inline int fuse_wants_answer(uint32_t opcode)
{
	return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT &&
	       opcode != FUSE_NOTIFY_REPLY;
}

#endif
