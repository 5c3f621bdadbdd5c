/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* plot: a picture by gnuplot(1): operations per second of each column with every round as a point,
 * and latency by percentile. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "report.h"

static bool in_path(const char *program)
{
	const char *path = getenv("PATH");
	char file[4096];

	while (path && *path) {
		size_t len = strcspn(path, ":");

		snprintf(file, sizeof(file), "%.*s/%s", (int)MIN(len, (size_t)3000), path, program);
		if (access(file, X_OK) == 0)
			return true;
		path += len + (path[len] == ':');
	}
	return false;
}

int plot_check(const char *path)
{
	size_t len = strlen(path);
	FILE *f;

	if (len < 5 || strcmp(path + len - 4, ".svg") != 0) {
		log_error("--plot=%s: name a file that ends in .svg", path);
		return -EINVAL;
	}
	if (!in_path("gnuplot")) {
		log_error("--plot: gnuplot is not installed (Debian: apt-get install gnuplot-nox)");
		return -ENOENT;
	}
	f = fopen(path, "a");
	if (!f) {
		int err = -errno;

		log_error("--plot=%s: %s", path, strerror(-err));
		return err;
	}
	fclose(f);
	return 0;
}

/* Inside gnuplot's '...' only ' is special. */
static void quoted(FILE *f, const char *text)
{
	fputc('\'', f);
	for (; *text; text++) {
		if (*text == '\'')
			fputc('\'', f);
		fputc((unsigned char)*text < 0x20 ? ' ' : *text, f);
	}
	fputc('\'', f);
}

static void rounds_data(FILE *f, const struct session *n)
{
	fputs("$rounds << EOD\n", f);
	for (size_t i = 0; i < n->count; i++)
		for (size_t r = 0; r < n->rounds; r++)
			fprintf(f, "%zu %.3f\n", i, n->columns[i].iops[r]);
	fputs("EOD\n$median << EOD\n", f);
	for (size_t i = 0; i < n->count; i++)
		fprintf(f, "%zu %.3f\n", i, stats_median(n->columns[i].iops, n->rounds));
	fputs("EOD\n", f);
}

/* The abscissa is how many nines: 50 % is 0.3, 99 % is 2, 99.9 % is 3. */
static void latency_data(FILE *f, const struct session *n)
{
	static const double percents[] = {1,  10, 25,	50,   75,    90,   95,
					  98, 99, 99.5, 99.9, 99.95, 99.99};

	for (size_t i = 0; i < n->count; i++) {
		struct hist h;

		result_latencies(&n->columns[i].all, &h);
		fprintf(f, "$latency%zu << EOD\n", i);
		for (size_t p = 0; p < ARRAY_SIZE(percents); p++)
			if (h.count && (double)h.count * (1 - percents[p] / 100) >= 1)
				fprintf(f, "%.4f %.3f\n", -log10(1 - percents[p] / 100),
					(double)hist_percentile(&h, percents[p]) / 1e3);
		fputs("EOD\n", f);
	}
}

static void script(FILE *f, const struct session *n, const char *path)
{
	rounds_data(f, n);
	latency_data(f, n);
	fputs("set terminal svg size 1100,480 dynamic background rgb 'white' font 'sans,12'\n"
	      "set output ",
	      f);
	quoted(f, path);
	fprintf(f, "\nset multiplot layout 1,2 title '");
	report_workload(f, n);
	fprintf(f,
		"' noenhanced\nset grid ytics\nset key off\nset title 'operations per second' "
		"noenhanced\n"
		"set yrange [0:*]\nset xrange [-0.6:%zu-0.4]\nset format y '%%.2s%%c'\n"
		"set style fill solid 0.4\nset boxwidth 0.6\nset xtics rotate by -20 noenhanced (",
		n->count);
	for (size_t i = 0; i < n->count; i++) {
		fputs(i ? ", " : "", f);
		quoted(f, n->columns[i].label);
		fprintf(f, " %zu", i);
	}
	fputs(")\nplot $median using 1:2 with boxes lc rgb '#4477aa', \\\n"
	      "  $rounds using 1:2 with points pt 7 ps 0.4 lc rgb '#222222'\n"
	      "set title 'latency by percentile, microseconds' noenhanced\n"
	      "set logscale y\nset yrange [*:*]\nset xrange [0:4.1]\nset format y '%g'\n"
	      "set key top left noenhanced\nunset xtics\n"
	      "set xtics norotate ('0' 0, '50' 0.301, '90' 1, '99' 2, '99.9' 3, '99.99' 4)\nplot ",
	      f);
	for (size_t i = 0; i < n->count; i++) {
		fprintf(f, "%s$latency%zu using 1:2 with linespoints pt 7 ps 0.4 lw 1.5 title ",
			i ? ", \\\n  " : "", i);
		quoted(f, n->columns[i].label);
	}
	fputs("\nunset multiplot\n", f);
}

static int spawn_gnuplot(int in, pid_t *pid)
{
	char program[] = "gnuplot", from_stdin[] = "-";
	char *argv[] = {program, from_stdin, NULL};
	posix_spawn_file_actions_t actions;
	int err;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
	/* its output is the file; stdout is for the report */
	posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
	err = -posix_spawnp(pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return err;
}

int plot_draw(const struct session *n, const char *path)
{
	int fds[2], status = -1, err;
	pid_t pid;
	FILE *f;

	if (!n->rounds) {
		log_warn("--plot=%s: nothing was measured, nothing is drawn", path);
		return 0;
	}
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	err = spawn_gnuplot(fds[0], &pid);
	close(fds[0]);
	if (err) {
		close(fds[1]);
		log_error("--plot: gnuplot: %s", strerror(-err));
		return err;
	}
	f = fdopen(fds[1], "w");
	if (f) {
		script(f, n, path);
		fclose(f);
	} else {
		close(fds[1]);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (f && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	log_error("--plot=%s: gnuplot failed (status %d)", path, status);
	return -EIO;
}
