/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dax: SETUPMAPPING and REMOVEMAPPING. See dax.h.
 *
 *   file    |----------------[ file_off ... + len )-------| st_size
 *                             \                  \
 *   window  |------------------[ win_off ... + len )------------| shmem_size
 *
 * Everything is whole pages, and only pages that lie inside the file as a whole: a front end
 * (QEMU 11.1) refuses a partial last page and grows an empty file to the length that was asked.
 * The driver reads tails through the queue.
 */
#include "dax.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inode.h"
#include "ops.h"
#include "reply.h"

/*
 * A front end gets slower with every live mapping (QEMU 11.1: 160 ms each at 4000), so this is far
 * beyond use; it bounds the table.
 */
#define MAPPINGS_MAX 65536

void dax_table_init(struct fs *fs)
{
	pthread_mutex_init(&fs->dax.mutex, NULL);
}

void dax_table_clear(struct fs *fs, bool unmap)
{
	struct dax_table *t = &fs->dax;

	pthread_mutex_lock(&t->mutex);
	for (size_t i = 0; unmap && i < t->n; i++)
		shmem_unmap(fs->shmem, t->sorted[i].win_off, t->sorted[i].len_bytes);
	free(t->sorted);
	t->sorted = NULL;
	t->n = t->capacity = 0;
	pthread_mutex_unlock(&t->mutex);
}

void dax_table_fini(struct fs *fs)
{
	dax_table_clear(fs, false);
	pthread_mutex_destroy(&fs->dax.mutex);
}

/* ------------------------------------------------------------------ the table; mutex held */

/* Where a mapping at win_off stands or would stand. */
static size_t position(const struct dax_table *t, uint64_t win_off)
{
	size_t low = 0, high = t->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (t->sorted[mid].win_off < win_off)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct mapping *find_exact(struct dax_table *t, uint64_t win_off, uint64_t len_bytes)
{
	size_t i = position(t, win_off);

	return i < t->n && t->sorted[i].win_off == win_off && t->sorted[i].len_bytes == len_bytes
		       ? &t->sorted[i]
		       : NULL;
}

static bool overlaps(const struct dax_table *t, uint64_t win_off, uint64_t len_bytes)
{
	size_t i = position(t, win_off);

	if (i < t->n && t->sorted[i].win_off < win_off + len_bytes)
		return true;
	return i && t->sorted[i - 1].win_off + t->sorted[i - 1].len_bytes > win_off;
}

/* Before anything is mapped, so that what is mapped can always be written down. */
static int reserve(struct dax_table *t)
{
	size_t capacity = t->capacity ? t->capacity * 2 : 64;
	struct mapping *grown;

	if (t->n < t->capacity)
		return 0;
	if (t->n >= MAPPINGS_MAX)
		return -ENOSPC;
	grown = realloc(t->sorted, capacity * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	t->sorted = grown;
	t->capacity = capacity;
	return 0;
}

static void insert(struct dax_table *t, const struct mapping *m)
{
	size_t i = position(t, m->win_off);

	memmove(&t->sorted[i + 1], &t->sorted[i], (t->n - i) * sizeof(*m));
	t->sorted[i] = *m;
	t->n++;
}

static void erase(struct dax_table *t, struct mapping *m)
{
	size_t i = (size_t)(m - t->sorted);

	t->n--;
	memmove(&t->sorted[i], &t->sorted[i + 1], (t->n - i) * sizeof(*m));
}

/* ------------------------------------------------------------------ SETUPMAPPING */

static bool page_multiple(uint64_t v)
{
	return v % FS_PAGE_BYTES == 0;
}

static int check_setup(struct op *op, const struct fuse_setupmapping_in *in)
{
	struct fs *fs = op->fs;

	if (fs->options.dax == DAX_NONE)
		return -EOPNOTSUPP; /* not only unadvertised: the host's administrator said no */
	if (shmem_size(fs->shmem) == 0 || !inode_is_reg(op->node))
		return -ENODEV;
	if (in->flags & ~(FUSE_SETUPMAPPING_FLAG_READ | FUSE_SETUPMAPPING_FLAG_WRITE) ||
	    !page_multiple(in->foffset) || !page_multiple(in->moffset) || !page_multiple(in->len) ||
	    in->len == 0 || !extent_within(in->moffset, in->len, shmem_size(fs->shmem)))
		return -EINVAL;
	return in->flags & FUSE_SETUPMAPPING_FLAG_WRITE && fs->options.readonly ? -EROFS : 0;
}

/*
 * As ourselves: the request carries no credentials, what may be read or written was decided when
 * the guest opened the file. Writable where possible, even for reading, because a front end (QEMU
 * 11.1) refuses a descriptor that is read-only.
 */
static int open_for_mapping(struct op *op, bool writable)
{
	int fd = -EROFS;

	if (!op->fs->options.readonly)
		fd = inode_open(op->fs, op->node, O_RDWR | O_NONBLOCK);
	if (fd < 0 && fd != -EMFILE && fd != -ENFILE && !writable)
		fd = inode_open(op->fs, op->node, O_RDONLY | O_NONBLOCK);
	return fd;
}

static int check_inside_file(int fd, const struct fuse_setupmapping_in *in)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	return extent_within(in->foffset, in->len, round_down((uint64_t)st.st_size, FS_PAGE_BYTES))
		       ? 0
		       : -EINVAL;
}

/*
 * With the mutex held. Linux makes a range writable by setting it up once more over itself, and a
 * front end maps nothing over something: so out, and in again. When the way back in is refused the
 * guest still believes in the old mapping, and reading where nothing is mapped gives zeros without
 * an error: so it gets the old one back if that was of the same pages.
 */
static int replace(struct op *op, int fd, const struct mapping *m, struct mapping *old,
		   bool writable)
{
	struct shmem *shmem = op->fs->shmem;
	bool same = old->nodeid == m->nodeid && old->file_off == m->file_off;
	int r = shmem_unmap(shmem, old->win_off, old->len_bytes);

	if (r < 0)
		return r;
	r = shmem_map(shmem, fd, m->file_off, m->win_off, m->len_bytes, writable);
	if (r == 0)
		*old = *m;
	else if (!same || !writable ||
		 shmem_map(shmem, fd, m->file_off, m->win_off, m->len_bytes, false) < 0)
		erase(&op->fs->dax, old);
	return r;
}

static int map_locked(struct op *op, int fd, const struct mapping *m, bool writable)
{
	struct dax_table *t = &op->fs->dax;
	struct mapping *old = find_exact(t, m->win_off, m->len_bytes);
	int r;

	if (old)
		return replace(op, fd, m, old, writable);
	if (overlaps(t, m->win_off, m->len_bytes))
		return -EINVAL;
	r = reserve(t);
	if (r == 0)
		r = shmem_map(op->fs->shmem, fd, m->file_off, m->win_off, m->len_bytes, writable);
	if (r == 0)
		insert(t, m);
	return r;
}

int op_setupmapping(struct op *op)
{
	struct dax_table *t = &op->fs->dax;
	struct fuse_setupmapping_in in;
	struct mapping m;
	bool writable;
	int fd, r;

	op_take(op, &in, sizeof(in));
	r = check_setup(op, &in);
	if (r < 0)
		return r;
	writable = in.flags & FUSE_SETUPMAPPING_FLAG_WRITE;
	fd = open_for_mapping(op, writable);
	if (fd < 0)
		return fd;
	m = (struct mapping){in.moffset, in.len, op->in.nodeid, in.foffset};
	r = check_inside_file(fd, &in);
	if (r == 0) {
		pthread_mutex_lock(&t->mutex);
		r = map_locked(op, fd, &m, writable);
		pthread_mutex_unlock(&t->mutex);
	}
	close(fd);
	return r < 0 ? r : reply_ok(op);
}

/* ------------------------------------------------------------------ REMOVEMAPPING */

static int remove_one(struct fs *fs, const struct fuse_removemapping_one *one)
{
	struct dax_table *t = &fs->dax;
	struct mapping *m;
	int r = -EINVAL;

	pthread_mutex_lock(&t->mutex);
	m = find_exact(t, one->moffset, one->len);
	if (m) {
		r = shmem_unmap(fs->shmem, m->win_off, m->len_bytes);
		if (r == 0)
			erase(t, m);
	}
	pthread_mutex_unlock(&t->mutex);
	return r;
}

/* All are tried; the first error is the answer. */
int op_removemapping(struct op *op)
{
	struct fuse_removemapping_in in;
	struct fuse_removemapping_one one;
	int first = 0;

	op_take(op, &in, sizeof(in));
	if (op->args.left != (uint64_t)in.count * sizeof(one))
		return -EINVAL;
	while (bytes_take(&op->args, &one, sizeof(one))) {
		int r = remove_one(op->fs, &one);

		if (first == 0)
			first = r;
	}
	return first < 0 ? first : reply_ok(op);
}
