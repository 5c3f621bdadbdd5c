/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the kernel's answers mean, over crafted bytes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <linux/vfio.h>

#include "base/bytes.h"
#include "caps.h"
#include "vfio/info.h"

#define RANGES 3

/* struct vfio_iommu_type1_info with IOVA ranges and then DMA_AVAIL. */
struct iommu_answer {
	struct vfio_iommu_type1_info info;
	struct cap_iova_ranges ranges;
	struct vfio_iova_range range[RANGES];
	struct vfio_iommu_type1_info_dma_avail avail;
};

static struct iommu_answer intel_iommu(void)
{
	return (struct iommu_answer){
		.info = {.argsz = sizeof(struct iommu_answer),
			 .flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS,
			 .iova_pgsizes = 0x40201000,
			 .cap_offset = offsetof(struct iommu_answer, ranges)},
		.ranges = {.header = {.id = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE,
				      .version = 1,
				      .next = offsetof(struct iommu_answer, avail)},
			   .nr_iovas = RANGES},
		.range = {{0, 0xfedfffff}, {0xfef00000, 0x7fffffffff}, {1ull << 40, 1ull << 41}},
		.avail = {.header = {.id = VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, .version = 1},
			  .avail = 65535},
	};
}

static void iommu_ranges_and_limits_are_read(void **state)
{
	struct iommu_answer a = intel_iommu();
	struct vfio_limits limits;

	(void)state;
	assert_int_equal(vfio_parse_iommu(&a, sizeof(a), &limits), 0);
	assert_int_equal(limits.page_min, 4096);
	assert_int_equal(limits.dma_avail, 65535);
	assert_int_equal(limits.range_count, RANGES);
	assert_int_equal(limits.ranges[1].start, 0xfef00000);
	assert_int_equal(limits.ranges[1].last, 0x7fffffffff);
}

static void kernel_that_reports_no_ranges_allows_all(void **state)
{
	struct iommu_answer a = intel_iommu();
	struct vfio_limits limits;

	(void)state;
	a.info.flags = 0;
	assert_int_equal(vfio_parse_iommu(&a, sizeof(a), &limits), 0);
	assert_int_equal(limits.range_count, 1);
	assert_int_equal(limits.ranges[0].last, UINT64_MAX);
	assert_int_equal(limits.dma_avail, UINT32_MAX);
}

static void more_ranges_than_bytes_are_refused(void **state)
{
	struct iommu_answer a = intel_iommu();
	struct vfio_limits limits;

	(void)state;
	a.ranges.nr_iovas = UINT32_MAX;
	assert_int_equal(vfio_parse_iommu(&a, sizeof(a), &limits), -EINVAL);
	a = intel_iommu();
	a.range[1].start = a.range[1].end + 1;
	assert_int_equal(vfio_parse_iommu(&a, sizeof(a), &limits), -EINVAL);
	assert_int_equal(vfio_parse_iommu(&a, 4, &limits), -EINVAL);
}

static void capability_chain_never_loops_nor_leaves_the_answer(void **state)
{
	struct iommu_answer a = intel_iommu();
	struct vfio_limits limits;

	(void)state;
	a.ranges.header.id = 99;
	a.ranges.header.next = offsetof(struct iommu_answer, ranges);
	assert_int_equal(vfio_parse_iommu(&a, sizeof(a), &limits), 0);
	a.ranges.header.next = 8;
	assert_int_equal(vfio_parse_iommu(&a, sizeof(a), &limits), 0);
	a.ranges.header.next = sizeof(a) - 4;
	assert_int_equal(vfio_parse_iommu(&a, sizeof(a), &limits), 0);
	a.info.cap_offset = UINT32_MAX;
	assert_int_equal(vfio_parse_iommu(&a, sizeof(a), &limits), 0);
}

struct region_answer {
	struct vfio_region_info info;
	struct cap_sparse_mmap sparse;
	struct vfio_region_sparse_mmap_area area[2];
};

static struct region_answer bar(void)
{
	return (struct region_answer){
		.info = {.argsz = sizeof(struct region_answer),
			 .flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
				  VFIO_REGION_INFO_FLAG_MMAP,
			 .index = VFIO_PCI_BAR4_REGION_INDEX,
			 .size = 0x4000,
			 .offset = 4ull << 40},
		.sparse = {.header = {.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1},
			   .nr_areas = 2},
		.area = {{0, 0x1000}, {0x2000, 0x2000}},
	};
}

static void region_without_sparse_areas_is_mappable_as_a_whole(void **state)
{
	struct region_answer a = bar();
	struct vfio_region r;

	(void)state;
	assert_int_equal(vfio_parse_region(&a, sizeof(a), &r), 0);
	assert_int_equal(r.size_bytes, 0x4000);
	assert_int_equal(r.fd_off, 4ull << 40);
	assert_true(r.readable && r.writable);
	assert_int_equal(r.area_count, 1);
	assert_int_equal(r.areas[0].len_bytes, 0x4000);
	a.info.flags &= ~VFIO_REGION_INFO_FLAG_MMAP;
	assert_int_equal(vfio_parse_region(&a, sizeof(a), &r), 0);
	assert_int_equal(r.area_count, 0);
}

static void sparse_areas_are_what_is_mappable(void **state)
{
	struct region_answer a = bar();
	struct vfio_region r;

	(void)state;
	a.info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
	a.info.cap_offset = offsetof(struct region_answer, sparse);
	assert_int_equal(vfio_parse_region(&a, sizeof(a), &r), 0);
	assert_int_equal(r.area_count, 2);
	assert_int_equal(r.areas[1].off, 0x2000);
	a.area[1].size = 0x2001;
	assert_int_equal(vfio_parse_region(&a, sizeof(a), &r), -EINVAL);
	a.area[1].size = 0x2000;
	a.sparse.nr_areas = 3;
	assert_int_equal(vfio_parse_region(&a, sizeof(a), &r), -EINVAL);
}

static void region_that_wraps_is_refused(void **state)
{
	struct region_answer a = bar();
	struct vfio_region r;

	(void)state;
	a.info.size = UINT64_MAX;
	assert_int_equal(vfio_parse_region(&a, sizeof(a), &r), -EINVAL);
	a.info.size = INT64_MAX;
	assert_int_equal(vfio_parse_region(&a, sizeof(a), &r), -EINVAL);
	assert_int_equal(vfio_parse_region(&a, 8, &r), -EINVAL);
}

static uint64_t pick(uint64_t from, uint64_t len)
{
	const struct vfio_limits limits = {
		.range_count = 3,
		.ranges = {{0, 0xfedfffff},
			   {0xfef00000, 0x7fffffffff},
			   {UINT64_MAX - 4095, UINT64_MAX}},
	};
	uint64_t iova = 0;

	return vfio_iova_pick(&limits, from, len, 2 * MIB, &iova) ? 0 : iova;
}

static void iova_is_the_lowest_aligned_one_that_fits(void **state)
{
	(void)state;
	assert_int_equal(pick(1, MIB), 2 * MIB);
	assert_int_equal(pick(4 * GIB, MIB), 4 * GIB);
	assert_int_equal(pick(4 * GIB + 1, MIB), 4 * GIB + 2 * MIB);
}

static void iova_never_spans_a_hole(void **state)
{
	(void)state;
	assert_int_equal(pick(0xfec00000, 2 * MIB), 0xfec00000);
	assert_int_equal(pick(0xfec00000, 4 * MIB), 0xff000000);
	assert_int_equal(pick(1, 510 * GIB), 0);
	assert_int_equal(pick(0x7fffe00000, 2 * MIB), 0x7fffe00000);
	assert_int_equal(pick(0x7fffe00000, 4 * MIB), 0);
	assert_int_equal(pick(UINT64_MAX, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(iommu_ranges_and_limits_are_read),
		cmocka_unit_test(kernel_that_reports_no_ranges_allows_all),
		cmocka_unit_test(more_ranges_than_bytes_are_refused),
		cmocka_unit_test(capability_chain_never_loops_nor_leaves_the_answer),
		cmocka_unit_test(region_without_sparse_areas_is_mappable_as_a_whole),
		cmocka_unit_test(sparse_areas_are_what_is_mappable),
		cmocka_unit_test(region_that_wraps_is_refused),
		cmocka_unit_test(iova_is_the_lowest_aligned_one_that_fits),
		cmocka_unit_test(iova_never_spans_a_hole),
	};

	return cmocka_run_group_tests_name("vfio/info", tests, NULL, NULL);
}
