/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vfsdax-bench: how fast are reads, writes and stats, and how much faster than another way.
 * bench.h shows how the parts fit together, README.md why they are as they are. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "bench.h"
#include "mem.h"
#include "report.h"
#include "session.h"

#define EXIT_INTERRUPTED 130

void options_help(void)
{
	printf("Usage: vfsdax-bench --filename F --rw R [OPTION]...\n"
	       "       vfsdax-bench compare COLUMN COLUMN... [OPTION]...\n"
	       "Measures I/O. COLUMN is 'key=value,...' of the options marked *; the others are\n"
	       "related to the first one. Names and meanings are fio's (b: 0 or 1):\n"
	       " *--engine=E            %s (default uring)\n"
	       " *--filename=F          file or device; lib, map: a path in the share\n"
	       " *--share=SOURCE        lib, map: unix:SOCKET, a PCI function or a tag; or write\n"
	       "                        --filename=SOURCE:/PATH\n"
	       " *--rw=read|write|randread|randwrite|rw|randrw|stat\n"
	       " *--bs=4k               size of a block\n"
	       " *--offset=S --size=S   what part of the file (default: all)\n"
	       " *--iodepth=N           I/Os at a time (uring, lib)\n"
	       " *--batch=N             submit N, wait for all of them, then the next N\n"
	       " *--numjobs=N           threads\n"
	       " *--rwmixread=50        of rw, randrw: percent of reads\n"
	       " *--random_distribution=random|zipf:THETA|pareto:H\n"
	       " *--norandommap=b       random blocks may come twice in a pass\n"
	       " *--randseed=N          other random numbers\n"
	       " *--direct=b            O_DIRECT (uring, psync)\n"
	       " *--registerfiles=b --fixedbufs=b --sqthread_poll=b --hipri=b   uring only\n"
	       " *--touch=copy|checksum|byte   what mmap and map do with a block\n"
	       " *--prefault=b          mmap, map: fill the page tables first (default 1)\n"
	       " *--nodax=b             lib: not through the window\n"
	       " *--verify=b            write blocks that know their place, check what is read\n"
	       " *--lat_sample=N        latency of 1 in N (default 0: as the clock allows)\n"
	       " *--name=TEXT           in the report\n"
	       "  --runtime=T           5, 5s, 500ms (default: one pass; compare: 1s)\n"
	       "  --ramp_time=T         warm-up that does not count (compare: 100ms)\n"
	       "  --time_based=b        0: one pass, --runtime is the longest it may take\n"
	       "  --rounds=N            measure so often (default 1; compare: 5, in turn)\n"
	       "  --output-format=normal|json  --group_reporting=b\n"
	       "  --plot=F.svg          draw it with gnuplot\n"
	       "  -h, --help    -V, --version\n",
	       engine_names());
}

static void set_defaults(struct options *o, bool compare)
{
	bool one_pass = o->time_based_given && !o->time_based;

	if (compare && !o->runtime_given && !one_pass)
		o->runtime_ns = NS_PER_S;
	if (compare && !o->ramp_given)
		o->ramp_ns = 100 * NS_PER_MS;
	if (compare && !o->rounds_given)
		o->rounds = 5;
	if (!o->time_based_given)
		o->time_based = o->runtime_ns != 0;
}

static int check_words(const struct options *o, char **words, int count)
{
	if (o->time_based && !o->runtime_ns) {
		log_error("--time_based=1: say with --runtime how long");
		return -EINVAL;
	}
	if (!count || strcmp(words[0], "compare") != 0) {
		if (count) {
			log_error("%s: what is that? Options begin with --; the only command is "
				  "compare",
				  words[0]);
			return -EINVAL;
		}
		if (o->filename)
			return 0;
		log_error("--filename: name the file or block device to measure; see --help");
		return -EINVAL;
	}
	if (count >= 3 && count - 1 <= COLUMNS_MAX)
		return 0;
	log_error("compare: name from 2 to %d columns, as 'engine=psync,filename=/tmp/f'",
		  COLUMNS_MAX);
	return -EINVAL;
}

static int report(const struct session *n, bool compare)
{
	int err = 0;

	if (n->o.output == OUTPUT_JSON)
		report_json(stdout, n);
	else if (compare)
		report_compare(stdout, n);
	else
		report_run(stdout, n);
	if (fflush(stdout) || ferror(stdout)) {
		log_error("standard output: %s", strerror(errno));
		err = -EIO;
	}
	if (n->o.plot && plot_draw(n, n->o.plot))
		err = -EIO;
	return err;
}

static int run(const struct options *o, char **specs, size_t columns)
{
	struct session *n = calloc(1, sizeof(*n));
	int err;

	if (!n)
		return -ENOMEM;
	err = o->plot ? plot_check(o->plot) : 0;
	if (!err)
		err = session_open(n, o, specs, columns);
	if (!err) {
		err = session_run(n);
		if ((!err || err == -EINTR) && report(n, specs != NULL) && !err)
			err = -EIO;
	}
	if (run_stuck()) /* a thread is in there still */
		_exit(EXIT_INTERRUPTED);
	session_close(n);
	free(n);
	return err;
}

int main(int argc, char **argv)
{
	struct options o;
	bool compare;
	int words, err = 0;

	log_set_name("vfsdax-bench");
	options_init(&o);
	words = options_parse(&o, argc - 1, argv + 1);
	compare = words > 0 && strcmp(argv[1], "compare") == 0;
	if (words < 0) {
		err = words;
	} else if (o.help) {
		options_help();
	} else if (o.version) {
		puts("vfsdax-bench " VFSDAX_VERSION);
	} else {
		set_defaults(&o, compare);
		err = check_words(&o, argv + 1, words);
		run_catch_signals();
		mem_catch_sigbus();
		if (!err)
			err = run(&o, compare ? argv + 2 : NULL, compare ? (size_t)words - 1 : 1);
	}
	options_free(&o);
	return !err ? 0 : run_interrupted() ? EXIT_INTERRUPTED : 1;
}
