/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "vfsdax-bench/report/stats.h"

static const char *const rw_names[] = {"read", "write",	 "randread", "randwrite",
				       "rw",   "randrw", "stat",     NULL};
static const char *const mem_names[] = {"mmap", "malloc", NULL};
static const char *const output_names[] = {"normal", "json", "json+", NULL};

#define AT(field) OPTION_FIELD(struct options, field)
#define SWITCH	  OPTION_BOOL, .argument = "b", .without = "1"

static const struct option_row rows[] = {
	/* of a column */
	{"engine", OPTION_STRING, AT(engine), "E", "see below; default uring", .alias = "ioengine"},
	{"filename", OPTION_STRING, AT(filename), "F", "file or device; lib, map: in the share"},
	{"share", OPTION_STRING, AT(share), "SOURCE", "lib, map: as of vfsdax-mount"},
	{"rw", OPTION_CHOICE, AT(rw), .names = rw_names, .help = "", .alias = "readwrite"},
	{"bs", OPTION_SIZE, AT(bs), "4k", "size of a block", .alias = "blocksize", .min = 1,
	 .max = 64 * MIB},
	{"offset", OPTION_SIZE, AT(offset), "S", "where the region begins", .max = INT64_MAX,
	 .rare = true},
	{"size", OPTION_SIZE, AT(size), "S", "its length; default: to the end", .min = 1,
	 .max = INT64_MAX},
	{"iodepth", OPTION_NUMBER, AT(iodepth), "N", "uring, lib: I/Os at a time", .min = 1,
	 .max = 4096},
	{"iodepth_batch", OPTION_NUMBER, AT(batch), "N", "submitted at once; 1: fio's way",
	 .alias = "iodepth_batch_submit", .min = 1, .max = 4096, .rare = true},
	{"iodepth_batch_complete_min", OPTION_NUMBER, AT(complete_min), "N", "",
	 .alias = "iodepth_batch_complete", .min = 1, .max = 4096, .rare = true},
	{"iodepth_batch_complete_max", OPTION_NUMBER, AT(complete_max), "N",
	 "taken up at once; 1: fio's way", .min = 1, .max = 4096, .rare = true},
	{"numjobs", OPTION_NUMBER, AT(numjobs), "N", "threads", .min = 1, .max = 256},
	{"rwmixread", OPTION_NUMBER, AT(rwmixread), "50", "percent of reads", .max = 100},
	{"norandommap", SWITCH, AT(norandommap), .help = "random blocks may come twice in a pass",
	 .rare = true},
	{"randseed", OPTION_NUMBER, AT(randseed), "N", "other random numbers", .max = UINT64_MAX,
	 .rare = true},
	{"direct", SWITCH, AT(direct), .help = "uring, psync: O_DIRECT"},
	{"mem", OPTION_CHOICE, AT(mem), .names = mem_names, .help = "buffers; malloc: fio's way",
	 .alias = "iomem", .rare = true},
	{"nodax", SWITCH, AT(nodax), .help = "lib: not through the window", .rare = true},
	{"verify", SWITCH, AT(verify), .help = "write blocks that can be checked; check them"},
	{"lat_sample", OPTION_NUMBER, AT(lat_sample), "N", "latency of 1 in N", .min = 1,
	 .max = 1000000, .rare = true},
	{"allow-mounted-write", SWITCH, AT(allow_mounted_write),
	 .help = "to a device that is in use", .alias = "allow_mounted_write", .rare = true},
	{"name", OPTION_STRING, AT(name), "TEXT", "in the report", .rare = true},
/* of a run */
#define COLUMN_ROWS 22
#define RUN	    .not_in_list = true
	{"runtime", OPTION_TIME, AT(runtime_ns), "T",
	 "5, 5s, 500ms; default: one pass; compare: 1s", .min = 1, .max = INT64_MAX, RUN},
	{"ramp_time", OPTION_TIME, AT(ramp_ns), "T", "warm-up that does not count; compare: 100ms",
	 .max = INT64_MAX, RUN, .rare = true},
	{"time_based", SWITCH, AT(time_based), .help = "0: one pass, at most --runtime long", RUN,
	 .rare = true},
	{"rounds", OPTION_NUMBER, AT(rounds), "N", "default 1; compare: 5, columns in turn",
	 .min = 1, .max = STATS_ROUNDS_MAX, RUN},
	{"output-format", OPTION_CHOICE, AT(output), .names = output_names, .help = "", RUN},
	{"hgrm", OPTION_STRING, AT(hgrm), "PREFIX", "PREFIX.1.hgrm...: latencies, by column", RUN,
	 .rare = true},
	{"plot", OPTION_STRING, AT(plot), "F.svg", "draw it with gnuplot", RUN},
	{"help", OPTION_LAST, AT(help), .help = "", .letter = 'h', RUN},
	{"help-all", OPTION_LAST, AT(help_all), .help = "and what is rarely needed", RUN},
	{"version", OPTION_LAST, AT(version), .help = "", .letter = 'V', RUN},
};

static const struct option_table all = {"vfsdax-bench", "--", rows, ARRAY_SIZE(rows), NULL, false},
				 of_column = {"vfsdax-bench", "--", rows, COLUMN_ROWS, NULL, false},
				 of_run = {"vfsdax-bench",
					   "--",
					   rows + COLUMN_ROWS,
					   ARRAY_SIZE(rows) - COLUMN_ROWS,
					   NULL,
					   false};

void options_init(struct options *o)
{
	*o = (struct options){
		.bs = 4 * KIB,
		.iodepth = 1,
		.complete_min = 1,
		.numjobs = 1,
		.rwmixread = 50,
		.randseed = 0x8989,
		.time_based = true,
		.ramp_ns = RAMP_NOT_GIVEN,
	};
}

int options_parse(struct options *o, int argc, char **argv)
{
	return options_read(&all, o, argc, argv);
}

/* ------------------------------------------------------------------ a column */

/* Cuts the first item off a list: a comma ends it, "\," does not. */
static char *cut_item(char **list)
{
	char *item = *list, *at = item;

	while (*at && *at != ',')
		at += at[0] == '\\' && at[1] ? 2 : 1;
	*list = *at ? at + 1 : at;
	*at = '\0';
	return item;
}

/* fio's own option: kept as a name and, behind its 0, a value, "\," in it as a comma. */
static int keep_word(const struct option_table *t, struct options *o, char *item)
{
	char *to = item;

	if (o->word_count == FIO_WORDS_MAX || !strchr(item, '=') || *item == '=' || *item == '-') {
		log_error("%s'%s': at most %d options of fio, as name=value", t->where, item,
			  FIO_WORDS_MAX);
		return -EINVAL;
	}
	o->words[o->word_count++] = item;
	for (; *item; item++)
		if (item[0] != '\\' || item[1] != ',')
			*to++ = *item;
	*to = '\0';
	*strchr(o->words[o->word_count - 1], '=') = '\0';
	return 0;
}

/* What has no meaning there is not taken over from the common options. */
static int apply_fio(const struct option_table *t, struct options *o, char *list)
{
	int err = 0;

	o->fio = true;
	o->engine = o->share = NULL;
	o->nodax = o->verify = false;
	o->lat_sample = 0;
	while (*list && !err) {
		char *item = cut_item(&list), name[40];

		snprintf(name, sizeof(name), "%.*s", (int)MIN(strcspn(item, "="), 39), item);
		/* (verify has many values there) */
		err = option_find(&of_column, name) && strcmp(name, "verify") != 0
			      ? options_read_list(t, o, item)
			      : keep_word(t, o, item);
	}
	return err;
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
	err = strncmp(spec, "fio:", 4) == 0 ? apply_fio(&t, o, spec + 4)
					    : options_read_list(&t, o, spec);
	free(where);
	return err;
}

void options_help(const char *engines, bool all_of_them)
{
	void (*print)(const struct option_table *) =
		all_of_them ? options_print : options_print_common;

	puts("Usage: vfsdax-bench --filename F --rw R [OPTION]...\n"
	     "       vfsdax-bench compare COLUMN COLUMN... [OPTION]...\n"
	     "Measures I/O, by fio's names; b is 0 or 1. COLUMN is 'name=value,...' of these,\n"
	     "or 'fio:name=value,...', which runs fio(1) with those and any other of its own:");
	print(&of_column);
	printf("Engines: %s. Options of the whole run:\n", engines);
	print(&of_run);
}

void options_each(const struct options *o,
		  void (*see)(void *ctx, const char *name, const char *value), void *ctx)
{
	const struct {
		const char *name, *unit;
		uint64_t value;
	} numbers[] = {
		{"bs", "", o->bs},
		{"offset", "", o->offset},
		{"size", "", o->size},
		{"iodepth", "", o->iodepth},
		{"iodepth_batch", "", o->batch},
		{"iodepth_batch_complete_min", "", o->complete_min},
		{"iodepth_batch_complete_max", "", o->complete_max},
		{"numjobs", "", o->numjobs},
		{"rwmixwrite", "", 100 - o->rwmixread},
		{"randseed", "", o->randseed},
		{"norandommap", "", o->norandommap},
		{"direct", "", o->direct},
		{"nodax", "", o->nodax},
		{"verify", "", o->verify},
		{"lat_sample", "", o->lat_sample},
		{"allow_mounted_write", "", o->allow_mounted_write},
		{"time_based", "", o->time_based},
		{"runtime", "us", o->runtime_ns / NS_PER_US},
		{"ramp_time", "us", o->ramp_ns / NS_PER_US},
	};
	char text[40];

	see(ctx, "ioengine", o->engine && strcmp(o->engine, "uring") != 0 ? o->engine : "io_uring");
	see(ctx, "filename", o->filename);
	see(ctx, "rw", rw_names[o->rw]);
	see(ctx, "mem", mem_names[o->mem]);
	if (o->share)
		see(ctx, "share", o->share);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		snprintf(text, sizeof(text), "%" PRIu64 "%s", numbers[i].value, numbers[i].unit);
		if (numbers[i].value)
			see(ctx, numbers[i].name, text);
	}
	for (unsigned i = 0; i < o->word_count; i++)
		see(ctx, o->words[i], o->words[i] + strlen(o->words[i]) + 1);
}

const char *options_rw_name(enum workload rw)
{
	return rw_names[rw];
}
