/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vfsdax-bench: how fast are reads, writes and stats, and how much faster than another way.
 * bench.h shows how the parts fit together, README.md why they are as they are. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "bench.h"
#include "session.h"
#include "vfsdax-bench/engine/engines.h"
#include "vfsdax-bench/report/report.h"

#define EXIT_USAGE	 2
#define EXIT_INTERRUPTED 130

static void set_defaults(struct options *o, bool compare)
{
	if (compare && !o->runtime_ns && o->time_based)
		o->runtime_ns = NS_PER_S;
	if (o->ramp_ns == RAMP_NOT_GIVEN)
		o->ramp_ns = compare ? 100 * NS_PER_MS : 0;
	if (!o->rounds)
		o->rounds = compare ? 5 : 1;
	o->time_based = o->time_based && o->runtime_ns;
}

static bool makes_sense(const struct options *o, char **words, int count)
{
	if (count && strcmp(words[0], "compare") != 0)
		log_error("%s: what is that? Options begin with --; the only command is compare",
			  words[0]);
	else if (count && (count < 3 || count - 1 > COLUMNS_MAX))
		log_error("compare: name from 2 to %d columns, as 'engine=psync,filename=/tmp/f' "
			  "or 'fio:ioengine=psync'",
			  COLUMNS_MAX);
	else if (!count && !o->filename)
		log_error("--filename: name the file or block device to measure; see --help");
	else
		return true;
	return false;
}

static int print_report(const struct session *n)
{
	int err;

	if (n->o.output == OUTPUT_NORMAL)
		report_table(stdout, n);
	else
		report_json(stdout, n);
	err = log_flush_stdout();
	if (n->o.hgrm && report_hgrm(n, n->o.hgrm))
		err = -EIO;
	if (n->o.plot && plot_draw(n, n->o.plot))
		err = -EIO;
	return err;
}

/* The exit status. */
static int run_session(const struct options *o, char **specs, size_t columns)
{
	struct session *n = calloc(1, sizeof(*n));
	bool begun = false;
	int err;

	if (!n)
		return 1;
	err = o->plot ? plot_check(o->plot) : 0;
	if (!err)
		err = session_open(n, o, specs, columns);
	if (!err) {
		begun = true;
		err = session_run(n);
		if ((!err || err == -EINTR) && print_report(n) && !err)
			err = -EIO;
	}
	session_close(n);
	free(n);
	if (err && run_interrupted())
		return EXIT_INTERRUPTED;
	/* What cannot be measured as it was asked for is found out only here. */
	return !err ? 0 : err == -EINVAL && !begun ? EXIT_USAGE : 1;
}

int main(int argc, char **argv)
{
	struct options o;
	int first, words;

	log_set_name("vfsdax-bench");
	options_init(&o);
	first = options_parse(&o, argc, argv);
	if (first < 0)
		return EXIT_USAGE;
	if (o.help || o.help_all) {
		options_help(ENGINE_NAMES, o.help_all);
		return 0;
	}
	if (o.version) {
		puts("vfsdax-bench " VFSDAX_VERSION);
		return 0;
	}
	argv += first;
	words = argc - first;
	if (!makes_sense(&o, argv, words))
		return EXIT_USAGE;
	set_defaults(&o, words > 0);
	run_catch_signals();
	maps_catch_sigbus();
	return run_session(&o, words ? argv + 1 : NULL, words ? (size_t)words - 1 : 1);
}
