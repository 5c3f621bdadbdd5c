/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The window of a PCI function for another process: as a dma-buf of exactly the range, where the
 * kernel can mmap one, else only together with the device, for somebody who may have that.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "transport/pci_internal.h"
#include "wire/virtio.h"

static int share_device(struct pci_transport *p, const struct vfio_region *bar, uint64_t bar_off,
			uint64_t len, struct transport_piece *out, const char **reason)
{
	int fd = vfio_share_device(p->vfio);

	if (fd < 0) {
		*reason = "the mount has no file descriptor left (RLIMIT_NOFILE)";
		return fd;
	}
	*out = (struct transport_piece){
		.fd = fd, .fd_off = bar->fd_off + bar_off, .len_bytes = len};
	return 0;
}

int pci_share(struct transport *t, uint64_t win_off, uint64_t len, unsigned flags,
	      struct transport_piece *out, const char **reason)
{
	struct pci_transport *p = pci_of(t);
	const struct pci_shm *shm = pci_caps_shm(&p->caps, VIRTIO_FS_SHMID_DAX);
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	const struct vfio_region *bar;
	uint64_t bar_off;
	int ret, fd;

	if (!shm || !p->window.va || !len || !extent_within(win_off, len, p->window.len_bytes)) {
		*reason = "it is not in the window";
		return -EINVAL;
	}
	bar = &p->bars[shm->extent.bar];
	bar_off = shm->extent.bar_off + win_off;
	if (bar_off % page || len % page) {
		*reason = "the window does not begin at a page of its BAR";
		return -EPERM;
	}
	ret = vfio_export(p->vfio, VFIO_PCI_BAR0_REGION_INDEX + shm->extent.bar, bar, bar_off, len,
			  flags & TRANSPORT_SHARE_WRITE, &fd);
	if (!ret) {
		*out = (struct transport_piece){.fd = fd, .len_bytes = len};
		return 0;
	}
	if (flags & TRANSPORT_SHARE_DEVICE)
		return share_device(p, bar, bar_off, len, out, reason);
	*reason = ret == -ENODEV ? "over VFIO it needs a kernel that can mmap dma-bufs of a BAR, "
				   "and this one "
				   "only exports them; see share_device in vfsdax-mount(8)"
				 : "over VFIO it needs a kernel that exports ranges of a BAR "
				   "(dma-buf) and can "
				   "mmap those; see share_device in vfsdax-mount(8)";
	return -EPERM;
}
