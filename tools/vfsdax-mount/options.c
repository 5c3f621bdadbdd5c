/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/options.h"
#include "base/parse.h"

static const char *const dax_names[] = {"always", "never", "inode", NULL};
static const char *const auto_none_always[] = {"auto", "none", "always", NULL};
static const char *const auto_never_always[] = {"auto", "never", "always", NULL};
static const char *const admit_names[] = {"always", "auto", NULL};
static const char *const on_off[] = {"on", "off", NULL};
static const char *const level_names[] = {"error", "warn", "info", "debug", NULL};

_Static_assert(BRIDGE_DAX_NEVER == BRIDGE_DAX_ALWAYS + 1 &&
		       BRIDGE_DAX_INODE == BRIDGE_DAX_ALWAYS + 2,
	       "dax_names");
_Static_assert(BRIDGE_CACHE_AUTO == 0 && BRIDGE_CACHE_NONE == 1 && BRIDGE_CACHE_ALWAYS == 2,
	       "auto_none_always");
_Static_assert(SPIN_AUTO == 0 && SPIN_NEVER == 1 && SPIN_ALWAYS == 2, "auto_never_always");
_Static_assert(WINDOW_ADMIT_ALWAYS == 0 && WINDOW_ADMIT_AUTO == 1, "admit_names");
_Static_assert(LOG_ERROR == 0 && LOG_WARN == 1 && LOG_INFO == 2 && LOG_DEBUG == 3, "level_names");

/* ------------------------------------------------------------------ -o */

static int set_share_device(void *to, const struct option_table *t, const struct option_row *row,
			    const char *value)
{
	uint64_t uid;

	if (parse_u64(value, &uid) || uid >= UINT32_MAX)
		return option_refuse(t, row, value, "the number of a user");
	((struct options *)to)->share_device = (int64_t)uid;
	return 0;
}

/* libfuse3 and the kernel get it, too. */
static int add_kernel_option(struct options *o, const char *name, const char *value)
{
	size_t used = strlen(o->kernel);
	int n = snprintf(o->kernel + used, sizeof(o->kernel) - used, "%s%s%s%s", used ? "," : "",
			 name, value ? "=" : "", value ? value : "");

	if (n < 0 || (size_t)n >= sizeof(o->kernel) - used) {
		log_error("the mount options are longer than %zu characters: leave some out",
			  sizeof(o->kernel) - 1);
		return -EINVAL;
	}
	return 0;
}

static int pass_on(void *to, const struct option_table *t, const struct option_row *row,
		   const char *value)
{
	if (value && strchr(value, ','))
		return option_refuse(t, row, value, "a value without commas");
	return add_kernel_option(to, row->name, value);
}

static int set_allow(void *to, const struct option_table *t, const struct option_row *row,
		     const char *value)
{
	(void)t, (void)value;
	((struct options *)to)->allow = (enum mount_allow)row->max;
	return 0;
}

static int ignore(void *to, const struct option_table *t, const struct option_row *row,
		  const char *value)
{
	(void)to, (void)t, (void)row, (void)value;
	return 0;
}

#define AT(field)   OPTION_FIELD(struct options, field)
#define ALLOW(whom) OPTION_CALL, .set = set_allow, .max = whom
#define KERNEL_FLAG OPTION_CALL, .set = pass_on
#define OF_FSTAB    OPTION_CALL, .set = ignore /* what mount(8) and fstab(5) add for themselves */

static const struct option_row mount_rows[] = {
	{"dax", OPTION_CHOICE, AT(bridge.dax), .names = dax_names, .min = BRIDGE_DAX_ALWAYS,
	 .without = "always", .help = "which files use the window"},
	{"cache", OPTION_CHOICE, AT(bridge.cache), .names = auto_none_always,
	 .help = "what the page cache keeps"},
	{"workers", OPTION_NUMBER, AT(bridge.workers), "N", "threads; default: one a CPU", .min = 1,
	 .max = 256},
	{"queues", OPTION_NUMBER, AT(bridge.queues), "N", "request queues; default: one a thread",
	 .min = 1, .max = 63},
	{"timeout", OPTION_NUMBER, AT(timeout_s), "SECONDS", "for an answer of the device (60)",
	 .min = 1, .max = 86400},
	{"reconnect", OPTION_NUMBER, AT(reconnect_s), "SECONDS",
	 "that callers wait for a device that is gone (30)", .min = 0, .max = 86400},
	{"hard", OPTION_FLAG, AT(hard), .help = "they wait for ever"},
	{"soft", OPTION_NO, AT(hard)},
	{"polling", OPTION_CHOICE, AT(bridge.polling), .names = auto_never_always,
	 .help = "poll for requests instead of blocking"},
	{"window_admit", OPTION_CHOICE, AT(bridge.window_admit), .names = admit_names,
	 .help = "map all, or what pays (default)"},
	{"window_ranges", OPTION_NUMBER, AT(bridge.window_ranges_max), "N",
	 "mappings at a time (512)", .min = 1, .max = 1u << 20},
	{"direct_maps", OPTION_CHOICE, AT(no_direct_maps), .names = on_off,
	 .help = "map files into other processes"},
	{"share_device", OPTION_CALL, .argument = "UID", .set = set_share_device,
	 .help = "who gets all of a PCI device for that"},
	{"nonempty", OPTION_FLAG, AT(nonempty), .help = "mount over what is there"},
	{"ro", OPTION_FLAG, AT(bridge.readonly), .set = pass_on, .help = "read-only"},
	{"allow_other", ALLOW(ALLOW_OTHER), .help = "all users may use it (default for root)"},
	{"no_allow_other", ALLOW(ALLOW_OWNER), .help = "only its owner may"},
	{"allow_root", ALLOW(ALLOW_ROOT), .help = "only its owner and root may"},
	{"default_permissions", OPTION_FLAG, AT(default_permissions),
	 .help = "the kernel checks rights (default)"},
	{"no_default_permissions", OPTION_NO, AT(default_permissions),
	 .help = "the device checks them; names are not cached"},
	{"rw", OPTION_NO, AT(bridge.readonly), .set = pass_on},
	{"auto_unmount", KERNEL_FLAG},
	{"dev", KERNEL_FLAG},
	{"nodev", KERNEL_FLAG},
	{"suid", KERNEL_FLAG},
	{"nosuid", KERNEL_FLAG},
	{"exec", KERNEL_FLAG},
	{"noexec", KERNEL_FLAG},
	{"atime", KERNEL_FLAG},
	{"noatime", KERNEL_FLAG},
	{"sync", KERNEL_FLAG},
	{"async", KERNEL_FLAG},
	{"dirsync", KERNEL_FLAG},
	{"context", KERNEL_FLAG, .argument = "CONTEXT"},
	{"defaults", OF_FSTAB},
	{"_netdev", OF_FSTAB},
	{"noauto", OF_FSTAB},
	{"nofail", OF_FSTAB},
	{"user", OF_FSTAB},
	{"users", OF_FSTAB},
};

static const struct option_table mount_table = {.program = "vfsdax-mount",
						.prefix = "-o ",
						.rows = mount_rows,
						.count = ARRAY_SIZE(mount_rows)};

static int set_mount_options(void *to, const struct option_table *t, const struct option_row *row,
			     const char *value)
{
	(void)t, (void)row;
	return options_read_list(&mount_table, to, (char *)(uintptr_t)value); /* a word of argv */
}

/* ------------------------------------------------------------------ the command line */

static const struct option_row rows[] = {
	{"options", OPTION_CALL, .argument = "LIST", .letter = 'o', .set = set_mount_options,
	 .help = "the above, separated by commas"},
	{"foreground", OPTION_FLAG, AT(foreground), .letter = 'f', .help = "and log to stderr"},
	{"log-level", OPTION_CHOICE, AT(log_level), .names = level_names, .help = ""},
	{"upgrade", OPTION_FLAG, AT(upgrade), .help = "goes on with a mount in another driver's place"},
	{"list", OPTION_FLAG, AT(list), .letter = 'l', .help = "the virtio-fs functions there are"},
	{"json", OPTION_FLAG, AT(json), .letter = 'j', .help = "the list as JSON"},
	{"help", OPTION_LAST, AT(help), .letter = 'h', .help = ""},
	{"version", OPTION_LAST, AT(version), .letter = 'V', .help = ""},
};

static const struct option_table table = {
	.program = "vfsdax-mount", .prefix = "--", .rows = rows, .count = ARRAY_SIZE(rows)};

void options_help(void)
{
	puts("Usage: vfsdax-mount [SOURCE] MOUNTPOINT [-o LIST] [-f]\n"
	     "       vfsdax-mount --upgrade MOUNTPOINT [-o LIST] [-f]\n"
	     "       vfsdax-mount --list [--json]\n"
	     "Mounts a virtio-fs share. SOURCE: unix:SOCKET (vfsdax-device, virtiofsd), a PCI\n"
	     "function such as 0000:00:04.0, or its tag; default: the only function there is.");
	options_print(&mount_table);
	puts("  ... and those of mount(8)");
	options_print(&table);
	puts("Unmount with umount or fusermount3 -u. Counters: vfsdax-stat MOUNTPOINT.");
}

/*
 * allow_root is ours to see to: the kernel lets all users in for it, or, for a mount of root's,
 * nobody else to begin with.
 */
static int settle_rights(struct options *o)
{
	bool root = geteuid() == 0;
	int err = 0;

	o->others = o->allow == ALLOW_OTHER;
	if (o->allow == ALLOW_DEFAULT)
		o->allow = root ? ALLOW_OTHER : ALLOW_OWNER;
	o->bridge.owner = geteuid();
	o->bridge.owner_only = o->allow == ALLOW_ROOT && !root;
	o->bridge.check_permissions = !o->default_permissions;
	if (o->default_permissions)
		err = add_kernel_option(o, "default_permissions", NULL);
	if (!err && (o->allow == ALLOW_OTHER || o->bridge.owner_only))
		err = add_kernel_option(o, "allow_other", NULL);
	return err;
}

int options_parse(int argc, char **argv, struct options *o)
{
	int first;

	*o = (struct options){
		.log_level = -1,
		.timeout_s = 60,
		.reconnect_s = 30,
		.share_device = -1,
		.default_permissions = true,
		.bridge.window_admit = WINDOW_ADMIT_AUTO,
	};
	first = options_read(&table, o, argc, argv);
	if (first < 0)
		return first;
	argc -= first;
	argv += first;
	if (o->help || o->version || (o->list && argc == 0))
		return 0;
	if (o->upgrade && argc != 1) {
		log_error("--upgrade takes the mountpoint, and no source");
		return -EINVAL;
	}
	if (o->list || argc < 1 || argc > 2) {
		log_error(argc < 1 ? "no mountpoint given; usage: vfsdax-mount [SOURCE] MOUNTPOINT"
				   : "too many arguments; usage: vfsdax-mount [SOURCE] MOUNTPOINT");
		return -EINVAL;
	}
	o->mountpoint = argv[argc - 1];
	o->source = argc == 2 ? argv[0] : NULL;
	return settle_rights(o);
}

int options_parse_over(int argc, char **argv, struct options *o)
{
	const char *source = o->source, *mountpoint = o->mountpoint;
	int first = options_read(&table, o, argc, argv);

	o->source = source;
	o->mountpoint = mountpoint;
	return first < 0 ? first : 0;
}
