/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* layout: writes configuration spaces for the tests of the capability parser. */
#ifndef VFSDAX_TESTS_UNIT_PCI_LAYOUT_H
#define VFSDAX_TESTS_UNIT_PCI_LAYOUT_H

#include <linux/pci_regs.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "pci/caps.h"
#include "wire/virtio.h"
#include "wire/virtio_pci.h"

struct layout {
	uint8_t config[PCI_CAPS_CONFIG_LEN];
	uint64_t bar_size[PCI_CAPS_BARS];
	unsigned next_pos; /* where the next capability goes */
	unsigned link;	   /* the byte that is to point at it */
};

static inline void layout_bar(struct layout *l, unsigned bar, uint64_t size, uint8_t type)
{
	l->bar_size[bar] = size;
	l->config[PCI_BASE_ADDRESS_0 + 4 * bar] = type;
}

static inline void layout_init(struct layout *l)
{
	*l = (struct layout){.next_pos = PCI_STD_HEADER_SIZEOF, .link = PCI_CAPABILITY_LIST};
	memcpy(l->config, &(uint16_t){VIRTIO_PCI_VENDOR}, 2);
	memcpy(l->config + 2, &(uint16_t){VIRTIO_PCI_DEVICE_FS}, 2);
	l->config[PCI_STATUS] = PCI_STATUS_CAP_LIST;
}

/* Appends a capability of `len` bytes and returns its position. */
static inline unsigned layout_cap(struct layout *l, uint8_t id, uint8_t len)
{
	unsigned pos = l->next_pos;

	l->config[l->link] = (uint8_t)pos;
	l->config[pos] = id;
	l->config[pos + 2] = len;
	l->link = pos + 1;
	l->next_pos = pos + (unsigned)round_up(len, 4);
	return pos;
}

/* A virtio structure. `extra` is the multiplier of a notification structure. */
static inline unsigned layout_virtio(struct layout *l, uint8_t type, uint8_t bar, uint32_t off,
				     uint32_t len, uint32_t extra)
{
	uint8_t cap_len =
		type == VIRTIO_PCI_CAP_NOTIFY || type == VIRTIO_PCI_CAP_PCI_ACCESS ? 20 : 16;
	unsigned pos = layout_cap(l, PCI_CAP_ID_VNDR, cap_len);

	l->config[pos + 3] = type;
	l->config[pos + 4] = bar;
	memcpy(l->config + pos + 8, &off, 4);
	memcpy(l->config + pos + 12, &len, 4);
	if (cap_len == 20)
		memcpy(l->config + pos + 16, &extra, 4);
	return pos;
}

static inline unsigned layout_shm(struct layout *l, uint8_t bar, uint8_t id, uint64_t off,
				  uint64_t len)
{
	unsigned pos = layout_cap(l, PCI_CAP_ID_VNDR, 24);
	uint32_t halves[4] = {(uint32_t)off, (uint32_t)len, (uint32_t)(off >> 32),
			      (uint32_t)(len >> 32)};

	l->config[pos + 3] = VIRTIO_PCI_CAP_SHARED_MEMORY;
	l->config[pos + 4] = bar;
	l->config[pos + 5] = id;
	memcpy(l->config + pos + 8, halves, 16);
	return pos;
}

/* The four structures that QEMU gives a device, in `bar`. */
static inline void layout_qemu(struct layout *l, unsigned bar)
{
	layout_init(l);
	layout_bar(l, bar, 0x4000, PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH);
	layout_cap(l, PCI_CAP_ID_MSIX, 12);
	layout_virtio(l, VIRTIO_PCI_CAP_PCI_ACCESS, 0, 0, 0, 0);
	layout_virtio(l, VIRTIO_PCI_CAP_NOTIFY, (uint8_t)bar, 0x3000, 0x1000, 4);
	layout_virtio(l, VIRTIO_PCI_CAP_DEVICE, (uint8_t)bar, 0x2000, 0x1000, 0);
	layout_virtio(l, VIRTIO_PCI_CAP_ISR, (uint8_t)bar, 0x1000, 0x1000, 0);
	layout_virtio(l, VIRTIO_PCI_CAP_COMMON, (uint8_t)bar, 0, 0x1000, 0);
}

#endif
