/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mount_options: the options of -o: ours, and each of mount(8), with what is done with it. What is
 * not here is no option.
 */
#include "mount_options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/parse.h"
#include "fuse/mount.h"

static const char *const dax_names[] = {"always", "never", "inode", NULL};
static const char *const auto_none_always[] = {"auto", "none", "always", NULL};
static const char *const auto_never[] = {"auto", "never", NULL};
static const char *const shared_mmap_names[] = {"coherent", "cached", "deny", NULL};
static const char *const auto_never_always[] = {"auto", "never", "always", NULL};
static const char *const admit_names[] = {"always", "auto", NULL};
static const char *const on_off[] = {"on", "off", NULL};

_Static_assert(BRIDGE_DAX_NEVER == BRIDGE_DAX_ALWAYS + 1 &&
		       BRIDGE_DAX_INODE == BRIDGE_DAX_ALWAYS + 2,
	       "dax_names");
_Static_assert(BRIDGE_CACHE_AUTO == 0 && BRIDGE_CACHE_NONE == 1 && BRIDGE_CACHE_ALWAYS == 2,
	       "auto_none_always");
_Static_assert(SHARED_MMAP_COHERENT == 1 && SHARED_MMAP_CACHED == 2 && SHARED_MMAP_DENY == 3,
	       "shared_mmap_names");
_Static_assert(SPIN_AUTO == 0 && SPIN_NEVER == 1 && SPIN_ALWAYS == 2, "auto_never_always");
_Static_assert(WINDOW_ADMIT_ALWAYS == 0 && WINDOW_ADMIT_AUTO == 1, "admit_names");

/* ------------------------------------------------------------------ what is done with them */

int add_kernel_option(struct options *o, const char *name, const char *value)
{
	size_t used = strlen(o->kernel), room = sizeof(o->kernel) - used, n;

	n = (size_t)snprintf(o->kernel + used, room, "%s%s%s", used ? "," : "", name,
			     value ? "=" : "");
	/* libfuse3 would cut it at a comma of the value's. */
	for (; value && *value && n + 2 < room; value++) {
		if (*value == ',' || *value == '\\')
			o->kernel[used + n++] = '\\';
		o->kernel[used + n++] = *value;
		o->kernel[used + n] = '\0';
	}
	if (n >= room || (value && *value)) {
		log_error("the mount options are longer than %zu characters: leave some out",
			  sizeof(o->kernel) - 1);
		return -EINVAL;
	}
	return 0;
}

static int pass_on(void *to, const struct option_table *t, const struct option_row *row,
		   const char *value)
{
	(void)t;
	return add_kernel_option(to, row->name, value);
}

/* A mount(2) flag of the mount: `min` is cleared, `max` set. */
static int set_flag(void *to, const struct option_table *t, const struct option_row *row,
		    const char *value)
{
	struct options *o = to;

	(void)t, (void)value;
	o->flags.clear = (o->flags.clear | row->min) & ~row->max;
	o->flags.set = (o->flags.set & ~row->min) | row->max;
	return 0;
}

/* libfuse3 and fusermount3 know it, too: it holds from the first moment, and for users. */
static int pass_flag(void *to, const struct option_table *t, const struct option_row *row,
		     const char *value)
{
	set_flag(to, t, row, value);
	return pass_on(to, t, row, value);
}

static int set_allow(void *to, const struct option_table *t, const struct option_row *row,
		     const char *value)
{
	(void)t, (void)value;
	((struct options *)to)->allow = (enum mount_allow)row->max;
	return 0;
}

static int set_share_device(void *to, const struct option_table *t, const struct option_row *row,
			    const char *value)
{
	uint64_t uid;

	if (parse_u64(value, &uid) || uid >= UINT32_MAX)
		return option_refuse(t, row, value, "the number of a user");
	((struct options *)to)->share_device = (int64_t)uid;
	return 0;
}

/* From /proc/mounts. What a mount of another user's is shown with cannot be had by copying it. */
static int check_owner(void *to, const struct option_table *t, const struct option_row *row,
		       const char *value)
{
	struct options *o = to;
	uint64_t id;

	if (parse_u64(value, &id) == 0 && id == (*row->name == 'u' ? getuid() : getgid()))
		return 0;
	o->foreign_owner = row; /* fine in a remount */
	(void)t;
	return parse_u64(value, &id) ? option_refuse(t, row, value, "a number") : 0;
}

static int check_subtype(void *to, const struct option_table *t, const struct option_row *row,
			 const char *value)
{
	(void)to;
	return strcmp(value, FUSE_MOUNT_SUBTYPE)
		       ? option_refuse(t, row, value, FUSE_MOUNT_SUBTYPE ", or leave it out")
		       : 0;
}

static int set_label(void *to, const struct option_table *t, const struct option_row *row,
		     const char *value)
{
	if (access("/sys/fs/selinux", F_OK) == 0)
		return pass_on(to, t, row, value);
	return option_refuse(t, row, value,
			     "it with a kernel that runs SELinux; leave it out here");
}

/* ------------------------------------------------------------------ the table */

/* clang-format off */
#define AT(field)	  OPTION_FIELD(struct options, field)
#define ALLOW(whom)	  OPTION_CALL, AT(allow), .set = set_allow, .max = whom
#define FLAG(on, off)	  OPTION_CALL, .set = set_flag, .max = (on), .min = (off)
#define FUSE_FLAG(on, off) OPTION_CALL, .set = pass_flag, .max = (on), .min = (off)
#define LABEL(field)	  OPTION_STRING, AT(field), .argument = "CONTEXT", .set = set_label
#define IGNORED		  OPTION_IGNORED, .help = NULL
#define REFUSED(reason)	  OPTION_REFUSED, .why = reason
#define ATIMES		  (MS_NOATIME | MS_RELATIME | MS_STRICTATIME)

#define OWNERS		  "files have the owners of the host; vfsdax-device --translate-uid gives others"
#define MODES		  "files have the modes of the host"
#define CACHED		  "vfsdax-device --cache says how long names and attributes are kept"
#define PAGES		  "use cache=none, auto or always"
#define NO_DISK		  "a share is no block device"
#define NO_QUOTA	  "quotas are the host's"
#define OWN_FD		  "vfsdax-mount opens /dev/fuse by itself"
#define NOT_MOUNTING	  "it is an operation of mount(8), without a file system: mount --bind OLD NEW"
#define BY_DEVICE	  "the driver and the device agree on it"
#define OF_9P		  "it is of 9p: leave it out"

static const struct option_row rows[] = {
	{"dax", OPTION_CHOICE, AT(bridge.dax), .names = dax_names, .min = BRIDGE_DAX_ALWAYS,
	 .without = "always", .help = "which files use the window"},
	{"cache", OPTION_CHOICE, AT(bridge.cache), .names = auto_none_always,
	 .help = "what the page cache keeps"},
	{"passthrough", OPTION_CHOICE, AT(no_passthrough), .names = auto_never,
	 .help = "the kernel reads the host's files itself", .rare = true},
	{"shared_mmap", OPTION_CHOICE, AT(shared_mmap), .names = shared_mmap_names,
	 .min = SHARED_MMAP_COHERENT,
	 .help = "what MAP_SHARED is, without that"},
	{"workers", OPTION_NUMBER, AT(bridge.workers), "N", "threads; default: one a CPU", .min = 1,
	 .max = 256, .rare = true},
	{"queues", OPTION_NUMBER, AT(bridge.queues), "N", "request queues; default: one a thread",
	 .min = 1, .max = 63, .rare = true},
	{"timeout", OPTION_NUMBER, AT(timeout_s), "SECONDS", "how long the device may take to answer (60)",
	 .min = 1, .max = 86400, .rare = true},
	{"reconnect", OPTION_NUMBER, AT(reconnect_s), "SECONDS",
	 "how long callers wait for a lost device (30)", .min = 0, .max = 86400},
	{"hard", OPTION_FLAG, AT(hard), .help = "they wait for a lost device for ever", .rare = true},
	{"soft", OPTION_NO, AT(hard)},
	{"polling", OPTION_CHOICE, AT(bridge.polling), .names = auto_never_always,
	 .help = "poll for requests instead of blocking", .rare = true},
	{"window_admit", OPTION_CHOICE, AT(bridge.window_admit), .names = admit_names,
	 .help = "map everything, or what pays (default)", .rare = true},
	{"window_ranges", OPTION_NUMBER, AT(bridge.window_ranges_max), "N",
	 "mappings at a time, at most (512)", .min = 1, .max = 1u << 20, .rare = true},
	{"direct_maps", OPTION_CHOICE, AT(no_direct_maps), .names = on_off,
	 .help = "map files into other processes", .rare = true},
	{"share_device", OPTION_CALL, AT(share_device), "UID",
	 "the user who gets the whole PCI device for that", .set = set_share_device, .rare = true},
	{"nonempty", OPTION_FLAG, AT(nonempty), .help = "mount over what is there"},
	{"fsname", OPTION_STRING, AT(fsname), "NAME", "what the mount table shows as the source", .rare = true},
	{"allow_other", ALLOW(ALLOW_OTHER), .help = "all users may use it (default for root)"},
	{"no_allow_other", ALLOW(ALLOW_OWNER), .help = "only its owner may", .rare = true},
	{"allow_root", ALLOW(ALLOW_ROOT), .help = "only its owner and root may", .rare = true},
	{"default_permissions", OPTION_FLAG, AT(default_permissions),
	 .help = "the kernel checks rights (default)", .rare = true},
	{"no_default_permissions", OPTION_NO, AT(default_permissions),
	 .help = "the device checks them; names are not cached"},
	{"remount", OPTION_FLAG, AT(remount), .help = "change ro, rw, noexec, ... of a mount", .rare = true},
	{"auto_unmount", OPTION_FLAG, AT(auto_unmount), .set = pass_on},
	{"max_read", OPTION_NUMBER, AT(max_read), "BYTES", .min = 4096, .max = 1u << 30,
	 .set = pass_on},

	/* The kernel's, of one mount */
	{"ro", FUSE_FLAG(MS_RDONLY, 0), .help = "read-only"},
	{"rw", FUSE_FLAG(0, MS_RDONLY)},
	{"suid", FUSE_FLAG(0, MS_NOSUID)},
	{"nosuid", FUSE_FLAG(MS_NOSUID, 0)},
	{"dev", FUSE_FLAG(0, MS_NODEV)},
	{"nodev", FUSE_FLAG(MS_NODEV, 0)},
	{"exec", FUSE_FLAG(0, MS_NOEXEC)},
	{"noexec", FUSE_FLAG(MS_NOEXEC, 0)},
	{"sync", FUSE_FLAG(MS_SYNCHRONOUS, 0)},
	{"async", FUSE_FLAG(0, MS_SYNCHRONOUS)},
	{"dirsync", FUSE_FLAG(MS_DIRSYNC, 0)},
	{"atime", FUSE_FLAG(MS_RELATIME, ATIMES)},
	{"noatime", FUSE_FLAG(MS_NOATIME, ATIMES)},
	{"relatime", FLAG(MS_RELATIME, ATIMES)},
	{"norelatime", IGNORED}, /* since Linux 2.6.30 */
	{"strictatime", FLAG(MS_STRICTATIME, ATIMES)},
	{"nostrictatime", FLAG(MS_RELATIME, ATIMES)},
	{"diratime", FLAG(0, MS_NODIRATIME)},
	{"nodiratime", FLAG(MS_NODIRATIME, 0)},
	{"lazytime", FLAG(MS_LAZYTIME, 0)},
	{"nolazytime", FLAG(0, MS_LAZYTIME)},
	{"symfollow", FLAG(0, MOUNT_NOSYMFOLLOW)},
	{"nosymfollow", FLAG(MOUNT_NOSYMFOLLOW, 0)},
	{"context", LABEL(context)},
	{"fscontext", LABEL(fscontext)},
	{"defcontext", LABEL(defcontext)},
	{"rootcontext", LABEL(rootcontext)},

	/* What mount(8), fstab(5) and systemd keep for themselves, and what is so anyway */
	{"x-*", IGNORED},
	{"X-*", IGNORED},
	{"defaults", IGNORED},
	{"auto", IGNORED},
	{"noauto", IGNORED},
	{"user", IGNORED},
	{"nouser", IGNORED},
	{"users", IGNORED},
	{"nousers", IGNORED},
	{"owner", IGNORED},
	{"noowner", IGNORED},
	{"group", IGNORED},
	{"nogroup", IGNORED},
	{"_netdev", IGNORED},
	{"nofail", IGNORED},
	{"comment", IGNORED},
	{"helper", IGNORED},
	{"uhelper", IGNORED},
	{"silent", IGNORED},
	{"loud", IGNORED},
	{"nomand", IGNORED},
	{"noiversion", IGNORED},
	{"noquota", IGNORED},
	{"user_xattr", IGNORED},
	{"seclabel", IGNORED}, /* of /proc/mounts, as the next ones */
	{"user_id", OPTION_CALL, .argument = "UID", .set = check_owner},
	{"group_id", OPTION_CALL, .argument = "GID", .set = check_owner},
	{"subtype", OPTION_CALL, .argument = "TYPE", .set = check_subtype},

	/* What others do with options that a share has not, or has elsewhere */
	{"uid", REFUSED(OWNERS)},
	{"gid", REFUSED(OWNERS)},
	{"umask", REFUSED(MODES)},
	{"fmask", REFUSED(MODES)},
	{"dmask", REFUSED(MODES)},
	{"mode", REFUSED(MODES)},
	{"acl", REFUSED("access control lists are offered by vfsdax-device --posix-acl")},
	{"noacl", REFUSED("access control lists are offered by vfsdax-device --posix-acl")},
	{"nouser_xattr", REFUSED("vfsdax-device --no-xattr")},
	{"mand", REFUSED("Linux has no mandatory locks since 5.15")},
	{"iversion", REFUSED("versions of inodes are the host's")},
	{"quota", REFUSED(NO_QUOTA)},
	{"usrquota", REFUSED(NO_QUOTA)},
	{"grpquota", REFUSED(NO_QUOTA)},
	{"prjquota", REFUSED(NO_QUOTA)},
	{"loop", REFUSED(NO_DISK)},
	{"offset", REFUSED(NO_DISK)},
	{"sizelimit", REFUSED(NO_DISK)},
	{"encryption", REFUSED(NO_DISK)},
	{"verity.hashdevice", REFUSED(NO_DISK)},
	{"blkdev", REFUSED(NO_DISK)},
	{"blksize", REFUSED(NO_DISK)},
	{"discard", REFUSED(NO_DISK)},
	{"bind", REFUSED(NOT_MOUNTING)},
	{"rbind", REFUSED(NOT_MOUNTING)},
	{"move", REFUSED(NOT_MOUNTING)},
	{"fd", REFUSED(OWN_FD)},
	{"rootmode", REFUSED(OWN_FD)},
	{"entry_timeout", REFUSED(CACHED)},
	{"attr_timeout", REFUSED(CACHED)},
	{"negative_timeout", REFUSED(CACHED)},
	{"kernel_cache", REFUSED(PAGES)},
	{"auto_cache", REFUSED(PAGES)},
	{"direct_io", REFUSED(PAGES)},
	{"writeback_cache", REFUSED(PAGES)},
	{"max_write", REFUSED(BY_DEVICE)},
	{"max_background", REFUSED(BY_DEVICE)},
	{"congestion_threshold", REFUSED(BY_DEVICE)},
	{"trans", REFUSED(OF_9P)},
	{"version", REFUSED(OF_9P)},
	{"msize", REFUSED(OF_9P)},
	{"access", REFUSED(OF_9P)},
};
/* clang-format on */

const struct option_table mount_table = {
	.program = "vfsdax-mount", .prefix = "-o ", .rows = rows, .count = ARRAY_SIZE(rows)};
