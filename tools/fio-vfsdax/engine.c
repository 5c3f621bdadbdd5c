/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

/* ------------------------------------------------------------------ a job */

/* What fio asks of each job, though an engine has it once. */
static void set_flags(struct thread_data *td)
{
	unsigned long long flags = 0, off = 0;

	/* Files of a mount are fio's to lay out and to open, and have their whole size first. */
	if (!engine_options(td)->source) {
		off = FIO_DISKLESSIO;
		flags = FIO_NOEXTEND;
	}
	if (!options_queue(td))
		flags |= FIO_SYNCIO;
	td->flags &= ~(off << TD_ENG_FLAG_SHIFT);
	td->flags |= flags << TD_ENG_FLAG_SHIFT;
}

static int engine_setup(struct thread_data *td)
{
	if (options_check(td))
		return 1;
	set_flags(td);
	map_catch_faults();
	return file_sizes(td) ? 1 : 0;
}

static void job_free(struct job *job)
{
	vfsdax_disconnect(job->conn);
	share_put(job->share, false);
	free(job->results);
	free(job->prepared);
	free(job);
}

/* Requests that fio gave up are the device's until they are reaped. */
static void engine_cleanup(struct thread_data *td)
{
	struct job *job = td->io_ops_data;
	int err;

	if (!job)
		return;
	td->io_ops_data = NULL;
	if (job->queue) {
		vfsdax_submit(job->queue);
		while (vfsdax_reap(job->queue, job->results, td->o.iodepth, 1, -1) > 0)
			;
	}
	err = vfsdax_queue_destroy(job->queue);
	if (err)
		log_err("vfsdax: a queue could not be destroyed: %s\n", strerror(-err));
	job_free(job);
}

static int job_queue(struct thread_data *td, struct job *job)
{
	int err;

	job->results = calloc(td->o.iodepth, sizeof(*job->results));
	job->prepared = calloc(td->o.iodepth, sizeof(struct io_u *));
	if (!job->results || !job->prepared)
		return -ENOMEM;
	err = vfsdax_queue_create(share_handle(job->share), td->o.iodepth, &job->queue);
	if (err)
		log_err("vfsdax: a queue for %u requests: %s; lower iodepth=\n", td->o.iodepth,
			strerror(-err));
	return err;
}

static int engine_init(struct thread_data *td)
{
	const struct engine_options *o = engine_options(td);
	struct job *job;
	int err = 0;

	/* (with create_serialize=0 it comes before setup()) */
	if (options_check(td))
		return EINVAL;
	set_flags(td);
	map_catch_faults();
	job = calloc(1, sizeof(*job));
	if (!job)
		return ENOMEM;
	if (o->source)
		err = share_get(o->source, &job->share);
	if (!err && options_queue(td))
		err = job_queue(td, job);
	if (err) {
		job_free(job);
		return -err;
	}
	td->io_ops_data = job;
	return 0;
}

/* ------------------------------------------------------------------ requests */

/* `n`: as of vfsdax_read() */
static void finish(struct io_u *io_u, int64_t n)
{
	io_u->error = n < 0 ? (unsigned int)-n : 0;
	io_u->resid = n < 0 ? 0 : io_u->xfer_buflen - (uint64_t)n;
}

static int trim(const struct open_file *o, const struct io_u *io_u)
{
	return vfsdax_fallocate(o->handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, io_u->offset,
				io_u->xfer_buflen);
}

static int sync_file(const struct open_file *o, const struct io_u *io_u)
{
	bool data = io_u->ddir == DDIR_DATASYNC;

	if (o->handle)
		return vfsdax_fsync(o->handle, data);
	return (data ? fdatasync(io_u->file->fd) : fsync(io_u->file->fd)) ? -errno : 0;
}

/* What has no whole page of the window. */
static int64_t transfer(const struct open_file *o, const struct io_u *io_u)
{
	bool write = io_u->ddir == DDIR_WRITE;
	ssize_t n;

	if (o->handle)
		return write ? vfsdax_write(o->handle, io_u->xfer_buf, io_u->xfer_buflen,
					    io_u->offset)
			     : vfsdax_read(o->handle, io_u->xfer_buf, io_u->xfer_buflen,
					   io_u->offset);
	n = write ? pwrite(io_u->file->fd, io_u->xfer_buf, io_u->xfer_buflen, (off_t)io_u->offset)
		  : pread(io_u->file->fd, io_u->xfer_buf, io_u->xfer_buflen, (off_t)io_u->offset);
	return n < 0 ? -errno : n;
}

static bool is_mapped(const struct map *map, const struct io_u *io_u)
{
	return io_u->offset >= map->first && io_u->offset + io_u->xfer_buflen <= map->end;
}

static int64_t copy(const struct open_file *o, const struct io_u *io_u)
{
	int err = map_copy(&o->map, io_u->xfer_buf, io_u->offset, io_u->xfer_buflen,
			   io_u->ddir == DDIR_WRITE);

	if (!err)
		return (int64_t)io_u->xfer_buflen;
	log_err("vfsdax: %s at %llu: %s\n", io_u->file->file_name, io_u->offset,
		err == -ESTALE ? "the file was cut while it was mapped" : "the device is lost");
	return err;
}

static void do_one(struct io_u *io_u)
{
	const struct open_file *o = FILE_ENG_DATA(io_u->file);

	if (io_u->ddir == DDIR_TRIM)
		io_u->error = (unsigned int)-trim(o, io_u);
	else if (ddir_sync(io_u->ddir))
		io_u->error = (unsigned int)-sync_file(o, io_u);
	else
		finish(io_u, is_mapped(&o->map, io_u) ? copy(o, io_u) : transfer(o, io_u));
}

static int prepare(struct vfsdax_queue *queue, struct io_u *io_u)
{
	const struct open_file *o = FILE_ENG_DATA(io_u->file);
	uint64_t user_data = (uintptr_t)io_u;

	if (io_u->ddir == DDIR_READ)
		return vfsdax_prep_read(queue, o->handle, io_u->xfer_buf, io_u->xfer_buflen,
					io_u->offset, user_data);
	if (io_u->ddir == DDIR_WRITE)
		return vfsdax_prep_write(queue, o->handle, io_u->xfer_buf, io_u->xfer_buflen,
					 io_u->offset, user_data);
	return vfsdax_prep_fsync(queue, o->handle, io_u->ddir == DDIR_DATASYNC, user_data);
}

static enum fio_q_status engine_queue(struct thread_data *td, struct io_u *io_u)
{
	struct job *job = td->io_ops_data;
	int err;

	fio_ro_check(td, io_u);
	if (!job->queue || io_u->ddir == DDIR_TRIM) {
		do_one(io_u);
		return FIO_Q_COMPLETED;
	}
	err = prepare(job->queue, io_u);
	if (err == -EAGAIN)
		return FIO_Q_BUSY;
	if (err) {
		io_u->error = (unsigned int)-err;
		return FIO_Q_COMPLETED;
	}
	job->prepared[job->count++] = io_u;
	return FIO_Q_QUEUED;
}

/* A hit of the window is done inside the submission, so a request is issued before it. */
static int engine_commit(struct thread_data *td)
{
	struct job *job = td->io_ops_data;
	struct timespec now;
	int n;

	if (!job->count)
		return 0;
	if (fio_fill_issue_time(td)) {
		fio_gettime(&now, NULL);
		for (unsigned i = 0; i < job->count; i++)
			job->prepared[i]->issue_time = now;
	}
	for (unsigned i = 0; i < job->count; i++)
		io_u_queued(td, job->prepared[i]);
	io_u_mark_submit(td, job->count);
	job->count = 0;
	n = vfsdax_submit(job->queue);
	return n < 0 ? n : 0;
}

static int engine_getevents(struct thread_data *td, unsigned int min, unsigned int max,
			    const struct timespec *t)
{
	struct job *job = td->io_ops_data;
	int timeout_ms = t ? (int)(t->tv_sec * 1000 + t->tv_nsec / 1000000) : -1;
	int n;

	if (!job->queue)
		return 0;
	n = vfsdax_reap(job->queue, job->results, max, min, min ? timeout_ms : 0);
	/* none within the share's time-out */
	return n == 0 && min && !t ? -ETIMEDOUT : n;
}

static struct io_u *engine_event(struct thread_data *td, int event)
{
	const struct job *job = td->io_ops_data;
	struct io_u *io_u = (void *)(uintptr_t)job->results[event].user_data;
	int64_t n = job->results[event].result;

	if (ddir_sync(io_u->ddir))
		io_u->error = (unsigned int)-n;
	else
		finish(io_u, n);
	return io_u;
}

/* The name that fio looks for. */
extern __attribute__((visibility("default"))) struct ioengine_ops ioengine;

struct ioengine_ops ioengine = {
	.name = "vfsdax",
	.version = FIO_IOOPS_VERSION,
	/* set_flags() has what is different from job to job */
	.flags = FIO_DISKLESSIO | FIO_NODISKUTIL | FIO_ASYNCIO_SYNC_TRIM | FIO_NO_OFFLOAD |
		 FIO_ASYNCIO_SETS_ISSUE_TIME,
	.setup = engine_setup,
	.init = engine_init,
	.cleanup = engine_cleanup,
	.queue = engine_queue,
	.commit = engine_commit,
	.getevents = engine_getevents,
	.event = engine_event,
	.open_file = file_open,
	.close_file = file_close,
	.unlink_file = file_unlink,
	.get_file_size = file_size,
	.prepopulate_file = file_lay_out,
	.invalidate = file_invalidate,
	.option_struct_size = sizeof(struct engine_options),
	.options = options_table,
};
