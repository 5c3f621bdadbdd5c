/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/shared_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define HUGE_PAGE (2 * MIB)

/* Allocates every page now: a shmem page that cannot be had later is SIGBUS, not an error. */
static int populate(struct shared_memory *a)
{
	if (madvise(a->va, a->len_bytes, MADV_POPULATE_WRITE) == 0)
		return 0;
	if (errno != EINVAL)
		return errno == EFAULT ? -ENOMEM : -errno;
	return fallocate(a->fd, 0, 0, (off_t)a->len_bytes) == 0 ? 0 : -errno;
}

static int create_with(struct shared_memory *a, size_t len_bytes, unsigned memfd_flags,
		       size_t page_bytes)
{
	int err;

	a->len_bytes = round_up(len_bytes, page_bytes);
	a->huge = memfd_flags & MFD_HUGETLB;
	a->fd = memfd_create("vfsdax-dma", MFD_CLOEXEC | MFD_ALLOW_SEALING | memfd_flags);
	if (a->fd < 0)
		return -errno;
	if (ftruncate(a->fd, (off_t)a->len_bytes) != 0) {
		err = -errno;
		goto fail_fd;
	}
	/* The back end gets this descriptor. Were it to shrink the file, our next touch of the
	 * rings would be SIGBUS. */
	if (fcntl(a->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
		err = -errno;
		goto fail_fd;
	}
	a->va = mmap(NULL, a->len_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, a->fd, 0);
	if (a->va == MAP_FAILED) {
		err = -errno;
		goto fail_fd;
	}
	if (!(memfd_flags & MFD_HUGETLB))
		madvise(a->va, a->len_bytes, MADV_HUGEPAGE); /* a wish */
	err = populate(a);
	if (err)
		goto fail_map;
	return 0;

fail_map:
	munmap(a->va, a->len_bytes);
fail_fd:
	close(a->fd);
	memset(a, 0, sizeof(*a));
	return err;
}

int shared_memory_create(struct shared_memory *a, size_t len_bytes)
{
	memset(a, 0, sizeof(*a));
	if (!len_bytes || len_bytes > SIZE_MAX / 2)
		return -EINVAL;
	/* Small arenas would waste most of a huge page that others could use. */
	if (len_bytes >= HUGE_PAGE / 2 &&
	    create_with(a, len_bytes, MFD_HUGETLB | MFD_HUGE_2MB, HUGE_PAGE) == 0)
		return 0;
	return create_with(a, len_bytes, 0, (size_t)sysconf(_SC_PAGESIZE));
}

void shared_memory_destroy(struct shared_memory *a)
{
	if (!a->va)
		return;
	munmap(a->va, a->len_bytes);
	close(a->fd);
	memset(a, 0, sizeof(*a));
}
