/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfio/group: group and container (linux/vfio.h). A container is an IOMMU address space; all the
 * devices that the hardware cannot tell apart are one group, and go into it together.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "vfio/internal.h"

static int open_node(const struct vfio_device *d, const char *path, int *fd)
{
	*fd = open(path, O_RDWR | O_CLOEXEC);
	if (*fd >= 0)
		return 0;

	int err = -errno;

	vfio_log_open_failure(d, path, err);
	return err;
}

static int open_container(struct vfio_device *d)
{
	char path[VFIO_PATH_MAX];
	int ret;

	snprintf(path, sizeof(path), "%s/vfio/vfio", d->dev);
	ret = open_node(d, path, &d->container_fd);
	if (ret)
		return ret;
	if (vfio_ioctl(d->container_fd, VFIO_GET_API_VERSION, NULL) != VFIO_API_VERSION) {
		log_error("%s: %s speaks another version of VFIO", d->address, path);
		ret = -ENOTSUP;
	} else if (vfio_ioctl(d->container_fd, VFIO_CHECK_EXTENSION,
			      (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU) != 1) {
		log_error("%s: this kernel has no type 1 IOMMU for VFIO: modprobe vfio_iommu_type1",
			  d->address);
		ret = -ENOTSUP;
	}
	if (ret)
		close(d->container_fd);
	return ret;
}

static int open_group(struct vfio_device *d, const char *group)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	char path[VFIO_PATH_MAX], others[VFIO_PATH_MAX];
	int ret;

	snprintf(path, sizeof(path), "%s/vfio/%s", d->dev, group);
	ret = open_node(d, path, &d->group_fd);
	if (ret)
		return ret;
	ret = vfio_ioctl(d->group_fd, VFIO_GROUP_GET_STATUS, &status);
	if (ret < 0) {
		log_error("%s: cannot get the state of %s: %s", d->address, path, strerror(-ret));
	} else if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE)) {
		vfio_sysfs_group_others(d, group, others, sizeof(others));
		log_error("%s: IOMMU group %s has other devices in use: %s; unbind them or give "
			  "them to "
			  "vfio-pci too, or put the function behind a root port of its own",
			  d->address, group, others);
		ret = -EBUSY;
	}
	if (ret)
		close(d->group_fd);
	return ret;
}

static int type1_read_limits(struct vfio_device *d)
{
	struct vfio_iommu_type1_info in = {.argsz = sizeof(in)};
	void *info;
	size_t len;
	int ret;

	ret = vfio_ioctl_info(d->container_fd, VFIO_IOMMU_GET_INFO, &in, sizeof(in), &info, &len);
	if (ret)
		return ret;
	ret = vfio_parse_iommu(info, len, &d->limits);
	free(info);
	return ret;
}

/* Group into container, container to the IOMMU, device out of the group. */
static int container_attach(struct vfio_device *d, const char *group)
{
	int ret;

	ret = vfio_ioctl(d->group_fd, VFIO_GROUP_SET_CONTAINER, &d->container_fd);
	if (ret < 0) {
		log_error("%s: cannot put IOMMU group %s into a container: %s", d->address, group,
			  strerror(-ret));
		return ret;
	}
	ret = vfio_ioctl(d->container_fd, VFIO_SET_IOMMU, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU);
	if (ret == -EPERM) {
		vfio_log_no_remapping(d);
		return ret;
	}
	if (ret >= 0)
		ret = type1_read_limits(d);
	if (ret < 0) {
		log_error("%s: cannot use its IOMMU: %s", d->address, strerror(-ret));
		return ret;
	}
	d->fd = vfio_ioctl(d->group_fd, VFIO_GROUP_GET_DEVICE_FD, d->address);
	if (d->fd < 0) {
		log_error("%s: the kernel does not hand it over: %s", d->address, strerror(-d->fd));
		return d->fd;
	}
	return 0;
}

static int group_open(struct vfio_device *d)
{
	char group[32];
	int ret;

	ret = vfio_sysfs_link(d, "iommu_group", group, sizeof(group));
	if (ret) {
		log_error(
			"%s has no IOMMU group: this machine has no IOMMU in use. In QEMU: -device "
			"intel-iommu,intremap=on, and intel_iommu=on on the guest's kernel command "
			"line",
			d->address);
		return -ENXIO;
	}
	ret = open_container(d);
	if (ret)
		return ret;
	ret = open_group(d, group);
	if (ret)
		goto close_container;
	ret = container_attach(d, group);
	if (ret)
		goto close_group;
	return 0;

close_group:
	close(d->group_fd);
close_container:
	close(d->container_fd);
	return ret;
}

static int group_map(struct vfio_device *d, void *va, uint64_t iova, size_t len)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)va,
		.iova = iova,
		.size = len,
	};

	return vfio_ioctl(d->container_fd, VFIO_IOMMU_MAP_DMA, &map);
}

static int group_unmap(struct vfio_device *d, uint64_t iova, size_t len)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .iova = iova, .size = len};

	return vfio_ioctl(d->container_fd, VFIO_IOMMU_UNMAP_DMA, &unmap);
}

static void group_close(struct vfio_device *d)
{
	close(d->group_fd);
	close(d->container_fd);
}

const struct vfio_iommu_ops vfio_group_ops = {
	.name = "group",
	.open = group_open,
	.map = group_map,
	.unmap = group_unmap,
	.close = group_close,
};
