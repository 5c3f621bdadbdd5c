/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vfio/share: parts of a region for another process. */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "vfio/internal.h"

/* linux/vfio.h of 6.19; headers that are older have neither, so these have names of their own. */
#define FEATURE_DMA_BUF 11u

struct dma_buf_range {
	uint64_t offset, length;
};

struct dma_buf_feature {
	uint32_t region_index, open_flags, flags, nr_ranges;
	struct dma_buf_range range; /* nr_ranges of them */
};

_Static_assert(sizeof(struct dma_buf_feature) == 32, "struct vfio_device_feature_dma_buf");

int vfio_export(struct vfio_device *d, uint32_t index, const struct vfio_region *r, uint64_t off,
		uint64_t len, bool writable, int *out)
{
	struct {
		struct { /* struct vfio_device_feature, whose end is open */
			uint32_t argsz, flags;
		} head;
		struct dma_buf_feature body;
	} arg = {
		.head = {.argsz = sizeof(arg), .flags = VFIO_DEVICE_FEATURE_GET | FEATURE_DMA_BUF},
		.body = {.region_index = index,
			 .open_flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC,
			 .nr_ranges = 1,
			 .range = {off, len}},
	};
	void *look;
	int fd;

	_Static_assert(sizeof(arg) ==
			       sizeof(struct vfio_device_feature) + sizeof(struct dma_buf_feature),
		       "no hole between head and body");
	if (!len || !extent_within(off, len, r->size_bytes))
		return -EINVAL;
	fd = vfio_ioctl(d->fd, VFIO_DEVICE_FEATURE, &arg);
	if (fd < 0)
		return fd == -ENOTTY || fd == -EINVAL ? -EOPNOTSUPP : fd;
	/* 6.19 and 7.x export for devices only; the kernel says so when it is mapped. */
	look = mmap(NULL, len, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
	if (look == MAP_FAILED) {
		close(fd);
		return -ENODEV;
	}
	munmap(look, len);
	*out = fd;
	return 0;
}

int vfio_share_device(struct vfio_device *d)
{
	int fd = fcntl(d->fd, F_DUPFD_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}
