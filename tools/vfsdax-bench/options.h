/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * options: the command line. Names and meanings are fio's where fio has them. An option is written
 * --name=value, --name value, or name=value in the comma-separated list that describes a column of
 * `compare`; there a comma in a value is written "\,".
 */
#ifndef VFSDAX_BENCH_OPTIONS_H
#define VFSDAX_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum workload { RW_READ, RW_WRITE, RW_RANDREAD, RW_RANDWRITE, RW_RW, RW_RANDRW, RW_STAT };
enum distribution { DIST_RANDOM, DIST_ZIPF, DIST_PARETO };
enum touch { TOUCH_COPY, TOUCH_CHECKSUM, TOUCH_BYTE };
enum output { OUTPUT_NORMAL, OUTPUT_JSON };
#define RAMP_NOT_GIVEN UINT64_MAX

struct options {
	/* of a column */
	const char *engine, *filename, *share, *name;
	enum workload rw;
	uint64_t bs, size, offset; /* size 0: to the end of the file */
	uint64_t iodepth, batch, numjobs, rwmixread, randseed, lat_sample;
	enum distribution distribution;
	double distribution_parameter;
	enum touch touch;
	bool direct, norandommap, verify, registerfiles, fixedbufs, sqthread_poll, hipri;
	bool prefault, nodax, randseed_given;
	/* of a run */
	uint64_t runtime_ns, ramp_ns, rounds; /* 0, RAMP_NOT_GIVEN, 0: not given */
	bool time_based, time_based_given, group_reporting;
	enum output output;
	const char *plot;
	bool help, version;
};

void options_init(struct options *o);
/* Reads the options and moves all other words behind them: the index of the first, or -EINVAL after
 * one log line. Strings point into argv. */
int options_parse(struct options *o, int argc, char **argv);
/* The list of a column, on top of what `o` has: split in place, strings point into it. -EINVAL
 * after one log line. */
int options_apply_spec(struct options *o, char *spec);
void options_help(const char *engines);

const char *options_rw_name(enum workload rw);
bool options_rw_random(enum workload rw);
bool options_rw_writes(enum workload rw);
bool options_rw_reads(enum workload rw);
const char *options_touch_name(enum touch touch);

#endif
