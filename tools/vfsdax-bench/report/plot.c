/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plot: a picture by gnuplot(1): operations per second of each column with the interval of their
 * mean and every round as a point, and latency by percentile. A column has one colour in both.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/child.h"
#include "base/clock.h"
#include "base/log.h"
#include "report.h"

#define GNUPLOT_NS     (60 * NS_PER_S)
#define NAME_MAX_CHARS 32

int plot_check(const char *path)
{
	size_t len = strlen(path);
	int fd;

	if (len < 5 || strcmp(path + len - 4, ".svg") != 0) {
		log_error("--plot=%s: name a file that ends in .svg", path);
		return -EINVAL;
	}
	if (!child_in_path("gnuplot")) {
		log_error("--plot: gnuplot is not installed (Debian: apt-get install gnuplot-nox)");
		return -ENOENT;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0) {
		log_error("--plot=%s: %s", path, strerror(errno));
		return -EIO;
	}
	close(fd);
	return 0;
}

/* Inside gnuplot's '...' only ' is special. A name that is too long is cut. */
static void quoted(FILE *f, const char *text, size_t max)
{
	const char *end = text + strnlen(text, max);

	fputc('\'', f);
	for (; text < end; text++) {
		if (*text == '\'')
			fputc('\'', f);
		fputc((unsigned char)*text < 0x20 ? ' ' : *text, f);
	}
	fputs(*end ? "...'" : "'", f);
}

/* Of column i: $mean has its mean and the interval, $roundI the rounds, $latencyI percentiles,
 * where the abscissa is how many nines: 50 % is 0.3, 99 % is 2, 99.9 % is 3. */
static void column_data(FILE *f, const struct session *n, size_t i, double unit)
{
	static const double percents[] = {1,  10, 25,	50,   75,    90,   95,
					  98, 99, 99.5, 99.9, 99.95, 99.99};
	const struct column *c = &n->columns[i];
	struct estimate e = stats_interval(c->iops, n->rounds);
	struct hist h;

	result_latencies(&c->all, &h);
	fprintf(f, "$mean%zu << EOD\n%.3f %zu %.3f %.3f\nEOD\n$round%zu << EOD\n", i,
		e.value / unit, i, MAX(e.low, 0) / unit, e.high / unit, i);
	for (size_t r = 0; r < n->rounds; r++)
		fprintf(f, "%.3f %zu\n", c->iops[r] / unit, i);
	fprintf(f, "EOD\n$latency%zu << EOD\n", i);
	for (size_t p = 0; p < ARRAY_SIZE(percents); p++)
		if (h.count && (double)h.count * (1 - percents[p] / 100) >= 1)
			fprintf(f, "%.4f %.3e\n", -log10(1 - percents[p] / 100),
				(double)hist_percentile(&h, percents[p]) / 1e9);
	fputs("EOD\n", f);
}

/* Colours that are told apart, also by who does not see all of them (Paul Tol's). */
static const char *const colours[] = {"#4477aa", "#ee6677", "#228833", "#ccbb44",
				      "#66ccee", "#aa3377", "#777777", "#994400"};
#define COLOUR(i) colours[(i) % ARRAY_SIZE(colours)]

static void rates(FILE *f, const struct session *n, const char *unit)
{
	fprintf(f,
		"set grid xtics\nset key off\nset title 'IOPS%s' noenhanced\n"
		"set xrange [0:*]\nset yrange [%zu-0.4:-0.6]\nset format x '%%g%s'\n"
		"set style fill solid 0.55\nset ytics nomirror noenhanced (",
		n->rounds > 1 ? ": mean, 95 % confidence, rounds" : "", n->count, unit);
	for (size_t i = 0; i < n->count; i++) {
		fputs(i ? ", " : "", f);
		quoted(f, n->columns[i].label, NAME_MAX_CHARS);
		fprintf(f, " %zu", i);
	}
	fputs(")\nplot ", f);
	for (size_t i = 0; i < n->count; i++) {
		fprintf(f,
			"%s$mean%zu using 1:2:(0):1:($2-0.3):($2+0.3) with boxxyerror lc rgb '%s', "
			"\\\n  $round%zu using 1:2 with points pt 6 ps 0.5 lc rgb '#444444'",
			i ? ", \\\n  " : "", i, COLOUR(i), i);
		if (n->rounds > 1)
			fprintf(f,
				", \\\n  $mean%zu using 1:2:3:4 with xerrorbars pt 0 lw 1.5 lc rgb "
				"'#000000'",
				i);
	}
}

/* (the colours stand beside the names on the left) */
static void latencies(FILE *f, const struct session *n)
{
	fputs("\nset title 'latency by percentile' noenhanced\nset grid xtics ytics\n"
	      "unset xtics\nunset ytics\nset yrange [*:*]\nset logscale y\nset xrange [0:4.1]\n"
	      "set format y '%.0s %cs'\nset ytics autofreq\n"
	      "set xtics ('0' 0, '50' 0.301, '90' 1, '99' 2, '99.9' 3, '99.99' 4)\nplot ",
	      f);
	for (size_t i = 0; i < n->count; i++)
		fprintf(f,
			"%s$latency%zu using 1:2 with linespoints pt 7 ps 0.4 lw 1.5 lc rgb '%s'",
			i ? ", \\\n  " : "", i, COLOUR(i));
	fputs("\nunset multiplot\n", f);
}

static void script(FILE *f, const struct session *n, const char *path)
{
	double most = 0, unit;

	for (size_t i = 0; i < n->count; i++)
		most = MAX(most, stats_mean(n->columns[i].iops, n->rounds));
	unit = most >= 1e6 ? 1e6 : most >= 1e3 ? 1e3 : 1;
	for (size_t i = 0; i < n->count; i++)
		column_data(f, n, i, unit);
	fprintf(f,
		"set terminal svg size 1100,%zu dynamic background rgb 'white' font 'sans,12'\n"
		"set output ",
		MAX((size_t)400, 160 + 40 * n->count));
	quoted(f, path, strlen(path));
	fputs("\nset multiplot layout 1,2 title '", f);
	report_workload(f, n);
	fputs("' noenhanced\n", f);
	rates(f, n, unit > 1e3 ? "M" : unit > 1 ? "k" : "");
	latencies(f, n);
}

int plot_draw(const struct session *n, const char *path)
{
	char program[] = "gnuplot", from_stdin[] = "-", *text = NULL;
	struct child c = {.in = NULL};
	int status = -ENOMEM;
	size_t len;
	FILE *f;

	if (!n->rounds) {
		log_warn("--plot=%s: nothing was measured, nothing is drawn", path);
		return 0;
	}
	f = open_memstream(&text, &len);
	if (f) {
		script(f, n, path);
		if (fclose(f) == 0) {
			c.in = text;
			status = child_run(&c, (char *[]){program, from_stdin, NULL}, GNUPLOT_NS,
					   NULL);
		}
	}
	if (status)
		log_error("--plot=%s: gnuplot: %.*s", path,
			  status > 0 ? (int)strcspn(c.err + strspn(c.err, "\n "), "\n") : 99,
			  status > 0 ? c.err + strspn(c.err, "\n ") : strerror(-status));
	free(text);
	free(c.out);
	free(c.err);
	return status ? -EIO : 0;
}
