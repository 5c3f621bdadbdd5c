/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/virtio_pci: how a virtio device looks on the PCI bus: where its structures lie and what its
 * common configuration registers are. Virtio 1.3; section numbers at each group.
 */
#ifndef VFSDAX_WIRE_VIRTIO_PCI_H
#define VFSDAX_WIRE_VIRTIO_PCI_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* 4.1.4 Virtio structure PCI capabilities: vendor-specific capabilities in configuration space */
struct virtio_pci_cap_wire {
	uint8_t cap_vndr; /* PCI_CAP_ID_VNDR */
	uint8_t cap_next;
	uint8_t cap_len;
	uint8_t cfg_type; /* VIRTIO_PCI_CAP_* */
	uint8_t bar;	  /* 0 to 5; others are reserved */
	uint8_t id;	  /* distinguishes several of one type: the shmid of shared memory */
	uint8_t padding[2];
	uint32_t offset;
	uint32_t length;
};
static_assert(sizeof(struct virtio_pci_cap_wire) == 16, "4.1.4");

/* 4.1.4: capabilities with 64-bit offset and length (shared memory) */
struct virtio_pci_cap64_wire {
	struct virtio_pci_cap_wire cap;
	uint32_t offset_hi;
	uint32_t length_hi;
};
static_assert(sizeof(struct virtio_pci_cap64_wire) == 24, "4.1.4");

/* 4.1.4.4 Notification structure */
struct virtio_pci_notify_cap_wire {
	struct virtio_pci_cap_wire cap;
	uint32_t notify_off_multiplier; /* 0, or an even power of 2 */
};
static_assert(sizeof(struct virtio_pci_notify_cap_wire) == 20, "4.1.4.4");

/* 4.1.4 cfg_type */
#define VIRTIO_PCI_CAP_COMMON	     1
#define VIRTIO_PCI_CAP_NOTIFY	     2
#define VIRTIO_PCI_CAP_ISR	     3
#define VIRTIO_PCI_CAP_DEVICE	     4
#define VIRTIO_PCI_CAP_PCI_ACCESS    5 /* "VIRTIO_PCI_CAP_PCI_CFG": a window for firmware */
#define VIRTIO_PCI_CAP_SHARED_MEMORY 8

/* 4.1.4.3 Common configuration structure. Fields behind `queue_device` depend on features that
 * this driver does not take. */
struct virtio_pci_common_wire {
	uint32_t device_feature_select;
	uint32_t device_feature;
	uint32_t driver_feature_select;
	uint32_t driver_feature;
	uint16_t config_msix_vector;
	uint16_t num_queues;
	uint8_t device_status;
	uint8_t config_generation;
	uint16_t queue_select;
	uint16_t queue_size;
	uint16_t queue_msix_vector;
	uint16_t queue_enable;
	uint16_t queue_notify_off;
	uint64_t queue_desc;
	uint64_t queue_driver;
	uint64_t queue_device;
};
static_assert(offsetof(struct virtio_pci_common_wire, device_status) == 20 &&
		      offsetof(struct virtio_pci_common_wire, queue_desc) == 32 &&
		      sizeof(struct virtio_pci_common_wire) == 56,
	      "4.1.4.3");

/* 4.1.5.1.2: "no vector", and the answer of a device that could not set one up */
#define VIRTIO_PCI_NO_VECTOR 0xffffu

/* 4.1.4.5 ISR status; reading it clears it and takes the interrupt line down */
#define VIRTIO_PCI_ISR_QUEUE  0x1u
#define VIRTIO_PCI_ISR_CONFIG 0x2u

#endif
