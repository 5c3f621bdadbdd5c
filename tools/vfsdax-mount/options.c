/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"

void options_help(void)
{
	puts("Usage: vfsdax-mount [SOURCE] MOUNTPOINT [-o OPTIONS] [-f]\n"
	     "       vfsdax-mount --list [--json]\n"
	     "\n"
	     "Mounts a virtio-fs share, served by this process from the device's DAX window.\n"
	     "SOURCE    unix:SOCKET   a vhost-user-fs back end (vfsdax-device, virtiofsd)\n"
	     "          0000:00:04.0  a PCI function, taken over with VFIO\n"
	     "          TAG           the function with this tag\n"
	     "          Without one: the only virtio-fs function of this machine.\n"
	     "\n"
	     "  -o dax=always|never|inode  which files use the window (default: as the device\n"
	     "                             marks them, all where it marks none)\n"
	     "  -o cache=auto|none|always  the page cache: for files outside the window only,\n"
	     "                             not at all (always coherent), or kept across opens\n"
	     "  -o ro, allow_other, default_permissions, nonempty, and those of mount(8)\n"
	     "  -o workers=N, queues=N     threads (default: one a CPU), request queues\n"
	     "  -o window_admit=auto|always, window_policy=lru|lifo, window_ranges=N\n"
	     "  -o lazy_unmap              unmap nothing before its place is wanted\n"
	     "  -o timeout=SECONDS         for an answer of the device (default 60)\n"
	     "  -o polling=auto|never|always  look for requests instead of sleeping\n"
	     "  -o direct_maps=on|off      pieces of files in the memory of other processes\n"
	     "  -o share_device=UID        who gets all of a PCI device for them if need be\n"
	     "  -f, --foreground           stay in the foreground, log to stderr\n"
	     "      --log-level LEVEL      error, warn, info, debug\n"
	     "  -l, --list                 the virtio-fs functions of this machine\n"
	     "  -h, --help    -V, --version\n"
	     "\n"
	     "Unmount with umount MOUNTPOINT or fusermount3 -u. Counters: vfsdax-stat MOUNTPOINT.");
}

/* ------------------------------------------------------------------ -o */

static int unknown_value(const char *key, const char *value, const char *known)
{
	log_error("option %s=%s: use one of %s", key, value, known);
	return -EINVAL;
}

static int choose(const char *key, const char *value, const char *const *names, const int *values,
		  const char *known, int *out)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(value, names[i]) == 0) {
			*out = values[i];
			return 0;
		}
	return unknown_value(key, value, known);
}

static int set_dax(struct options *o, const char *value)
{
	static const char *const names[] = {"always", "never", "inode", NULL};
	static const int values[] = {BRIDGE_DAX_ALWAYS, BRIDGE_DAX_NEVER, BRIDGE_DAX_INODE};
	int v = BRIDGE_DAX_ALWAYS; /* "dax" alone, as the kernel's virtiofs takes it */
	int err = value ? choose("dax", value, names, values, "always, never, inode", &v) : 0;

	o->bridge.dax = (enum bridge_dax)v;
	return err;
}

static int set_cache(struct options *o, const char *value)
{
	static const char *const names[] = {"auto", "none", "always", NULL};
	static const int values[] = {BRIDGE_CACHE_AUTO, BRIDGE_CACHE_NONE, BRIDGE_CACHE_ALWAYS};
	int v = BRIDGE_CACHE_AUTO;
	int err = choose("cache", value, names, values, "auto, none, always", &v);

	o->bridge.cache = (enum bridge_cache)v;
	return err;
}

static int set_polling(struct options *o, const char *value)
{
	static const char *const names[] = {"auto", "never", "always", NULL};
	static const int values[] = {SPIN_AUTO, SPIN_NEVER, SPIN_ALWAYS};
	int v = SPIN_AUTO;
	int err = choose("polling", value, names, values, "auto, never, always", &v);

	o->bridge.polling = (enum spin_mode)v;
	return err;
}

static int parse_number(const char *key, const char *value, unsigned long max, unsigned *out)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (errno || end == value || *end || value[0] == '-' || n < 1 || n > max) {
		log_error("option %s=%s: use a number from 1 to %lu", key, value, max);
		return -EINVAL;
	}
	*out = (unsigned)n;
	return 0;
}

static int set_workers(struct options *o, const char *value)
{
	return parse_number("workers", value, 256, &o->bridge.workers);
}

static int set_queues(struct options *o, const char *value)
{
	return parse_number("queues", value, 63, &o->bridge.queues);
}

static int set_timeout(struct options *o, const char *value)
{
	return parse_number("timeout", value, 86400, &o->timeout_s);
}

static int set_window_policy(struct options *o, const char *value)
{
	static const char *const names[] = {"lru", "lifo", NULL};
	static const int values[] = {WINDOW_POLICY_LRU, WINDOW_POLICY_LIFO};
	int v = WINDOW_POLICY_LRU;
	int err = choose("window_policy", value, names, values, "lru, lifo", &v);

	o->bridge.window_policy = (enum window_policy)v;
	return err;
}

static int set_window_admit(struct options *o, const char *value)
{
	static const char *const names[] = {"auto", "always", NULL};
	static const int values[] = {WINDOW_ADMIT_AUTO, WINDOW_ADMIT_ALWAYS};
	int v = WINDOW_ADMIT_AUTO;
	int err = choose("window_admit", value, names, values, "auto, always", &v);

	o->bridge.window_admit = (enum window_admit)v;
	return err;
}

static int set_window_ranges(struct options *o, const char *value)
{
	return parse_number("window_ranges", value, 1u << 20, &o->bridge.window_ranges_max);
}

static int set_lazy_unmap(struct options *o, const char *value)
{
	(void)value;
	o->bridge.lazy_unmap = true;
	return 0;
}

static int set_direct_maps(struct options *o, const char *value)
{
	static const char *const names[] = {"on", "off", NULL};
	static const int values[] = {0, 1};
	int v = 0;
	int err = choose("direct_maps", value, names, values, "on, off", &v);

	o->no_direct_maps = v;
	return err;
}

static int set_share_device(struct options *o, const char *value)
{
	char *end;
	unsigned long uid;

	errno = 0;
	uid = strtoul(value, &end, 10);
	if (errno || *end || value[0] < '0' || value[0] > '9' || uid >= UINT32_MAX) {
		log_error("option share_device=%s: use the number of a user", value);
		return -EINVAL;
	}
	o->share_device = (int64_t)uid;
	return 0;
}

static int set_allow_other(struct options *o, const char *value)
{
	(void)value;
	o->others = true;
	return 0;
}

static int set_nonempty(struct options *o, const char *value)
{
	(void)value;
	o->nonempty = true;
	return 0;
}

static int set_ro(struct options *o, const char *value)
{
	(void)value;
	o->bridge.readonly = true;
	return 0;
}

static int set_rw(struct options *o, const char *value)
{
	(void)value;
	o->bridge.readonly = false;
	return 0;
}

enum value_rule { NO_VALUE, NEEDS_VALUE, MAY_HAVE_VALUE };

static const struct mount_option {
	const char *name;
	enum value_rule rule;
	int (*set)(struct options *o, const char *value); /* NULL: nothing of ours */
	bool to_kernel; /* libfuse3 and the kernel get it too */
} mount_options[] = {
	{"dax", MAY_HAVE_VALUE, set_dax, false},
	{"cache", NEEDS_VALUE, set_cache, false},
	{"workers", NEEDS_VALUE, set_workers, false},
	{"queues", NEEDS_VALUE, set_queues, false},
	{"timeout", NEEDS_VALUE, set_timeout, false},
	{"polling", NEEDS_VALUE, set_polling, false},
	{"window_admit", NEEDS_VALUE, set_window_admit, false},
	{"window_policy", NEEDS_VALUE, set_window_policy, false},
	{"window_ranges", NEEDS_VALUE, set_window_ranges, false},
	{"lazy_unmap", NO_VALUE, set_lazy_unmap, false},
	{"direct_maps", NEEDS_VALUE, set_direct_maps, false},
	{"share_device", NEEDS_VALUE, set_share_device, false},
	{"nonempty", NO_VALUE, set_nonempty, false},
	{"ro", NO_VALUE, set_ro, true},
	{"rw", NO_VALUE, set_rw, true},
	{"allow_other", NO_VALUE, set_allow_other, true},
	{"allow_root", NO_VALUE, NULL, true},
	{"default_permissions", NO_VALUE, NULL, true},
	{"auto_unmount", NO_VALUE, NULL, true},
	{"dev", NO_VALUE, NULL, true},
	{"nodev", NO_VALUE, NULL, true},
	{"suid", NO_VALUE, NULL, true},
	{"nosuid", NO_VALUE, NULL, true},
	{"exec", NO_VALUE, NULL, true},
	{"noexec", NO_VALUE, NULL, true},
	{"atime", NO_VALUE, NULL, true},
	{"noatime", NO_VALUE, NULL, true},
	{"sync", NO_VALUE, NULL, true},
	{"async", NO_VALUE, NULL, true},
	{"dirsync", NO_VALUE, NULL, true},
	{"context", NEEDS_VALUE, NULL, true},
	/* What mount(8) and fstab(5) add for themselves */
	{"defaults", NO_VALUE, NULL, false},
	{"_netdev", NO_VALUE, NULL, false},
	{"noauto", NO_VALUE, NULL, false},
	{"nofail", NO_VALUE, NULL, false},
	{"user", NO_VALUE, NULL, false},
	{"users", NO_VALUE, NULL, false},
};

static int pass_on(struct options *o, const char *item)
{
	size_t used = strlen(o->kernel);
	int n = snprintf(o->kernel + used, sizeof(o->kernel) - used, "%s%s", used ? "," : "", item);

	if (n < 0 || (size_t)n >= sizeof(o->kernel) - used) {
		log_error("the mount options are longer than %zu characters", sizeof(o->kernel) - 1);
		return -EINVAL;
	}
	return 0;
}

static int parse_item(struct options *o, char *item)
{
	char *equals = strchr(item, '=');
	size_t len = equals ? (size_t)(equals - item) : strlen(item);
	const char *value = equals ? equals + 1 : NULL;

	for (size_t i = 0; i < ARRAY_SIZE(mount_options); i++) {
		const struct mount_option *opt = &mount_options[i];
		int err = 0;

		if (strlen(opt->name) != len || strncmp(opt->name, item, len) != 0)
			continue;
		if ((opt->rule == NEEDS_VALUE && (!value || !*value)) ||
		    (opt->rule == NO_VALUE && value)) {
			log_error("option %s %s a value", opt->name,
				  opt->rule == NO_VALUE ? "does not take" : "needs");
			return -EINVAL;
		}
		if (opt->set)
			err = opt->set(o, value);
		if (!err && opt->to_kernel)
			err = pass_on(o, item);
		return err;
	}
	log_error("unknown option '%.*s'; vfsdax-mount --help lists those that there are", (int)len,
		  item);
	return -EINVAL;
}

static int parse_items(struct options *o, char *list)
{
	char *save, *item;
	int err = 0;

	for (item = strtok_r(list, ",", &save); item && !err; item = strtok_r(NULL, ",", &save))
		err = parse_item(o, item);
	return err;
}

/* ------------------------------------------------------------------ the command line */

int options_parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{"foreground", no_argument, NULL, 'f'}, {"options", required_argument, NULL, 'o'},
		{"list", no_argument, NULL, 'l'},	{"json", no_argument, NULL, 'j'},
		{"log-level", required_argument, NULL, 'L'},
		{"help", no_argument, NULL, 'h'},	{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	int c;

	memset(o, 0, sizeof(*o));
	o->log_level = -1;
	o->timeout_s = 60;
	o->share_device = -1;
	o->bridge.window_admit = WINDOW_ADMIT_AUTO;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":fo:lhV", longs, NULL)) != -1) {
		switch (c) {
		case 'f': o->foreground = true; break;
		case 'l': o->list = true; break;
		case 'j': o->json = true; break;
		case 'h': o->help = true; return 0;
		case 'V': o->version = true; return 0;
		case 'o':
			if (parse_items(o, optarg))
				return -EINVAL;
			break;
		case 'L':
			o->log_level = log_level_parse(optarg);
			if (o->log_level < 0)
				return unknown_value("--log-level", optarg, "error, warn, info, debug");
			break;
		case ':':
			log_error("option %s needs a value", argv[optind - 1]);
			return -EINVAL;
		default:
			log_error("unknown option %s; vfsdax-mount --help lists those that there are",
				  argv[optind - 1]);
			return -EINVAL;
		}
	}
	argc -= optind;
	argv += optind;
	if (o->list && argc == 0)
		return 0;
	if (o->list || argc < 1 || argc > 2) {
		log_error(argc < 1 ? "no mountpoint given; usage: vfsdax-mount [SOURCE] MOUNTPOINT"
				   : "too many arguments; usage: vfsdax-mount [SOURCE] MOUNTPOINT");
		return -EINVAL;
	}
	o->mountpoint = argv[argc - 1];
	o->source = argc == 2 ? argv[0] : NULL;
	return 0;
}
