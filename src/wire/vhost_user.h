/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/vhost_user: the messages of the vhost-user protocol, as far as a virtio-fs front end and
 * back end need them. Source: QEMU's docs/interop/vhost-user.rst (11.1).
 */
#ifndef VFSDAX_WIRE_VHOST_USER_H
#define VFSDAX_WIRE_VHOST_USER_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* Feature bit that says "protocol features are negotiated"; never shown to a driver. */
#define VHOST_USER_F_PROTOCOL_FEATURES 30

#define VHOST_USER_PROTOCOL_F_MQ		  0
#define VHOST_USER_PROTOCOL_F_REPLY_ACK		  3
#define VHOST_USER_PROTOCOL_F_BACKEND_REQ	  5
#define VHOST_USER_PROTOCOL_F_CONFIG		  9
#define VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD	  10
#define VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS 15
#define VHOST_USER_PROTOCOL_F_STATUS		  16
#define VHOST_USER_PROTOCOL_F_SHMEM		  22
/*
 * Not of the specification, but between our two halves: SHMEM_MAP without MMAP_RW may come with a
 * descriptor that is open for reading only. QEMU 11.1 refuses those, and acknowledges no bit that
 * it does not know.
 */
#define VHOST_USER_PROTOCOL_F_VFSDAX_RDONLY	  62
/* The same: SHMEM_MAP may bring an open file, see AGREE_FILES in wire/agreement.h. */
#define VHOST_USER_PROTOCOL_F_VFSDAX_FILES	  61

/* Requests of the front end */
enum vhost_user_request {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_RESET_OWNER = 4,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_LOG_BASE = 6,
	VHOST_USER_SET_LOG_FD = 7,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_GET_VRING_BASE = 11,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_SET_VRING_ERR = 14,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_GET_QUEUE_NUM = 17,
	VHOST_USER_SET_VRING_ENABLE = 18,
	VHOST_USER_SET_BACKEND_REQ_FD = 21,
	VHOST_USER_IOTLB_MSG = 22,
	VHOST_USER_GET_CONFIG = 24,
	VHOST_USER_SET_CONFIG = 25,
	VHOST_USER_RESET_DEVICE = 34,
	VHOST_USER_SET_STATUS = 39,
	VHOST_USER_GET_STATUS = 40,
	VHOST_USER_GET_SHMEM_CONFIG = 44,
};

/* Requests of the back end, on the channel that SET_BACKEND_REQ_FD hands over */
enum vhost_user_backend_request {
	VHOST_USER_BACKEND_IOTLB_MSG = 1,
	VHOST_USER_BACKEND_CONFIG_CHANGE_MSG = 2,
	VHOST_USER_BACKEND_SHARED_OBJECT_ADD = 6,
	VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE = 7,
	VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP = 8,
	VHOST_USER_BACKEND_SHMEM_MAP = 9,
	VHOST_USER_BACKEND_SHMEM_UNMAP = 10,
};

#define VHOST_USER_VERSION	   1u
#define VHOST_USER_VERSION_MASK	   3u
#define VHOST_USER_FLAG_REPLY	   (1u << 2)
#define VHOST_USER_FLAG_NEED_REPLY (1u << 3)

struct vhost_user_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of the payload, in bytes */
};
static_assert(sizeof(struct vhost_user_header) == 12, "vhost-user.rst, Header");
/* Not of the specification: what our device says to a front end that it turns away, since another
 * one is connected. An empty answer to what every front end asks first; others drop it as wrong. */
#define VHOST_USER_BUSY                                                                \
	{                                                                              \
		VHOST_USER_GET_FEATURES, VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY, 0 \
	}

/* Largest payload that any message of ours has; longer ones are refused. */
#define VHOST_USER_PAYLOAD_MAX	   4096u
#define VHOST_USER_FDS_MAX	   8u
#define VHOST_USER_MEM_REGIONS_MAX 8u

struct vhost_user_vring_state {
	uint32_t index;
	uint32_t num;
};

struct vhost_user_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc_user_addr; /* with ACCESS_PLATFORM: an IOVA */
	uint64_t used_user_addr;
	uint64_t avail_user_addr;
	uint64_t log_guest_addr;
};
static_assert(sizeof(struct vhost_user_vring_addr) == 40, "A vring address description");

/* SET_VRING_KICK/CALL/ERR carry a u64: the queue index and "no descriptor comes with this" */
#define VHOST_USER_VRING_INDEX_MASK 0xffu
#define VHOST_USER_VRING_NOFD	    (1u << 8)

struct vhost_user_mem_region {
	uint64_t guest_addr;
	uint64_t size;
	uint64_t user_addr;
	uint64_t mmap_offset;
};
struct vhost_user_mem_table {
	uint32_t num_regions;
	uint32_t padding;
	struct vhost_user_mem_region regions[VHOST_USER_MEM_REGIONS_MAX];
};
static_assert(sizeof(struct vhost_user_mem_table) == 8 + 8 * 32, "Multiple memory regions");

struct vhost_user_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t region[256]; /* `size` bytes of it are sent */
};

struct vhost_user_iotlb {
	uint64_t iova;
	uint64_t size;
	uint64_t user_addr;
	uint8_t perm; /* 1 read, 2 write, 3 both */
	uint8_t type;
	uint8_t padding[6];
};
static_assert(sizeof(struct vhost_user_iotlb) == 32, "An IOTLB message");
#define VHOST_IOTLB_MISS_MSG	   1
#define VHOST_IOTLB_UPDATE_MSG	   2
#define VHOST_IOTLB_INVALIDATE_MSG 3
#define VHOST_IOTLB_FAIL_MSG	   4
#define VHOST_IOTLB_PERM_READ	   1
#define VHOST_IOTLB_PERM_WRITE	   2

#define VHOST_USER_SHMEM_REGIONS_MAX 256
struct vhost_user_shmem_config {
	uint32_t num_regions;
	uint32_t padding;
	uint64_t sizes[VHOST_USER_SHMEM_REGIONS_MAX]; /* by shmid; 0: no such region */
};
static_assert(sizeof(struct vhost_user_shmem_config) == 8 + 256 * 8,
	      "VIRTIO Shared Memory Region configuration");

struct vhost_user_mmap {
	uint8_t shmid;
	uint8_t padding[7];
	uint64_t fd_offset;
	uint64_t shm_offset;
	uint64_t len;
	uint64_t flags; /* VHOST_USER_MMAP_* */
};
static_assert(sizeof(struct vhost_user_mmap) == 40, "VIRTIO Shared Memory Region mmap message");
#define VHOST_USER_MMAP_RW 1u

#endif
