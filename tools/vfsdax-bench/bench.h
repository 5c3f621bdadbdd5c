/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench: what is measured (a subject), the threads that do it (its jobs), and what an engine is.
 * The floors of this tool, an include points down:
 *
 *   main    session   run               a run, a comparison
 *   report/                             results: a table, JSON, a plot, and their statistics
 *   subject    job  job_loop            set-up and life of what is measured; the measuring loop
 *   engine/                             one way to do an I/O each
 *   options  pattern  verify            what to do next, what is in a block
 *   dist  hist  rng                     arithmetic, knows nothing of files
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
	uint64_t off; /* in the file */
	uint64_t start_ns;
	uint32_t len;
	enum direction dir;
	unsigned slot;	    /* of the job's, below its depth */
	bool check;	    /* what is read must be a verified block */
	unsigned char *buf; /* the job's, round_up(len, BUFFER_ALIGN) bytes */
	int64_t res;	    /* bytes, 0 for a stat; or -errno */
};

struct job;
struct subject;

/*
 * One way to do an I/O. What fails says so with one log line that names the object, and returns
 * -errno. open() and close() run in the main thread, the others in the job's.
 */
struct engine_ops {
	const char *name;
	bool queues;   /* issue() only takes the I/O, reap() finishes it: iodepth, batch */
	bool alone;    /* but with a depth of 1 issue() does it, and reap() is not called */
	bool can_stat; /* rw=stat */
	bool memory;   /* loads and stores, no requests: touch, prefault */
	bool shares;   /* filename is a path within --share */
	/* Opens the file, creates it where that is asked for, sets s->file_bytes. */
	int (*open)(struct subject *s);
	void (*close)(struct subject *s);
	/* May be NULL. j->engine is the engine's. */
	int (*job_open)(struct job *j);
	void (*job_close)(struct job *j);
	/* Does it and sets io->res; or, as subject_queues() says, takes it until reap(). -errno:
	 * the engine is lost. */
	int (*issue)(struct job *j, struct io *io);
	/* Hands over all that was taken, waits for at least `min` (1 or more, at most what is
	 * taken) and puts what is done into `done`, of which there is room for the job's depth. */
	int (*reap)(struct job *j, unsigned min, struct io **done);
};

const struct engine_ops *engine_find(const char *name);
/* "uring, psync, mmap": those of this build. */
const char *engine_names(void);

enum phase { PHASE_RAMP, PHASE_MEASURE, PHASE_STOP };

/* What one job did while it was measured. Only its own thread writes; progress looks on. */
struct job_counts {
	_Atomic uint64_t ios[DIRECTIONS], bytes[DIRECTIONS];
	uint64_t short_ios[DIRECTIONS];
	uint64_t start_ns, end_ns;
	uint64_t user_us, system_us, switches; /* of the thread, by getrusage(2) */
};

struct job {
	struct subject *s;
	unsigned index;
	pthread_t thread;
	bool running; /* the thread is to be joined */
	_Atomic bool done;
	struct pattern pattern;
	struct io *ios; /* `depth` of them */
	unsigned char *buffers;
	void *engine;
	struct job_counts counts;
	struct hist *clat; /* DIRECTIONS of them */
	unsigned sample_every;
	double choose_ns; /* what choosing the next block costs */
};

/* One column of a comparison: an engine, a file, options. Several rounds are run of it. */
struct subject {
	struct options o;
	char *share; /* where o.share is, if it was a part of --filename */
	const struct engine_ops *ops;
	int fd;	      /* engines on files */
	void *engine; /* the engine's */
	uint64_t file_bytes;
	uint64_t first, blocks; /* the region: offset and number of blocks of o.bs */
	uint64_t content_seed;
	_Atomic uint64_t *written; /* verify: a bit for each block that this run wrote */
	unsigned depth;		   /* I/Os at a time of a job */
	struct job *jobs;
	unsigned rounds; /* begun so far; seeds differ */
	_Atomic int phase, failed;
	uint64_t stop_ns;	/* when the phase became PHASE_STOP */
	_Atomic unsigned ready; /* jobs that are set up, or have failed to */
	pthread_mutex_t lock;	/* guards `started` */
	pthread_cond_t start;
	bool started;
};

/* Checks what options and engine have to say to each other, opens. One log line on failure. */
int subject_open(struct subject *s, const struct options *o);
void subject_close(struct subject *s);
/* After engines learned the file's size; 0 or -EINVAL with a line. */
int subject_set_region(struct subject *s, uint64_t file_bytes);
bool subject_writes(const struct subject *s);
/* Whether I/Os are issued and reaped, or done one by one. */
static inline bool subject_queues(const struct subject *s)
{
	return s->ops->queues && !(s->ops->alone && s->depth == 1);
}

/* The thread. `argument` is the job. */
void *job_main(void *argument);
/* In job_loop.c: measures until the run is stopped or all is done. */
void job_loop(struct job *j);
/* Chooses what the I/O is. */
void job_prepare(struct job *j, struct io *io);
/* Logs the first failure of a run, and ends it. */
void job_fail(struct job *j, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int job_alloc(struct job *j);
void job_free(struct job *j);

/* What a run of one round gave, all jobs together or one job alone. */
struct result {
	double seconds;
	uint64_t ios[DIRECTIONS], bytes[DIRECTIONS], short_ios[DIRECTIONS];
	uint64_t runtime_ms;
	double user_percent, system_percent; /* of one CPU */
	uint64_t switches;
	struct hist *clat; /* DIRECTIONS of them */
	unsigned sample_every;
	double choose_ns;
};

int result_alloc(struct result *r);
void result_free(struct result *r);
/* Latencies of both directions together. */
void result_latencies(const struct result *r, struct hist *both);
/* Adds another round: seconds, counts and latencies add up. */
void result_add(struct result *into, const struct result *r);
double result_iops(const struct result *r);

/*
 * One round of a subject: ramp, measurement. `each` (o.numjobs of them, or NULL) get what the
 * jobs did, `all` the sum. 0, or -errno after a line; -EINTR: the user stopped it, and what there
 * is was added.
 */
int run_round(struct subject *s, const char *what, struct result *all, struct result *each);
/* Reads back what was written with verify. As above. */
int run_verify(struct subject *s, uint64_t *blocks);
/* SIGINT and SIGTERM end rounds from now on. */
void run_catch_signals(void);
bool run_interrupted(void);
/* After -EINTR: a job has not ended; nothing may be freed any more. */
bool run_stuck(void);

#endif
