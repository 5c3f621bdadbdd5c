/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/options.h"
#include "base/parse.h"
#include "vfsdax-bench/report/stats.h"

static const char *const rw_names[] = {"read", "write",	 "randread", "randwrite",
				       "rw",   "randrw", "stat",     NULL};
static const char *const touch_names[] = {"copy", "checksum", "byte", NULL};
static const char *const output_names[] = {"normal", "json", NULL};

static int set_distribution(void *to, const struct option_table *t, const struct option_row *row,
			    const char *value)
{
	struct options *o = to;
	double v = 0;

	if (strcmp(value, "random") == 0) {
		o->distribution = DIST_RANDOM;
		return 0;
	}
	if (strncmp(value, "zipf:", 5) == 0 && parse_double(value + 5, &v) == 0 && v > 0 &&
	    v != 1 && v <= 10)
		o->distribution = DIST_ZIPF;
	else if (strncmp(value, "pareto:", 7) == 0 && parse_double(value + 7, &v) == 0 && v > 0 &&
		 v < 1)
		o->distribution = DIST_PARETO;
	else
		return option_refuse(
			t, row, value,
			"random, zipf:THETA (0 to 10, not 1) or pareto:H (between 0 and 1)");
	o->distribution_parameter = v;
	return 0;
}

/* fio has a second name for one value. */
static int set_rw(void *to, const struct option_table *t, const struct option_row *row,
		  const char *value)
{
	return option_choose(t, row, to, strcmp(value, "readwrite") == 0 ? "rw" : value);
}

static int note_randseed(void *to, const struct option_table *t, const struct option_row *row,
			 const char *value)
{
	(void)t, (void)row, (void)value;
	((struct options *)to)->randseed_given = true;
	return 0;
}

static int note_time_based(void *to, const struct option_table *t, const struct option_row *row,
			   const char *value)
{
	(void)t, (void)row, (void)value;
	((struct options *)to)->time_based_given = true;
	return 0;
}

#define AT(field) OPTION_FIELD(struct options, field)
#define SWITCH	  OPTION_BOOL, .argument = "b", .without = "1"

static const struct option_row rows[] = {
	/* of a column */
	{"engine", OPTION_STRING, AT(engine), "E", "see below; default uring", .alias = "ioengine"},
	{"filename", OPTION_STRING, AT(filename), "F", "file or device; lib, map: in the share"},
	{"share", OPTION_STRING, AT(share), "SOURCE",
	 "lib, map: as of vfsdax-mount; or F is SOURCE:/F"},
	{"rw", OPTION_CALL, AT(rw), .names = rw_names, .help = "", .alias = "readwrite",
	 .set = set_rw},
	{"bs", OPTION_SIZE, AT(bs), "4k", "size of a block", .alias = "blocksize", .min = 1,
	 .max = 64 * MIB},
	{"offset", OPTION_SIZE, AT(offset), "S", "where the region of the file begins",
	 .max = INT64_MAX},
	{"size", OPTION_SIZE, AT(size), "S", "its length; default: to the end", .min = 1,
	 .max = INT64_MAX},
	{"iodepth", OPTION_NUMBER, AT(iodepth), "N", "uring, lib: I/Os at a time", .min = 1,
	 .max = 4096},
	{"batch", OPTION_NUMBER, AT(batch), "N", "submit N, wait for all of them, the next N",
	 .min = 1, .max = 4096},
	{"numjobs", OPTION_NUMBER, AT(numjobs), "N", "threads", .min = 1, .max = 256},
	{"rwmixread", OPTION_NUMBER, AT(rwmixread), "50", "of rw, randrw: percent of reads",
	 .max = 100},
	{"random_distribution", OPTION_CALL, .argument = "random|zipf:THETA|pareto:H", .help = "",
	 .set = set_distribution},
	{"norandommap", SWITCH, AT(norandommap), .help = "random blocks may come twice in a pass"},
	{"randseed", OPTION_NUMBER, AT(randseed), "N", "other random numbers", .max = UINT64_MAX,
	 .set = note_randseed},
	{"direct", SWITCH, AT(direct), .help = "uring, psync: O_DIRECT"},
	{"registerfiles", SWITCH, AT(registerfiles), .help = "uring: a registered file"},
	{"fixedbufs", SWITCH, AT(fixedbufs), .help = "uring: registered buffers"},
	{"sqthread_poll", SWITCH, AT(sqthread_poll), .help = "uring: a kernel thread submits"},
	{"hipri", SWITCH, AT(hipri), .help = "uring: polled completions"},
	{"touch", OPTION_CHOICE, AT(touch), .names = touch_names,
	 .help = "mmap, map: what is done with a block"},
	{"prefault", SWITCH, AT(prefault), .help = "mmap, map: fill the page tables first"},
	{"nodax", SWITCH, AT(nodax), .help = "lib: not through the window"},
	{"verify", SWITCH, AT(verify), .help = "check the contents of blocks"},
	{"lat_sample", OPTION_NUMBER, AT(lat_sample), "N",
	 "latency of 1 in N; 0: as the clock allows", .max = 1000000},
	{"name", OPTION_STRING, AT(name), "TEXT", "in the report"},
/* of a run */
#define COLUMN_ROWS 25
#define RUN	    .not_in_list = true
	{"runtime", OPTION_TIME, AT(runtime_ns), "T",
	 "5, 5s, 500ms; default: one pass; compare: 1s", .min = 1, .max = INT64_MAX, RUN},
	{"ramp_time", OPTION_TIME, AT(ramp_ns), "T", "warm-up that does not count; compare: 100ms",
	 .max = INT64_MAX, RUN},
	{"time_based", SWITCH, AT(time_based), .help = "0: one pass, at most --runtime long",
	 .set = note_time_based, RUN},
	{"rounds", OPTION_NUMBER, AT(rounds), "N", "default 1; compare: 5, columns in turn",
	 .min = 1, .max = STATS_ROUNDS_MAX, RUN},
	{"group_reporting", SWITCH, AT(group_reporting), .help = "JSON: all threads as one job",
	 RUN},
	{"output-format", OPTION_CHOICE, AT(output), .names = output_names, .help = "", RUN},
	{"plot", OPTION_STRING, AT(plot), "F.svg", "draw it with gnuplot", RUN},
	{"help", OPTION_LAST, AT(help), .help = "", .letter = 'h', RUN},
	{"version", OPTION_LAST, AT(version), .help = "", .letter = 'V', RUN},
};

static const struct option_table
	all = {.program = "vfsdax-bench", .prefix = "--", .rows = rows, .count = ARRAY_SIZE(rows)},
	of_column = {.program = "vfsdax-bench", .prefix = "--", .rows = rows, .count = COLUMN_ROWS},
	of_run = {.program = "vfsdax-bench",
		  .prefix = "--",
		  .rows = rows + COLUMN_ROWS,
		  .count = ARRAY_SIZE(rows) - COLUMN_ROWS};

void options_init(struct options *o)
{
	*o = (struct options){
		.bs = 4 * KIB,
		.iodepth = 1,
		.batch = 1,
		.numjobs = 1,
		.rwmixread = 50,
		.randseed = 0x8989,
		.rw = RW_READ,
		.prefault = true,
		.ramp_ns = RAMP_NOT_GIVEN,
	};
}

int options_parse(struct options *o, int argc, char **argv)
{
	return options_read(&all, o, argc, argv);
}

int options_apply_spec(struct options *o, char *spec)
{
	struct option_table t = all;
	char *where = NULL;
	int err;

	if (asprintf(&where, "column '%s': ", spec) < 0)
		return -ENOMEM;
	t.where = where;
	t.prefix = "";
	err = options_read_list(&t, o, spec);
	free(where);
	return err;
}

void options_help(const char *engines)
{
	puts("Usage: vfsdax-bench --filename F --rw R [OPTION]...\n"
	     "       vfsdax-bench compare COLUMN COLUMN... [OPTION]...\n"
	     "Measures I/O, by fio's names; b is 0 or 1. COLUMN is 'name=value,...' of these:");
	options_print(&of_column);
	printf("Engines: %s. Options of the whole run:\n", engines);
	options_print(&of_run);
}

/* ------------------------------------------------------------------ names */

const char *options_rw_name(enum workload rw)
{
	return rw_names[rw];
}

const char *options_touch_name(enum touch touch)
{
	return touch_names[touch];
}

bool options_rw_random(enum workload rw)
{
	return rw == RW_RANDREAD || rw == RW_RANDWRITE || rw == RW_RANDRW;
}

bool options_rw_writes(enum workload rw)
{
	return rw == RW_WRITE || rw == RW_RANDWRITE || rw == RW_RW || rw == RW_RANDRW;
}

bool options_rw_reads(enum workload rw)
{
	return rw != RW_WRITE && rw != RW_RANDWRITE;
}
