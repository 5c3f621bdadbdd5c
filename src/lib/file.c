/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/file: attributes, asked for and set; size, space and durability of an open file.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "lib/internal.h"

/* ------------------------------------------------------------------ asking */

/* Linux's encoding of a device number in 32 bits (include/linux/kdev_t.h, new_decode_dev). */
static dev_t decode_rdev(uint32_t dev)
{
	return makedev(dev >> 8 & 0xfff, (dev & 0xff) | (dev >> 12 & 0xfff00));
}

int attr_to_stat(const struct fuse_attr *attr, struct stat *st)
{
	if (!attr_sane(attr))
		return -EIO;
	*st = (struct stat){
		.st_ino = attr->ino,
		.st_mode = attr->mode,
		.st_nlink = attr->nlink,
		.st_uid = attr->uid,
		.st_gid = attr->gid,
		.st_rdev = decode_rdev(attr->rdev),
		.st_size = (off_t)attr->size,
		.st_blksize = attr->blksize ? (blksize_t)attr->blksize : 4096,
		.st_blocks = (blkcnt_t)attr->blocks,
		.st_atim = {(time_t)attr->atime, attr->atimensec},
		.st_mtim = {(time_t)attr->mtime, attr->mtimensec},
		.st_ctim = {(time_t)attr->ctime, attr->ctimensec},
	};
	return 0;
}

/* A request that is answered with attributes. */
static int attr_call(struct vfsdax *s, uint32_t opcode, uint64_t nodeid, const void *in, size_t len,
		     struct fuse_attr *attr)
{
	struct fuse_attr_out out = {0};
	struct request r = {
		.opcode = opcode,
		.nodeid = nodeid,
		.in = {{in, len}},
		.out = &out,
		.out_min = sizeof(out),
		.out_max = sizeof(out),
	};
	ssize_t n = share_call(s, &r);

	if (n < 0)
		return (int)n;
	*attr = out.attr;
	return attr_sane(attr) ? 0 : -EIO;
}

int node_getattr(struct vfsdax *s, uint64_t nodeid, struct fuse_attr *attr)
{
	struct fuse_getattr_in in = {0};

	return attr_call(s, FUSE_GETATTR, nodeid, &in, sizeof(in), attr);
}

int vfsdax_fstat(struct vfsdax_file *f, struct stat *st)
{
	struct fuse_attr attr;
	int err;

	IN_SCOPE_OF(f->share);
	err = node_getattr(f->share, f->nodeid, &attr);
	return err ? err : attr_to_stat(&attr, st);
}

static int stat_path(struct vfsdax *s, const char *path, bool follow, struct stat *st)
{
	struct place p;
	int err;

	IN_SCOPE_OF(s);
	err = place_of(s, path, follow, &p);
	if (err)
		return err;
	if (!p.fresh)
		err = node_getattr(s, p.nodeid, &p.attr);
	if (!err)
		err = attr_to_stat(&p.attr, st);
	place_drop(s, &p);
	return err;
}

int vfsdax_stat(struct vfsdax *share, const char *path, struct stat *st)
{
	return stat_path(share, path, true, st);
}

int vfsdax_lstat(struct vfsdax *share, const char *path, struct stat *st)
{
	return stat_path(share, path, false, st);
}

int vfsdax_statvfs(struct vfsdax *s, const char *path, struct statvfs *st)
{
	struct fuse_statfs_out out;
	struct request r = {
		.opcode = FUSE_STATFS,
		.out = &out,
		.out_min = sizeof(out),
		.out_max = sizeof(out),
	};
	struct place p;
	ssize_t n;
	int err;

	IN_SCOPE_OF(s);
	err = place_of(s, path, true, &p);
	if (err)
		return err;
	r.nodeid = p.nodeid;
	n = share_call(s, &r);
	place_drop(s, &p);
	if (n < 0)
		return (int)n;
	*st = (struct statvfs){
		.f_bsize = out.st.bsize,
		.f_frsize = out.st.frsize ? out.st.frsize : out.st.bsize,
		.f_blocks = out.st.blocks,
		.f_bfree = out.st.bfree,
		.f_bavail = out.st.bavail,
		.f_files = out.st.files,
		.f_ffree = out.st.ffree,
		.f_favail = out.st.ffree,
		.f_namemax = out.st.namelen,
		.f_flag = s->readonly ? ST_RDONLY : 0,
	};
	return 0;
}

/* ------------------------------------------------------------------ setting */

int node_setattr(struct vfsdax *s, uint64_t nodeid, const struct fuse_setattr_in *in)
{
	struct fuse_setattr_in copy = *in;
	struct fuse_attr attr;

	if (copy.valid & FATTR_SIZE && s->flags & FUSE_HANDLE_KILLPRIV_V2 && share_kills_suid(s))
		copy.valid |= FATTR_KILL_SUIDGID;
	return attr_call(s, FUSE_SETATTR, nodeid, &copy, sizeof(copy), &attr);
}

static int set_path(struct vfsdax *s, const char *path, const struct fuse_setattr_in *in)
{
	struct place p;
	int err;

	if (s->readonly)
		return -EROFS;
	IN_SCOPE_OF(s);
	err = place_of(s, path, true, &p);
	if (err)
		return err;
	err = node_setattr(s, p.nodeid, in);
	place_drop(s, &p);
	return err;
}

int vfsdax_chmod(struct vfsdax *share, const char *path, mode_t mode)
{
	struct fuse_setattr_in in = {.valid = FATTR_MODE, .mode = mode & 07777};

	return set_path(share, path, &in);
}

int vfsdax_chown(struct vfsdax *share, const char *path, uid_t uid, gid_t gid)
{
	struct fuse_setattr_in in = {.uid = uid, .gid = gid};

	in.valid = (uid != (uid_t)-1 ? FATTR_UID : 0) | (gid != (gid_t)-1 ? FATTR_GID : 0);
	return set_path(share, path, &in);
}

/* One of the two times: which bits of `valid` it takes. -EINVAL. */
static int want_time(const struct timespec *t, uint32_t set, uint32_t now, uint32_t *valid)
{
	if (!t || t->tv_nsec == UTIME_NOW)
		*valid |= set | now;
	else if (t->tv_nsec != UTIME_OMIT)
		*valid |= set;
	else
		return 0;
	return t && t->tv_nsec != UTIME_NOW && (t->tv_nsec < 0 || t->tv_nsec >= 1000000000)
		       ? -EINVAL
		       : 0;
}

int vfsdax_utimens(struct vfsdax *share, const char *path, const struct timespec times[2])
{
	const struct timespec *a = times ? &times[0] : NULL, *m = times ? &times[1] : NULL;
	struct fuse_setattr_in in = {0};

	if (want_time(a, FATTR_ATIME, FATTR_ATIME_NOW, &in.valid) ||
	    want_time(m, FATTR_MTIME, FATTR_MTIME_NOW, &in.valid))
		return -EINVAL;
	if (in.valid & FATTR_ATIME && !(in.valid & FATTR_ATIME_NOW)) {
		in.atime = (uint64_t)a->tv_sec;
		in.atimensec = (uint32_t)a->tv_nsec;
	}
	if (in.valid & FATTR_MTIME && !(in.valid & FATTR_MTIME_NOW)) {
		in.mtime = (uint64_t)m->tv_sec;
		in.mtimensec = (uint32_t)m->tv_nsec;
	}
	return set_path(share, path, &in);
}

/* ------------------------------------------------------------------ an open file */

int vfsdax_truncate(struct vfsdax_file *f, uint64_t size)
{
	struct fuse_setattr_in in = {.valid = FATTR_SIZE, .size = size, .fh = f->fh};

	if (f->dir || !file_writes(f))
		return -EINVAL;
	if (size > INT64_MAX)
		return -EFBIG;
	in.valid |= f->no_handle ? 0 : FATTR_FH;
	IN_SCOPE_OF(f->share);
	return node_setattr(f->share, f->nodeid, &in);
}

int vfsdax_fallocate(struct vfsdax_file *f, int mode, uint64_t off, uint64_t len)
{
	struct fuse_fallocate_in in = {
		.fh = f->fh,
		.offset = off,
		.length = len,
		.mode = (uint32_t)mode,
	};
	struct request r = {
		.opcode = FUSE_FALLOCATE,
		.nodeid = f->nodeid,
		.in = {{&in, sizeof(in)}},
	};
	ssize_t n;

	if (f->dir || !file_writes(f))
		return -EBADF;
	if (!len || off > INT64_MAX || len > INT64_MAX)
		return -EINVAL;
	if (off + len > INT64_MAX)
		return -EFBIG;
	IN_SCOPE_OF(f->share);
	n = share_call(f->share, &r);
	if (n == -ENOSYS)
		return -EOPNOTSUPP;
	return n < 0 ? (int)n : 0;
}

int vfsdax_fsync(struct vfsdax_file *f, int datasync)
{
	struct vfsdax *s = f->share;
	struct fuse_fsync_in in = {
		.fh = f->fh,
		.fsync_flags = datasync ? FUSE_FSYNC_FDATASYNC : 0,
	};
	struct request r = {
		.opcode = f->dir ? FUSE_FSYNCDIR : FUSE_FSYNC,
		.nodeid = f->nodeid,
		.in = {{&in, sizeof(in)}},
	};
	atomic_bool *unknown = f->dir ? &s->no_fsyncdir : &s->no_fsync;
	ssize_t n;

	IN_SCOPE_OF(s);
	if (atomic_load(unknown))
		return 0;
	n = share_call(s, &r);
	/* As a kernel has it: a device that knows no fsync has nothing to sync. */
	if (n == -ENOSYS)
		atomic_store(unknown, true);
	return n < 0 && n != -ENOSYS ? (int)n : 0;
}
