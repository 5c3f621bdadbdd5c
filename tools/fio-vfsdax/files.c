/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine.h"

/* fio has no line of its own for an error number that is positive and its own. */
static int failed(struct thread_data *td, int err, const char *what, const char *name)
{
	log_err("vfsdax: %s: %s: %s\n", name, what, strerror(-err));
	td_verror(td, -err, what);
	return 1;
}

/* The share of a call before init() or after it: the job's own, or the source's, for a moment. */
static int borrow(struct thread_data *td, struct share **share)
{
	return share_get(engine_options(td)->source, share);
}

static void give_back(struct thread_data *td, struct share *share)
{
	/* The child of a fork() needs the device for itself. */
	share_put(share, td->o.use_thread);
}

/* ------------------------------------------------------------------ sizes */

static int stat_in(struct share *share, struct fio_file *f)
{
	struct stat st;
	int err = share			    ? vfsdax_stat(share_handle(share), f->file_name, &st)
		  : stat(f->file_name, &st) ? -errno
					    : 0;

	f->real_file_size = 0;
	f->filetype = FIO_TYPE_FILE;
	if (err == -ENOENT)
		return 0;
	if (!err && !S_ISREG(st.st_mode)) {
		log_err("vfsdax: filename=%s: not a regular file\n", f->file_name);
		return -EINVAL;
	}
	if (err)
		log_err("vfsdax: filename=%s: %s\n", f->file_name, strerror(-err));
	else
		f->real_file_size = (uint64_t)st.st_size;
	return err;
}

int file_size(struct thread_data *td, struct fio_file *f)
{
	struct share *share = NULL;
	int err = 0;

	if (engine_options(td)->source)
		err = borrow(td, &share);
	if (!err)
		err = stat_in(share, f);
	give_back(td, share);
	return err;
}

/* A mount that serves no direct maps is said here, before a file is laid out on it. */
static int probe_mount(const struct fio_file *f)
{
	struct vfsdax_conn *conn;
	char *path = strdup(f->file_name);
	char *slash = path ? strrchr(path, '/') : NULL;
	const char *folder = slash ? path : ".";
	int err;

	if (!path)
		return -ENOMEM;
	if (slash)
		slash[slash == path] = '\0';
	err = vfsdax_connect(folder, &conn);
	if (!err)
		vfsdax_disconnect(conn);
	else
		log_err("vfsdax: filename=%s: %s: %s; name a share with vfsdax_source=, or a file "
			"below "
			"a vfsdax-mount\n",
			f->file_name, strerror(-err),
			err == -ENOTSUP ? "no vfsdax-mount serves direct maps there"
					: "no connection to the mount");
	free(path);
	return err;
}

int file_sizes(struct thread_data *td)
{
	struct share *share = NULL;
	struct fio_file *f;
	unsigned int i;
	int err = 0;

	if (engine_options(td)->source)
		err = borrow(td, &share);
	for_each_file (td, f, i) {
		if (!err && !share)
			err = probe_mount(f);
		if (!err)
			err = stat_in(share, f);
		if (err)
			break;
	}
	give_back(td, share);
	return err;
}

/* ------------------------------------------------------------------ layout */

static int fill(struct thread_data *td, struct vfsdax_file *file, uint64_t from, uint64_t to)
{
	unsigned long long bs = td->o.max_bs[DDIR_WRITE];
	char *buf = malloc(bs);
	ssize_t n = 0;

	if (!buf)
		return -ENOMEM;
	while (from < to && !td->terminate) {
		if (bs > to - from)
			bs = to - from;
		fill_io_buffer(td, buf, bs, bs);
		n = vfsdax_write(file, buf, bs, from);
		if (n <= 0)
			break;
		from += (uint64_t)n;
	}
	free(buf);
	if (from < to && !n)
		return -EIO;
	return n < 0 ? (int)n : 0;
}

static int allocate(struct thread_data *td, struct vfsdax_file *file, uint64_t to)
{
	int err;

	switch (td->o.fallocate_mode) {
	case FIO_FALLOCATE_TRUNCATE:
		return vfsdax_truncate(file, to);
	case FIO_FALLOCATE_POSIX:
	case FIO_FALLOCATE_NATIVE:
		err = vfsdax_fallocate(file, 0, 0, to);
		break;
	case FIO_FALLOCATE_KEEP_SIZE:
		err = vfsdax_fallocate(file, FALLOC_FL_KEEP_SIZE, 0, to);
		break;
	default:
		return 0;
	}
	return err == -EOPNOTSUPP ? 0 : err;
}

/* What is read, overwritten or mapped must be there; what is only written, fio extends. */
static bool must_be_there(const struct thread_data *td)
{
	return td_read(td) || td->o.overwrite || engine_options(td)->map;
}

static int lay_out(struct thread_data *td, struct share *share, struct fio_file *f, uint64_t to)
{
	int flags = O_WRONLY | (td->o.allow_create ? O_CREAT : 0);
	struct vfsdax_file *file;
	int err = vfsdax_open(share_handle(share), f->file_name, flags, 0644, &file);

	if (err)
		return err;
	if (must_be_there(td))
		err = fill(td, file, f->real_file_size, to);
	else
		err = allocate(td, file, to);
	if (!err && must_be_there(td) && td->o.create_fsync)
		err = vfsdax_fsync(file, 0);
	if (!err)
		err = vfsdax_close(file);
	else
		vfsdax_close(file);
	return err;
}

int file_lay_out(struct thread_data *td, struct fio_file *f)
{
	uint64_t to = f->file_offset + f->io_size;
	struct share *share;
	int err;

	/* (fio itself lays out a mount's) */
	if (!engine_options(td)->source || to <= f->real_file_size)
		return 0;
	if (read_only) {
		log_err("vfsdax: filename=%s has %llu bytes and --readonly keeps it so; lower "
			"size=\n",
			f->file_name, (unsigned long long)f->real_file_size);
		return 1;
	}
	if (!td->o.create_on_open || must_be_there(td)) {
		err = borrow(td, &share);
		if (err)
			return 1;
		err = lay_out(td, share, f, to);
		give_back(td, share);
		if (err) {
			log_err("vfsdax: filename=%s could not be laid out: %s\n", f->file_name,
				strerror(-err));
			return 1;
		}
	}
	f->real_file_size = to;
	return 0;
}

/* ------------------------------------------------------------------ an open file */

static int open_in_share(struct thread_data *td, struct fio_file *f, struct open_file *o)
{
	bool write = (td_write(td) || td_trim(td)) && !read_only;
	struct job *job = td->io_ops_data;
	int flags = write ? O_RDWR : O_RDONLY;
	int err;

	if (write && td->o.allow_create)
		flags |= O_CREAT;
	flags |= td->o.sync_io;
	err = vfsdax_open(share_handle(job->share), f->file_name, flags, 0644, &o->handle);
	if (err)
		return failed(td, err, "open", f->file_name);
	if (!engine_options(td)->map)
		return 0;
	err = map_open(&o->map, o->handle, f->file_offset, f->io_size, write, f->file_name);
	if (err) {
		vfsdax_close(o->handle);
		td_verror(td, -err, "vfsdax_map");
	}
	return err;
}

static int open_in_mount(struct thread_data *td, struct fio_file *f, struct open_file *o)
{
	struct job *job = td->io_ops_data;
	int err = 0;

	if (generic_open_file(td, f))
		return 1;
	if (!job->conn)
		err = vfsdax_connect(f->file_name, &job->conn);
	if (err)
		failed(td, err, "connection to its mount", f->file_name);
	else
		err = map_open_direct(&o->map, job->conn, f->fd, f->file_offset, f->io_size,
				      td_write(td) && !read_only, f->file_name);
	if (err) {
		if (generic_close_file(td, f))
			log_err("vfsdax: %s could not be closed\n", f->file_name);
		td_verror(td, -err, "vfsdax_direct_map");
	}
	return err;
}

int file_open(struct thread_data *td, struct fio_file *f)
{
	struct job *job = td->io_ops_data;
	struct open_file *o = calloc(1, sizeof(*o));
	int err;

	if (!o)
		return failed(td, -ENOMEM, "open", f->file_name);
	err = job->share ? open_in_share(td, f, o) : open_in_mount(td, f, o);
	if (err)
		free(o);
	else
		FILE_SET_ENG_DATA(f, o);
	return err;
}

int file_close(struct thread_data *td, struct fio_file *f)
{
	struct open_file *o = FILE_ENG_DATA(f);
	int err;

	FILE_SET_ENG_DATA(f, NULL);
	map_close(&o->map);
	err = o->handle ? vfsdax_close(o->handle) : generic_close_file(td, f);
	free(o);
	/* (fio's calls return a positive number) */
	return err < 0 ? -err : err;
}

int file_unlink(struct thread_data *td, struct fio_file *f)
{
	struct share *share;
	int err;

	if (!engine_options(td)->source)
		return unlink(f->file_name) ? errno : 0;
	err = borrow(td, &share);
	if (err)
		return -err;
	err = vfsdax_unlink(share_handle(share), f->file_name);
	give_back(td, share);
	return -err;
}

/* Nothing is cached on this side of a share. */
int file_invalidate(struct thread_data *td, struct fio_file *f)
{
	if (engine_options(td)->source || f->fd < 0)
		return 0;
	return -posix_fadvise(f->fd, (off_t)f->file_offset, (off_t)f->io_size, POSIX_FADV_DONTNEED);
}
