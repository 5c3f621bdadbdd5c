/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "vfio/internal.h"

int vfio_region(struct vfio_device *d, uint32_t index, struct vfio_region *out)
{
	struct vfio_region_info in = {.argsz = sizeof(in), .index = index};
	void *info;
	size_t len;
	int ret;

	ret = vfio_ioctl_info(d->fd, VFIO_DEVICE_GET_REGION_INFO, &in, sizeof(in), &info, &len);
	if (ret)
		return ret;
	ret = vfio_parse_region(info, len, out);
	free(info);
	return ret;
}

int vfio_region_read(struct vfio_device *d, const struct vfio_region *r, uint64_t off, void *buf,
		     size_t len)
{
	ssize_t n;

	if (!extent_within(off, len, r->size_bytes))
		return -EINVAL;
	n = pread(d->fd, buf, len, (off_t)(r->fd_off + off));
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

int vfio_region_write(struct vfio_device *d, const struct vfio_region *r, uint64_t off,
		      const void *buf, size_t len)
{
	ssize_t n;

	if (!extent_within(off, len, r->size_bytes))
		return -EINVAL;
	n = pwrite(d->fd, buf, len, (off_t)(r->fd_off + off));
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

static bool mappable(const struct vfio_region *r, uint64_t off, uint64_t len)
{
	for (unsigned i = 0; i < r->area_count; i++)
		if (off >= r->areas[i].off &&
		    extent_within(off - r->areas[i].off, len, r->areas[i].len_bytes))
			return true;
	return false;
}

/*
 * Address space that holds `len` bytes at an address congruent to `off` modulo `align`:
 *
 *   reserved  |....|==== len ====|.......|     what is outside of it is given back
 *                  ^ *va
 */
static int reserve(uint64_t off, size_t len, uint64_t align, uint8_t **va)
{
	size_t slack = align > (uint64_t)sysconf(_SC_PAGESIZE) ? (size_t)align : 0, head;
	uint8_t *space;

	if (len > SIZE_MAX - slack)
		return -ENOMEM;
	space = mmap(NULL, len + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		     0);
	if (space == MAP_FAILED)
		return -errno;
	head = slack ? (size_t)((off - (uintptr_t)space) & (align - 1)) : 0;
	if (head)
		munmap(space, head);
	if (slack > head)
		munmap(space + head + len, slack - head);
	*va = space + head;
	return 0;
}

int vfio_region_map(struct vfio_device *d, const struct vfio_region *r, uint64_t off, uint64_t len,
		    uint64_t align, struct vfio_map *out)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t start = round_down(off, page), bytes;
	uint8_t *va = NULL;
	int ret;

	*out = (struct vfio_map){0};
	if (!len || !extent_within(off, len, r->size_bytes) || !r->readable || !r->writable)
		return -ENOTSUP;
	bytes = round_up(off + len, page) - start;
	if (!mappable(r, start, bytes))
		return -ENOTSUP;
	ret = reserve(start, bytes, MAX(align, page), &va);
	if (ret)
		return ret;
	if (mmap(va, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, d->fd,
		 (off_t)(r->fd_off + start)) == MAP_FAILED) {
		ret = -errno;
		munmap(va, bytes);
		return ret;
	}
	*out = (struct vfio_map){
		.va = va + (off - start), .len_bytes = len, .pages = va, .pages_len = bytes};
	return 0;
}

void vfio_region_unmap(struct vfio_map *m)
{
	if (m->va)
		munmap(m->pages, m->pages_len);
	*m = (struct vfio_map){0};
}
