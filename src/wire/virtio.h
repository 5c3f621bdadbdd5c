/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/virtio: the bytes that a virtio driver and device share: status, feature bits, split ring
 * layout, virtio-fs configuration. Virtio 1.3; section numbers at each group.
 */
#ifndef VFSDAX_WIRE_VIRTIO_H
#define VFSDAX_WIRE_VIRTIO_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* All of it is little-endian, and so are the machines that we run on. */
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "vfsdax needs a little-endian machine");

/* 2.1 Device status field */
#define VIRTIO_STATUS_ACKNOWLEDGE 0x01u
#define VIRTIO_STATUS_DRIVER	  0x02u
#define VIRTIO_STATUS_DRIVER_OK	  0x04u
#define VIRTIO_STATUS_FEATURES_OK 0x08u
#define VIRTIO_STATUS_NEEDS_RESET 0x40u
#define VIRTIO_STATUS_FAILED	  0x80u

/* 6 Reserved feature bits (numbers), 5.11.3 virtio-fs feature bits */
#define VIRTIO_FS_F_NOTIFICATION 0
#define VIRTIO_F_INDIRECT_DESC	 28
#define VIRTIO_F_EVENT_IDX	 29
#define VIRTIO_F_VERSION_1	 32
#define VIRTIO_F_ACCESS_PLATFORM 33
#define VIRTIO_F_ORDER_PLATFORM	 36
#define VIRTIO_F_BIT(n)		 (UINT64_C(1) << (n))

/* 5.11.1 Device ID, and the PCI device id that follows from it (4.1.2: 0x1040 + id) */
#define VIRTIO_ID_FS	     26
#define VIRTIO_PCI_VENDOR    0x1af4
#define VIRTIO_PCI_DEVICE_FS (0x1040 + VIRTIO_ID_FS)

/* 5.11.4 Device configuration layout; without NOTIFICATION the last field is absent */
#define VIRTIO_FS_TAG_LEN 36
struct virtio_fs_config_wire {
	uint8_t tag[VIRTIO_FS_TAG_LEN]; /* UTF-8, padded with NUL, not always terminated */
	uint32_t num_request_queues;
} __attribute__((packed));
static_assert(sizeof(struct virtio_fs_config_wire) == 40, "5.11.4");
#define VIRTIO_FS_CONFIG_NOTIFY_BUF_SIZE 40 /* offset of a uint32_t, with NOTIFICATION */

/* 5.11.2: queue 0 is hiprio, 1 the first request queue; with NOTIFICATION 1 is that for
 * notifications, and the request queues start at 2 */
#define VIRTIO_FS_QUEUE_HIPRIO	0
#define VIRTIO_FS_QUEUE_REQUEST 1
#define VIRTIO_FS_QUEUE_NOTIFY	1
/* 5.11.6.5: the shared memory region that is the DAX window */
#define VIRTIO_FS_SHMID_DAX	0

/* 2.7 Split virtqueues */
#define VRING_QUEUE_SIZE_MAX 32768u
struct vring_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};
static_assert(sizeof(struct vring_desc) == 16, "2.7.5");
#define VRING_DESC_F_NEXT     1u
#define VRING_DESC_F_WRITE    2u
#define VRING_DESC_F_INDIRECT 4u

struct vring_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[]; /* then, with EVENT_IDX, uint16_t used_event */
};
#define VRING_AVAIL_F_NO_INTERRUPT 1u

struct vring_used_elem {
	uint32_t id;
	uint32_t len;
};
struct vring_used {
	uint16_t flags;
	uint16_t idx;
	struct vring_used_elem ring[]; /* then, with EVENT_IDX, uint16_t avail_event */
};
#define VRING_USED_F_NO_NOTIFY 1u
static_assert(offsetof(struct vring_avail, ring) == 4 && offsetof(struct vring_used, ring) == 4,
	      "2.7.6, 2.7.8");

/* 2.7: sizes with the event field; alignments are 16, 2 and 4 */
#define VRING_DESC_BYTES(n)  ((size_t)(n) * sizeof(struct vring_desc))
#define VRING_AVAIL_BYTES(n) (4 + (size_t)(n)*2 + 2)
#define VRING_USED_BYTES(n)  (4 + (size_t)(n) * sizeof(struct vring_used_elem) + 2)

/* 2.7.7.2, 2.7.10: has `event` been crossed by an index that moved from old_idx to new_idx? */
static inline int vring_need_event(uint16_t event, uint16_t new_idx, uint16_t old_idx)
{
	return (uint16_t)(new_idx - event - 1) < (uint16_t)(new_idx - old_idx);
}

#endif
