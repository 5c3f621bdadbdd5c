/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pci/caps: finds the virtio structures of a function in the bytes of its configuration space.
 *
 * Pure: bytes in, extents out. It opens nothing and touches no device, so it is unit-tested over
 * crafted bytes and fuzzed (tests/fuzz/pci). It knows nothing of VFIO.
 */
#ifndef VFSDAX_PCI_CAPS_H
#define VFSDAX_PCI_CAPS_H

#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>

#define PCI_CAPS_CONFIG_LEN 256 /* capabilities of interest lie in the first 256 bytes */
#define PCI_CAPS_BARS	    6
#define PCI_CAPS_SHM_MAX    8
#define PCI_CAPS_WHY_LEN    192

/* Part of a BAR. Whatever pci_caps_parse() lets through lies inside it. len_bytes 0: absent. */
struct pci_extent {
	uint8_t bar;
	uint64_t bar_off;
	uint64_t len_bytes;
};

struct pci_shm {
	uint8_t id;
	struct pci_extent extent; /* offset and length are multiples of 4 KiB */
};

/* Where the structures of 4.1.4 lie. No two of them overlap. */
struct pci_caps {
	struct pci_extent common; /* at least the 56 bytes of 4.1.4.3 */
	struct pci_extent notify;
	struct pci_extent isr; /* may be absent: only line interrupts need it */
	struct pci_extent device;
	uint32_t notify_multiplier; /* 0 or an even power of 2 (4.1.4.4.1) */
	unsigned shm_count;
	struct pci_shm shm[PCI_CAPS_SHM_MAX]; /* ids are distinct */
	bool shm_unplaced; /* a region was passed over: the kernel gave its BAR no addresses */
};

/*
 * Reads the capability list in `config`. bar_size[i] is the size of BAR i in bytes, 0 where there
 * is none (also for the upper half of a 64-bit one). Of a structure offered in several places the
 * first in a memory BAR counts; those in I/O BARs, of reserved types or BARs, and
 * VIRTIO_PCI_CAP_PCI_CFG are passed over, as 4.1.4.1 asks; so are regions of shared memory in a BAR
 * of no size.
 *
 * 0, or -EINVAL with a sentence in `why` that names the value: a list that loops or leaves
 * configuration space, a structure that is cut short, outside its BAR, misaligned, overlapping
 * another one or given twice, or one that is missing. `out` is then unspecified.
 */
int pci_caps_parse(const uint8_t config[PCI_CAPS_CONFIG_LEN],
		   const uint64_t bar_size[PCI_CAPS_BARS], struct pci_caps *out,
		   char why[PCI_CAPS_WHY_LEN]);

/* The region with this id, or NULL. */
const struct pci_shm *pci_caps_shm(const struct pci_caps *caps, uint8_t id);

#endif
