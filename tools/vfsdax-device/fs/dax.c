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
#include <unistd.h>

#include "inode.h"
#include "ops.h"
#include "reply.h"

/*
 * A front end gets slower with every live mapping (QEMU 11.1: 160 ms each at 4000), so this is far
 * beyond use; it bounds the table.
 */
#define MAPPINGS_MAX 65536

/* With the mutex held. */
static int unmap_mapping(struct fs *fs, const struct mapping *m)
{
	return shmem_unmap(fs->shmem, m->x.first, extent_len(m->x));
}

static int map_mapping(struct fs *fs, int fd, const struct mapping *m, bool writable)
{
	return shmem_map(fs->shmem, fd, m->file_off, m->x.first, extent_len(m->x), writable);
}

void dax_table_init(struct fs *fs)
{
	pthread_mutex_init(&fs->dax.mutex, NULL);
	extents_init(&fs->dax.mappings, sizeof(struct mapping), MAPPINGS_MAX);
}

void dax_table_clear(struct fs *fs, bool unmap)
{
	struct dax_table *t = &fs->dax;

	pthread_mutex_lock(&t->mutex);
	for (size_t i = 0; unmap && i < t->mappings.n; i++)
		unmap_mapping(fs, extents_at(&t->mappings, i));
	extents_fini(&t->mappings);
	pthread_mutex_unlock(&t->mutex);
}

void dax_table_fini(struct fs *fs)
{
	dax_table_clear(fs, false);
	pthread_mutex_destroy(&fs->dax.mutex);
}

/* ------------------------------------------------------------------ SETUPMAPPING */

/* The host's pages are what a front end maps, whatever those of the guest are. */
static bool page_multiple(const struct fs *fs, uint64_t v)
{
	return v % fs->options.page_bytes == 0;
}

bool dax_may_map(struct fs *fs, mode_t mode)
{
	return !(mode & 0111) || fs->options.map_executables || shmem_takes_rdonly(fs->shmem);
}

/* Another driver than ours has no other way to the file when it asks for this. */
static int check_mode(const struct op *op)
{
	struct statx stx;
	int r = inode_statx(op->node->fd, &stx);

	if (r < 0 || !fs_maps_any_size(op->fs))
		return r;
	return dax_may_map(op->fs, stx.stx_mode) ? 0 : -ETXTBSY;
}

static int check_setup(struct op *op, const struct fuse_setupmapping_in *in)
{
	struct fs *fs = op->fs;

	if (fs->options.dax == DAX_NONE)
		return -EOPNOTSUPP; /* not only unadvertised: the host's administrator said no */
	if (shmem_size(fs->shmem) == 0 || !inode_is_reg(op->node))
		return -ENODEV;
	if (in->flags & ~(FUSE_SETUPMAPPING_FLAG_READ | FUSE_SETUPMAPPING_FLAG_WRITE) ||
	    !page_multiple(fs, in->foffset) || !page_multiple(fs, in->moffset) ||
	    !page_multiple(fs, in->len) || in->len == 0 ||
	    !extent_within(in->moffset, in->len, shmem_size(fs->shmem)))
		return -EINVAL;
	if (in->flags & FUSE_SETUPMAPPING_FLAG_WRITE && fs->options.readonly)
		return -EROFS;
	return check_mode(op);
}

/*
 * As ourselves: the request carries no credentials, what may be read or written was decided when
 * the guest opened the file. For reading with a descriptor that is not open for writing, since as
 * long as one is, and its mapping, the host cannot execute the file; but a front end (QEMU 11.1)
 * may refuse those.
 */
static int open_for_mapping(struct op *op, bool writable)
{
	bool rdonly = !writable && shmem_takes_rdonly(op->fs->shmem);
	int fd = -EROFS;

	if (!op->fs->options.readonly && !rdonly)
		fd = inode_open(op->fs, op->node, O_RDWR | O_NONBLOCK);
	if (fd < 0 && fd != -EMFILE && fd != -ENFILE && !writable)
		fd = inode_open(op->fs, op->node, O_RDONLY | O_NONBLOCK);
	return fd;
}

static int check_inside_file(const struct fs *fs, int fd, const struct fuse_setupmapping_in *in)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	return extent_within(in->foffset, in->len,
			     round_down((uint64_t)st.st_size, fs->options.page_bytes))
		       ? 0
		       : -EINVAL;
}

/*
 * With the mutex held. Linux makes a range writable by setting it up once more over itself, and a
 * front end maps nothing over something: so out, and in again. When the way back in is refused the
 * guest still believes in the old mapping, and reading where nothing is mapped gives zeros without
 * an error: so it gets the old one back if that was of the same pages.
 */
static int replace_mapping(struct op *op, int fd, const struct mapping *m, struct mapping *old,
			   bool writable)
{
	struct fs *fs = op->fs;
	bool same = old->nodeid == m->nodeid && old->file_off == m->file_off;
	int r = unmap_mapping(fs, old);

	if (r < 0)
		return r;
	r = map_mapping(fs, fd, m, writable);
	if (r == 0)
		*old = *m;
	else if (!same || !writable || map_mapping(fs, fd, m, false) < 0)
		extents_remove(&fs->dax.mappings, old);
	return r;
}

static int dax_map_locked(struct op *op, int fd, const struct mapping *m, bool writable)
{
	struct extents *t = &op->fs->dax.mappings;
	struct mapping *old = extents_find_exact(t, m->x);
	int r;

	if (old)
		return replace_mapping(op, fd, m, old, writable);
	if (extents_find_overlap(t, m->x))
		return -EINVAL;
	/* First, so that what is mapped can always be written down. */
	r = extents_reserve(t);
	if (r == 0)
		r = map_mapping(op->fs, fd, m, writable);
	if (r == 0)
		r = extents_insert(t, m);
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
	if (writable)
		inode_dirty(op->node);
	fd = open_for_mapping(op, writable);
	if (fd < 0)
		return fd;
	m = (struct mapping){extent_of(in.moffset, in.len), op->in.nodeid, in.foffset};
	r = check_inside_file(op->fs, fd, &in);
	if (r == 0) {
		pthread_mutex_lock(&t->mutex);
		r = dax_map_locked(op, fd, &m, writable);
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
	m = one->len ? extents_find_exact(&t->mappings, extent_of(one->moffset, one->len)) : NULL;
	if (m) {
		r = unmap_mapping(fs, m);
		if (r == 0)
			extents_remove(&t->mappings, m);
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
