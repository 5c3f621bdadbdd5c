/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "vfio/internal.h"

/* Is the function there, and with VFIO? */
static int check_binding(const struct vfio_device *d)
{
	char path[VFIO_PATH_MAX], driver[64];
	int ret;

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s", d->sysfs, d->address);
	if (access(path, F_OK)) {
		log_error("there is no PCI function %s", d->address);
		return -ENODEV;
	}
	ret = vfio_sysfs_link(d, "driver", driver, sizeof(driver));
	if (ret || !strstr(driver, "vfio")) {
		log_error("%s is bound to %s, not to vfio-pci", d->address,
			  ret ? "no driver" : driver);
		return -ENXIO;
	}
	return 0;
}

static const struct vfio_iommu_ops *choose_interface(const struct vfio_device *d,
						     enum vfio_interface wanted)
{
	if (wanted == VFIO_IOMMUFD)
		return &vfio_iommufd_ops;
	if (wanted == VFIO_ANY_INTERFACE && vfio_iommufd_usable(d))
		return &vfio_iommufd_ops;
	return &vfio_group_ops;
}

static int read_device_info(struct vfio_device *d)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	int ret = vfio_ioctl(d->fd, VFIO_DEVICE_GET_INFO, &info);

	if (ret < 0)
		return ret;
	if (!(info.flags & VFIO_DEVICE_FLAGS_PCI) ||
	    info.num_regions <= VFIO_PCI_CONFIG_REGION_INDEX)
		return -ENOTSUP;
	d->can_reset = info.flags & VFIO_DEVICE_FLAGS_RESET;
	ret = vfio_region(d, VFIO_PCI_CONFIG_REGION_INDEX, &d->config);
	if (ret)
		return ret;
	return d->config.size_bytes >= 256 && d->config.readable ? 0 : -ENOTSUP;
}

int vfio_open(const char *address, const struct vfio_params *params, struct vfio_device **out)
{
	static const struct vfio_params defaults;
	struct vfio_device *d;
	int ret;

	if (!params)
		params = &defaults;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	snprintf(d->address, sizeof(d->address), "%s", address);
	d->sysfs = params->sysfs ? params->sysfs : "/sys";
	d->dev = params->dev ? params->dev : "/dev";
	ret = check_binding(d);
	if (ret)
		goto free_device;
	d->iommu = choose_interface(d, params->interface);
	ret = d->iommu->open(d);
	if (ret)
		goto free_device;
	ret = read_device_info(d);
	if (ret) {
		log_error("%s: VFIO does not describe it as a PCI function: %s", d->address,
			  strerror(-ret));
		goto close_device;
	}
	d->sysfs = d->dev = NULL;
	*out = d;
	return 0;

close_device:
	close(d->fd);
	d->iommu->close(d);
free_device:
	free(d);
	return ret;
}

void vfio_close(struct vfio_device *d)
{
	if (!d)
		return;
	close(d->fd);
	d->iommu->close(d);
	free(d);
}

const char *vfio_interface_name(const struct vfio_device *d)
{
	return d->iommu->name;
}

bool vfio_can_reset(const struct vfio_device *d)
{
	return d->can_reset;
}

int vfio_reset(struct vfio_device *d)
{
	int ret;

	if (!d->can_reset)
		return -ENOTSUP;
	ret = vfio_ioctl(d->fd, VFIO_DEVICE_RESET, NULL);
	return ret < 0 ? ret : 0;
}

int vfio_bus_master(struct vfio_device *d, bool on)
{
	uint16_t command;
	int ret = vfio_region_read(d, &d->config, PCI_COMMAND, &command, sizeof(command));

	if (ret)
		return ret;
	if (on)
		command |= PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY;
	else
		command &= (uint16_t)~PCI_COMMAND_MASTER;
	return vfio_region_write(d, &d->config, PCI_COMMAND, &command, sizeof(command));
}
