/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The common configuration registers, against a fake device that can misbehave. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/list.h"
#include "pci/common.h"
#include "wire/virtio.h"
#include "wire/virtio_pci.h"

#define QUEUES 3

/* The registers as a device sees them: select registers choose what stands behind the others. */
struct fake {
	struct pci_io io, config_io;
	uint64_t offered, accepted;
	uint32_t feature_select, accept_select;
	uint16_t queue_select;
	uint8_t status, generation;
	struct fake_queue {
		uint16_t size, vector, enable;
		uint64_t addr[3];
	} queue[QUEUES];
	uint8_t config[40];

	/* how it misbehaves */
	bool gone, never_resets, refuses_features, needs_reset, no_vectors, never_enables;
	unsigned resets_after_reads, changes_config;

	/* what it saw */
	unsigned config_accesses_wide, config_accesses_byte;
};

#define REG(field) offsetof(struct virtio_pci_common_wire, field)

static uint32_t fake_read(struct pci_io *io, uint32_t off, unsigned width)
{
	struct fake *f = container_of(io, struct fake, io);
	struct fake_queue *q = &f->queue[f->queue_select % QUEUES];
	bool exists = f->queue_select < QUEUES;

	if (f->gone)
		return width == 4 ? UINT32_MAX : (1u << 8 * width) - 1;
	switch (off) {
	case REG(device_feature):
		assert_int_equal(width, 4);
		return f->feature_select > 1 ? 0 : (uint32_t)(f->offered >> 32 * f->feature_select);
	case REG(num_queues):
		assert_int_equal(width, 2);
		return QUEUES;
	case REG(device_status):
		assert_int_equal(width, 1);
		if (f->resets_after_reads && --f->resets_after_reads == 0)
			f->status = 0;
		return f->status;
	case REG(config_generation):
		assert_int_equal(width, 1);
		return f->generation;
	case REG(queue_size):
		return exists ? q->size : 0;
	case REG(queue_msix_vector):
		return q->vector;
	case REG(queue_enable):
		return exists ? q->enable : 0;
	case REG(queue_notify_off):
		return f->queue_select;
	default:
		fail_msg("read of register 0x%x", off);
		return 0;
	}
}

static void fake_status(struct fake *f, uint8_t value)
{
	if (value == 0) {
		if (!f->never_resets && !f->resets_after_reads)
			f->status = 0;
		return;
	}
	f->status = value;
	if (f->refuses_features)
		f->status &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
	if (f->needs_reset && (value & VIRTIO_STATUS_DRIVER_OK))
		f->status |= VIRTIO_STATUS_NEEDS_RESET;
}

/* GCC 16 calls it for other kinds of pci_io, too, behind a check, and then warns of that. */
__attribute__((noinline)) static void fake_write(struct pci_io *io, uint32_t off, unsigned width,
						 uint32_t value)
{
	struct fake *f = container_of(io, struct fake, io);
	struct fake_queue *q = &f->queue[f->queue_select % QUEUES];

	if (off >= REG(queue_desc)) {
		uint64_t *addr = &q->addr[(off - REG(queue_desc)) / 8];

		assert_int_equal(width, 4);
		memcpy((uint8_t *)addr + off % 8, &value, 4);
		return;
	}
	switch (off) {
	case REG(device_feature_select):
		f->feature_select = value;
		break;
	case REG(driver_feature_select):
		f->accept_select = value;
		break;
	case REG(driver_feature):
		memcpy((uint8_t *)&f->accepted + 4 * f->accept_select, &value, 4);
		break;
	case REG(device_status):
		fake_status(f, (uint8_t)value);
		break;
	case REG(queue_select):
		f->queue_select = (uint16_t)value;
		break;
	case REG(queue_size):
		q->size = (uint16_t)value;
		break;
	case REG(queue_msix_vector):
		q->vector = f->no_vectors ? VIRTIO_PCI_NO_VECTOR : (uint16_t)value;
		break;
	case REG(queue_enable):
		q->enable = !f->never_enables && value == 1;
		break;
	default:
		fail_msg("write of register 0x%x", off);
	}
}

static uint32_t fake_config_read(struct pci_io *io, uint32_t off, unsigned width)
{
	struct fake *f = container_of(io, struct fake, config_io);
	uint32_t value = 0;

	if (width == 1)
		f->config_accesses_byte++;
	else
		f->config_accesses_wide++;
	memcpy(&value, f->config + off, width);
	/* the device changes it under our hands, at the last byte of each reading */
	if (f->changes_config && off + width == sizeof(f->config)) {
		f->changes_config--;
		f->generation++;
		memset(f->config, f->generation, sizeof(f->config));
	}
	return value;
}

static const struct pci_io_ops fake_ops = {.read = fake_read, .write = fake_write};
static const struct pci_io_ops fake_config_ops = {.read = fake_config_read};

static struct fake fake_new(void)
{
	struct fake f = {
		.io = {.ops = &fake_ops, .len_bytes = sizeof(struct virtio_pci_common_wire)},
		.config_io = {.ops = &fake_config_ops, .len_bytes = 40},
		.offered = VIRTIO_F_BIT(VIRTIO_F_VERSION_1) | VIRTIO_F_BIT(VIRTIO_F_EVENT_IDX),
		.queue = {{.size = 128}, {.size = 128}, {.size = 64}},
	};

	return f;
}

static void reset_waits_until_the_device_says_zero(void **state)
{
	struct fake f = fake_new();

	(void)state;
	f.status = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER;
	f.resets_after_reads = 4;
	assert_int_equal(pci_common_reset(&f.io, 5000), 0);
	assert_int_equal(f.resets_after_reads, 0);
}

static void reset_of_a_device_that_never_resets_is_bounded(void **state)
{
	struct fake f = fake_new();

	(void)state;
	f.status = VIRTIO_STATUS_DRIVER_OK;
	f.never_resets = true;
	assert_int_equal(pci_common_reset(&f.io, 20), -ETIMEDOUT);
}

static void all_ones_mean_that_the_function_is_gone(void **state)
{
	struct fake f = fake_new();
	uint8_t byte;

	(void)state;
	f.gone = true;
	assert_int_equal(pci_common_status(&f.io), -ENODEV);
	assert_int_equal(pci_common_reset(&f.io, 5000), -ENODEV);
	assert_int_equal(pci_common_begin(&f.io), -ENODEV);
	assert_int_equal(pci_common_accept(&f.io, 0), -ENODEV);
	assert_int_equal(pci_common_go(&f.io), -ENODEV);
	assert_int_equal(pci_common_queue_count(&f.io), 0);
	assert_int_equal(pci_config_read(&f.io, &f.config_io, 36, 0, &byte, 1), -ENODEV);
}

static void handshake_goes_through_the_states_in_order(void **state)
{
	struct fake f = fake_new();

	(void)state;
	assert_int_equal(pci_common_reset(&f.io, 0), 0);
	assert_int_equal(pci_common_begin(&f.io), 0);
	assert_int_equal(f.status, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
	assert_int_equal(pci_common_features(&f.io), f.offered);
	assert_int_equal(pci_common_accept(&f.io, VIRTIO_F_BIT(VIRTIO_F_VERSION_1)), 0);
	assert_int_equal(f.accepted, VIRTIO_F_BIT(VIRTIO_F_VERSION_1));
	assert_int_equal(pci_common_go(&f.io), 0);
	assert_int_equal(f.status, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
					   VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK);
}

static void refused_features_are_told(void **state)
{
	struct fake f = fake_new();

	(void)state;
	f.refuses_features = true;
	assert_int_equal(pci_common_begin(&f.io), 0);
	assert_int_equal(pci_common_accept(&f.io, f.offered), -ENOTSUP);
}

static void device_that_needs_a_reset_at_once_is_told(void **state)
{
	struct fake f = fake_new();

	(void)state;
	f.needs_reset = true;
	assert_int_equal(pci_common_go(&f.io), -EIO);
}

static void queue_is_told_size_vector_and_addresses(void **state)
{
	struct fake f = fake_new();
	struct pci_queue_info info;
	struct pci_queue_setup setup = {.size = 32,
					.msix_vector = 0,
					.desc = 0x1234567890,
					.driver = 0x2000000000,
					.device = 0xffffffff00000000};

	(void)state;
	pci_common_queue_info(&f.io, 2, &info);
	assert_int_equal(info.size_max, 64);
	assert_int_equal(info.notify_off, 2);
	assert_false(info.enabled);
	assert_int_equal(pci_common_queue_enable(&f.io, 2, &setup), 0);
	assert_int_equal(f.queue[2].size, 32);
	assert_int_equal(f.queue[2].enable, 1);
	assert_int_equal(f.queue[2].addr[0], setup.desc);
	assert_int_equal(f.queue[2].addr[1], setup.driver);
	assert_int_equal(f.queue[2].addr[2], setup.device);
	pci_common_queue_info(&f.io, QUEUES, &info);
	assert_int_equal(info.size_max, 0);
}

static void queue_without_a_vector_is_not_enabled(void **state)
{
	struct fake f = fake_new();
	struct pci_queue_setup setup = {.size = 32, .msix_vector = 0};

	(void)state;
	f.no_vectors = true;
	assert_int_equal(pci_common_queue_enable(&f.io, 0, &setup), -ENOSPC);
	assert_int_equal(f.queue[0].enable, 0);
	setup.msix_vector = VIRTIO_PCI_NO_VECTOR;
	assert_int_equal(pci_common_queue_enable(&f.io, 0, &setup), 0);
}

static void queue_that_stays_disabled_is_an_error(void **state)
{
	struct fake f = fake_new();
	struct pci_queue_setup setup = {.size = 32, .msix_vector = 0};

	(void)state;
	f.never_enables = true;
	assert_int_equal(pci_common_queue_enable(&f.io, 0, &setup), -EIO);
}

static void configuration_is_read_once_in_the_width_of_its_fields(void **state)
{
	struct fake f = fake_new();
	uint8_t buf[40];

	(void)state;
	for (unsigned i = 0; i < sizeof(f.config); i++)
		f.config[i] = (uint8_t)(i + 1);
	assert_int_equal(pci_config_read(&f.io, &f.config_io, 36, 0, buf, sizeof(buf)), 0);
	assert_memory_equal(buf, f.config, sizeof(buf));
	assert_int_equal(f.config_accesses_byte, 36);
	assert_int_equal(f.config_accesses_wide, 1);
}

static void configuration_that_changes_is_read_again(void **state)
{
	struct fake f = fake_new();
	uint8_t buf[40], want[40];

	(void)state;
	f.changes_config = 3;
	assert_int_equal(pci_config_read(&f.io, &f.config_io, 36, 0, buf, sizeof(buf)), 0);
	memset(want, 3, sizeof(want));
	assert_memory_equal(buf, want, sizeof(want));
}

static void configuration_that_never_settles_is_given_up(void **state)
{
	struct fake f = fake_new();
	uint8_t buf[40];

	(void)state;
	f.changes_config = UINT32_MAX;
	assert_int_equal(pci_config_read(&f.io, &f.config_io, 36, 0, buf, sizeof(buf)), -EBUSY);
}

static void configuration_ends_where_its_structure_ends(void **state)
{
	struct fake f = fake_new();
	uint8_t buf[64];

	(void)state;
	assert_int_equal(pci_config_read(&f.io, &f.config_io, 36, 36, buf, 5), -EINVAL);
	assert_int_equal(pci_config_read(&f.io, &f.config_io, 36, UINT32_MAX, buf, 2), -EINVAL);
	assert_int_equal(pci_config_read(&f.io, &f.config_io, 36, 40, buf, 0), 0);
}

static void mapped_registers_are_accessed_in_their_width(void **state)
{
	uint32_t memory[14] = {0};
	struct pci_io_mapped m;

	(void)state;
	pci_io_mapped_init(&m, memory, sizeof(memory));
	m.io.ops->write(&m.io, 4, 4, 0x11223344);
	m.io.ops->write(&m.io, 4, 1, 0xaa);
	m.io.ops->write(&m.io, 6, 2, 0xbbcc);
	assert_int_equal(memory[1], 0xbbcc33aa);
	assert_int_equal(m.io.ops->read(&m.io, 5, 1), 0x33);
	assert_int_equal(m.io.ops->read(&m.io, 6, 2), 0xbbcc);
	assert_int_equal(m.io.ops->read(&m.io, 4, 4), 0xbbcc33aa);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reset_waits_until_the_device_says_zero),
		cmocka_unit_test(reset_of_a_device_that_never_resets_is_bounded),
		cmocka_unit_test(all_ones_mean_that_the_function_is_gone),
		cmocka_unit_test(handshake_goes_through_the_states_in_order),
		cmocka_unit_test(refused_features_are_told),
		cmocka_unit_test(device_that_needs_a_reset_at_once_is_told),
		cmocka_unit_test(queue_is_told_size_vector_and_addresses),
		cmocka_unit_test(queue_without_a_vector_is_not_enabled),
		cmocka_unit_test(queue_that_stays_disabled_is_an_error),
		cmocka_unit_test(configuration_is_read_once_in_the_width_of_its_fields),
		cmocka_unit_test(configuration_that_changes_is_read_again),
		cmocka_unit_test(configuration_that_never_settles_is_given_up),
		cmocka_unit_test(configuration_ends_where_its_structure_ends),
		cmocka_unit_test(mapped_registers_are_accessed_in_their_width),
	};

	return cmocka_run_group_tests_name("pci/common", tests, NULL, NULL);
}
