/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pci/common.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "wire/virtio.h"
#include "wire/virtio_pci.h"

#define FIELD_WIDTH(field) sizeof(((struct virtio_pci_common_wire *)0)->field)
#define REG_READ(c, field) \
	((c)->ops->read(c, offsetof(struct virtio_pci_common_wire, field), FIELD_WIDTH(field)))
#define REG_WRITE(c, field, value)                                                              \
	((c)->ops->write(c, offsetof(struct virtio_pci_common_wire, field), FIELD_WIDTH(field), \
			 value))

#define STATUS_GONE	 0xffu
#define RESET_POLL_US	 1000
#define CONFIG_TRIES	 16
/* A device with as many queues as a 16-bit count of ones is a function that left the bus. */
#define QUEUE_COUNT_GONE 0xffffu

/* 4.1.3.1 lets a driver write a 64-bit field as two halves, and 32-bit devices need it. */
static void write_u64(struct pci_io *c, uint32_t off, uint64_t value)
{
	c->ops->write(c, off, 4, (uint32_t)value);
	c->ops->write(c, off + 4, 4, (uint32_t)(value >> 32));
}

int pci_common_status(struct pci_io *common)
{
	uint32_t status = REG_READ(common, device_status);

	return status == STATUS_GONE ? -ENODEV : (int)status;
}

static int add_status(struct pci_io *common, uint8_t bits)
{
	int status = pci_common_status(common);

	if (status < 0)
		return status;
	REG_WRITE(common, device_status, (uint32_t)status | bits);
	return 0;
}

int pci_common_reset(struct pci_io *common, unsigned timeout_ms)
{
	uint64_t deadline = clock_now_ns() + timeout_ms * NS_PER_MS;

	REG_WRITE(common, device_status, 0);
	for (;;) {
		int status = pci_common_status(common);

		if (status <= 0)
			return status;
		if (clock_now_ns() >= deadline)
			return -ETIMEDOUT;
		usleep(RESET_POLL_US);
	}
}

int pci_common_begin(struct pci_io *common)
{
	int ret = add_status(common, VIRTIO_STATUS_ACKNOWLEDGE);

	return ret ? ret : add_status(common, VIRTIO_STATUS_DRIVER);
}

uint64_t pci_common_features(struct pci_io *common)
{
	uint64_t low, high;

	REG_WRITE(common, device_feature_select, 0);
	low = REG_READ(common, device_feature);
	REG_WRITE(common, device_feature_select, 1);
	high = REG_READ(common, device_feature);
	return high << 32 | low;
}

int pci_common_accept(struct pci_io *common, uint64_t features)
{
	int ret, status;

	REG_WRITE(common, driver_feature_select, 0);
	REG_WRITE(common, driver_feature, (uint32_t)features);
	REG_WRITE(common, driver_feature_select, 1);
	REG_WRITE(common, driver_feature, (uint32_t)(features >> 32));
	ret = add_status(common, VIRTIO_STATUS_FEATURES_OK);
	if (ret)
		return ret;
	status = pci_common_status(common);
	if (status < 0)
		return status;
	return status & VIRTIO_STATUS_FEATURES_OK ? 0 : -ENOTSUP;
}

int pci_common_go(struct pci_io *common)
{
	int ret = add_status(common, VIRTIO_STATUS_DRIVER_OK), status;

	if (ret)
		return ret;
	status = pci_common_status(common);
	if (status < 0)
		return status;
	return status & VIRTIO_STATUS_NEEDS_RESET ? -EIO : 0;
}

void pci_common_give_up(struct pci_io *common)
{
	add_status(common, VIRTIO_STATUS_FAILED);
}

unsigned pci_common_queue_count(struct pci_io *common)
{
	unsigned count = REG_READ(common, num_queues);

	return count == QUEUE_COUNT_GONE ? 0 : count;
}

void pci_common_queue_info(struct pci_io *common, uint16_t index, struct pci_queue_info *out)
{
	REG_WRITE(common, queue_select, index);
	*out = (struct pci_queue_info){
		.size_max = (uint16_t)REG_READ(common, queue_size),
		.notify_off = (uint16_t)REG_READ(common, queue_notify_off),
		.enabled = REG_READ(common, queue_enable) != 0,
	};
}

/* Writes the vector and sees whether the device took it (4.1.5.1.2.1). */
#define SET_VECTOR(common, field, vector) \
	(REG_WRITE(common, field, vector), REG_READ(common, field) == (vector) ? 0 : -ENOSPC)

int pci_common_queue_enable(struct pci_io *common, uint16_t index,
			    const struct pci_queue_setup *setup)
{
	int ret;

	REG_WRITE(common, queue_select, index);
	REG_WRITE(common, queue_size, setup->size);
	ret = SET_VECTOR(common, queue_msix_vector, setup->msix_vector);
	if (ret)
		return ret;
	write_u64(common, offsetof(struct virtio_pci_common_wire, queue_desc), setup->desc);
	write_u64(common, offsetof(struct virtio_pci_common_wire, queue_driver), setup->driver);
	write_u64(common, offsetof(struct virtio_pci_common_wire, queue_device), setup->device);
	REG_WRITE(common, queue_enable, 1);
	return REG_READ(common, queue_enable) == 1 ? 0 : -EIO;
}

int pci_common_config_vector(struct pci_io *common, uint16_t msix_vector)
{
	return SET_VECTOR(common, config_msix_vector, msix_vector);
}

static void read_fields(struct pci_io *device, uint32_t words_from, uint32_t off, uint8_t *buf,
			uint32_t len)
{
	while (len) {
		unsigned width = off >= words_from && off % 4 == 0 && len >= 4 ? 4 : 1;
		uint32_t value = device->ops->read(device, off, width);

		memcpy(buf, &value, width);
		buf += width;
		off += width;
		len -= width;
	}
}

int pci_config_read(struct pci_io *common, struct pci_io *device, uint32_t words_from, uint32_t off,
		    void *buf, uint32_t len)
{
	uint32_t before = REG_READ(common, config_generation);

	if (!extent_within(off, len, device->len_bytes))
		return -EINVAL;
	for (int i = 0; i < CONFIG_TRIES; i++) {
		uint32_t after;

		read_fields(device, words_from, off, buf, len);
		after = REG_READ(common, config_generation);
		if (after == before)
			return pci_common_status(common) < 0 ? -ENODEV : 0;
		before = after;
	}
	return -EBUSY;
}
