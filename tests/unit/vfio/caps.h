/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* caps: the kernel's capabilities without their flexible ends, so that answers can be structs. */
#ifndef VFSDAX_TESTS_UNIT_VFIO_CAPS_H
#define VFSDAX_TESTS_UNIT_VFIO_CAPS_H

#include <assert.h>
#include <linux/vfio.h>
#include <stddef.h>

struct cap_iova_ranges {
	struct vfio_info_cap_header header;
	__u32 nr_iovas, reserved;
};
static_assert(sizeof(struct cap_iova_ranges) ==
		      offsetof(struct vfio_iommu_type1_info_cap_iova_range, iova_ranges),
	      "linux/vfio.h");

struct cap_sparse_mmap {
	struct vfio_info_cap_header header;
	__u32 nr_areas, reserved;
};
static_assert(sizeof(struct cap_sparse_mmap) ==
		      offsetof(struct vfio_region_info_cap_sparse_mmap, areas),
	      "linux/vfio.h");

#endif
