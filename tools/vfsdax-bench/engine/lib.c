/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lib: a file of a share through libvfsdax, without a mount. One at a time by its plain functions,
 * more by its queue. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "engines.h"
#include "lib_share.h"

/* vfsdax.h */
#define QUEUE_DEPTH_MAX 64
#define QUEUE_LEN_MAX	MIB

struct lib_engine {
	struct lib_share *share;
	struct vfsdax_file *file;
};

struct lib_job {
	struct vfsdax_queue *queue; /* NULL: one at a time */
	struct stat *st;	    /* one for each slot */
	struct vfsdax_result *results;
};

static void lib_close(struct subject *s)
{
	struct lib_engine *e = s->engine;

	if (!e)
		return;
	vfsdax_close(e->file);
	lib_share_put(e->share);
	free(e);
	s->engine = NULL;
}

static int lib_open(struct subject *s)
{
	struct lib_engine *e;
	int err;

	if (s->depth > QUEUE_DEPTH_MAX || (s->depth > 1 && s->o.bs > QUEUE_LEN_MAX)) {
		log_error("lib: its queue takes %d requests of 1 MiB: lower --iodepth, --batch or "
			  "--bs",
			  QUEUE_DEPTH_MAX);
		return -EINVAL;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	s->engine = e;
	err = lib_share_get(s, &e->share);
	if (!err)
		err = lib_file_open(s, e->share, &e->file);
	if (err)
		lib_close(s);
	return err;
}

static void lib_job_close(struct job *j)
{
	struct lib_job *l = j->engine;

	if (!l)
		return;
	vfsdax_queue_destroy(l->queue);
	free(l->st);
	free(l->results);
	free(l);
	j->engine = NULL;
}

static int lib_job_open(struct job *j)
{
	struct lib_engine *e = j->s->engine;
	struct lib_job *l = calloc(1, sizeof(*l));
	unsigned depth = j->s->depth;
	int err = -ENOMEM;

	j->engine = l;
	if (l) {
		l->st = calloc(depth, sizeof(*l->st));
		l->results = calloc(depth, sizeof(*l->results));
		if (l->st && l->results)
			err = depth == 1 ? 0
					 : vfsdax_queue_create(lib_share_handle(e->share), depth,
							       &l->queue);
	}
	if (err) {
		log_error("lib: a queue for %u requests: %s: lower --numjobs or --iodepth", depth,
			  strerror(-err));
		lib_job_close(j);
	}
	return err;
}

static int issue_one(struct lib_engine *e, struct lib_job *l, struct io *io)
{
	if (io->dir == DIR_READ)
		io->res = vfsdax_read(e->file, io->buf, io->len, io->off);
	else if (io->dir == DIR_WRITE)
		io->res = vfsdax_write(e->file, io->buf, io->len, io->off);
	else
		io->res = vfsdax_fstat(e->file, l->st);
	return 0;
}

static int lib_issue(struct job *j, struct io *io)
{
	struct lib_engine *e = j->s->engine;
	struct lib_job *l = j->engine;

	if (!l->queue)
		return issue_one(e, l, io);
	if (io->dir == DIR_READ)
		return vfsdax_prep_read(l->queue, e->file, io->buf, io->len, io->off, io->slot);
	if (io->dir == DIR_WRITE)
		return vfsdax_prep_write(l->queue, e->file, io->buf, io->len, io->off, io->slot);
	return vfsdax_prep_fstat(l->queue, e->file, &l->st[io->slot], io->slot);
}

static int lib_reap(struct job *j, unsigned min, struct io **done)
{
	struct lib_job *l = j->engine;
	int n;

	n = vfsdax_submit(l->queue);
	if (n < 0)
		return n;
	n = vfsdax_reap(l->queue, l->results, j->s->depth, min, -1);
	for (int i = 0; i < n; i++) {
		done[i] = &j->ios[l->results[i].user_data];
		done[i]->res = l->results[i].result;
	}
	/* none within the share's time-out */
	return n ? n : -ETIMEDOUT;
}

const struct engine_ops engine_lib = {
	.name = "lib",
	.queues = true,
	.alone = true,
	.can_stat = true,
	.shares = true,
	.open = lib_open,
	.close = lib_close,
	.job_open = lib_job_open,
	.job_close = lib_job_close,
	.issue = lib_issue,
	.reap = lib_reap,
};
