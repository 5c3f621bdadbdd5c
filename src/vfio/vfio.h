/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfio: a PCI function that the kernel's VFIO hands to this process (linux/vfio.h). Its regions,
 * interrupts, reset, and memory that it may reach through the IOMMU. Nothing here knows virtio.
 *
 *   vfio_open -> vfio_region, vfio_region_map, vfio_irq_*, vfio_dma_alloc ... -> vfio_close
 *
 * Two kernel interfaces stand behind it: group and container with the type 1 IOMMU (every kernel
 * that has VFIO), and the character device with iommufd (6.6 and later, where configured).
 *
 * All functions return 0 or -errno. vfio_open() and vfio_dma_alloc(), whose failures a user can
 * act on, have logged one line; the others leave that to the caller. One thread at a time, except
 * vfio_region_read(), vfio_region_write() and vfio_irq_unmask().
 *
 * The kernel resets the function when it is opened first and when it is closed last, if it can
 * (drivers/vfio/pci/vfio_pci_core.c), so vfio_reset() is only for the time in between.
 */
#ifndef VFSDAX_VFIO_VFIO_H
#define VFSDAX_VFIO_VFIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vfio_device;

enum vfio_interface { VFIO_ANY_INTERFACE, VFIO_GROUP, VFIO_IOMMUFD };

struct vfio_params {
	/* Which kernel interface; VFIO_ANY_INTERFACE: iommufd where it is there and ours. */
	enum vfio_interface interface;
	/* Where sysfs and the device nodes are; NULL: /sys and /dev (tests say otherwise). */
	const char *sysfs, *dev;
};

/*
 * Opens the function "DDDD:BB:DD.F", which is bound to vfio-pci. -ENODEV: no such function;
 * -ENXIO: bound to something else, or no IOMMU; -EACCES; -EBUSY: somebody has it, or devices of
 * its group belong to other drivers; -EPERM: no interrupt remapping; -ENOTSUP: `interface` is
 * not there.
 */
int vfio_open(const char *address, const struct vfio_params *params, struct vfio_device **out);
/* Everything that came from the device must have been released. NULL is fine. */
void vfio_close(struct vfio_device *d);

/* "group" or "iommufd": for messages. */
const char *vfio_interface_name(const struct vfio_device *d);

/* Function level reset, or whatever reset the kernel has for it. Mappings of BARs stay, and
 * touching them waits meanwhile. -ENOTSUP: it has none. Takes 100 ms and more. */
bool vfio_can_reset(const struct vfio_device *d);
int vfio_reset(struct vfio_device *d);

/* May the function write to memory (bit 2 of PCI_COMMAND)? Without it, no MSI-X either. */
int vfio_bus_master(struct vfio_device *d, bool on);

/* ---- regions: BARs 0 to 5 and configuration space have the indexes of linux/vfio.h ---- */

#define VFIO_AREAS_MAX 16

/* Checked against overflow; `areas` lie inside the region. */
struct vfio_region {
	uint64_t size_bytes; /* 0: there is no such region */
	uint64_t fd_off;     /* of its first byte in the device's file */
	bool readable, writable;
	/* The parts that may be mapped: the whole region, or what its sparse capability says. */
	unsigned area_count;
	struct {
		uint64_t off, len_bytes;
	} areas[VFIO_AREAS_MAX];
};

int vfio_region(struct vfio_device *d, uint32_t index, struct vfio_region *out);

/* All of it or -EIO; -EINVAL: outside the region. Each call is one system call. */
int vfio_region_read(struct vfio_device *d, const struct vfio_region *r, uint64_t off, void *buf,
		     size_t len);
int vfio_region_write(struct vfio_device *d, const struct vfio_region *r, uint64_t off,
		      const void *buf, size_t len);

struct vfio_map {
	uint8_t *va; /* of the byte that was asked for; NULL: not mapped */
	uint64_t len_bytes;
	void *pages; /* what munmap() gets: whole pages around it */
	size_t pages_len;
};

/*
 * Maps [off, off + len) of the region, shared, readable and writable. `align` is a power of two, at
 * least a page: the virtual address is then congruent to `off` modulo `align`, so that with
 * 1 GiB the kernel can map the BAR in the largest pages it has. -ENOTSUP: (part of) it may not be
 * mapped. -ENOMEM.
 */
int vfio_region_map(struct vfio_device *d, const struct vfio_region *r, uint64_t off, uint64_t len,
		    uint64_t align, struct vfio_map *out);
/* Of a map that is not mapped: nothing. */
void vfio_region_unmap(struct vfio_map *m);

/* ---- for another process ---- */

/*
 * A dma-buf of exactly [off, off + len) of region `index`, which is `r`
 * (VFIO_DEVICE_FEATURE_DMA_BUF, Linux 6.19): *fd, the caller's to close, can be mmapped from its
 * offset 0 on, for writing only if `writable`. The kernel takes such memory away when the device is
 * closed. -EOPNOTSUPP: it exports no dma-bufs; -ENODEV: it does, but cannot mmap them.
 */
int vfio_export(struct vfio_device *d, uint32_t index, const struct vfio_region *r, uint64_t off,
		uint64_t len, bool writable, int *fd);
/* Another descriptor of the device itself, the caller's to close, or -errno. Whoever has it has
 * the device: all its regions, its interrupts and its reset, until it is closed. */
int vfio_share_device(struct vfio_device *d);

/* ---- memory that the device reaches ---- */

struct vfio_dma {
	uint8_t *va;	  /* page-aligned, zeroed, locked in memory, shared with forked children */
	int fd;		  /* of the file that it is, from 0 on */
	uint64_t iova;	  /* never 0 */
	size_t len_bytes; /* what was asked for, rounded up to 2 MiB */
	bool huge;	  /* of huge pages; else it said so in one line of log */
	bool revoked;
};

/*
 * -ENOMEM: no memory, or RLIMIT_MEMLOCK; -ENOSPC: no room in the IOMMU's address ranges or no
 * mapping left.
 */
int vfio_dma_alloc(struct vfio_device *d, size_t len, struct vfio_dma *out);
/* From now on the IOMMU keeps the device out. The memory stays until vfio_dma_free(). 0 or -errno;
 * of one that is not allocated: nothing. */
int vfio_dma_revoke(struct vfio_device *d, struct vfio_dma *m);
/* The device must not use it any more. Of one that is not allocated: nothing. */
void vfio_dma_free(struct vfio_device *d, struct vfio_dma *m);

/* ---- interrupts: indexes VFIO_PCI_*_IRQ_INDEX of linux/vfio.h ---- */

/* How many eventfds interrupt `index` can signal; 0: it does not exist. */
unsigned vfio_irq_count(struct vfio_device *d, uint32_t index);
/* From now on vector i signals eventfds[i]; `count` of them, at most vfio_irq_count(). The line
 * interrupt masks itself each time and wants vfio_irq_unmask() after that. */
int vfio_irq_enable(struct vfio_device *d, uint32_t index, const int *eventfds, unsigned count);
int vfio_irq_disable(struct vfio_device *d, uint32_t index);
int vfio_irq_unmask(struct vfio_device *d, uint32_t index);

#endif
