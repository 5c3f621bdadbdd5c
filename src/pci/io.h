/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pci/io: access to a structure's registers, by offset and width. Three implementations: a mapped
 * BAR (here), a BAR that cannot be mapped (transport/pci.c) and the fake device of the unit tests.
 */
#ifndef VFSDAX_PCI_IO_H
#define VFSDAX_PCI_IO_H

#include <stdint.h>

struct pci_io;

/* `width` is 1, 2 or 4 and `off` a multiple of it, inside the structure. 4.1.3.1: a field is
 * accessed in its own width; 64-bit ones as two halves. */
struct pci_io_ops {
	uint32_t (*read)(struct pci_io *io, uint32_t off, unsigned width);
	void (*write)(struct pci_io *io, uint32_t off, unsigned width, uint32_t value);
};

struct pci_io {
	const struct pci_io_ops *ops;
	uint64_t len_bytes; /* of the structure */
};

/* Registers in memory. The mapping outlives this. */
struct pci_io_mapped {
	struct pci_io io;
	volatile uint8_t *base;
};

void pci_io_mapped_init(struct pci_io_mapped *m, void *base, uint64_t len_bytes);

#endif
