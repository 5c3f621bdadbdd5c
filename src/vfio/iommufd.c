/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfio/iommufd: the function's own character device, bound to an iommufd context
 * (linux/vfio.h and linux/iommufd.h, kernel 6.6 and later). Compiled to a stub where the
 * kernel's headers are older than that.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "vfio/internal.h"

#if __has_include(<linux/iommufd.h>) && defined(VFIO_DEVICE_BIND_IOMMUFD)

#include <linux/iommufd.h>

static int node_paths(const struct vfio_device *d, char cdev[VFIO_PATH_MAX],
		      char iommu[VFIO_PATH_MAX])
{
	char name[64];
	int ret = vfio_sysfs_cdev(d, name, sizeof(name));

	if (ret)
		return ret;
	snprintf(cdev, VFIO_PATH_MAX, "%s/vfio/devices/%s", d->dev, name);
	snprintf(iommu, VFIO_PATH_MAX, "%s/iommu", d->dev);
	return 0;
}

bool vfio_iommufd_usable(const struct vfio_device *d)
{
	char cdev[VFIO_PATH_MAX], iommu[VFIO_PATH_MAX];

	return node_paths(d, cdev, iommu) == 0 && access(cdev, R_OK | W_OK) == 0 &&
	       access(iommu, R_OK | W_OK) == 0;
}

static int ioas_read_limits(struct vfio_device *d)
{
	struct iommu_iova_range ranges[VFIO_RANGES_MAX] = {0};
	struct iommu_ioas_iova_ranges arg = {
		.size = sizeof(arg),
		.ioas_id = d->ioas_id,
		.num_iovas = VFIO_RANGES_MAX,
		.allowed_iovas = (uintptr_t)ranges,
	};
	int ret = vfio_ioctl(d->iommufd, IOMMU_IOAS_IOVA_RANGES, &arg);

	/* More ranges than we have room for: the first ones are filled in. */
	if (ret < 0 && ret != -EMSGSIZE)
		return ret;
	d->limits =
		(struct vfio_limits){.page_min = arg.out_iova_alignment, .dma_avail = UINT32_MAX};
	for (unsigned i = 0; i < arg.num_iovas && i < VFIO_RANGES_MAX; i++) {
		d->limits.ranges[i].start = ranges[i].start;
		d->limits.ranges[i].last = ranges[i].last;
		d->limits.range_count++;
	}
	return 0;
}

/* Device to context, an address space in it, device to that. */
static int ioas_attach(struct vfio_device *d)
{
	struct vfio_device_bind_iommufd bind = {.argsz = sizeof(bind), .iommufd = d->iommufd};
	struct iommu_ioas_alloc ioas = {.size = sizeof(ioas)};
	struct vfio_device_attach_iommufd_pt pt = {.argsz = sizeof(pt)};
	int ret;

	ret = vfio_ioctl(d->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind);
	if (ret >= 0)
		ret = vfio_ioctl(d->iommufd, IOMMU_IOAS_ALLOC, &ioas);
	if (ret >= 0) {
		d->ioas_id = pt.pt_id = ioas.out_ioas_id;
		ret = vfio_ioctl(d->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &pt);
	}
	if (ret >= 0)
		ret = ioas_read_limits(d);
	if (ret == -EPERM)
		vfio_log_no_remapping(d);
	else if (ret < 0)
		log_error("%s: the kernel does not hand it over through iommufd: %s", d->address,
			  strerror(-ret));
	return ret < 0 ? ret : 0;
}

static int iommufd_open(struct vfio_device *d)
{
	char cdev[VFIO_PATH_MAX], iommu[VFIO_PATH_MAX];
	int ret = node_paths(d, cdev, iommu);

	if (ret) {
		log_error("%s has no VFIO character device: this kernel has none (6.6, "
			  "CONFIG_VFIO_DEVICE_CDEV)",
			  d->address);
		return -ENOTSUP;
	}
	d->iommufd = open(iommu, O_RDWR | O_CLOEXEC);
	if (d->iommufd < 0) {
		ret = -errno;
		vfio_log_open_failure(d, iommu, ret);
		return ret;
	}
	d->fd = open(cdev, O_RDWR | O_CLOEXEC);
	if (d->fd < 0) {
		ret = -errno;
		vfio_log_open_failure(d, cdev, ret);
		goto close_iommufd;
	}
	ret = ioas_attach(d);
	if (ret)
		goto close_device;
	return 0;

close_device:
	close(d->fd);
close_iommufd:
	close(d->iommufd);
	return ret;
}

static int iommufd_map(struct vfio_device *d, void *va, uint64_t iova, size_t len)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = d->ioas_id,
		.user_va = (uintptr_t)va,
		.length = len,
		.iova = iova,
	};

	return vfio_ioctl(d->iommufd, IOMMU_IOAS_MAP, &map);
}

static int iommufd_unmap(struct vfio_device *d, uint64_t iova, size_t len)
{
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap), .ioas_id = d->ioas_id, .iova = iova, .length = len};

	return vfio_ioctl(d->iommufd, IOMMU_IOAS_UNMAP, &unmap);
}

/* The device's fd was closed before, so nothing uses the address space any more. */
static void iommufd_close(struct vfio_device *d)
{
	close(d->iommufd);
}

#else

bool vfio_iommufd_usable(const struct vfio_device *d)
{
	(void)d;
	return false;
}

static int iommufd_open(struct vfio_device *d)
{
	log_error("%s: compiled with kernel headers that have no iommufd", d->address);
	return -ENOTSUP;
}

static int iommufd_map(struct vfio_device *d, void *va, uint64_t iova, size_t len)
{
	(void)d, (void)va, (void)iova, (void)len;
	return -ENOTSUP;
}

static int iommufd_unmap(struct vfio_device *d, uint64_t iova, size_t len)
{
	(void)d, (void)iova, (void)len;
	return -ENOTSUP;
}

static void iommufd_close(struct vfio_device *d)
{
	(void)d;
}

#endif

const struct vfio_iommu_ops vfio_iommufd_ops = {
	.name = "iommufd",
	.open = iommufd_open,
	.map = iommufd_map,
	.unmap = iommufd_unmap,
	.close = iommufd_close,
};
