/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pci/common: the common configuration registers of a virtio PCI device (virtio 1.3, 4.1.4.3) and
 * the handshake over its status byte (3.1.1):
 *
 *   reset -> begin (ACKNOWLEDGE, DRIVER) -> features -> accept (FEATURES_OK)
 *         -> queue_info, queue_enable for each queue -> go (DRIVER_OK) -> ... -> reset
 *
 * `common` has at least sizeof(struct virtio_pci_common_wire) bytes: pci_caps_parse() saw to it.
 * Nothing here logs; the caller knows the function's name. Select registers make these functions
 * one thread's business; only pci_config_read() and pci_common_status() may run beside others.
 *
 * A function that left the bus answers every read with ones. A status of 0xff cannot be a
 * device's, so it is taken for that: -ENODEV.
 */
#ifndef VFSDAX_PCI_COMMON_H
#define VFSDAX_PCI_COMMON_H

#include <stdbool.h>
#include <stdint.h>

#include "pci/io.h"

/* The status byte (2.1), or -ENODEV. */
int pci_common_status(struct pci_io *common);

/* Writes 0 and waits until the device says 0 (4.1.4.3.2). -ETIMEDOUT, -ENODEV. */
int pci_common_reset(struct pci_io *common, unsigned timeout_ms);

/* 3.1.1 steps 2 and 3. -ENODEV. */
int pci_common_begin(struct pci_io *common);

/* All 64 feature bits that the device offers (3.1.1 step 4). */
uint64_t pci_common_features(struct pci_io *common);

/* Steps 4 to 6. -ENOTSUP: the device did not keep FEATURES_OK. -ENODEV. */
int pci_common_accept(struct pci_io *common, uint64_t features);

/* Step 8. -EIO: the device asks for a reset instead. -ENODEV. */
int pci_common_go(struct pci_io *common);

/* Says FAILED: the driver gave up on the device (2.1). */
void pci_common_give_up(struct pci_io *common);

unsigned pci_common_queue_count(struct pci_io *common);

struct pci_queue_info {
	uint16_t size_max;   /* 0: there is no such queue */
	uint16_t notify_off; /* times notify_multiplier is the offset of its doorbell */
	bool enabled;
};

/* Asks before the queue is set up; its size register then holds the maximum (4.1.4.3). */
void pci_common_queue_info(struct pci_io *common, uint16_t index, struct pci_queue_info *out);

struct pci_queue_setup {
	uint16_t size;
	uint16_t msix_vector; /* or VIRTIO_PCI_NO_VECTOR */
	uint64_t desc, driver, device;
};

/*
 * 4.1.5.1.3: size, vector, addresses, then enable. -ENOSPC: the device could not set up the
 * vector (4.1.5.1.2.1). -EIO: it did not enable the queue.
 */
int pci_common_queue_enable(struct pci_io *common, uint16_t index,
			    const struct pci_queue_setup *setup);

/* The vector of configuration changes; VIRTIO_PCI_NO_VECTOR for none. -ENOSPC as above. */
int pci_common_config_vector(struct pci_io *common, uint16_t msix_vector);

/*
 * Copies [off, off + len) of the device configuration, all of it from one generation (2.5.1): a
 * device that changes it during each of several tries gets -EBUSY. -EINVAL: outside the structure.
 * Fields below `words_from` are bytes, the others 32-bit words (4.1.3.1; virtio-fs: tag, then
 * num_request_queues). Each access may be a round trip at the host.
 */
int pci_config_read(struct pci_io *common, struct pci_io *device, uint32_t words_from, uint32_t off,
		    void *buf, uint32_t len);

#endif
