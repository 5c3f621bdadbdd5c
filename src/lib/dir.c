/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/dir: reading a directory. An answer of the device is copied as a whole, and each entry is
 * checked in the copy before a program sees it.
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/internal.h"

#define LISTING_BYTES (64 * KIB)

struct listing {
	uint64_t place; /* where the next READDIR begins */
	size_t at, len; /* in `bytes` */
	char name[NAME_MAX + 1];
	/* struct fuse_dirent wants 8. */
	_Alignas(8) uint8_t bytes[LISTING_BYTES];
};

/* The next whole and sane entry: 1; 0: the listing has no more; -EIO. */
static int next_dirent(struct listing *l, struct vfsdax_dirent *entry)
{
	struct fuse_dirent d;
	const char *name = (const char *)l->bytes + l->at + FUSE_NAME_OFFSET;
	size_t size;

	/* As in a kernel, an entry that is cut ends the answer. */
	if (l->len - l->at < FUSE_NAME_OFFSET)
		return 0;
	memcpy(&d, l->bytes + l->at, FUSE_NAME_OFFSET);
	if (!d.namelen || d.namelen > NAME_MAX)
		return -EIO;
	size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + (size_t)d.namelen);
	if (size > l->len - l->at)
		return 0;
	if (memchr(name, '/', d.namelen) || memchr(name, 0, d.namelen))
		return -EIO;
	memcpy(l->name, name, d.namelen);
	l->name[d.namelen] = 0;
	l->at += size;
	l->place = d.off;
	*entry = (struct vfsdax_dirent){
		.ino = d.ino,
		.next = d.off,
		.type = d.type & 15, /* DT_* */
		.name = l->name,
	};
	return 1;
}

/* More entries: how many bytes; 0 at the end. */
static int read_listing(struct vfsdax_file *f)
{
	struct listing *l = f->listing;
	struct fuse_read_in in = {.fh = f->fh, .offset = l->place, .size = sizeof(l->bytes)};
	struct fuse_args args = {
		.opcode = FUSE_READDIR,
		.nodeid = f->nodeid,
		.in = {ARG_OF(in)},
		OUT_OF(l->bytes),
		.out_var = true,
	};
	int n;

	l->at = l->len = 0;
	n = share_call(f->share, &args);
	if (n > 0)
		l->len = (size_t)n;
	return n;
}

static struct listing *listing_of(struct vfsdax_file *f)
{
	if (!f->listing)
		f->listing = calloc(1, sizeof(*f->listing));
	return f->listing;
}

static int readdir_next(struct vfsdax_file *f, struct vfsdax_dirent *entry)
{
	struct listing *l;
	int r;

	if (!f->dir)
		return -ENOTDIR;
	IN_SCOPE_OF(f->share);
	l = listing_of(f);
	if (!l)
		return -ENOMEM;
	r = next_dirent(l, entry);
	if (r)
		return r;
	r = read_listing(f);
	if (r <= 0)
		return r;
	r = next_dirent(l, entry);
	/* After an answer without an entry the same READDIR would be sent for ever. */
	return r ? r : -EIO;
}

int vfsdax_readdir(struct vfsdax_file *f, struct vfsdax_dirent *entry)
{
	return (int)NOTED(readdir_next(f, entry), f->path);
}

void vfsdax_seekdir(struct vfsdax_file *f, uint64_t place)
{
	struct listing *l = f->dir ? listing_of(f) : NULL;

	if (!l)
		return;
	l->place = place;
	l->at = l->len = 0;
}
