/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vfsdax-stat: what running mounts do, for people (people.c) and for programs (json.c,
 * openmetrics.c). */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "known.h"
#include "show.h"

#define EXIT_USAGE   2
/* Rates of now need two reports: so far apart, where nobody asked for more. */
#define INTERVAL_NS  (NS_PER_S / 2)
#define COLUMNS	     80
#define SCREEN_BYTES (256 * KIB)
#define COLUMNS_MIN  40
#define COLUMNS_MAX  500

struct options {
	bool all, json, openmetrics, list, help, version;
	uint64_t watch_ns; /* 0: once */
};

#define AT(field) OPTION_FIELD(struct options, field)
static const struct option_row rows[] = {
	{"all", OPTION_FLAG, AT(all), .letter = 'a', .help = "all counters, as \"name value\""},
	{"json", OPTION_FLAG, AT(json), .letter = 'j', .help = "a line of JSON for each mount"},
	{"openmetrics", OPTION_FLAG, AT(openmetrics),
	 .help = "for Prometheus and others that scrape"},
	{"watch", OPTION_TIME, AT(watch_ns), "SECONDS", "again and again, every second or as often",
	 .letter = 'w', .without = "1", .min = NS_PER_S / 10, .max = 86400 * NS_PER_S},
	{"list", OPTION_FLAG, AT(list), .letter = 'l', .help = "the counters and what they mean"},
	{"help", OPTION_LAST, AT(help), .letter = 'h', .help = ""},
	{"version", OPTION_LAST, AT(version), .letter = 'V', .help = ""},
};
static const struct option_table table = {
	.program = "vfsdax-stat", .prefix = "--", .rows = rows, .count = ARRAY_SIZE(rows)};

static void help(void)
{
	puts("Usage: vfsdax-stat [OPTION]... [MOUNTPOINT]...\n"
	     "What mounts of vfsdax-mount do (all that there are, where none is named): is\n"
	     "DAX used, how fast are they, how full is the window, is the device there; now,\n"
	     "and since the mount began.");
	options_print(&table);
	puts("Exit status: 0; 1: a mount does not answer, or it is none; 2: usage.");
}

static void list_counters(void)
{
	for (size_t i = 0; i < known_count; i++)
		printf("%s (%s): %s\n", known_counters[i].name, known_counters[i].kind_name,
		       known_counters[i].help);
}

/* ------------------------------------------------------------------ once, and again and again */

static unsigned terminal_columns(void)
{
	struct winsize size;

	if (!isatty(STDOUT_FILENO))
		return COLUMNS_MAX; /* a file has room */
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_col)
		return COLUMNS;
	return MAX(COLUMNS_MIN, MIN(COLUMNS_MAX, size.ws_col));
}

/* 0, or an exit status after one log line. */
static int show(const struct options *o, const struct mounts *before, const struct mounts *now)
{
	if (o->openmetrics)
		show_openmetrics(now);
	else if (o->json)
		show_json(before, now);
	else if (o->all)
		show_all(before, now);
	else
		show_people(before, now, terminal_columns());
	return log_flush_stdout() ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Until `*next`, which is moved on by `every_ns`: steps do not drift. */
static void pause_until(uint64_t *next, uint64_t every_ns)
{
	struct timespec until;
	uint64_t now = clock_now_ns();

	*next = MAX(*next + every_ns, now);
	until = clock_timespec(*next);
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static int show_once(const struct options *o, char **paths, size_t count)
{
	bool rates = !o->openmetrics && !o->json && !o->all;
	uint64_t next = clock_now_ns();
	struct mounts before = {0}, now;
	int status;

	if (rates) {
		if (mounts_ask(paths, count, &before))
			return EXIT_FAILURE;
		pause_until(&next, INTERVAL_NS);
	}
	if (mounts_ask(paths, count, &now)) {
		mounts_free(&before);
		return EXIT_FAILURE;
	}
	status = show(o, rates ? &before : NULL, &now);
	if (!status)
		status = mounts_status(&now);
	mounts_free(&before);
	mounts_free(&now);
	return status;
}

/* The screen is cleared and written by one write(2), so that nothing flickers. */
static int draw(const struct options *o, const struct mounts *before, const struct mounts *now)
{
	char clock[32];
	time_t t = time(NULL);

	strftime(clock, sizeof(clock), "%H:%M:%S", localtime(&t));
	printf("\033[H\033[J%s, every %g s\n\n", clock, (double)o->watch_ns / (double)NS_PER_S);
	return show(o, before, now);
}

/* Until it is interrupted, or what it is to show is no longer there. */
static int watch(const struct options *o, char **paths, size_t count)
{
	bool screen = !o->json && !o->all && isatty(STDOUT_FILENO);
	uint64_t next = clock_now_ns();
	struct mounts before = {0}, now;

	if (screen)
		setvbuf(stdout, NULL, _IOFBF, SCREEN_BYTES);
	for (bool first = true;; first = false) {
		int status = EXIT_FAILURE;

		if (!mounts_ask(paths, count, &now)) {
			status = now.count == 1 ? mounts_status(&now) : 0;
			if (screen && !status)
				status = draw(o, first ? NULL : &before, &now);
			else if (!first && !status)
				status = show(o, &before, &now);
			if (!first && !screen && !status && !o->json)
				puts("");
		}
		mounts_free(&before);
		before = now;
		if (status) {
			mounts_free(&before);
			return status;
		}
		pause_until(&next, o->watch_ns);
	}
}

/* ------------------------------------------------------------------ main */

/* 0, or after one log line. */
static int check(const struct options *o)
{
	if (o->all + o->json + o->openmetrics > 1) {
		log_error("--all, --json, --openmetrics: choose one");
		return EXIT_USAGE;
	}
	if (o->openmetrics && o->watch_ns) {
		log_error("--openmetrics shows counters as they are now: without --watch");
		return EXIT_USAGE;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = {0};
	int first;

	log_set_name("vfsdax-stat");
	first = options_read(&table, &o, argc, argv);
	if (first < 0)
		return EXIT_USAGE;
	if (o.help || o.version || o.list) {
		if (o.help)
			help();
		else if (o.version)
			puts("vfsdax-stat " VFSDAX_VERSION);
		else
			list_counters();
		return 0;
	}
	if (check(&o))
		return EXIT_USAGE;
	return (o.watch_ns ? watch : show_once)(&o, argv + first, (size_t)(argc - first));
}
