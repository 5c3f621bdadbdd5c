/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfio/info: what the kernel's answers with capability chains mean, as pure functions over their
 * bytes, and the choice of an IOVA.
 */
#ifndef VFSDAX_VFIO_INFO_H
#define VFSDAX_VFIO_INFO_H

#include <stddef.h>
#include <stdint.h>

#include "vfio/vfio.h"

#define VFIO_RANGES_MAX 32

struct vfio_limits {
	/* IOVAs that may be mapped, both ends included, ascending. Further ranges of a machine
	 * that has more are left alone. */
	unsigned range_count;
	struct {
		uint64_t start, last;
	} ranges[VFIO_RANGES_MAX];
	uint64_t page_min;  /* the IOMMU's smallest page */
	uint32_t dma_avail; /* mappings that may still be made */
};

/*
 * A capability of the chain that begins at `first` in `info` (linux/vfio.h, struct
 * vfio_info_cap_header): the one with this id, with at least `min_len` bytes, or NULL. *left is
 * how many bytes there are from it to the end of the information.
 */
const void *vfio_info_cap(const void *info, size_t info_len, uint32_t first, uint16_t id,
			  size_t min_len, size_t *left);

/* From struct vfio_iommu_type1_info, `len` bytes with its capabilities. -EINVAL: it contradicts
 * itself. Old kernels report no ranges: then all 64 bits are one. */
int vfio_parse_iommu(const void *info, size_t len, struct vfio_limits *out);

/* From struct vfio_region_info, likewise. */
int vfio_parse_region(const void *info, size_t len, struct vfio_region *out);

/*
 * The lowest IOVA, a multiple of `align` (power of two), from which `len` bytes fit into one range
 * and that is at least `from` (> 0). -ENOSPC.
 */
int vfio_iova_pick(const struct vfio_limits *limits, uint64_t from, uint64_t len, uint64_t align,
		   uint64_t *iova);

#endif
