/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* uring: any file or mount through io_uring; liburing 2.3 suffices. */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/bytes.h"
#include "base/log.h"
#include "engines.h"
#include "file.h"

/* How long the kernel's thread looks for work before it sleeps (sqthread_poll). */
#define SQ_IDLE_MS 1000

struct uring_job {
	struct io_uring ring;
	bool have_ring;
	struct statx *statx; /* one for each slot */
};

static int uring_open(struct subject *s)
{
	if (s->o.hipri && (!s->o.direct || s->o.rw == RW_STAT)) {
		log_error("--hipri polls for reads and writes with --direct=1 only: add that, or "
			  "leave "
			  "out --hipri");
		return -EINVAL;
	}
	return file_open(s, s->o.direct ? O_DIRECT : 0);
}

static int set_up_ring(struct subject *s, struct io_uring *ring)
{
	struct io_uring_params p = {0};
	unsigned wanted = IORING_SETUP_SINGLE_ISSUER;
	int err;

	if (s->o.hipri)
		p.flags |= IORING_SETUP_IOPOLL;
	if (s->o.sqthread_poll) {
		p.flags |= IORING_SETUP_SQPOLL;
		p.sq_thread_idle = SQ_IDLE_MS;
	} else {
		wanted |= IORING_SETUP_COOP_TASKRUN | IORING_SETUP_DEFER_TASKRUN;
	}
	p.flags |= wanted;
	err = io_uring_queue_init_params(s->depth, ring, &p);
	if (err != -EINVAL)
		return err;
	/* a kernel before 6.1 */
	p = (struct io_uring_params){.flags = p.flags & ~wanted,
				     .sq_thread_idle = p.sq_thread_idle};
	return io_uring_queue_init_params(s->depth, ring, &p);
}

static int register_buffers(struct job *j, struct io_uring *ring)
{
	struct iovec *iov = calloc(j->s->depth, sizeof(*iov));
	int err;

	if (!iov)
		return -ENOMEM;
	for (unsigned i = 0; i < j->s->depth; i++)
		iov[i] = (struct iovec){j->ios[i].buf, j->s->o.bs};
	err = io_uring_register_buffers(ring, iov, j->s->depth);
	free(iov);
	if (err == -ENOMEM)
		log_error("--fixedbufs: the buffers may not be locked: raise ulimit -l, or lower "
			  "--iodepth or --bs");
	else if (err)
		log_error("--fixedbufs: %s", strerror(-err));
	return err;
}

static void uring_job_close(struct job *j)
{
	struct uring_job *u = j->engine;

	if (!u)
		return;
	if (u->have_ring)
		io_uring_queue_exit(&u->ring);
	free(u->statx);
	free(u);
	j->engine = NULL;
}

static int uring_job_open(struct job *j)
{
	struct uring_job *u = calloc(1, sizeof(*u));
	struct subject *s = j->s;
	int err;

	if (!u)
		return -ENOMEM;
	j->engine = u;
	u->statx = calloc(s->depth, sizeof(*u->statx));
	err = u->statx ? set_up_ring(s, &u->ring) : -ENOMEM;
	if (err) {
		log_error(
			"io_uring_setup: %s: %s", strerror(-err),
			err == -EPERM || err == -ENOSYS
				? "io_uring is forbidden or absent here (kernel.io_uring_disabled, "
				  "a container's seccomp filter); use --engine psync"
				: "lower --iodepth or --numjobs, raise ulimit -l, or use --engine "
				  "psync");
		goto fail;
	}
	u->have_ring = true;
	if (s->o.registerfiles) {
		err = io_uring_register_files(&u->ring, &s->fd, 1);
		if (err) {
			log_error("--registerfiles: %s", strerror(-err));
			goto fail;
		}
	}
	if (s->o.fixedbufs) {
		err = register_buffers(j, &u->ring);
		if (err)
			goto fail;
	}
	return 0;
fail:
	uring_job_close(j);
	return err;
}

static int uring_issue(struct job *j, struct io *io)
{
	struct uring_job *u = j->engine;
	const struct options *o = &j->s->o;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
	int fd = o->registerfiles ? 0 : j->s->fd;

	/* The kernel's thread has not taken the last ones yet. */
	while (!sqe) {
		int err = io_uring_sqring_wait(&u->ring);

		if (err < 0)
			return err;
		sqe = io_uring_get_sqe(&u->ring);
	}
	if (io->dir == DIR_STAT)
		io_uring_prep_statx(sqe, j->s->fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC,
				    STATX_BASIC_STATS, &u->statx[io->slot]);
	else if (io->dir == DIR_READ && o->fixedbufs)
		io_uring_prep_read_fixed(sqe, fd, io->buf, io->len, io->off, (int)io->slot);
	else if (io->dir == DIR_READ)
		io_uring_prep_read(sqe, fd, io->buf, io->len, io->off);
	else if (o->fixedbufs)
		io_uring_prep_write_fixed(sqe, fd, io->buf, io->len, io->off, (int)io->slot);
	else
		io_uring_prep_write(sqe, fd, io->buf, io->len, io->off);
	if (o->registerfiles && io->dir != DIR_STAT)
		sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, io);
	return 0;
}

static int uring_reap(struct job *j, unsigned min, struct io **done)
{
	struct uring_job *u = j->engine;
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	int err;

	do {
		err = io_uring_submit_and_wait(&u->ring, min);
	} while (err == -EINTR && !run_interrupted());
	if (err < 0 && err != -EINTR && err != -EAGAIN && err != -EBUSY)
		return err;
	io_uring_for_each_cqe(&u->ring, head, cqe)
	{
		struct io *io = io_uring_cqe_get_data(cqe);

		io->res = cqe->res;
		done[n++] = io;
	}
	io_uring_cq_advance(&u->ring, n);
	return (int)n;
}

const struct engine_ops engine_uring = {
	.name = "uring",
	.queues = true,
	.can_stat = true,
	.open = uring_open,
	.close = file_close,
	.job_open = uring_job_open,
	.job_close = uring_job_close,
	.issue = uring_issue,
	.reap = uring_reap,
};
