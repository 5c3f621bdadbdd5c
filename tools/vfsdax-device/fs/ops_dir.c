/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ops_dir: READDIR and READDIRPLUS. The offset of an entry is the host's own cookie, so any
 * offset that was once given out works again, in any order, as long as the directory exists.
 */
#include "ops.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attr.h"
#include "cred.h"
#include "handle.h"
#include "inode.h"
#include "reply.h"

/* Linux asks for a page or up to max_pages; more than that is a guest playing. */
#define READDIR_MAX_BYTES FS_MAX_WRITE_BYTES
#define GETDENTS_BYTES	  16384
/* The longest struct dirent64: 19 bytes, 255 of name, NUL, aligned. */
#define GETDENTS_MIN	  280

/* One reply being filled. */
struct dir_fill {
	struct op *op;
	struct handle *dir;
	bool plus, alone;
	uint8_t *out;
	size_t size; /* of out */
	size_t used;
	bool ended;   /* nothing follows */
	uint64_t end; /* the offset behind the last record */
};

static bool is_dot(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/*
 * Fills the entry and counts a lookup, or leaves it zero, which means "look it up yourself": for
 * "." and "..", and for what cannot be looked up now (gone, no permission, no descriptors left).
 */
static void fill_entry(struct dir_fill *f, const char *name, struct fuse_entry_out *out)
{
	struct inode *inode;
	struct statx stx;

	if (is_dot(name) || inode_lookup(f->op->fs, f->dir->inode, name, &inode, &stx) < 0)
		return;
	entry_fill(f->op->fs, f->dir->inode, inode, &stx, out);
	entry_mark_submount(f->dir->inode, inode, out);
	inode_put(inode);
}

/* The parent of the shared directory is none of the guest's business: root is its own parent. */
static uint64_t ino_of(const struct dir_fill *f, const struct dirent64 *d)
{
	const struct inode *dir = f->dir->inode;
	bool above = dir->nodeid == FUSE_ROOT_ID && !strcmp(d->d_name, "..");

	return attr_ino(f->op->fs, dir->key.dev, above ? dir->key.ino : d->d_ino);
}

/* Appends one record; false when it does not fit any more. */
static bool put_record(struct dir_fill *f, const struct dirent64 *d)
{
	size_t namelen = strlen(d->d_name);
	size_t head = f->plus ? sizeof(struct fuse_entry_out) : 0;
	size_t len = head + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + namelen);
	uint8_t *at = f->out + f->used;
	struct fuse_entry_out entry = {0};
	struct fuse_dirent dirent = {
		.ino = ino_of(f, d),
		.off = (uint64_t)d->d_off,
		.namelen = (uint32_t)namelen,
		.type = d->d_type,
	};

	if (len > f->size - f->used)
		return false;
	memset(at, 0, len);
	if (f->plus) {
		fill_entry(f, d->d_name, &entry);
		if (entry.nodeid)
			dirent.type = (entry.attr.mode & S_IFMT) >> 12;
		memcpy(at, &entry, sizeof(entry));
	}
	memcpy(at + head, &dirent, FUSE_NAME_OFFSET);
	memcpy(at + head + FUSE_NAME_OFFSET, d->d_name, namelen);
	f->used += len;
	return true;
}

/* Moves records of one getdents to the reply. False when the reply is full. */
static bool put_records(struct dir_fill *f, const uint8_t *buf, size_t len)
{
	for (size_t at = 0; at < len;) {
		const struct dirent64 *d = (const struct dirent64 *)(buf + at);

		if (!put_record(f, d)) {
			/* The descriptor stands behind entries that were not given out. */
			f->dir->dir_pos_known = false;
			return false;
		}
		f->dir->dir_pos = (uint64_t)d->d_off;
		at += d->d_reclen;
	}
	return true;
}

/* With dir_lock held. 0 also at the end of the directory. */
static int fill_locked(struct dir_fill *f, uint64_t offset)
{
	_Alignas(8) uint8_t buf[GETDENTS_BYTES];

	/* A handle that a driver has opened again begins where the last one was. On ext4 a
	 * directory that is first read at its end has no entries, wherever it is read afterwards.
	 */
	if (offset && !f->alone && !f->dir->dir_begun &&
	    getdents64(f->dir->fd, buf, sizeof(buf)) < 0)
		return -errno;
	f->dir->dir_begun = true;
	if (!f->dir->dir_pos_known || f->dir->dir_pos != offset) {
		f->dir->dir_pos_known = false;
		if (lseek(f->dir->fd, (off_t)offset, SEEK_SET) < 0)
			return -EINVAL;
		f->dir->dir_pos = offset;
		f->dir->dir_pos_known = true;
	}
	for (;;) {
		/* Not much more than will fit: what is left over is read again next time. */
		size_t fits = (f->size - f->used) / (f->plus ? 4 : 1);
		size_t ask = MIN(sizeof(buf), MAX(fits, GETDENTS_MIN));
		ssize_t n = getdents64(f->dir->fd, buf, ask);

		if (n < 0)
			return f->used ? 0 : -errno;
		if (n == 0) {
			f->ended = true;
			return 0;
		}
		if (!put_records(f, buf, (size_t)n))
			return f->used ? 0 : -EINVAL; /* not one entry fits */
	}
}

static int fill_reply(struct dir_fill *f, uint64_t offset)
{
	struct cred_scope scope;
	int r = cred_enter(&scope, f->op, f->plus ? CRED_JUDGED : 0);

	if (r < 0)
		return r;
	pthread_mutex_lock(&f->dir->dir_lock);
	r = fill_locked(f, offset);
	f->end = f->dir->dir_pos;
	pthread_mutex_unlock(&f->dir->dir_lock);
	cred_leave(&scope);
	return r;
}

/* Fills `head` bytes further on; the answer's room is known to be larger. */
static int list(struct dir_fill *f, const struct fuse_read_in *in, uint64_t fh, size_t head)
{
	struct op *op = f->op;
	int r;

	f->size = (size_t)MIN(MIN(in->size, reply_room(op->req) - head), READDIR_MAX_BYTES);
	if (!f->size)
		return -EINVAL;
	f->dir = handle_get(op->fs, fh, HANDLE_DIR, op->in.nodeid);
	if (!f->dir)
		return -EBADF;
	f->out = malloc(head + f->size);
	if (!f->out)
		return -ENOMEM;
	f->out += head;
	r = fill_reply(f, in->offset);
	f->out -= head;
	return r;
}

/* Who has read all of it may go back, or have taken a part of the answer only. */
static bool can_be_opened_anew(const struct dir_fill *f)
{
	const struct fs *fs = f->op->fs;

	return fs->offsets_stay && f->dir->inode->key.dev == fs->root_dev;
}

/* AGREE_LISTING_OPENS: the handle is kept only for what is still to come; AGREE_LISTING_ALONE: it
 * is not kept. */
static int open_and_list(struct dir_fill *f, const struct fuse_read_in *in)
{
	struct agreement_listing head = {0};
	struct op *op = f->op;
	int r = reply_room(op->req) > sizeof(head) ? dir_open(op, &head.fh) : -EINVAL;
	bool keep;

	if (r < 0)
		return r;
	r = list(f, in, head.fh, sizeof(head));
	keep = r == 0 && !f->alone && !(f->ended && can_be_opened_anew(f));
	head.flags = (f->ended ? LISTING_ENDS : 0) | (keep ? LISTING_OPENED : 0);
	if (!keep)
		handle_put(handle_take(op->fs, head.fh, HANDLE_DIR));
	if (r < 0)
		return r;
	head.end = f->end;
	memcpy(f->out, &head, sizeof(head));
	return reply(op, f->out, sizeof(head) + f->used);
}

static bool opens_itself(struct fs *fs, const struct fuse_read_in *in)
{
	if (in->fh == AGREEMENT_NO_DIR)
		return fs_agreed_beyond(fs, AGREE_LISTING_ALONE);
	return in->fh == AGREEMENT_NO_FH && in->offset == 0 &&
	       fs_agreed_beyond(fs, AGREE_LISTING_OPENS);
}

static int read_dir(struct op *op, bool plus)
{
	struct dir_fill f = {.op = op, .plus = plus};
	struct fuse_read_in in;
	int r;

	op_take(op, &in, sizeof(in));
	f.alone = in.fh == AGREEMENT_NO_DIR;
	if (opens_itself(op->fs, &in)) {
		r = open_and_list(&f, &in);
	} else {
		r = list(&f, &in, in.fh, 0);
		if (r == 0)
			r = reply(op, f.out, f.used);
	}
	free(f.out);
	handle_put(f.dir);
	return r;
}

int op_readdir(struct op *op)
{
	return read_dir(op, false);
}

int op_readdirplus(struct op *op)
{
	return read_dir(op, true);
}
