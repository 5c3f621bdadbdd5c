/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * options: the command line. Names and meanings are fio's where fio has them. An option is written
 * --name=value, --name value, or name=value in the comma-separated list that describes a column of
 * `compare`; there a comma in a value is written "\,". A column "fio:name=value,..." is fio's: what
 * is no option of ours is handed to it as it is.
 */
#ifndef VFSDAX_BENCH_OPTIONS_H
#define VFSDAX_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum workload { RW_READ, RW_WRITE, RW_RANDREAD, RW_RANDWRITE, RW_RW, RW_RANDRW, RW_STAT };
enum memory { MEM_MMAP, MEM_MALLOC };
enum output { OUTPUT_NORMAL, OUTPUT_JSON, OUTPUT_JSON_PLUS };
#define RAMP_NOT_GIVEN UINT64_MAX
#define FIO_WORDS_MAX  32

struct options {
	/* of a column */
	const char *engine, *filename, *share, *name;
	enum workload rw;
	uint64_t bs, size, offset; /* size 0: to the end of the file */
	uint64_t iodepth, numjobs, rwmixread, randseed, lat_sample;
	uint64_t batch, complete_min, complete_max; /* 0: as many as fit */
	enum memory mem;
	bool direct, norandommap, verify, nodax, allow_mounted_write;
	bool fio; /* words: what only fio knows */
	char *words[FIO_WORDS_MAX];
	unsigned word_count;
	/* of a run */
	uint64_t runtime_ns, ramp_ns, rounds; /* 0, RAMP_NOT_GIVEN, 0: not given */
	bool time_based;		      /* not one pass, where there is a runtime */
	enum output output;
	const char *plot, *hgrm;
	bool help, help_all, version;
};

void options_init(struct options *o);
/* Reads the options and moves all other words behind them: the index of the first, or -EINVAL after
 * one log line. Strings point into argv. */
int options_parse(struct options *o, int argc, char **argv);
/* The list of a column, on top of what `o` has: split in place, strings point into it. -EINVAL
 * after one log line. */
int options_apply_spec(struct options *o, char *spec);
void options_help(const char *engines, bool all_of_them);
/* Each option that is not as it is by default in fio, by fio's names, for fio and for JSON. */
void options_each(const struct options *o,
		  void (*see)(void *ctx, const char *name, const char *value), void *ctx);

const char *options_rw_name(enum workload rw);

static inline bool options_rw_random(enum workload rw)
{
	return rw == RW_RANDREAD || rw == RW_RANDWRITE || rw == RW_RANDRW;
}

static inline bool options_rw_reads(enum workload rw)
{
	return rw != RW_WRITE && rw != RW_RANDWRITE;
}

static inline bool options_rw_writes(enum workload rw)
{
	return rw != RW_READ && rw != RW_RANDREAD && rw != RW_STAT;
}

#endif
