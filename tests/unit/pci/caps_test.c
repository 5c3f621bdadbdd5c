/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The capability parser, over crafted configuration spaces. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "layout.h"
#include "qemu.h"

static struct pci_caps caps;
static char why[PCI_CAPS_WHY_LEN];

static int parse(const struct layout *l)
{
	return pci_caps_parse(l->config, l->bar_size, &caps, why);
}

static void assert_accepted(const struct layout *l)
{
	int ret = parse(l);

	if (ret)
		fail_msg("refused: %s", why);
}

/* Refused, with a sentence that has `words` in it. */
static void assert_refused(const struct layout *l, const char *words)
{
	assert_int_equal(parse(l), -EINVAL);
	if (!strstr(why, words))
		fail_msg("'%s' is not in '%s'", words, why);
}

static void assert_extent(const struct pci_extent *e, unsigned bar, uint64_t off, uint64_t len)
{
	assert_int_equal(e->bar, bar);
	assert_int_equal(e->bar_off, off);
	assert_int_equal(e->len_bytes, len);
}

static void accept_bytes(const uint8_t *config, const uint64_t *bars)
{
	struct layout l;

	memcpy(l.config, config, sizeof(l.config));
	memcpy(l.bar_size, bars, sizeof(l.bar_size));
	assert_accepted(&l);
}

static void qemu_function_with_window_has_its_registers_in_bar_2(void **state)
{
	const struct pci_shm *shm;

	(void)state;
	accept_bytes(qemu_window_config, qemu_window_bars);
	assert_extent(&caps.common, 2, 0, 0x1000);
	assert_extent(&caps.isr, 2, 0x1000, 0x1000);
	assert_extent(&caps.device, 2, 0x2000, 0x1000);
	assert_extent(&caps.notify, 2, 0x3000, 0x1000);
	assert_int_equal(caps.notify_multiplier, 4);
	shm = pci_caps_shm(&caps, VIRTIO_FS_SHMID_DAX);
	assert_non_null(shm);
	assert_extent(&shm->extent, 4, 0, 4 * GIB);
}

static void qemu_function_without_window_has_its_registers_in_bar_4(void **state)
{
	(void)state;
	accept_bytes(qemu_fs_config, qemu_fs_bars);
	assert_extent(&caps.common, 4, 0, 0x1000);
	assert_extent(&caps.notify, 4, 0x3000, 0x1000);
	assert_null(pci_caps_shm(&caps, VIRTIO_FS_SHMID_DAX));
}

static void shared_memory_has_64_bit_offset_and_length(void **state)
{
	struct layout l;

	(void)state;
	layout_qemu(&l, 2);
	layout_bar(&l, 4, 64 * GIB, PCI_BASE_ADDRESS_MEM_TYPE_64);
	layout_shm(&l, 4, 7, 0, 16 * GIB);
	layout_shm(&l, 4, 0, 16 * GIB, 48 * GIB);
	assert_accepted(&l);
	assert_int_equal(caps.shm_count, 2);
	assert_extent(&pci_caps_shm(&caps, 0)->extent, 4, 16 * GIB, 48 * GIB);
	assert_extent(&pci_caps_shm(&caps, 7)->extent, 4, 0, 16 * GIB);
}

static void empty_shared_memory_counts_as_none(void **state)
{
	struct layout l;

	(void)state;
	layout_qemu(&l, 2);
	layout_shm(&l, 4, 0, 0, 0);
	assert_accepted(&l);
	assert_int_equal(caps.shm_count, 0);
}

static void first_structure_in_a_memory_bar_counts(void **state)
{
	struct layout l;

	(void)state;
	layout_init(&l);
	layout_bar(&l, 0, 0x100, PCI_BASE_ADDRESS_SPACE_IO);
	layout_virtio(&l, VIRTIO_PCI_CAP_NOTIFY, 0, 0, 4, 0);
	layout_bar(&l, 1, 0x4000, 0);
	layout_virtio(&l, VIRTIO_PCI_CAP_NOTIFY, 1, 0x3000, 0x1000, 4);
	layout_virtio(&l, VIRTIO_PCI_CAP_DEVICE, 1, 0x2000, 0x1000, 0);
	layout_virtio(&l, VIRTIO_PCI_CAP_COMMON, 1, 0, 56, 0);
	assert_accepted(&l);
	assert_extent(&caps.notify, 1, 0x3000, 0x1000);
}

static void second_half_of_a_64_bit_bar_is_no_io_bar(void **state)
{
	struct layout l;

	(void)state;
	layout_qemu(&l, 2);
	l.config[PCI_BASE_ADDRESS_0 + 4 * 3] = 0x39; /* address bits, the lowest of them set */
	l.config[PCI_BASE_ADDRESS_0 + 4 * 4] = 0;
	assert_accepted(&l);
}

static void reserved_types_and_bars_are_passed_over(void **state)
{
	struct layout l;

	(void)state;
	layout_qemu(&l, 2);
	layout_virtio(&l, 9, 2, 0, 0x1000, 0);
	layout_virtio(&l, 0, 2, 0, 0x1000, 0);
	layout_virtio(&l, 255, 2, 0, 0x1000, 0);
	layout_virtio(&l, VIRTIO_PCI_CAP_COMMON, 6, 0, 0x1000, 0);
	assert_accepted(&l);
	assert_extent(&caps.common, 2, 0, 0x1000);
}

static void missing_isr_is_accepted(void **state)
{
	struct layout l;

	(void)state;
	layout_init(&l);
	layout_bar(&l, 1, 0x4000, 0);
	layout_virtio(&l, VIRTIO_PCI_CAP_COMMON, 1, 0, 0x1000, 0);
	layout_virtio(&l, VIRTIO_PCI_CAP_NOTIFY, 1, 0x1000, 0x1000, 0);
	layout_virtio(&l, VIRTIO_PCI_CAP_DEVICE, 1, 0x2000, 0x1000, 0);
	assert_accepted(&l);
	assert_int_equal(caps.isr.len_bytes, 0);
}

static void each_required_structure_is_missed(void **state)
{
	static const struct {
		uint8_t type;
		const char *words;
	} cases[] = {{VIRTIO_PCI_CAP_COMMON, "no common configuration structure"},
		     {VIRTIO_PCI_CAP_NOTIFY, "no notification structure"},
		     {VIRTIO_PCI_CAP_DEVICE, "no device configuration structure"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct layout l;

		layout_qemu(&l, 2);
		for (unsigned pos = PCI_STD_HEADER_SIZEOF; pos < l.next_pos; pos += 4)
			if (l.config[pos] == PCI_CAP_ID_VNDR && l.config[pos + 2] >= 16 &&
			    l.config[pos + 3] == cases[i].type)
				l.config[pos] = PCI_CAP_ID_PM;
		assert_refused(&l, cases[i].words);
	}
}

static void function_without_capabilities_is_refused(void **state)
{
	struct layout l;

	(void)state;
	layout_qemu(&l, 2);
	l.config[PCI_STATUS] = 0;
	assert_refused(&l, "no capability list");
}

static void loops_are_refused(void **state)
{
	struct layout l;

	(void)state;
	layout_qemu(&l, 2);
	l.config[l.link] = PCI_STD_HEADER_SIZEOF;
	assert_refused(&l, "loops at 0x40");
	l.config[l.link] = (uint8_t)(l.link - 1);
	assert_refused(&l, "loops at");
}

static void list_into_the_header_is_refused(void **state)
{
	struct layout l;

	(void)state;
	layout_qemu(&l, 2);
	l.config[l.link] = 0x10;
	assert_refused(&l, "0x10, into the header");
}

static void all_ones_are_refused(void **state)
{
	struct layout l;

	(void)state;
	memset(&l, 0xff, sizeof(l));
	assert_int_equal(parse(&l), -EINVAL);
}

static void capability_that_is_cut_short_is_refused(void **state)
{
	struct layout l;
	unsigned pos;

	(void)state;
	layout_qemu(&l, 2);
	pos = layout_shm(&l, 2, 0, 0, 0x1000);
	l.config[pos + 2] = 23;
	assert_refused(&l, "has 23 bytes");

	/* its length is right, but configuration space ends before it does */
	layout_qemu(&l, 2);
	l.next_pos = 0xf0;
	l.config[l.link] = 0xf0;
	l.config[0xf0] = PCI_CAP_ID_VNDR;
	l.config[0xf2] = 24;
	l.config[0xf3] = VIRTIO_PCI_CAP_SHARED_MEMORY;
	assert_refused(&l, "at 0xf0");
}

static void structures_outside_their_bar_are_refused(void **state)
{
	static const struct {
		uint32_t off, len;
	} cases[] = {{0x4000, 4}, {0x3ffc, 8}, {0xfffffffc, 8}, {0, 0x4004}, {4, 0xffffffff}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct layout l;

		layout_init(&l);
		layout_bar(&l, 1, 0x4000, 0);
		layout_virtio(&l, VIRTIO_PCI_CAP_NOTIFY, 1, cases[i].off, cases[i].len, 4);
		assert_refused(&l, "leaves BAR 1, which has 0x4000 bytes");
	}
}

static void window_that_wraps_is_refused(void **state)
{
	struct layout l;

	(void)state;
	layout_qemu(&l, 2);
	layout_bar(&l, 4, 8 * GIB, PCI_BASE_ADDRESS_MEM_TYPE_64);
	layout_shm(&l, 4, 0, UINT64_MAX - 4095, 8192);
	assert_refused(&l, "leaves BAR 4");
}

static void structure_in_an_absent_bar_is_refused(void **state)
{
	struct layout l;

	(void)state;
	layout_init(&l);
	layout_virtio(&l, VIRTIO_PCI_CAP_COMMON, 5, 0, 0x1000, 0);
	assert_refused(&l, "leaves BAR 5, which has 0x0 bytes");
}

static void window_without_addresses_is_passed_over(void **state)
{
	struct layout l;

	(void)state;
	layout_qemu(&l, 2);
	layout_shm(&l, 4, 0, 0, GIB);
	assert_accepted(&l);
	assert_int_equal(caps.shm_count, 0);
	assert_true(caps.shm_unplaced);
}

static void structures_that_are_too_short_are_refused(void **state)
{
	struct layout l;

	(void)state;
	layout_init(&l);
	layout_bar(&l, 1, 0x4000, 0);
	layout_virtio(&l, VIRTIO_PCI_CAP_COMMON, 1, 0, 52, 0);
	assert_refused(&l, "has 52 bytes, not the least 56");
	layout_init(&l);
	layout_bar(&l, 1, 0x4000, 0);
	layout_virtio(&l, VIRTIO_PCI_CAP_DEVICE, 1, 0, 0, 0);
	assert_refused(&l, "has 0 bytes");
}

static void misaligned_structures_are_refused(void **state)
{
	struct layout l;

	(void)state;
	layout_init(&l);
	layout_bar(&l, 1, 0x4000, 0);
	layout_virtio(&l, VIRTIO_PCI_CAP_COMMON, 1, 2, 0x1000, 0);
	assert_refused(&l, "at 0x2 is not aligned to 4");
	layout_init(&l);
	layout_bar(&l, 1, 0x4000, 0);
	layout_virtio(&l, VIRTIO_PCI_CAP_NOTIFY, 1, 0x1001, 0x100, 4);
	assert_refused(&l, "at 0x1001 is not aligned to 2");
	layout_qemu(&l, 2);
	layout_bar(&l, 4, GIB, PCI_BASE_ADDRESS_MEM_TYPE_64);
	layout_shm(&l, 4, 0, 0x800, 0x1000);
	assert_refused(&l, "at 0x800 is not aligned to 4096");
	layout_qemu(&l, 2);
	layout_bar(&l, 4, GIB, PCI_BASE_ADDRESS_MEM_TYPE_64);
	layout_shm(&l, 4, 0, 0, 0x1801);
	assert_refused(&l, "has 0x1801 bytes, not a multiple");
}

static void odd_multipliers_are_refused(void **state)
{
	static const uint32_t bad[] = {1, 3, 6, 0xffffffff};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct layout l;

		layout_init(&l);
		layout_bar(&l, 1, 0x4000, 0);
		layout_virtio(&l, VIRTIO_PCI_CAP_NOTIFY, 1, 0, 0x100, bad[i]);
		assert_refused(&l, "notify_off_multiplier");
	}
}

static void overlapping_structures_are_refused(void **state)
{
	struct layout l;

	(void)state;
	layout_init(&l);
	layout_bar(&l, 1, 0x4000, 0);
	layout_virtio(&l, VIRTIO_PCI_CAP_COMMON, 1, 0, 0x1004, 0);
	layout_virtio(&l, VIRTIO_PCI_CAP_DEVICE, 1, 0x1000, 0x1000, 0);
	assert_refused(&l, "device configuration structure at 0x1000 of BAR 1 overlaps the common");
	layout_qemu(&l, 2);
	layout_shm(&l, 2, 0, 0x3000, 0x1000);
	assert_refused(&l, "overlaps the notification");
	layout_qemu(&l, 2);
	layout_bar(&l, 4, GIB, PCI_BASE_ADDRESS_MEM_TYPE_64);
	layout_shm(&l, 4, 0, 0, GIB);
	layout_shm(&l, 4, 1, GIB - 4096, 4096);
	assert_refused(&l, "overlaps the shared memory");
}

static void duplicates_are_refused(void **state)
{
	struct layout l;

	(void)state;
	layout_qemu(&l, 2);
	layout_bar(&l, 1, 0x4000, 0);
	layout_virtio(&l, VIRTIO_PCI_CAP_ISR, 1, 0, 4, 0);
	assert_refused(&l, "two ISR status structures, in BAR 2 and BAR 1");
	layout_qemu(&l, 2);
	layout_bar(&l, 4, GIB, PCI_BASE_ADDRESS_MEM_TYPE_64);
	layout_shm(&l, 4, 3, 0, 4096);
	layout_shm(&l, 4, 3, 4096, 4096);
	assert_refused(&l, "two shared memory regions with id 3");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(qemu_function_with_window_has_its_registers_in_bar_2),
		cmocka_unit_test(qemu_function_without_window_has_its_registers_in_bar_4),
		cmocka_unit_test(shared_memory_has_64_bit_offset_and_length),
		cmocka_unit_test(empty_shared_memory_counts_as_none),
		cmocka_unit_test(first_structure_in_a_memory_bar_counts),
		cmocka_unit_test(second_half_of_a_64_bit_bar_is_no_io_bar),
		cmocka_unit_test(reserved_types_and_bars_are_passed_over),
		cmocka_unit_test(missing_isr_is_accepted),
		cmocka_unit_test(each_required_structure_is_missed),
		cmocka_unit_test(function_without_capabilities_is_refused),
		cmocka_unit_test(loops_are_refused),
		cmocka_unit_test(list_into_the_header_is_refused),
		cmocka_unit_test(all_ones_are_refused),
		cmocka_unit_test(capability_that_is_cut_short_is_refused),
		cmocka_unit_test(structures_outside_their_bar_are_refused),
		cmocka_unit_test(window_that_wraps_is_refused),
		cmocka_unit_test(structure_in_an_absent_bar_is_refused),
		cmocka_unit_test(window_without_addresses_is_passed_over),
		cmocka_unit_test(structures_that_are_too_short_are_refused),
		cmocka_unit_test(misaligned_structures_are_refused),
		cmocka_unit_test(odd_multipliers_are_refused),
		cmocka_unit_test(overlapping_structures_are_refused),
		cmocka_unit_test(duplicates_are_refused),
	};

	return cmocka_run_group_tests_name("pci/caps", tests, NULL, NULL);
}
