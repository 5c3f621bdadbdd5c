/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lib: a file of a share through libvfsdax, without a mount. One at a time by its plain functions,
 * more by its queue. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "engines.h"

/* vfsdax.h */
#define QUEUE_DEPTH_MAX 64
#define QUEUE_LEN_MAX	MIB

/* ------------------------------------------------------------------ shares */

struct lib_share {
	struct lib_share *next;
	struct vfsdax *handle;
	const char *source; /* the column's */
	unsigned flags, users;
};

/* Columns are opened and closed by the main thread. */
static struct lib_share *shares;

/* What the library says last when it fails is the sentence for people. */
static char said[256];

static void hear(void *ctx, enum vfsdax_log_level level, const char *line)
{
	(void)ctx;
	if (level == VFSDAX_LOG_ERROR)
		snprintf(said, sizeof(said), "%s", line);
	else if (level == VFSDAX_LOG_WARN)
		log_warn("%s", line);
}

static int share_get(const struct options *o, struct lib_share **out)
{
	struct vfsdax_options options = VFSDAX_OPTIONS_INIT;
	unsigned flags = o->nodax ? VFSDAX_ATTACH_NO_DAX : 0;
	struct lib_share *share = shares;
	int err;

	while (share && (share->flags != flags || strcmp(share->source, o->share) != 0))
		share = share->next;
	if (!share) {
		share = calloc(1, sizeof(*share));
		if (!share)
			return -ENOMEM;
		options.flags = share->flags = flags;
		options.log = hear;
		said[0] = '\0';
		share->source = o->share;
		err = vfsdax_attach(o->share, &options, &share->handle);
		if (err) {
			log_error("--share=%s: %s", o->share, said[0] ? said : strerror(-err));
			free(share);
			return err;
		}
		share->next = shares;
		shares = share;
	}
	share->users++;
	*out = share;
	return 0;
}

static void share_put(struct lib_share *share)
{
	struct lib_share **at = &shares;
	int err;

	if (!share || --share->users)
		return;
	while (*at != share)
		at = &(*at)->next;
	*at = share->next;
	err = vfsdax_detach(share->handle);
	if (err)
		log_warn("--share=%s: it could not be given back: %s", share->source,
			 strerror(-err));
	free(share);
}

/* ------------------------------------------------------------------ files */

int lib_file_open(struct subject *s, struct lib_file *l)
{
	bool writes = subject_writes(s);
	int flags = !writes ? O_RDONLY : s->o.size ? O_RDWR | O_CREAT : O_RDWR;
	int64_t wanted = 0;
	struct stat st;
	int err = share_get(&s->o, &l->share);

	if (err)
		return err;
	err = vfsdax_open(l->share->handle, s->o.filename, flags, 0644, &l->file);
	if (!err)
		err = vfsdax_fstat(l->file, &st);
	if (!err && s->o.rw != RW_STAT && !S_ISREG(st.st_mode))
		err = -EISDIR;
	if (!err) {
		wanted = file_wanted(s, (uint64_t)st.st_size);
		if (wanted < 0)
			return (int)wanted;
		s->file_bytes = (uint64_t)wanted;
	}
	if (!err && wanted > st.st_size)
		err = vfsdax_truncate(l->file, s->file_bytes);
	if (err)
		log_error("%s of %s: %s%s", s->o.filename, s->o.share, strerror(-err),
			  file_hint(s, err));
	return err;
}

void lib_file_close(struct lib_file *l)
{
	vfsdax_close(l->file);
	share_put(l->share);
}

/* ------------------------------------------------------------------ the engine */

struct lib_job {
	struct vfsdax_queue *queue; /* NULL: one at a time */
	struct stat st[QUEUE_DEPTH_MAX];
	struct vfsdax_result results[QUEUE_DEPTH_MAX];
};

static void lib_close(struct subject *s)
{
	lib_file_close(s->engine);
	free(s->engine);
}

static int lib_open(struct subject *s)
{
	int err;

	if (s->depth > QUEUE_DEPTH_MAX || (s->depth > 1 && s->o.bs > QUEUE_LEN_MAX)) {
		log_error("lib: its queue takes %d requests of 1 MiB: lower --iodepth or --bs",
			  QUEUE_DEPTH_MAX);
		return -EINVAL;
	}
	s->engine = calloc(1, sizeof(struct lib_file));
	if (!s->engine)
		return -ENOMEM;
	err = lib_file_open(s, s->engine);
	if (err)
		lib_close(s);
	return err;
}

static void lib_job_close(struct job *j)
{
	struct lib_job *l = j->engine;

	vfsdax_queue_destroy(l->queue);
	free(l);
}

static int lib_job_open(struct job *j)
{
	struct lib_file *file = j->s->engine;
	struct lib_job *l = j->engine = calloc(1, sizeof(*l));
	unsigned depth = j->s->depth;
	int err = -ENOMEM;

	if (l)
		err = depth == 1 ? 0 : vfsdax_queue_create(file->share->handle, depth, &l->queue);
	if (!err)
		return 0;
	log_error("lib: a queue for %u requests: %s: lower --numjobs or --iodepth", depth,
		  strerror(-err));
	free(l);
	return err;
}

static int lib_issue(struct job *j, struct io *io)
{
	struct vfsdax_file *file = ((struct lib_file *)j->s->engine)->file;
	struct lib_job *l = j->engine;

	if (l->queue)
		return io->dir == DIR_READ ? vfsdax_prep_read(l->queue, file, io->buf, io->len,
							      io->off, io->slot)
		       : io->dir == DIR_WRITE
			       ? vfsdax_prep_write(l->queue, file, io->buf, io->len, io->off,
						   io->slot)
			       : vfsdax_prep_fstat(l->queue, file, &l->st[io->slot], io->slot);
	if (io->dir == DIR_READ)
		io->res = vfsdax_read(file, io->buf, io->len, io->off);
	else if (io->dir == DIR_WRITE)
		io->res = vfsdax_write(file, io->buf, io->len, io->off);
	else
		io->res = vfsdax_fstat(file, l->st);
	return 0;
}

static int lib_submit(struct job *j)
{
	struct lib_job *l = j->engine;
	int n = vfsdax_submit(l->queue);

	return n < 0 ? n : 0;
}

static int lib_reap(struct job *j, unsigned min, unsigned max, struct io **done)
{
	struct lib_job *l = j->engine;
	int n = vfsdax_reap(l->queue, l->results, max, min, -1);

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
	.lat_sample = 17,
	.open = lib_open,
	.close = lib_close,
	.job_open = lib_job_open,
	.job_close = lib_job_close,
	.issue = lib_issue,
	.submit = lib_submit,
	.reap = lib_reap,
};
