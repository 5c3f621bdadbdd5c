/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "mount_options.h"

static const char *const level_names[] = {"error", "warn", "info", "debug", NULL};

_Static_assert(LOG_ERROR == 0 && LOG_WARN == 1 && LOG_INFO == 2 && LOG_DEBUG == 3, "level_names");

/* ------------------------------------------------------------------ -o */

static int add_list(struct options *o, const char *list)
{
	size_t used = strlen(o->given);
	int n = snprintf(o->given + used, sizeof(o->given) - used, "%s%s", used ? "," : "", list);

	if (n >= 0 && (size_t)n < sizeof(o->given) - used)
		return 0;
	log_error("the mount options are longer than %zu characters: leave some out",
		  sizeof(o->given) - 1);
	return -EINVAL;
}

static int set_list(void *to, const struct option_table *t, const struct option_row *row,
		    const char *value)
{
	(void)t, (void)row;
	return add_list(to, value);
}

static int set_word(void *to, const struct option_table *t, const struct option_row *row,
		    const char *value)
{
	(void)t, (void)value;
	return add_list(to, row->letter == 'r' ? "ro" : "rw");
}

int options_read_mount(struct options *o, const char *given)
{
	struct option_table t = mount_table;
	char *list = o->words + o->words_used;
	int n = snprintf(list, sizeof(o->words) - o->words_used, "%s", given);

	if (n < 0 || (size_t)n >= sizeof(o->words) - o->words_used) {
		log_error("the mount options are too long");
		return -EINVAL;
	}
	o->words_used += (size_t)n + 1;
	t.sloppy = o->sloppy;
	return options_read_list(&t, o, list);
}

/* ------------------------------------------------------------------ the command line */

#define AT(field) OPTION_FIELD(struct options, field)

static const struct option_row rows[] = {
	{"options", OPTION_CALL, .argument = "LIST", .letter = 'o', .set = set_list,
	 .help = "the above, separated by commas"},
	{"foreground", OPTION_FLAG, AT(foreground), .letter = 'f', .help = "and log to stderr"},
	{"log-level", OPTION_CHOICE, AT(log_level), .names = level_names, .help = "", .rare = true},
	{"upgrade", OPTION_FLAG, AT(upgrade),
	 .help = "goes on with a mount in another driver's place"},
	{"list", OPTION_FLAG, AT(list), .letter = 'l', .help = "the virtio-fs functions there are"},
	{"json", OPTION_FLAG, AT(json), .letter = 'j', .help = "the list as JSON", .rare = true},
	{"help", OPTION_LAST, AT(help), .letter = 'h', .help = ""},
	{"help-all", OPTION_LAST, AT(help_all), .help = "and what is rarely needed"},
	{"version", OPTION_LAST, AT(version), .letter = 'V', .help = ""},
};

static const struct option_table table = {
	.program = "vfsdax-mount", .prefix = "--", .rows = rows, .count = ARRAY_SIZE(rows)};

/* As mount(8) calls its helpers: SOURCE DIR [-sfnv] [-N NAMESPACE] [-o LIST] [-t TYPE] */
static const struct option_row helper_rows[] = {
	{"options", OPTION_CALL, .argument = "LIST", .letter = 'o', .set = set_list},
	{"sloppy", OPTION_FLAG, AT(sloppy), .letter = 's'},
	{"fake", OPTION_FLAG, AT(fake), .letter = 'f'},
	{"no-mtab", OPTION_FLAG, AT(unused), .letter = 'n'},
	{"verbose", OPTION_FLAG, AT(unused), .letter = 'v'},
	{"read-only", OPTION_CALL, .letter = 'r', .set = set_word},
	{"read-write", OPTION_CALL, .letter = 'w', .set = set_word},
	{"namespace", OPTION_STRING, AT(mount_namespace), "FILE", .letter = 'N'},
	{"types", OPTION_STRING, AT(type), "TYPE", .letter = 't'},
	{"help", OPTION_LAST, AT(help), .letter = 'h'},
	{"version", OPTION_LAST, AT(version), .letter = 'V'},
};

static const struct option_table helper_table = {.program = "mount.vfsdax",
						 .prefix = "--",
						 .rows = helper_rows,
						 .count = ARRAY_SIZE(helper_rows)};

void options_help(bool all)
{
	void (*print)(const struct option_table *) = all ? options_print : options_print_common;

	puts("Usage: vfsdax-mount [SOURCE] MOUNTPOINT [-o LIST] [-f]\n"
	     "       mount -t vfsdax SOURCE MOUNTPOINT [-o LIST]\n"
	     "       vfsdax-mount --upgrade MOUNTPOINT [-o LIST] [-f]\n"
	     "       vfsdax-mount --list [--json]\n"
	     "Mounts a virtio-fs share. SOURCE: unix:SOCKET (vfsdax-device, virtiofsd), a PCI\n"
	     "function such as 0000:00:04.0, or its tag; default: the only function there is.");
	print(&mount_table);
	puts("  ... and those of mount(8)");
	print(&table);
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

/* What mount(8) passes on is all that a mount is to have; it leaves out what is so by default. */
static int settle_helper_flags(struct options *o)
{
	static const unsigned long all = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC |
					 MS_SYNCHRONOUS | MS_DIRSYNC | MS_LAZYTIME |
					 MOUNT_NOSYMFOLLOW;
	int err = 0;

	o->flags.clear |= all & ~o->flags.set;
	/* libfuse3's default is another one, and fusermount3's the only one for users. */
	if (o->remount || geteuid() != 0)
		return 0;
	if (!(o->flags.set & MS_NOSUID))
		err = add_kernel_option(o, "suid", NULL);
	if (!err && !(o->flags.set & MS_NODEV))
		err = add_kernel_option(o, "dev", NULL);
	return err;
}

static int settle_flags(struct options *o)
{
	int err = o->helper ? settle_helper_flags(o) : 0;

	o->bridge.readonly = o->flags.set & MS_RDONLY;
	if (err || o->remount)
		return err;
	if (o->foreign_owner) {
		log_error("-o %s: a mount belongs to who mounts it, which is not that one: leave "
			  "it out",
			  o->foreign_owner->name);
		return -EINVAL;
	}
	if (geteuid() == 0)
		return 0;
	/* fusermount3 knows fewer flags than the kernel; of the others one would change anything.
	 */
	if (o->flags.set & MOUNT_NOSYMFOLLOW) {
		log_error("-o nosymfollow: only root can have it: leave it out");
		return -EINVAL;
	}
	o->flags = (struct fusemnt_flags){0};
	return 0;
}

static int check_words(struct options *o, int argc, char **argv)
{
	bool by_helper = o->helper && argc != 2;

	if (o->upgrade && argc != 1) {
		log_error("--upgrade takes the mountpoint, and no source");
		return -EINVAL;
	}
	if (o->list || argc < 1 || argc > 2 || by_helper) {
		log_error("%s; usage: %s",
			  argc < 1   ? "no mountpoint given"
			  : argc > 2 ? "too many arguments"
				     : "that is one argument too few",
			  o->helper ? "mount -t vfsdax SOURCE MOUNTPOINT"
				    : "vfsdax-mount [SOURCE] MOUNTPOINT");
		return -EINVAL;
	}
	o->mountpoint = argv[argc - 1];
	o->source = argc == 2 ? argv[0] : NULL;
	return 0;
}

static bool is_helper(const char *program)
{
	const char *slash = strrchr(program, '/');

	return strncmp(slash ? slash + 1 : program, "mount.", strlen("mount.")) == 0;
}

static const struct options defaults = {
	.log_level = -1,
	.timeout_s = 60,
	.reconnect_s = 30,
	.share_device = -1,
	.default_permissions = true,
	.bridge.window_admit = WINDOW_ADMIT_AUTO,
};

int options_of_mount(struct options *o, const char *given)
{
	*o = defaults;
	o->remount = true;
	return options_read_mount(o, given);
}

/* The kernel takes files from who may do everything with file systems. */
static bool may_pass_files(void)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct caps[2];

	return syscall(SYS_capget, &h, caps) == 0 && caps[0].effective & 1u << CAP_SYS_ADMIN;
}

/*
 * Who wants pages of this kernel gets them, and of who wants no MAP_SHARED none is passed through
 * either. Of a PCI function no file can be, and a kernel that refuses maps for writing of what the
 * window serves refuses those for reading as well: there the default is what guests know.
 */
static void settle_passthrough(struct options *o)
{
	bool alone = o->bridge.cache == BRIDGE_CACHE_ALWAYS;
	bool socket = o->source && strncmp(o->source, "unix:", 5) == 0;

	if (o->shared_mmap == SHARED_MMAP_DENY)
		o->bridge.shared_mmap = BRIDGE_SHARED_MMAP_DENY;
	else if (o->shared_mmap == SHARED_MMAP_COHERENT ||
		 (o->shared_mmap == SHARED_MMAP_DEFAULT && !alone && socket))
		o->bridge.shared_mmap = BRIDGE_SHARED_MMAP_COHERENT;
	o->bridge.passthrough = !o->no_passthrough && !alone &&
				o->bridge.shared_mmap != BRIDGE_SHARED_MMAP_DENY &&
				may_pass_files();
}

static int settle(struct options *o)
{
	int err = options_read_mount(o, o->given);

	settle_passthrough(o);
	if (!err)
		err = settle_flags(o);
	return err ? err : settle_rights(o);
}

int options_parse(int argc, char **argv, struct options *o)
{
	int first, err;

	*o = defaults;
	o->helper = argc && is_helper(argv[0]);
	first = options_read(o->helper ? &helper_table : &table, o, argc, argv);
	if (first < 0)
		return first;
	argc -= first;
	argv += first;
	if (o->help || o->help_all || o->version || (o->list && argc == 0))
		return 0;
	err = check_words(o, argc, argv);
	return err ? err : settle(o);
}

int options_over(struct options *o, const char *given)
{
	struct options now = defaults;
	int err;

	now.foreground = o->foreground;
	now.log_level = o->log_level;
	now.upgrade = o->upgrade;
	now.mountpoint = o->mountpoint;
	err = add_list(&now, given);
	if (!err && *o->given)
		err = add_list(&now, o->given);
	*o = now; /* no text of `now` points into it yet */
	return err ? err : settle(o);
}
