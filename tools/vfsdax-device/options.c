/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"

struct option_row {
	const char *name;     /* NULL: an empty line of help */
	const char *argument; /* NULL: none */
	const char *help;     /* NULL: hidden, for tests of drivers */
	/* -EINVAL: not a value for this option; then `way_out` says what would be. */
	int (*set)(const struct option_row *row, void *at, const char *value);
	size_t offset, size; /* of the field in struct device_options */
	uint64_t least, most, multiple;
	const char *way_out;
};

/* Decimal, with an optional K, M, G or T. False: none, or more than 64 bits. */
static bool parse_size(const char *text, uint64_t *out)
{
	static const char suffixes[] = "KMGT";
	unsigned shift = 0;
	const char *suffix;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*out = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (*end) {
		suffix = strchr(suffixes, *end & ~0x20);
		if (!suffix || !*suffix || end[1])
			return false;
		shift = 10 * (unsigned)(suffix - suffixes + 1);
	}
	if (*out > UINT64_MAX >> shift)
		return false;
	*out <<= shift;
	return true;
}

static int set_number(const struct option_row *row, void *at, const char *value)
{
	uint64_t n;

	if (!parse_size(value, &n) || n < row->least || n > row->most ||
	    (row->multiple && n % row->multiple))
		return -EINVAL;
	if (row->size == sizeof(uint32_t))
		*(uint32_t *)at = (uint32_t)n;
	else
		*(uint64_t *)at = n;
	return 0;
}

static int set_power_of_two(const struct option_row *row, void *at, const char *value)
{
	uint64_t n;

	return parse_size(value, &n) && is_pow2(n) ? set_number(row, at, value) : -EINVAL;
}

/* The choices stand in row->argument, in the order of their enum. */
static int set_choice(const struct option_row *row, void *at, const char *value)
{
	size_t len = strlen(value);
	const char *choice = row->argument;

	for (int i = 0; choice; i++) {
		if (strcspn(choice, "|") == len && strncmp(choice, value, len) == 0) {
			*(int *)at = i;
			return 0;
		}
		choice = strchr(choice, '|');
		choice = choice ? choice + 1 : NULL;
	}
	return -EINVAL;
}

static int set_log_level(const struct option_row *row, void *at, const char *value)
{
	int level = log_level_parse(value);

	(void)row;
	(void)at;
	if (level < 0)
		return -EINVAL;
	log_set_level((enum log_level)level);
	return 0;
}

static int set_string(const struct option_row *row, void *at, const char *value)
{
	(void)row;
	*(const char **)at = value;
	return 0;
}

static int set_tag(const struct option_row *row, void *at, const char *value)
{
	size_t len = strlen(value);

	if (!len || len > row->size)
		return -EINVAL;
	memset(at, 0, row->size);
	memcpy(at, value, len);
	return 0;
}

static int set_true(const struct option_row *row, void *at, const char *value)
{
	(void)row;
	(void)value;
	*(bool *)at = true;
	return 0;
}

static int set_false(const struct option_row *row, void *at, const char *value)
{
	(void)row;
	(void)value;
	*(bool *)at = false;
	return 0;
}

static int print_help(const struct option_row *row, void *at, const char *value);

static int print_version(const struct option_row *row, void *at, const char *value)
{
	(void)row;
	(void)at;
	(void)value;
	puts("vfsdax-device " VFSDAX_VERSION);
	return 1;
}

#define AT(field)                                         \
	.offset = offsetof(struct device_options, field), \
	.size = sizeof(((struct device_options *)0)->field)

/* clang-format off */
static const struct option_row rows[] = {
	{"shared-dir", "DIR", "the directory to share", set_string, AT(fs.shared_dir)},
	{"socket-path", "SOCK", "the Unix socket to listen on", set_string, AT(socket_path)},
	{"fd", "N", "listen on this open socket instead", set_number, AT(fd), 0, INT_MAX,
	 .way_out = "give the number of an open, listening socket"},
	{"tag", "NAME", "what the guest knows the share by, up to 36 bytes [vfsdax]",
	 set_tag, AT(vhost.tag), .way_out = "a tag has 1 to 36 bytes"},
	{"readonly", NULL, "refuse every change", set_true, AT(fs.readonly)},
	{0},
	{"cache-size", "SIZE", "size of the DAX window, K, M, G or T; 0 for none [4G]",
	 set_number, AT(vhost.cache_size_bytes), 0, INT64_MAX, 4096,
	 "give a multiple of 4096 bytes such as 512M or 4G, or 0 for no window"},
	{"dax", "none|always|inode|filesize", "which files the window is for [always]",
	 set_choice, AT(fs.dax), .way_out = "give none, always, inode or filesize"},
	{"dax-threshold", "SIZE", "with filesize: for files larger than this [32K]",
	 set_number, AT(fs.dax_threshold_bytes), 0, UINT64_MAX, .way_out = "give a size such as 32K"},
	{"cache", "never|auto|always", "how long the guest may keep names and attributes [auto]",
	 set_choice, AT(fs.cache), .way_out = "give never, auto or always"},
	{"no-xattr", NULL, "no extended attributes", set_false, AT(fs.xattr)},
	{"posix-acl", NULL, "POSIX access control lists", set_true, AT(fs.posix_acl)},
	{0},
	{"num-request-queues", "N", "request queues, a thread each [CPUs, at most 4]",
	 set_number, AT(vhost.num_request_queues), 1, VHOST_REQUEST_QUEUES_MAX,
	 .way_out = "give a number from 1 to 64"},
	{"queue-size", "N", "most entries of a queue, a power of two [1024]",
	 set_power_of_two, AT(vhost.queue_size_max), 2, VRING_QUEUE_SIZE_MAX,
	 .way_out = "give a power of two from 2 to 32768"},
	{"log-level", "LEVEL", "error, warn, info or debug [info]", set_log_level,
	 .way_out = "give error, warn, info or debug"},
	{"no-event-idx", NULL, NULL, set_true, AT(vhost.no_event_idx)},
	{"no-indirect", NULL, NULL, set_true, AT(vhost.no_indirect)},
	{"help", NULL, "print this", print_help, .offset = 0},
	{"version", NULL, "print the version", print_version, .offset = 0},
};
/* clang-format on */

#define HELP_COLUMN 27

static void print_row(const struct option_row *row)
{
	int width;

	if (!row->name) {
		putchar('\n');
		return;
	}
	if (!row->help)
		return;
	width = printf("  --%s %s", row->name, row->argument ? row->argument : "");
	if (width >= HELP_COLUMN) {
		putchar('\n');
		width = 0;
	}
	printf("%*s%s\n", HELP_COLUMN - width, "", row->help);
}

static int print_help(const struct option_row *row, void *at, const char *value)
{
	(void)row;
	(void)at;
	(void)value;
	puts("usage: vfsdax-device --shared-dir DIR --socket-path SOCK [OPTIONS]\n"
	     "\n"
	     "Serves DIR as a virtio-fs device with a DAX window, to one vhost-user front end at\n"
	     "a time: a virtual machine (QEMU 11.1 or newer), or vfsdax-mount unix:SOCK.\n");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		print_row(&rows[i]);
	puts("\nOptions can be written --option VALUE or --option=VALUE. See vfsdax-device(8).");
	return 1;
}

void options_default(struct device_options *o)
{
	cpu_set_t cpus;
	int n_cpus = sched_getaffinity(0, sizeof(cpus), &cpus) ? 1 : CPU_COUNT(&cpus);

	*o = (struct device_options){
		.fs = {.dax = DAX_ALWAYS,
		       .dax_threshold_bytes = 32 * KIB,
		       .cache = CACHE_AUTO,
		       .xattr = true},
		.vhost = {.tag = "vfsdax",
			  .num_request_queues = (unsigned)MIN(MAX(n_cpus, 1), 4),
			  .queue_size_max = 1024,
			  .cache_size_bytes = 4 * GIB},
		.fd = -1,
	};
}

static int options_check(const struct device_options *o)
{
	if (!o->fs.shared_dir)
		log_error("--shared-dir is missing: which directory is to be shared?");
	else if (!o->socket_path == (o->fd < 0))
		log_error("give one of --socket-path and --fd: where is the front end to connect?");
	else if (o->fs.posix_acl && !o->fs.xattr)
		log_error("--posix-acl and --no-xattr exclude each other: access control lists are "
			  "extended attributes");
	else
		return 0;
	return -EINVAL;
}

static int set_row(struct device_options *o, const struct option_row *row, const char *value)
{
	int rc = row->set(row, (char *)o + row->offset, value);

	if (rc < 0)
		log_error("--%s %s: %s", row->name, value, row->way_out);
	return rc;
}

int options_parse(struct device_options *o, int argc, char **argv)
{
	struct option long_options[ARRAY_SIZE(rows) + 1] = {0};
	int n = 0, found, rc = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].name)
			long_options[n++] = (struct option){
				.name = rows[i].name,
				.has_arg = rows[i].argument ? required_argument : no_argument,
				.val = 256 + (int)i,
			};
	opterr = 0;
	while (!rc && (found = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
		if (found == '?' || found == ':') {
			log_error(found == ':' ? "%s needs a value; see vfsdax-device --help"
					       : "unknown option %s; see vfsdax-device --help",
				  argv[optind - 1]);
			return -EINVAL;
		}
		rc = set_row(o, &rows[found - 256], optarg);
	}
	if (rc)
		return rc;
	if (optind < argc) {
		log_error("unexpected argument %s; see vfsdax-device --help", argv[optind]);
		return -EINVAL;
	}
	return options_check(o);
}
