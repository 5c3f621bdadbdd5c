/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/linkname.h"
#include "base/log.h"
#include "vfio/internal.h"

int vfio_sysfs_link(const struct vfio_device *d, const char *name, char *out, size_t out_len)
{
	char path[VFIO_PATH_MAX];

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/%s", d->sysfs, d->address, name);
	return link_name(path, out, out_len);
}

int vfio_sysfs_cdev(const struct vfio_device *d, char *out, size_t out_len)
{
	char path[VFIO_PATH_MAX];
	struct dirent *entry;
	int ret = -ENOENT;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/vfio-dev", d->sysfs, d->address);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (ret && (entry = readdir(dir)))
		if (strncmp(entry->d_name, "vfio", 4) == 0) {
			snprintf(out, out_len, "%s", entry->d_name);
			ret = 0;
		}
	closedir(dir);
	return ret;
}

/* May a group with this device in it be handed over (vfio_dev_viable)? Drivers of VFIO, none, and
 * those of bridges do no DMA of their own. */
static bool harmless(const char *driver)
{
	return !driver[0] || strstr(driver, "vfio") || strcmp(driver, "pcieport") == 0 ||
	       strcmp(driver, "pci-stub") == 0;
}

unsigned vfio_sysfs_group_others(const struct vfio_device *d, const char *group, char *out,
				 size_t out_len)
{
	char path[VFIO_PATH_MAX], driver[64];
	unsigned count = 0;
	struct dirent *entry;
	size_t used = 0;
	DIR *dir;

	out[0] = '\0';
	snprintf(path, sizeof(path), "%s/kernel/iommu_groups/%s/devices", d->sysfs, group);
	dir = opendir(path);
	if (!dir)
		return 0;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, d->address) == 0)
			continue;
		snprintf(path, sizeof(path), "%s/kernel/iommu_groups/%s/devices/%.64s/driver",
			 d->sysfs, group, entry->d_name);
		if (link_name(path, driver, sizeof(driver)))
			driver[0] = '\0';
		if (harmless(driver))
			continue;
		if (used < out_len)
			used += (size_t)snprintf(out + used, out_len - used, "%s%s (%s)",
						 count ? ", " : "", entry->d_name, driver);
		count++;
	}
	closedir(dir);
	return count;
}

static void log_permission(const struct vfio_device *d, const char *path)
{
	struct stat st;

	if (stat(path, &st)) {
		log_error("%s: no permission to open %s", d->address, path);
		return;
	}
	/* By number: names are for programs to look up, not for a library. */
	log_error("%s: no permission to open %s, which belongs to user %u and group %u (mode "
		  "%03o): run as root, or have root do: chown %u %s",
		  d->address, path, st.st_uid, st.st_gid, st.st_mode & 0777, geteuid(), path);
}

void vfio_log_open_failure(const struct vfio_device *d, const char *path, int err)
{
	switch (err) {
	case -EACCES:
	case -EPERM:
		log_permission(d, path);
		break;
	case -ENOENT:
	case -ENODEV: /* the node is there, the module is not */
		log_error(
			"%s: there is no %s: load VFIO with: modprobe -a vfio-pci vfio_iommu_type1",
			d->address, path);
		break;
	case -EBUSY:
		log_error("%s: %s is in use by another process", d->address, path);
		break;
	default:
		log_error("%s: cannot open %s: %s", d->address, path, strerror(-err));
	}
}

void vfio_log_no_remapping(const struct vfio_device *d)
{
	log_error("%s: the IOMMU does not remap interrupts: add intremap=on to QEMU's IOMMU "
		  "device (intel-iommu; virtio-iommu has none), or allow unsafe interrupts "
		  "(allow_unsafe_interrupts=1 of vfio_iommu_type1 or iommufd)",
		  d->address);
}
