/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "transport/pci_internal.h"
#include "wire/virtio.h"
#include "wire/virtio_pci.h"

/* Enough for the configuration of a virtio-fs device and the doorbells of 65535 queues at the
 * usual distance. A structure may be far longer (4.1.4.1: the driver handles an unexpectedly large
 * length), and is then used as far as this. */
#define STRUCTURE_LEN_MAX (16 * MIB)
#define WINDOW_ALIGN	  GIB
#define WINDOW_ALIGN_MIN  (2 * MIB)

static uint32_t slow_read(struct pci_io *io, uint32_t off, unsigned width)
{
	struct pci_io_slow *s = container_of(io, struct pci_io_slow, io);
	uint32_t value = 0;

	/* What cannot be read is as good as gone, and reads the same. */
	if (vfio_region_read(s->vfio, s->bar, s->bar_off + off, &value, width))
		memset(&value, 0xff, width);
	return value;
}

static void slow_write(struct pci_io *io, uint32_t off, unsigned width, uint32_t value)
{
	struct pci_io_slow *s = container_of(io, struct pci_io_slow, io);

	vfio_region_write(s->vfio, s->bar, s->bar_off + off, &value, width);
}

static const struct pci_io_ops slow_ops = {.read = slow_read, .write = slow_write};

static int open_structure(struct pci_transport *p, const struct pci_extent *e,
			  struct pci_structure *s)
{
	const struct vfio_region *bar = &p->bars[e->bar];
	uint64_t len = MIN(e->len_bytes, STRUCTURE_LEN_MAX);
	int ret;

	if (!len)
		return 0;
	ret = vfio_region_map(p->vfio, bar, e->bar_off, len, (uint64_t)sysconf(_SC_PAGESIZE),
			      &s->map);
	if (ret == 0) {
		pci_io_mapped_init(&s->mapped, s->map.va, len);
		s->io = &s->mapped.io;
		return 0;
	}
	if (ret != -ENOTSUP || !bar->readable || !bar->writable)
		return ret;
	s->slow = (struct pci_io_slow){.io = {.ops = &slow_ops, .len_bytes = len},
				       .vfio = p->vfio,
				       .bar = bar,
				       .bar_off = e->bar_off};
	s->io = &s->slow.io;
	return 0;
}

__attribute__((format(printf, 2, 3))) static void no_window(struct pci_transport *p,
							    const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(p->window_reason, sizeof(p->window_reason), format, ap);
	va_end(ap);
}

/* A window that cannot be had is no reason to give up: the queues carry everything, too. */
static void map_dax_window(struct pci_transport *p)
{
	const struct pci_shm *shm = pci_caps_shm(&p->caps, VIRTIO_FS_SHMID_DAX);
	int ret;

	if (!shm && p->caps.shm_unplaced) {
		no_window(p, "the kernel found no addresses for it: its log says why");
		return;
	}
	if (!shm) {
		no_window(p, "the device has no window (shared memory region %u)",
			  VIRTIO_FS_SHMID_DAX);
		return;
	}
	ret = vfio_region_map(
		p->vfio, &p->bars[shm->extent.bar], shm->extent.bar_off, shm->extent.len_bytes,
		shm->extent.bar_off % WINDOW_ALIGN_MIN ? 0 : WINDOW_ALIGN, &p->window);
	if (ret)
		no_window(p, "cannot map its %" PRIu64 " MiB at 0x%" PRIx64 " of BAR %u: %s",
			  shm->extent.len_bytes / MIB, shm->extent.bar_off, shm->extent.bar,
			  strerror(-ret));
}

static int read_config_space(struct pci_transport *p, uint8_t config[PCI_CAPS_CONFIG_LEN])
{
	struct vfio_region region;
	uint16_t vendor, device;
	int ret = vfio_region(p->vfio, VFIO_PCI_CONFIG_REGION_INDEX, &region);

	if (!ret)
		ret = vfio_region_read(p->vfio, &region, 0, config, PCI_CAPS_CONFIG_LEN);
	if (ret) {
		log_error("%s: cannot read its configuration space: %s", p->base.source,
			  strerror(-ret));
		return ret;
	}
	memcpy(&vendor, config + PCI_VENDOR_ID, sizeof(vendor));
	memcpy(&device, config + PCI_DEVICE_ID, sizeof(device));
	if (vendor == VIRTIO_PCI_VENDOR && device == VIRTIO_PCI_DEVICE_FS)
		return 0;
	log_error("%s is %04x:%04x, not a virtio-fs function (%04x:%04x)", p->base.source, vendor,
		  device, VIRTIO_PCI_VENDOR, VIRTIO_PCI_DEVICE_FS);
	return -ENODEV;
}

static int read_bars(struct pci_transport *p, uint64_t size[PCI_CAPS_BARS])
{
	for (unsigned i = 0; i < PCI_CAPS_BARS; i++) {
		int ret = vfio_region(p->vfio, VFIO_PCI_BAR0_REGION_INDEX + i, &p->bars[i]);

		if (ret) {
			log_error("%s: VFIO does not describe BAR %u: %s", p->base.source, i,
				  strerror(-ret));
			return ret;
		}
		size[i] = p->bars[i].size_bytes;
	}
	return 0;
}

int pci_access_open(struct pci_transport *p)
{
	const struct {
		const struct pci_extent *extent;
		struct pci_structure *structure;
	} wanted[] = {{&p->caps.common, &p->common},
		      {&p->caps.notify, &p->notify},
		      {&p->caps.isr, &p->isr},
		      {&p->caps.device, &p->device}};
	uint8_t config[PCI_CAPS_CONFIG_LEN];
	uint64_t bar_size[PCI_CAPS_BARS];
	char why[PCI_CAPS_WHY_LEN];
	int ret;

	ret = read_config_space(p, config);
	if (!ret)
		ret = read_bars(p, bar_size);
	if (ret)
		return ret;
	if (pci_caps_parse(config, bar_size, &p->caps, why)) {
		log_error("%s: %s", p->base.source, why);
		return -ENOTSUP;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(wanted); i++) {
		ret = open_structure(p, wanted[i].extent, wanted[i].structure);
		if (ret) {
			log_error("%s: cannot map BAR %u: %s", p->base.source,
				  wanted[i].extent->bar, strerror(-ret));
			return ret;
		}
	}
	map_dax_window(p);
	return 0;
}

void pci_access_close(struct pci_transport *p)
{
	vfio_region_unmap(&p->window);
	vfio_region_unmap(&p->device.map);
	vfio_region_unmap(&p->isr.map);
	vfio_region_unmap(&p->notify.map);
	vfio_region_unmap(&p->common.map);
}
