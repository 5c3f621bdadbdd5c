/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* subject: set-up of what is measured: do options and engine fit, which part of the file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/parse.h"
#include "bench.h"
#include "verify.h"

bool subject_writes(const struct subject *s)
{
	return options_rw_writes(s->o.rw);
}

static int does_not_fit(const char *what, const char *way_out)
{
	log_error("%s: %s", what, way_out);
	return -EINVAL;
}

/* ------------------------------------------------------------------ do they fit */

static int check_engine(const struct options *o, const struct engine_ops *ops)
{
	bool uring = strcmp(ops->name, "uring") == 0;

	if ((o->registerfiles || o->fixedbufs || o->sqthread_poll || o->hipri) && !uring)
		return does_not_fit(ops->name,
				    "--registerfiles, --fixedbufs, --sqthread_poll and --hipri "
				    "are for --engine uring");
	if (o->direct && (ops->memory || ops->shares))
		return does_not_fit(ops->name,
				    "it has no O_DIRECT: use --direct=0, or --engine uring or "
				    "psync");
	if ((o->iodepth > 1 || o->batch > 1) && !ops->queues)
		return does_not_fit(ops->name,
				    "it does one I/O at a time: use --iodepth=1 and --batch=1, or "
				    "--numjobs");
	if (o->batch > 1 && o->iodepth > 1 && o->batch != o->iodepth)
		return does_not_fit("--batch",
				    "so many are submitted and awaited together: leave out "
				    "--iodepth, or give it the same value");
	if (o->rw == RW_STAT && !ops->can_stat)
		return does_not_fit(ops->name,
				    "it has no attributes to ask for: use --rw=stat with uring, "
				    "psync or lib");
	if (o->touch != TOUCH_COPY && !ops->memory)
		return does_not_fit(ops->name, "--touch is for the engines mmap and map");
	if (o->nodax && strcmp(ops->name, "lib") != 0)
		return does_not_fit(ops->name, "--nodax is for --engine lib");
	if (o->share && !ops->shares)
		return does_not_fit(ops->name,
				    "--share is for the engines lib and map; others take a path "
				    "of this system as --filename");
	if (ops->shares && !o->share)
		return does_not_fit(
			ops->name, "name the share: --share unix:SOCKET (or a function, a tag), or "
				   "--filename SHARE:/PATH");
	return 0;
}

static int check_values(const struct options *o)
{
	if (!o->filename)
		return does_not_fit("--filename", "name the file or block device to measure");
	if (o->rw == RW_STAT && (o->verify || !o->runtime_ns))
		return does_not_fit("--rw=stat", o->verify ? "there is nothing to --verify"
							   : "say with --runtime how long");
	if (o->verify && o->bs < VERIFY_MIN_LEN)
		return does_not_fit("--verify", "blocks have a header: use --bs=64 or more");
	if (o->verify && o->bs % 8)
		return does_not_fit("--verify", "use a --bs that is a multiple of 8");
	if (o->verify && o->touch != TOUCH_COPY)
		return does_not_fit("--verify", "it looks at all bytes: use --touch=copy");
	if (o->direct && o->rw != RW_STAT && (o->bs % 512 || o->offset % 512))
		return does_not_fit("--direct=1",
				    "O_DIRECT wants --bs and --offset as multiples of 512 at "
				    "least");
	if (o->distribution != DIST_RANDOM && !options_rw_random(o->rw))
		return does_not_fit("--random_distribution", "it is for rand* workloads");
	return 0;
}

/* "unix:/run/x.sock:/dir/file" without --share: share and path. */
static int split_filename(struct subject *s)
{
	struct options *o = &s->o;
	const char *cut = NULL;

	if (o->share || !o->filename)
		return 0;
	for (const char *at = o->filename; (at = strstr(at, ":/")); at++)
		cut = at;
	/* "unix:/run/x.sock" alone is no file */
	if (!cut || (strncmp(o->filename, "unix:", 5) == 0 && cut == o->filename + 4))
		return 0;
	o->share = s->share = strndup(o->filename, (size_t)(cut - o->filename));
	if (!o->share)
		return -ENOMEM;
	o->filename = cut + 1;
	return 0;
}

/* ------------------------------------------------------------------ the region */

int subject_set_region(struct subject *s, uint64_t file_bytes)
{
	const struct options *o = &s->o;
	uint64_t end = o->size ? o->offset + o->size : file_bytes;
	char have[24], bs[24];

	s->first = o->offset;
	if (o->rw == RW_STAT) {
		s->blocks = 1;
		return 0;
	}
	if (end > file_bytes || o->offset > end || end - o->offset < o->bs) {
		log_error("%s: of %s there is no whole block of %s between --offset and its end or "
			  "--size",
			  o->filename, format_size(file_bytes, have), format_size(o->bs, bs));
		return -EINVAL;
	}
	s->blocks = (end - o->offset) / o->bs;
	return 0;
}

static int subject_init_verify(struct subject *s)
{
	s->content_seed = s->o.randseed;
	/* What an earlier run left must not pass for what this one wrote. */
	if (!s->o.randseed_given && subject_writes(s) &&
	    getrandom(&s->content_seed, sizeof(s->content_seed), 0) < 0)
		return -errno;
	s->written = calloc((s->blocks + 63) / 64, sizeof(*s->written));
	return s->written ? 0 : -ENOMEM;
}

/* Buffers are filled, so what does not fit would not fail but drive the machine out of memory. */
static int check_memory(const struct subject *s)
{
	uint64_t have = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t want = s->o.numjobs * s->depth * round_up(s->o.bs, BUFFER_ALIGN);
	char a[24], b[24];

	if (want <= have / 2)
		return 0;
	log_error("%s of buffers for --numjobs, --iodepth and --bs: this machine has %s, use less",
		  format_size(want, a), format_size(have, b));
	return -EINVAL;
}

static int make_jobs(struct subject *s)
{
	int err = 0;

	s->jobs = calloc(s->o.numjobs, sizeof(*s->jobs));
	if (!s->jobs)
		return -ENOMEM;
	for (unsigned i = 0; i < s->o.numjobs && !err; i++) {
		s->jobs[i].s = s;
		s->jobs[i].index = i;
		err = job_alloc(&s->jobs[i]);
	}
	return err;
}

static void init_locks(struct subject *s)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->start, &attr);
	pthread_condattr_destroy(&attr);
}

int subject_open(struct subject *s, const struct options *o)
{
	int err;

	memset(s, 0, sizeof(*s));
	s->fd = -1;
	init_locks(s);
	s->o = *o;
	s->ops = engine_find(s->o.engine ? s->o.engine : "uring");
	if (!s->ops) {
		log_error("--engine=%s: use one of %s", s->o.engine, engine_names());
		return -EINVAL;
	}
	err = s->ops->shares ? split_filename(s) : 0;
	if (err)
		goto no_memory;
	if (check_values(&s->o) || check_engine(&s->o, s->ops))
		return -EINVAL;
	s->depth = (unsigned)MAX(s->o.iodepth, s->o.batch);
	if (check_memory(s))
		return -EINVAL;
	err = s->ops->open(s);
	if (err) {
		s->ops = NULL;
		return err;
	}
	err = subject_set_region(s, s->file_bytes);
	if (err)
		return err;
	err = s->o.verify ? subject_init_verify(s) : 0;
	if (!err)
		err = make_jobs(s);
	if (!err)
		return 0;
no_memory:
	log_error("%s: %s: lower --iodepth, --bs or --numjobs",
		  o->filename ? o->filename : "vfsdax-bench", strerror(-err));
	return err;
}

void subject_close(struct subject *s)
{
	for (unsigned i = 0; s->jobs && i < s->o.numjobs; i++)
		job_free(&s->jobs[i]);
	free(s->jobs);
	free(s->written);
	if (s->ops)
		s->ops->close(s);
	pthread_cond_destroy(&s->start);
	pthread_mutex_destroy(&s->lock);
	free(s->share);
	memset(s, 0, sizeof(*s));
}
