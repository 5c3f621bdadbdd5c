/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench: what is measured (a subject), the threads that do it (its jobs), and what an engine is.
 * The floors of this tool, an include points down:
 *
 *   main    session   run               a run, a comparison
 *   report/                             results: a table, JSON, a plot, and their statistics
 *   subject    job                      set-up and life of what is measured; the measuring loop
 *   engine/                             one way to do an I/O each; fio
 *   options  pattern  verify            what to do next, what is in a block
 *   child  hist  rng                    knows nothing of files
 */
#ifndef VFSDAX_BENCH_BENCH_H
#define VFSDAX_BENCH_BENCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "hist.h"
#include "options.h"
#include "pattern.h"

/* Buffers are aligned to this, which O_DIRECT is content with everywhere. */
#define BUFFER_ALIGN 4096

struct io {
	uint64_t off;		      /* in the file */
	uint64_t start_ns, issued_ns; /* handed over */
	uint32_t len;
	enum direction dir;
	unsigned slot;	    /* of the job's, below its depth */
	unsigned char *buf; /* the job's, `len` bytes */
	int64_t res;	    /* bytes, 0 for a stat; or -errno */
};

/* As fio has them: until the submission; from there to the completion; both. Who submits and
 * completes in one call has no slat. */
enum latency { SLAT, CLAT, LAT, LATENCIES };

/* What one job did, or all of them, in a round or in all. */
struct result {
	double seconds;
	struct {
		uint64_t ios, bytes, short_ios;
		struct hist latency[LATENCIES];
	} dir[DIRECTIONS];
	double user_s, system_s; /* of CPUs */
	uint64_t switches;
};

struct job;
struct subject;

/*
 * One way to do an I/O. What fails says so with one log line that names the object, and returns
 * -errno. open() and close() run in the main thread, the others in the job's.
 */
struct engine_ops {
	const char *name;
	bool queues;   /* issue() only takes the I/O: iodepth */
	bool alone;    /* but with a depth of 1 issue() does it, and the others are not called */
	bool can_stat; /* rw=stat */
	bool shares;   /* filename is a path within --share */
	bool odirect;
	unsigned lat_sample; /* the clock can be read for one in so many without its showing */
	/* Opens the file, creates it where that is asked for, sets s->file_bytes. */
	int (*open)(struct subject *s);
	void (*close)(struct subject *s);
	/* Measures a round by itself; then there are no jobs, and none of the following. */
	int (*round)(struct subject *s, struct result *r);
	/* May be NULL. j->engine is the engine's. */
	int (*job_open)(struct job *j);
	void (*job_close)(struct job *j);
	/* Does it and sets io->res; or, as subject_queues() says, takes it until reap(). -errno:
	 * the engine is lost. */
	int (*issue)(struct job *j, struct io *io);
	/* Hands over all that was taken. */
	int (*submit)(struct job *j);
	/* Waits for at least `min` (1 or more, at most what is handed over) and puts what is done,
	 * up to `max`, into `done`. Their number. */
	int (*reap)(struct job *j, unsigned min, unsigned max, struct io **done);
};

#define ENGINE_NAMES "uring, psync, mmap, lib, map, direct"

enum phase { PHASE_RAMP, PHASE_MEASURE, PHASE_STOP };

struct job {
	struct subject *s;
	pthread_t thread;
	struct pattern pattern;
	struct io *ios;	   /* `depth` of them */
	struct io **queue; /* of loop_queue() */
	void *memory;	   /* where their buffers are */
	void *engine;
	uint64_t start_ns, end_ns; /* of what was measured; 0: not begun, not ended */
	struct result r;	   /* without times */
};

/* One column of a comparison: an engine, a file, options. Several rounds are run of it. */
struct subject {
	struct options o;
	const struct engine_ops *ops;
	int fd;	      /* engines on files */
	void *engine; /* the engine's */
	uint64_t file_bytes;
	uint64_t first, blocks; /* the region: offset and number of blocks of o.bs */
	unsigned depth;		/* I/Os at a time of a job */
	struct job *jobs;
	unsigned rounds; /* begun so far; seeds differ */
	_Atomic int phase, failed;
	pthread_mutex_t lock;	       /* guards what follows */
	pthread_cond_t changed;	       /* any of it */
	unsigned running, ready, done; /* threads; set up, or have failed to; ended */
	bool started;
};

/* Checks what options and engine have to say to each other, opens. One log line on failure. */
int subject_open(struct subject *s, const struct options *o);
void subject_close(struct subject *s);
/* After engines learned the file's size; 0 or -EINVAL with a line. */
int subject_set_region(struct subject *s);
static inline bool subject_writes(const struct subject *s)
{
	return options_rw_writes(s->o.rw);
}
/* Whether I/Os are issued and reaped, or done one by one. */
static inline bool subject_queues(const struct subject *s)
{
	return s->ops->queues && !(s->ops->alone && s->depth == 1);
}

/* The thread. `argument` is the job. */
void *job_main(void *argument);
int job_alloc(struct job *j, unsigned index);
void job_free(struct job *j);

void result_reset(struct result *r);
/* LAT of both directions together. */
void result_latencies(const struct result *r, struct hist *both);
/* Adds another round: seconds, counts and latencies add up. */
void result_add(struct result *into, const struct result *r);
double result_iops(const struct result *r);

/* One round of a subject: ramp, measurement; into `r`. 0, or -errno after a line; -EINTR: the user
 * stopped it, and `r` is what there is. */
int run_round(struct subject *s, struct result *r);
/* SIGINT and SIGTERM end rounds from now on. */
void run_catch_signals(void);
bool run_interrupted(void);

#endif
