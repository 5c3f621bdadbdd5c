/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transport/pci: a virtio-fs PCI function through VFIO. The function is already bound to vfio-pci.
 */
#ifndef VFSDAX_TRANSPORT_PCI_H
#define VFSDAX_TRANSPORT_PCI_H

#include "transport/transport.h"

struct pci_params {
	/* Feature bits to hide from the driver (tests). */
	uint64_t mask_features;
	/* Use the interrupt line although the function has MSI-X (tests). */
	bool line_interrupt;
};

/*
 * Opens the function "DDDD:BB:DD.F". 0, or -errno after one line of log that names what is
 * missing: binding, group ownership, RLIMIT_MEMLOCK, ACCESS_PLATFORM, other devices in the group.
 */
int transport_pci_open(const char *address, const struct pci_params *params,
		       struct transport **out);

#endif
