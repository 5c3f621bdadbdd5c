/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/options.h"

/* enum dax_mode, enum cache_mode, enum acl_mode, enum log_level. */
static const char *const dax_names[] = {"none", "always", "inode", "filesize", NULL};
static const char *const cache_names[] = {"never", "auto", "always", NULL};
static const char *const acl_names[] = {"never", "auto", "always", NULL};
static const char *const level_names[] = {"error", "warn", "info", "debug", NULL};

struct parsed {
	struct device_options o;
	const char *tag;
	int log_level;
	bool help, version;
};

static int check_window_size(void *to, const struct option_table *t, const struct option_row *row,
			     const char *value)
{
	const struct parsed *p = to;

	if (p->o.vhost.cache_size_bytes % 4096 == 0)
		return 0;
	return option_refuse(t, row, value,
			     "a multiple of 4096 bytes such as 512M or 4G, or 0 for no window");
}

static int check_queue_size(void *to, const struct option_table *t, const struct option_row *row,
			    const char *value)
{
	const struct parsed *p = to;

	if (is_pow2(p->o.vhost.queue_size_max))
		return 0;
	return option_refuse(t, row, value, "a power of two from 2 to 32768");
}

static int set_tag(void *to, const struct option_table *t, const struct option_row *row,
		   const char *value)
{
	struct vhost_options *v = &((struct parsed *)to)->o.vhost;
	size_t len = strlen(value);

	if (len > sizeof(v->tag))
		return option_refuse(t, row, value, "a tag of 1 to 36 bytes");
	memset(v->tag, 0, sizeof(v->tag));
	memcpy(v->tag, value, len);
	return 0;
}

static int set_log_level(void *to, const struct option_table *t, const struct option_row *row,
			 const char *value)
{
	(void)t;
	(void)row;
	(void)value;
	log_set_level((enum log_level)((struct parsed *)to)->log_level);
	return 0;
}

#define AT(field) OPTION_FIELD(struct parsed, field)

/* clang-format off */
static const struct option_row rows[] = {
	{"shared-dir", OPTION_STRING, AT(o.fs.shared_dir), "DIR", "the directory to share"},
	{"socket-path", OPTION_STRING, AT(o.socket_path), "SOCK", "the Unix socket to listen on"},
	{"fd", OPTION_NUMBER, AT(o.fd), "N", "listen on this open socket instead", .max = INT_MAX},
	{"tag", OPTION_STRING, AT(tag), "NAME",
	 "what the guest knows the share by, up to 36 bytes [vfsdax]", .set = set_tag},
	{"readonly", OPTION_FLAG, AT(o.fs.readonly), .help = "refuse every change"},
	{"cache-size", OPTION_SIZE, AT(o.vhost.cache_size_bytes), "SIZE",
	 "size of the DAX window, K, M, G or T; 0 for none [4G]",
	 .max = INT64_MAX, .set = check_window_size},
	{"dax", OPTION_CHOICE, AT(o.fs.dax), .names = dax_names,
	 .help = "which files the window is for [always]"},
	{"dax-threshold", OPTION_SIZE, AT(o.fs.dax_threshold_bytes), "SIZE",
	 "with filesize: for files larger than this [32K]", .max = INT64_MAX},
	{"map-executables", OPTION_FLAG, AT(o.fs.map_executables),
	 .help = "the window for executable files, too, where that keeps the host from executing them"},
	{"cache", OPTION_CHOICE, AT(o.fs.cache), .names = cache_names,
	 .help = "how long the guest may keep names and attributes [auto]"},
	{"no-xattr", OPTION_NO, AT(o.fs.xattr), .help = "no extended attributes"},
	{"posix-acl", OPTION_CHOICE, AT(o.fs.posix_acl), .names = acl_names, .without = "auto",
	 .help = "POSIX access control lists [never]"},
	{"xattrmap", OPTION_STRING, AT(o.fs.xattrmap), "RULES",
	 "other names for extended attributes on the host"},
	{"security-label", OPTION_FLAG, AT(o.fs.security_label),
	 .help = "new files get the labels that the guest gives them"},
	{"check-permissions", OPTION_FLAG, AT(o.fs.check_permissions),
	 .help = "do all as the caller, whoever checks on the other side"},
	{"num-request-queues", OPTION_NUMBER, AT(o.vhost.num_request_queues), "N",
	 "request queues, a thread each [CPUs, at most 4]", .min = 1, .max = VHOST_REQUEST_QUEUES_MAX},
	{"queue-size", OPTION_NUMBER, AT(o.vhost.queue_size_max), "N",
	 "most entries of a queue, a power of two [1024]",
	 .min = 2, .max = VRING_QUEUE_SIZE_MAX, .set = check_queue_size},
	{"log-level", OPTION_CHOICE, AT(log_level), .names = level_names, .help = "[info]",
	 .set = set_log_level},
	{"no-event-idx", OPTION_FLAG, AT(o.vhost.no_event_idx)}, /* for tests of drivers */
	{"no-indirect", OPTION_FLAG, AT(o.vhost.no_indirect)},	 /* for tests of drivers */
	{"help", OPTION_LAST, AT(help), .help = ""},
	{"version", OPTION_LAST, AT(version), .help = ""},
};
/* clang-format on */

static const struct option_table table = {
	.program = "vfsdax-device", .prefix = "--", .rows = rows, .count = ARRAY_SIZE(rows)};

static void print_help(void)
{
	puts("usage: vfsdax-device --shared-dir DIR --socket-path SOCK [OPTIONS]\n"
	     "\n"
	     "Serves DIR as a virtio-fs device with a DAX window, to one vhost-user front end at\n"
	     "a time: a virtual machine (QEMU 11.1 or newer), or vfsdax-mount unix:SOCK.\n");
	options_print(&table);
	puts("\nOptions can be written --option VALUE or --option=VALUE. See vfsdax-device(8).");
}

static struct device_options default_options(void)
{
	cpu_set_t cpus;
	int n_cpus = sched_getaffinity(0, sizeof(cpus), &cpus) ? 1 : CPU_COUNT(&cpus);

	return (struct device_options){
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

static int check_options(const struct device_options *o)
{
	if (!o->fs.shared_dir)
		log_error("--shared-dir is missing: which directory is to be shared?");
	else if (!o->socket_path == (o->fd < 0))
		log_error("give one of --socket-path and --fd: where is the front end to connect?");
	else if (o->fs.security_label && !o->fs.xattr)
		log_error("--security-label and --no-xattr exclude each other: labels are extended "
			  "attributes");
	else if (o->fs.xattrmap && !o->fs.xattr)
		log_error("--xattrmap and --no-xattr exclude each other: leave one out");
	else if (o->fs.posix_acl && !o->fs.xattr)
		log_error("--posix-acl and --no-xattr exclude each other: access control lists are "
			  "extended attributes");
	else
		return 0;
	return -EINVAL;
}

int device_options_read(struct device_options *o, int argc, char **argv)
{
	struct parsed p = {.o = default_options()};
	int first = options_read(&table, &p, argc, argv);

	if (first < 0)
		return first;
	*o = p.o;
	if (p.help || p.version) {
		if (p.help)
			print_help();
		else
			puts("vfsdax-device " VFSDAX_VERSION);
		return 1;
	}
	if (first < argc) {
		log_error("unexpected argument %s; see vfsdax-device --help", argv[first]);
		return -EINVAL;
	}
	return check_options(o);
}
