/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax-run: starts a program with libvfsdax-intercept.so in front of the C library. What that
 * does is in src/intercept/README.md; here is what comes before: which file the program is, and
 * whether it can be reached at all.
 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/options.h"
#include "elf_check.h"

/* As env(1) and nohup(1) have it. */
#define EXIT_OURS      125
#define EXIT_NOT_RUN   126
#define EXIT_NOT_FOUND 127
#define LIBRARY	       "libvfsdax-intercept.so"

struct options {
	bool report, help, version;
};

#define AT(field) OPTION_FIELD(struct options, field)
static const struct option_row rows[] = {
	{"report", OPTION_FLAG, AT(report), .letter = 'r',
	 .help = "at the end, for each file: served or why not"},
	{"help", OPTION_LAST, AT(help), .letter = 'h', .help = ""},
	{"version", OPTION_LAST, AT(version), .letter = 'V', .help = ""},
};
static const struct option_table table = {
	.program = "vfsdax-run", .prefix = "--", .rows = rows, .count = ARRAY_SIZE(rows)};

static void help(void)
{
	puts("Usage: vfsdax-run [--report] PROGRAM [ARGUMENT]...\n"
	     "Runs a program whose reads, writes and maps of files on a vfsdax mount bypass\n"
	     "the kernel's FUSE: they are copies out of the host's page cache.");
	options_print(&table);
}

/* ------------------------------------------------------------------ which file */

/* Where execvp(3) would find it. 0 or -errno. */
static int find_program(const char *name, char *path, size_t size)
{
	const char *dirs = getenv("PATH");
	int err = -ENOENT;

	if (strchr(name, '/')) {
		snprintf(path, size, "%s", name);
		return access(path, X_OK) < 0 ? -errno : 0;
	}
	for (const char *at = dirs ? dirs : "/bin:/usr/bin"; at; at = strchr(at, ':')) {
		at += *at == ':';
		int len = (int)strcspn(at, ":");

		if ((size_t)snprintf(path, size, "%.*s%s%s", len, at, len ? "/" : "", name) >= size)
			continue;
		if (access(path, X_OK) == 0)
			return 0;
		if (errno != ENOENT && errno != ENOTDIR)
			err = -errno;
	}
	return err;
}

/* Where it is installed, seen from this program, or lies in a build. */
static bool find_library(char path[PATH_MAX])
{
	static const char *const places[] = {"/../" VFSDAX_LIBDIR "/vfsdax/" LIBRARY,
					     "/../src/intercept/" LIBRARY};
	char self[3072], place[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	self[len > 0 ? len : 0] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return false;
	*slash = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		snprintf(place, sizeof(place), "%s%s", self, places[i]);
		if (realpath(place, path))
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------ main */

static int set_up(const struct options *o)
{
	const char *others = getenv("LD_PRELOAD");
	char path[PATH_MAX], all[8192];

	if (!find_library(path)) {
		log_error("%s is not installed beside this program: install all of vfsdax",
			  LIBRARY);
		return -ENOENT;
	}
	if (strpbrk(path, " :")) {
		log_error(
			"%s: LD_PRELOAD takes no path with a blank or colon: install it elsewhere",
			path);
		return -EINVAL;
	}
	if ((size_t)snprintf(all, sizeof(all), "%s%s%s", path, others && *others ? ":" : "",
			     others ? others : "") >= sizeof(all)) {
		log_error("LD_PRELOAD is longer than %zu bytes: make it shorter", sizeof(all));
		return -E2BIG;
	}
	if (setenv("LD_PRELOAD", all, 1) < 0 ||
	    (o->report && setenv("VFSDAX_RUN_REPORT", "1", 1) < 0)) {
		log_error("the environment cannot be set: %s", strerror(errno));
		return -ENOMEM;
	}
	return 0;
}

/* Options end at the first word that is none: what follows is the program's. */
static int own_words(int argc, char **argv)
{
	int n = 1;

	while (n < argc && argv[n][0] == '-' && argv[n][1] && strcmp(argv[n], "--") != 0)
		n++;
	return n;
}

static int run(const struct options *o, char **argv)
{
	const char *why = NULL;
	char path[4096];
	int err = find_program(argv[0], path, sizeof(path));

	if (err) {
		log_error("%s: %s", argv[0], strerror(-err));
		return err == -ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUN;
	}
	err = elf_check(path, &why);
	if (err) {
		log_error("%s %s: run it without vfsdax-run, through the kernel", path, why);
		return EXIT_NOT_RUN;
	}
	if (set_up(o))
		return EXIT_OURS;
	execv(path, argv);
	if (errno == ENOEXEC) /* a script without a first line, as a shell has it */
		execvp(argv[0], argv);
	log_error("%s: %s", path, strerror(errno));
	return EXIT_NOT_RUN;
}

int main(int argc, char **argv)
{
	struct options o = {0};
	int n = own_words(argc, argv);

	log_set_name("vfsdax-run");
	if (options_read(&table, &o, n, argv) < 0)
		return EXIT_OURS;
	if (o.help) {
		help();
		return 0;
	}
	if (o.version) {
		puts("vfsdax-run " VFSDAX_VERSION);
		return 0;
	}
	if (n < argc && strcmp(argv[n], "--") == 0)
		n++;
	if (n == argc) {
		log_error("no program is named: vfsdax-run [OPTIONS] PROGRAM [ARGUMENT]...");
		return EXIT_OURS;
	}
	return run(&o, argv + n);
}
