/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* uring: any file or mount through io_uring; liburing 2.3 suffices. */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "engines.h"

static void uring_job_close(struct job *j)
{
	io_uring_queue_exit(j->engine);
	free(j->engine);
	j->engine = NULL;
}

/* As fio does where the kernel can (Linux 5.19): a completion does not interrupt whoever waits
 * anyway, which costs as much as the I/O where others complete it. */
static int queue_init(unsigned depth, struct io_uring *ring)
{
	int err = io_uring_queue_init(depth, ring, IORING_SETUP_COOP_TASKRUN);

	return err == -EINVAL ? io_uring_queue_init(depth, ring, 0) : err;
}

static int uring_job_open(struct job *j)
{
	struct io_uring *ring = calloc(1, sizeof(*ring));
	int err = ring ? queue_init(j->s->depth, ring) : -ENOMEM;

	if (!err) {
		j->engine = ring;
		return 0;
	}
	log_error("io_uring_setup: %s: %s", strerror(-err),
		  err == -EPERM || err == -ENOSYS
			  ? "io_uring is forbidden or absent here (kernel.io_uring_disabled, a "
			    "container's seccomp filter); use --engine psync"
			  : "lower --iodepth or --numjobs, raise ulimit -l, or use --engine psync");
	free(ring);
	return err;
}

static int uring_issue(struct job *j, struct io *io)
{
	struct io_uring *ring = j->engine;
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	int fd = j->s->fd;

	if (!sqe)
		return -EBUSY;
	if (io->dir == DIR_READ)
		io_uring_prep_read(sqe, fd, io->buf, io->len, io->off);
	else
		io_uring_prep_write(sqe, fd, io->buf, io->len, io->off);
	io_uring_sqe_set_data(sqe, io);
	return 0;
}

/* What the kernel does not take now (EINTR, EAGAIN, EBUSY) goes with what is waited for next. */
static int uring_submit(struct job *j)
{
	struct io_uring *ring = j->engine;
	int n = io_uring_submit(ring);

	return n >= 0 || n == -EINTR || n == -EAGAIN || n == -EBUSY ? 0 : n;
}

static int uring_reap(struct job *j, unsigned min, unsigned max, struct io **done)
{
	struct io_uring *ring = j->engine;
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	int err = 0;

	while (io_uring_cq_ready(ring) < min && !err) {
		err = io_uring_submit_and_wait(ring, min);
		err = err >= 0 || (err == -EINTR && !run_interrupted()) ? 0 : err;
	}
	if (err < 0 && err != -EINTR && err != -EAGAIN && err != -EBUSY)
		return err;
	io_uring_for_each_cqe(ring, head, cqe)
	{
		if (n == max)
			break;
		done[n] = io_uring_cqe_get_data(cqe);
		done[n++]->res = cqe->res;
	}
	io_uring_cq_advance(ring, n);
	return (int)n;
}

const struct engine_ops engine_uring = {
	.name = "uring",
	.queues = true,
	.odirect = true,
	.open = file_open,
	.close = file_close,
	.job_open = uring_job_open,
	.job_close = uring_job_close,
	.issue = uring_issue,
	.submit = uring_submit,
	.reap = uring_reap,
};
