/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pci/io.h"

#include <assert.h>

#include "base/list.h"

static volatile uint8_t *at(struct pci_io *io, uint32_t off, unsigned width)
{
	struct pci_io_mapped *m = container_of(io, struct pci_io_mapped, io);

	(void)width;
	assert(off % width == 0 && off + (uint64_t)width <= io->len_bytes);
	return m->base + off;
}

static uint32_t mapped_read(struct pci_io *io, uint32_t off, unsigned width)
{
	volatile uint8_t *reg = at(io, off, width);

	switch (width) {
	case 1:
		return *reg;
	case 2:
		return *(volatile uint16_t *)reg;
	default:
		return *(volatile uint32_t *)reg;
	}
}

static void mapped_write(struct pci_io *io, uint32_t off, unsigned width, uint32_t value)
{
	volatile uint8_t *reg = at(io, off, width);

	switch (width) {
	case 1:
		*reg = (uint8_t)value;
		break;
	case 2:
		*(volatile uint16_t *)reg = (uint16_t)value;
		break;
	default:
		*(volatile uint32_t *)reg = value;
	}
}

static const struct pci_io_ops mapped_ops = {.read = mapped_read, .write = mapped_write};

void pci_io_mapped_init(struct pci_io_mapped *m, void *base, uint64_t len_bytes)
{
	*m = (struct pci_io_mapped){.io = {.ops = &mapped_ops, .len_bytes = len_bytes},
				    .base = base};
}
