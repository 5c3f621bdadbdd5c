/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vfsdax-stat: the counters of a running mount, for people and for scripts. The mount sends
 * lines of "dotted.name value", grouped by prefix; a value is JSON.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mountinfo.h"
#include "base/options.h"
#include "base/rundir.h"

/* The longest line of a report: a string of which each byte may be six characters long. */
#define LINE_BYTES 2048
#define EXIT_USAGE 2

struct options {
	bool json, list, help, version;
	uint32_t watch_s;
};

#define AT(field) OPTION_FIELD(struct options, field)
static const struct option_row rows[] = {
	{"json", OPTION_FLAG, AT(json), .letter = 'j', .help = "one JSON object"},
	{"watch", OPTION_NUMBER, AT(watch_s), "SECONDS",
	 "what has changed, every second or so often", .letter = 'w', .without = "1", .min = 1,
	 .max = 86400},
	{"list", OPTION_FLAG, AT(list), .letter = 'l', .help = "the counters and what they mean"},
	{"help", OPTION_LAST, AT(help), .letter = 'h', .help = ""},
	{"version", OPTION_LAST, AT(version), .letter = 'V', .help = ""},
};
static const struct option_table table = {
	.program = "vfsdax-stat", .prefix = "--", .rows = rows, .count = ARRAY_SIZE(rows)};

static void help(void)
{
	puts("Usage: vfsdax-stat [--json] [--watch[=SECONDS]] MOUNTPOINT\n"
	     "       vfsdax-stat --list\n"
	     "Shows the counters of a mount of vfsdax-mount: bytes and requests by route (the\n"
	     "DAX window or the queue), the window's ranges, and why DAX is not used.");
	options_print(&table);
}

/* What vfsdax-mount may say, in its order. */
static void list_counters(void)
{
#define COUNTER(when, name, kind, value, help) puts(name " (" #kind "): " help);
#define FAMILY(when, name, kind, emit, help)   puts(name " (" #kind "): " help);
#include "vfsdax-mount/counters.def"
#include "bridge/counters.def"
#undef COUNTER
#undef FAMILY
}

/* ------------------------------------------------------------------ asking */

static int connect_to_daemon(const char *dir, dev_t dev)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, err = rundir_socket(dir, dev, addr.sun_path, sizeof(addr.sun_path));

	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

/* An open stream with the mount's report, or NULL after one log line. */
static FILE *ask(const char *mountpoint)
{
	struct timeval patience = {.tv_sec = 5};
	char *path = mountinfo_canonical(mountpoint);
	struct mountinfo m;
	char dir[80];
	int fd = -ENOENT;

	if (!path) {
		log_error("%s: %s", mountpoint, strerror(errno));
		return NULL;
	}
	if (!mountinfo_find(path, &m) || strcmp(m.type, "fuse.vfsdax") != 0) {
		log_error("%s is not a mount of vfsdax-mount; name the mountpoint itself",
			  mountpoint);
		free(path);
		return NULL;
	}
	free(path);
	if (rundir_path(geteuid(), dir, sizeof(dir)) == 0)
		fd = connect_to_daemon(dir, m.dev);
	if (fd < 0 && geteuid() != 0 && rundir_path(0, dir, sizeof(dir)) == 0)
		fd = connect_to_daemon(dir, m.dev);
	if (fd < 0) {
		log_error("%s: its daemon does not answer (%s): it was killed, or belongs to "
			  "another user",
			  mountpoint, strerror(-fd));
		return NULL;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fdopen(fd, "r");
}

/* Reads the next "name value"; false at the end. Both point into `line`. */
static bool next(FILE *f, char *line, size_t len, char **name, char **value)
{
	while (fgets(line, (int)len, f)) {
		char *space = strchr(line, ' ');
		char *end = strchr(line, '\n');

		if (!space || !end)
			continue;
		*space = *end = '\0';
		*name = line;
		*value = space + 1;
		return true;
	}
	return false;
}

/* ------------------------------------------------------------------ JSON */

/* Closes and opens objects, so that the one that `name` belongs to is open: `open` is its path. */
static void move_to(struct json *j, char *open, const char *name)
{
	size_t have = strlen(open);
	const char *dot;

	while (have && (strncmp(open, name, have) != 0 || name[have] != '.')) {
		const char *last = strrchr(open, '.');

		json_end(j);
		have = last ? (size_t)(last - open) : 0;
		open[have] = '\0';
	}
	while ((dot = strchr(name + have + !!have, '.'))) {
		size_t from = have + !!have;

		have = (size_t)(dot - name);
		memcpy(open, name, have);
		open[have] = '\0';
		json_object(j, open + from);
	}
}

static int print_json(FILE *f)
{
	char line[LINE_BYTES], open[LINE_BYTES] = "", *name, *value;
	struct json j;
	unsigned n = 0;

	json_init(&j, stdout);
	json_object(&j, NULL);
	for (; next(f, line, sizeof(line), &name, &value); n++) {
		const char *dot = strrchr(name, '.');

		move_to(&j, open, name);
		json_raw(&j, dot ? dot + 1 : name, value);
	}
	move_to(&j, open, "");
	json_end(&j);
	putchar('\n');
	return n ? 0 : 1;
}

/* ------------------------------------------------------------------ for people */

/* A JSON string without its quotes. Control characters stay escaped: the terminal shall not obey
 * them. */
static char *readable(char *value)
{
	char *to = value, *at = value + 1;

	if (*value != '"')
		return value;
	for (; *at && *at != '"'; *to++ = *at++)
		at += *at == '\\' && (at[1] == '"' || at[1] == '\\');
	*to = '\0';
	return value;
}

static int print_table(FILE *f)
{
	char line[LINE_BYTES], *name, *value;
	unsigned n = 0;

	for (; next(f, line, sizeof(line), &name, &value); n++) {
		value = readable(value);
		if (*value)
			printf("%-32s %s\n", name, value);
	}
	return n ? 0 : 1;
}

struct sample {
	char name[64];
	unsigned long long value;
};

/* Prints what grew or shrank since the last round, a line a counter. */
static int watch_counters(const char *mountpoint, unsigned seconds)
{
	static struct sample last[256];
	size_t known = 0;

	for (bool first = true;; first = false) {
		char line[LINE_BYTES], *name, *value;
		FILE *f = ask(mountpoint);

		if (!f)
			return 1;
		while (next(f, line, sizeof(line), &name, &value)) {
			unsigned long long v = strtoull(value, NULL, 10);
			size_t i = 0;

			while (i < known && strcmp(last[i].name, name) != 0)
				i++;
			if (i == ARRAY_SIZE(last))
				continue;
			if (i == known) {
				snprintf(last[known++].name, sizeof(last[i].name), "%s", name);
				last[i].value = first ? v : 0;
			}
			if (v != last[i].value && strcmp(name, "uptime_ms") != 0)
				printf("%-32s %+lld\n", name, (long long)(v - last[i].value));
			last[i].value = v;
		}
		fclose(f);
		if (!first)
			puts("");
		fflush(stdout);
		sleep(seconds);
	}
}

static int show(const char *mountpoint, bool json)
{
	FILE *f = ask(mountpoint);
	int status;

	if (!f)
		return 1;
	status = json ? print_json(f) : print_table(f);
	fclose(f);
	if (status)
		log_error("%s: its daemon sent nothing", mountpoint);
	return status;
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
	if (argc - first != 1) {
		log_error("name one mountpoint; usage: vfsdax-stat [--json] [--watch] MOUNTPOINT");
		return EXIT_USAGE;
	}
	return o.watch_s ? watch_counters(argv[first], o.watch_s) : show(argv[first], o.json);
}
