/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vfio/internal: the device as the files of src/vfio share it, and the two kernel interfaces. */
#ifndef VFSDAX_VFIO_INTERNAL_H
#define VFSDAX_VFIO_INTERNAL_H

#include "vfio/info.h"
#include "vfio/vfio.h"

#define VFIO_PATH_MAX 512

/* How device and memory are had from the kernel. open() logs; all return 0 or -errno. */
struct vfio_iommu_ops {
	const char *name;
	/* Sets fd and limits. On failure close() is not called. */
	int (*open)(struct vfio_device *d);
	int (*map)(struct vfio_device *d, void *va, uint64_t iova, size_t len);
	int (*unmap)(struct vfio_device *d, uint64_t iova, size_t len);
	/* After the device's fd was closed. */
	void (*close)(struct vfio_device *d);
};

extern const struct vfio_iommu_ops vfio_group_ops, vfio_iommufd_ops;
/* Are the nodes that iommufd needs there and ours? Always false where the kernel's headers had no
 * iommufd when this was compiled. */
bool vfio_iommufd_usable(const struct vfio_device *d);

struct vfio_device {
	const struct vfio_iommu_ops *iommu;
	char address[16];
	const char *sysfs, *dev; /* roots, owned by the caller of vfio_open() until it returns */
	int fd;
	int container_fd, group_fd; /* group */
	int iommufd;		    /* iommufd: the context ... */
	uint32_t ioas_id;	    /* ... and its address space */
	struct vfio_limits limits;
	struct vfio_region config; /* configuration space */
	uint64_t iova_next;	   /* all above it is free */
	bool can_reset;
};

/* ---- sysfs.c: what the kernel says about the function, without opening it ---- */

/* The last component of the link `name` in the function's directory. -errno: -ENOENT without. */
int vfio_sysfs_link(const struct vfio_device *d, const char *name, char *out, size_t out_len);
/* The name of the function's VFIO character device ("vfio0"). -ENOENT. */
int vfio_sysfs_cdev(const struct vfio_device *d, char *out, size_t out_len);
/* Names the other devices of the function's group that keep it from being handed over, with
 * their drivers: "0000:00:1f.2 (ahci), ...". How many there are. */
unsigned vfio_sysfs_group_others(const struct vfio_device *d, const char *group, char *out,
				 size_t out_len);
/* Why open(2) of a node failed, in a line of log. */
void vfio_log_open_failure(const struct vfio_device *d, const char *path, int err);

/* Why a device that could inject interrupts is not handed over. */
void vfio_log_no_remapping(const struct vfio_device *d);

/* ---- ioctl.c ---- */

/* ioctl(2) with 0, a positive result or -errno. */
int vfio_ioctl(int fd, unsigned long request, void *arg);
/* For answers with capabilities, whose structs begin with argsz: asks until the buffer is large
 * enough. *out has *len bytes and is the caller's to free. `in` is copied to its beginning. */
int vfio_ioctl_info(int fd, unsigned long request, const void *in, size_t in_len, void **out,
		    size_t *len);

#endif
