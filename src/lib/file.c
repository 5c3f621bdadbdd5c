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
static int call_for_attr(struct vfsdax *s, uint32_t opcode, uint64_t nodeid, struct fuse_arg in,
			 struct fuse_attr *attr)
{
	struct fuse_attr_out out;
	struct fuse_args args = {.opcode = opcode, .nodeid = nodeid, .in = {in}, OUT_OF(out)};
	int err = share_call(s, &args);

	if (err)
		return err;
	*attr = out.attr;
	return attr_sane(attr) ? 0 : -EIO;
}

int node_getattr(struct vfsdax *s, uint64_t nodeid, struct fuse_attr *attr)
{
	struct fuse_getattr_in in = {0};

	return call_for_attr(s, FUSE_GETATTR, nodeid, (struct fuse_arg)ARG_OF(in), attr);
}

static int fstat_of(struct vfsdax_file *f, struct stat *st)
{
	struct fuse_attr attr;
	int err;

	IN_SCOPE_OF(f->share);
	err = node_getattr(f->share, f->nodeid, &attr);
	return err ? err : attr_to_stat(&attr, st);
}

int vfsdax_fstat(struct vfsdax_file *f, struct stat *st)
{
	return (int)NOTED(fstat_of(f, st), f->path);
}

static int stat_path(struct vfsdax *s, const char *path, bool follow, struct stat *st)
{
	struct path_node p;
	int err;

	IN_SCOPE_OF(s);
	err = path_resolve(s, path, follow, &p);
	if (err)
		return err;
	if (!p.fresh)
		err = node_getattr(s, p.nodeid, &p.attr);
	path_put(s, &p);
	return err ? err : attr_to_stat(&p.attr, st);
}

int vfsdax_stat(struct vfsdax *share, const char *path, struct stat *st)
{
	return (int)NOTED(stat_path(share, path, true, st), path);
}

int vfsdax_lstat(struct vfsdax *share, const char *path, struct stat *st)
{
	return (int)NOTED(stat_path(share, path, false, st), path);
}

static int statvfs_of(struct vfsdax *s, const char *path, struct statvfs *st)
{
	struct fuse_statfs_out out;
	struct fuse_args args = {.opcode = FUSE_STATFS, OUT_OF(out)};
	int err = path_call(s, path, &args);

	if (err)
		return err;
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

int vfsdax_statvfs(struct vfsdax *s, const char *path, struct statvfs *st)
{
	return (int)NOTED(statvfs_of(s, path, st), path);
}

/* ------------------------------------------------------------------ setting */

int node_setattr(struct vfsdax *s, uint64_t nodeid, const struct fuse_setattr_in *in)
{
	struct fuse_setattr_in copy = *in;
	struct fuse_attr attr;

	if (copy.valid & FATTR_SIZE && s->flags & FUSE_HANDLE_KILLPRIV_V2 && share_kills_suid(s))
		copy.valid |= FATTR_KILL_SUIDGID;
	return call_for_attr(s, FUSE_SETATTR, nodeid, (struct fuse_arg)ARG_OF(copy), &attr);
}

static int setattr_path(struct vfsdax *s, const char *path, const struct fuse_setattr_in *in)
{
	struct path_node p;
	int err;

	if (s->readonly)
		return share_is_readonly();
	IN_SCOPE_OF(s);
	err = path_resolve(s, path, true, &p);
	if (err)
		return err;
	err = node_setattr(s, p.nodeid, in);
	path_put(s, &p);
	return err;
}

int vfsdax_chmod(struct vfsdax *share, const char *path, mode_t mode)
{
	struct fuse_setattr_in in = {.valid = FATTR_MODE, .mode = mode & 07777};

	return (int)NOTED(setattr_path(share, path, &in), path);
}

int vfsdax_chown(struct vfsdax *share, const char *path, uid_t uid, gid_t gid)
{
	struct fuse_setattr_in in = {.uid = uid, .gid = gid};

	in.valid = (uid != (uid_t)-1 ? FATTR_UID : 0) | (gid != (gid_t)-1 ? FATTR_GID : 0);
	return (int)NOTED(setattr_path(share, path, &in), path);
}

/* One of the two times: its bits of `valid`, and its value where one is given. -EINVAL. */
static int put_time(const struct timespec *t, uint32_t set, uint32_t now, uint32_t *valid,
		    uint64_t *sec, uint32_t *nsec)
{
	if (t && t->tv_nsec == UTIME_OMIT)
		return 0;
	*valid |= set;
	if (!t || t->tv_nsec == UTIME_NOW) {
		*valid |= now;
		return 0;
	}
	*sec = (uint64_t)t->tv_sec;
	*nsec = (uint32_t)t->tv_nsec;
	return t->tv_nsec < 0 || t->tv_nsec >= 1000000000 ? -EINVAL : 0;
}

static int utimens_of(struct vfsdax *share, const char *path, const struct timespec times[2])
{
	struct fuse_setattr_in in = {0};

	if (put_time(times ? &times[0] : NULL, FATTR_ATIME, FATTR_ATIME_NOW, &in.valid, &in.atime,
		     &in.atimensec) ||
	    put_time(times ? &times[1] : NULL, FATTR_MTIME, FATTR_MTIME_NOW, &in.valid, &in.mtime,
		     &in.mtimensec))
		return -EINVAL;
	return setattr_path(share, path, &in);
}

int vfsdax_utimens(struct vfsdax *share, const char *path, const struct timespec times[2])
{
	return (int)NOTED(utimens_of(share, path, times), path);
}

/* ------------------------------------------------------------------ an open file */

static int truncate_opened_to(struct vfsdax_file *f, uint64_t size)
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

int vfsdax_truncate(struct vfsdax_file *f, uint64_t size)
{
	return (int)NOTED(truncate_opened_to(f, size), f->path);
}

static int fallocate_in(struct vfsdax_file *f, int mode, uint64_t off, uint64_t len)
{
	struct fuse_fallocate_in in = {
		.fh = f->fh,
		.offset = off,
		.length = len,
		.mode = (uint32_t)mode,
	};
	struct fuse_args args = {.opcode = FUSE_FALLOCATE, .nodeid = f->nodeid, .in = {ARG_OF(in)}};
	int err;

	if (f->dir || !file_writes(f))
		return -EBADF;
	if (!len || off > INT64_MAX || len > INT64_MAX)
		return -EINVAL;
	if (off + len > INT64_MAX)
		return -EFBIG;
	IN_SCOPE_OF(f->share);
	err = share_call(f->share, &args);
	return err == -ENOSYS ? -EOPNOTSUPP : err;
}

int vfsdax_fallocate(struct vfsdax_file *f, int mode, uint64_t off, uint64_t len)
{
	return (int)NOTED(fallocate_in(f, mode, off, len), f->path);
}

int vfsdax_fsync(struct vfsdax_file *f, int datasync)
{
	struct vfsdax *s = f->share;
	struct fuse_fsync_in in = {
		.fh = f->fh,
		.fsync_flags = datasync ? FUSE_FSYNC_FDATASYNC : 0,
	};
	struct fuse_args args = {.opcode = f->dir ? FUSE_FSYNCDIR : FUSE_FSYNC,
				 .nodeid = f->nodeid,
				 .in = {ARG_OF(in)}};

	/* As in a kernel: a device that knows no fsync has nothing to sync. */
	return (int)NOTED(call_if_known(s, &args, f->dir ? &s->no_fsyncdir : &s->no_fsync),
			  f->path);
}
