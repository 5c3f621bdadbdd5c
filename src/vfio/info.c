/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vfio/info.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

#include "base/bytes.h"

const void *vfio_info_cap(const void *info, size_t info_len, uint32_t first, uint16_t id,
			  size_t min_len, size_t *left)
{
	struct vfio_info_cap_header header;
	uint64_t at = first;

	/* A chain goes upwards only: that is how the kernel builds it, and so it cannot loop. */
	while (at && extent_within(at, sizeof(header), info_len)) {
		memcpy(&header, (const uint8_t *)info + at, sizeof(header));
		if (header.id == id) {
			*left = info_len - at;
			return *left >= min_len ? (const uint8_t *)info + at : NULL;
		}
		if (header.next <= at)
			break;
		at = header.next;
	}
	return NULL;
}

static int take_ranges(const void *cap, size_t left, struct vfio_limits *out)
{
	struct vfio_iommu_type1_info_cap_iova_range head;
	const uint8_t *at = (const uint8_t *)cap + sizeof(head);

	memcpy(&head, cap, sizeof(head));
	if (head.nr_iovas > (left - sizeof(head)) / sizeof(struct vfio_iova_range))
		return -EINVAL;
	for (uint32_t i = 0; i < head.nr_iovas && out->range_count < VFIO_RANGES_MAX; i++) {
		struct vfio_iova_range range;

		memcpy(&range, at + i * sizeof(range), sizeof(range));
		if (range.start > range.end)
			return -EINVAL;
		out->ranges[out->range_count].start = range.start;
		out->ranges[out->range_count++].last = range.end;
	}
	return 0;
}

int vfio_parse_iommu(const void *info, size_t len, struct vfio_limits *out)
{
	struct vfio_iommu_type1_info head = {0};
	const struct vfio_iommu_type1_info_dma_avail *avail;
	const void *cap = NULL;
	uint32_t first;
	size_t left;

	*out = (struct vfio_limits){.page_min = 4096, .dma_avail = UINT32_MAX};
	if (len < offsetof(struct vfio_iommu_type1_info, cap_offset))
		return -EINVAL;
	memcpy(&head, info, MIN(len, sizeof(head)));
	first = head.flags & VFIO_IOMMU_INFO_CAPS ? head.cap_offset : 0;
	if (head.flags & VFIO_IOMMU_INFO_PGSIZES && head.iova_pgsizes)
		out->page_min = head.iova_pgsizes & -head.iova_pgsizes;

	avail = vfio_info_cap(info, len, first, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, sizeof(*avail),
			      &left);
	if (avail)
		memcpy(&out->dma_avail, &avail->avail, sizeof(out->dma_avail));
	cap = vfio_info_cap(info, len, first, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE,
			    sizeof(struct vfio_iommu_type1_info_cap_iova_range), &left);
	if (cap)
		return take_ranges(cap, left, out);
	out->range_count = 1;
	out->ranges[0].start = 0;
	out->ranges[0].last = UINT64_MAX;
	return 0;
}

static int take_areas(const void *cap, size_t left, struct vfio_region *out)
{
	struct vfio_region_info_cap_sparse_mmap head;
	const uint8_t *at = (const uint8_t *)cap + sizeof(head);

	memcpy(&head, cap, sizeof(head));
	if (head.nr_areas > (left - sizeof(head)) / sizeof(struct vfio_region_sparse_mmap_area))
		return -EINVAL;
	for (uint32_t i = 0; i < head.nr_areas && out->area_count < VFIO_AREAS_MAX; i++) {
		struct vfio_region_sparse_mmap_area area;

		memcpy(&area, at + i * sizeof(area), sizeof(area));
		if (!extent_within(area.offset, area.size, out->size_bytes))
			return -EINVAL;
		out->areas[out->area_count].off = area.offset;
		out->areas[out->area_count++].len_bytes = area.size;
	}
	return 0;
}

int vfio_parse_region(const void *info, size_t len, struct vfio_region *out)
{
	struct vfio_region_info head;
	const void *cap;
	uint64_t end;
	size_t left;

	*out = (struct vfio_region){0};
	if (len < sizeof(head))
		return -EINVAL;
	memcpy(&head, info, sizeof(head));
	/* pread(2) and mmap(2) take signed offsets */
	if (!u64_add(head.offset, head.size, &end) || end > INT64_MAX)
		return -EINVAL;
	out->size_bytes = head.size;
	out->fd_off = head.offset;
	out->readable = head.flags & VFIO_REGION_INFO_FLAG_READ;
	out->writable = head.flags & VFIO_REGION_INFO_FLAG_WRITE;
	if (!(head.flags & VFIO_REGION_INFO_FLAG_MMAP) || !head.size)
		return 0;
	if (head.flags & VFIO_REGION_INFO_FLAG_CAPS) {
		cap = vfio_info_cap(info, len, head.cap_offset, VFIO_REGION_INFO_CAP_SPARSE_MMAP,
				    sizeof(struct vfio_region_info_cap_sparse_mmap), &left);
		if (cap)
			return take_areas(cap, left, out);
	}
	out->area_count = 1;
	out->areas[0].off = 0;
	out->areas[0].len_bytes = head.size;
	return 0;
}

int vfio_iova_pick(const struct vfio_limits *limits, uint64_t from, uint64_t len, uint64_t align,
		   uint64_t *iova)
{
	for (unsigned i = 0; i < limits->range_count; i++) {
		uint64_t last = limits->ranges[i].last;
		uint64_t start = MAX(limits->ranges[i].start, from);

		if (start > UINT64_MAX - (align - 1)) /* round_up would saturate */
			continue;
		start = round_up(start, align);
		if (start <= last && len - 1 <= last - start) {
			*iova = start;
			return 0;
		}
	}
	return -ENOSPC;
}
