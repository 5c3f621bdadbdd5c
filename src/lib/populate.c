/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/populate: a piece of a file into the window, and its pages to where a load finds them. The
 * set-ups are all requested first; then each range is pinned in turn, so that none of them is
 * evicted for a later one, and its pages are faulted in.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/internal.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

/* At a time, so that what follows is pinned soon, whatever the size of its range. */
#define PIECE_BYTES (64 * MIB)
/* With a mapping alignment of 2 MiB: as much as a window of 512 GiB. */
#define PIECES_MAX  8192u

/* Loads from each page. False: the host has taken pages away. The window of a PCI function is
 * device memory, of which madvise(2) knows nothing. */
static bool fault_in(const uint8_t *at, size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), skip = (uintptr_t)at % page;
	uint8_t byte;

	if (madvise((void *)(uintptr_t)(at - skip), len + skip, MADV_POPULATE_READ) == 0)
		return true;
	if (errno == EFAULT)
		return false;
	for (size_t i = 0; i < len; i += page)
		if (window_copy_out(&byte, at + i, 1))
			return false;
	return true;
}

/* The next piece: mapped and, with its pages in, its bytes. -errno. */
static ssize_t populate_piece(struct vfsdax_file *f, uint64_t off, uint64_t len,
			      struct vfsdax_map **map)
{
	int err = map_file(f, off, (size_t)MIN(len, PIECE_BYTES), 0, map);

	if (err)
		return err;
	if (fault_in(vfsdax_map_addr(*map), vfsdax_map_len(*map)))
		return (ssize_t)vfsdax_map_len(*map);
	vfsdax_unmap(*map);
	return -ENODATA;
}

static ssize_t populate_file(struct vfsdax_file *f, uint64_t off, uint64_t len)
{
	struct vfsdax_map **maps;
	ssize_t done = 0, n = prefetch_file(f, off, len);
	unsigned n_maps = 0;

	if (n || !len)
		return n;
	maps = calloc(PIECES_MAX, sizeof(struct vfsdax_map *));
	if (!maps)
		return -ENOMEM;
	while ((uint64_t)done < len && n_maps < PIECES_MAX) {
		n = populate_piece(f, off + (uint64_t)done, len - (uint64_t)done, &maps[n_maps]);
		if (n < 0)
			break;
		n_maps++;
		done += n;
	}
	while (n_maps)
		vfsdax_unmap(maps[--n_maps]);
	free(maps);
	return done ? done : n;
}

ssize_t vfsdax_populate(struct vfsdax_file *f, uint64_t off, uint64_t len)
{
	return NOTED(populate_file(f, off, len), f->path);
}
