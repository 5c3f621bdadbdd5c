/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/shared_memory.h"
#include "vfio/internal.h"

#define HUGE_PAGE (2 * MIB)

/* Addresses below 4 GiB are also where a guest's memory and its holes are: an IOVA that is taken
 * for a physical address by mistake shall not hit any of it, if there is a choice. */
#define IOVA_PREFERRED (4 * GIB)
#define IOVA_LOWEST    HUGE_PAGE

static int pick_iova(struct vfio_device *d, size_t len, uint64_t *iova)
{
	uint64_t align = MAX(HUGE_PAGE, d->limits.page_min), from = d->iova_next;
	int ret;

	if (d->limits.dma_avail == 0 || !is_pow2(align))
		return -ENOSPC;
	ret = vfio_iova_pick(&d->limits, from ? from : IOVA_PREFERRED, len, align, iova);
	if (ret && !from)
		ret = vfio_iova_pick(&d->limits, IOVA_LOWEST, len, align, iova);
	return ret;
}

static void log_map_failure(const struct vfio_device *d, size_t len, uint64_t iova, int err)
{
	struct rlimit limit;

	if (err == -ENOMEM && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
	    limit.rlim_cur != RLIM_INFINITY)
		log_error("%s: cannot lock %zu MiB of DMA memory: RLIMIT_MEMLOCK is %" PRIu64
			  " KiB (ulimit -l); raise it or run as root",
			  d->address, len / MIB, (uint64_t)limit.rlim_cur / KIB);
	else if (err == -ENOMEM)
		log_error("%s: no memory for %zu MiB of DMA memory", d->address, len / MIB);
	else
		log_error("%s: cannot map %zu MiB of DMA memory at IOVA 0x%" PRIx64 ": %s",
			  d->address, len / MIB, iova, strerror(-err));
}

int vfio_dma_alloc(struct vfio_device *d, size_t len, struct vfio_dma *out)
{
	uint64_t iova = 0;
	struct shared_memory memory;
	int ret;

	*out = (struct vfio_dma){0};
	if (!len || len > SIZE_MAX - 2 * HUGE_PAGE)
		return -EINVAL;
	len = round_up(len, HUGE_PAGE);
	ret = pick_iova(d, len, &iova);
	if (ret) {
		log_error("%s: its IOMMU has no room for a mapping of %zu MiB (%u ranges, %u "
			  "mappings "
			  "left)",
			  d->address, len / MIB, d->limits.range_count, d->limits.dma_avail);
		return ret;
	}
	ret = shared_memory_create(&memory, len);
	if (ret) {
		log_map_failure(d, len, iova, ret);
		return ret;
	}
	if (!memory.huge)
		log_info("%s: no huge pages for %zu MiB of DMA memory (vm.nr_hugepages), using "
			 "plain ones",
			 d->address, len / MIB);
	ret = d->iommu->map(d, memory.va, iova, len);
	if (ret < 0) {
		log_map_failure(d, len, iova, ret);
		shared_memory_destroy(&memory);
		return ret;
	}
	d->iova_next = iova + len;
	d->limits.dma_avail--;
	*out = (struct vfio_dma){.va = memory.va,
				 .fd = memory.fd,
				 .iova = iova,
				 .len_bytes = len,
				 .huge = memory.huge};
	return 0;
}

int vfio_dma_revoke(struct vfio_device *d, struct vfio_dma *m)
{
	int ret;

	if (!m->va || m->revoked)
		return 0;
	ret = d->iommu->unmap(d, m->iova, m->len_bytes);
	m->revoked = ret >= 0;
	return MIN(ret, 0);
}

void vfio_dma_free(struct vfio_device *d, struct vfio_dma *m)
{
	if (!m->va)
		return;
	/* Memory that the device may still reach must not go back to the allocator. */
	if (vfio_dma_revoke(d, m) == 0)
		munmap(m->va, m->len_bytes);
	close(m->fd);
	*m = (struct vfio_dma){0};
}
