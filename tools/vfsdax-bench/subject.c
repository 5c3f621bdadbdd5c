/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* subject: set-up of what is measured: do options and engine fit, which part of the file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"
#include "bench.h"
#include "verify.h"
#include "vfsdax-bench/engine/engines.h"

/* ------------------------------------------------------------------ do they fit */

static int check_options(const struct options *o, const struct engine_ops *ops)
{
	bool lib = strcmp(ops->name, "lib") == 0, ours = !o->fio, stat = o->rw == RW_STAT;
	uint64_t pages = o->numjobs * o->iodepth * ((o->bs + BUFFER_ALIGN - 1) / BUFFER_ALIGN);
	bool reads = options_rw_reads(o->rw), writes = options_rw_writes(o->rw);
	const struct {
		bool wrong;
		const char *what, *way_out;
	} rules[] = {
		{!o->filename, "--filename", "name the file or block device to measure"},
		{!ours && stat, "fio:", "it has no --rw=stat: use another workload"},
		{ours && o->direct && !ops->odirect, ops->name,
		 "it has no O_DIRECT: use --direct=0, or --engine uring or psync"},
		{ours && o->iodepth > 1 && !ops->queues, ops->name,
		 "it does one I/O at a time: use --iodepth=1, or --numjobs"},
		{o->batch > o->iodepth || o->complete_min > o->iodepth ||
			 o->complete_max > o->iodepth,
		 "--iodepth_batch, --iodepth_batch_complete_min, --iodepth_batch_complete_max",
		 "no more than --iodepth are under way: raise that, or use less"},
		{o->complete_max && o->complete_max < o->complete_min,
		 "--iodepth_batch_complete_max", "it is no less than --iodepth_batch_complete_min"},
		{stat && !ops->can_stat, ops->name,
		 "it has no attributes to ask for: use --rw=stat with psync or lib"},
		{o->nodax && !lib, ops->name, "--nodax is for --engine lib"},
		{o->share && !ops->shares, ops->name,
		 "--share is for the engines lib and map; others take a path of this system as "
		 "--filename"},
		{!o->share && ops->shares, ops->name,
		 "name the share: --share unix:SOCKET, or a function, or a tag"},
		{stat && o->verify, "--rw=stat", "there is nothing to --verify"},
		{stat && !o->runtime_ns, "--rw=stat", "say with --runtime how long"},
		{o->verify && reads && writes, "--verify",
		 "write in one run and read in the next: use --rw=randwrite, then --rw=randread"},
		{o->verify && (o->bs < VERIFY_MIN_LEN || o->bs % 8), "--verify",
		 "use a --bs of 64 or more, a multiple of 8"},
		/* (they are filled, so what does not fit would drive the machine out of memory) */
		{pages > (uint64_t)sysconf(_SC_PHYS_PAGES) / 2, "--numjobs, --iodepth and --bs",
		 "their buffers need more than half of this machine's memory: use less"},
		{ours && o->direct && !stat && (o->bs % 512 || o->offset % 512), "--direct=1",
		 "O_DIRECT wants --bs and --offset as multiples of 512 at least"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		if (!rules[i].wrong)
			continue;
		log_error("%s: %s", rules[i].what, rules[i].way_out);
		return -EINVAL;
	}
	return 0;
}

/* ------------------------------------------------------------------ opening */

int subject_set_region(struct subject *s)
{
	const struct options *o = &s->o;
	uint64_t end = o->size ? o->offset + o->size : s->file_bytes;
	char have[24], bs[24];

	s->first = o->offset;
	s->blocks = 1;
	if (o->rw == RW_STAT)
		return 0;
	if (end > s->file_bytes || o->offset > end || end - o->offset < o->bs) {
		log_error("%s: of %s there is no whole block of %s between --offset and its end or "
			  "--size",
			  o->filename, format_size(s->file_bytes, have), format_size(o->bs, bs));
		return -EINVAL;
	}
	s->blocks = (end - o->offset) / o->bs;
	return 0;
}

static int make_jobs(struct subject *s)
{
	int err = 0;

	s->jobs = calloc(s->o.numjobs, sizeof(*s->jobs));
	if (!s->jobs)
		err = -ENOMEM;
	for (unsigned i = 0; !err && i < s->o.numjobs; i++) {
		s->jobs[i].s = s;
		err = job_alloc(&s->jobs[i], i);
	}
	if (err)
		log_error("%s: %s: lower --iodepth, --bs or --numjobs", s->o.filename,
			  strerror(-err));
	return err;
}

static const struct engine_ops *find_engine(const struct options *o)
{
	static const struct engine_ops *const engines[] = {
		&engine_uring, &engine_psync, &engine_mmap,
		&engine_lib,   &engine_map,   &engine_direct,
	};
	const char *name = !o->engine || strcmp(o->engine, "io_uring") == 0 ? "uring" : o->engine;

	if (o->fio)
		return &engine_fio;
	for (size_t i = 0; i < ARRAY_SIZE(engines); i++)
		if (strcmp(engines[i]->name, name) == 0)
			return engines[i];
	log_error("--engine=%s: use one of " ENGINE_NAMES, name);
	return NULL;
}

int subject_open(struct subject *s, const struct options *o)
{
	const struct engine_ops *ops = find_engine(o);
	int err;

	*s = (struct subject){.o = *o, .fd = -1, .depth = (unsigned)o->iodepth};
	pthread_mutex_init(&s->lock, NULL);
	clock_cond_init(&s->changed);
	err = ops ? check_options(o, ops) : -EINVAL;
	s->ops = ops;
	if (!err)
		err = ops->open(s);
	if (err)
		s->ops = NULL; /* nothing to close */
	if (err || ops->round)
		return err;
	err = subject_set_region(s);
	return err ? err : make_jobs(s);
}

void subject_close(struct subject *s)
{
	for (unsigned i = 0; s->jobs && i < s->o.numjobs; i++)
		job_free(&s->jobs[i]);
	free(s->jobs);
	if (s->ops)
		s->ops->close(s);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
}
