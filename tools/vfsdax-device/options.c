/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/options.h"
#include "compat.h"
#include "wire/fuse.h"

/* enum dax_mode, enum cache_mode, enum acl_mode, enum sandbox_mode, enum sandbox_filter,
 * enum file_handles, enum log_level. */
static const char *const dax_names[] = {"none", "always", "inode", "filesize", "auto", NULL};
static const char *const cache_names[] = {"never", "auto", "always", "metadata", NULL};
static const char *const acl_names[] = {"never", "auto", "always", NULL};
static const char *const sandbox_names[] = {"namespace", "chroot", "none", NULL};
static const char *const filter_names[] = {"kill", "trap", "log", "none", NULL};
static const char *const handle_names[] = {"prefer", "never", "mandatory", NULL};
/* virtiofsd has two more: nothing is less than an error here, nor more than debugging. */
static const char *const level_names[] = {"error", "warn", "info", "debug", "trace", "off", NULL};

struct parsed {
	struct device_options o;
	const char *tag;
	int log_level;
	bool help, help_all, version, capabilities;
};

static int check_window_size(void *to, const struct option_table *t, const struct option_row *row,
			     const char *value)
{
	const struct parsed *p = to;

	if (p->o.vhost.cache_size_bytes % (uint64_t)sysconf(_SC_PAGESIZE) == 0)
		return 0;
	return option_refuse(t, row, value,
			     "a multiple of the page size such as 512M or 4G, or 0 for no window");
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
	static const enum log_level levels[] = {LOG_ERROR, LOG_WARN,  LOG_INFO,
						LOG_DEBUG, LOG_DEBUG, LOG_ERROR};

	(void)t;
	(void)row;
	(void)value;
	log_set_level(levels[((struct parsed *)to)->log_level]);
	return 0;
}

static int set_debug(void *to, const struct option_table *t, const struct option_row *row,
		     const char *value)
{
	(void)to;
	(void)t;
	(void)row;
	(void)value;
	log_set_level(LOG_DEBUG);
	return 0;
}

/* Of INIT, by pairs of options; the later one counts. */
static int set_init_flag(void *to, const struct option_table *t, const struct option_row *row,
			 const char *value)
{
	static const struct {
		const char *name;
		uint64_t flags;
	} named[] = {{"readdirplus", FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO},
		     {"killpriv-v2", FUSE_HANDLE_KILLPRIV_V2},
		     {"announce-submounts", FUSE_SUBMOUNTS}};
	uint64_t *refused = &((struct parsed *)to)->o.fs.init_flags_refused;
	bool no = strncmp(row->name, "no-", 3) == 0;

	(void)t;
	(void)value;
	for (size_t i = 0; i < ARRAY_SIZE(named); i++)
		if (!strcmp(row->name + (no ? 3 : 0), named[i].name))
			*refused = no ? *refused | named[i].flags : *refused & ~named[i].flags;
	return 0;
}

static int set_handles(void *to, const struct option_table *t, const struct option_row *row,
		       const char *value)
{
	struct device_options *o = &((struct parsed *)to)->o;

	(void)t;
	(void)row;
	(void)value;
	o->sandbox.file_handles = o->fs.file_handles != FILE_HANDLES_NEVER;
	return 0;
}

static int set_filter(void *to, const struct option_table *t, const struct option_row *row,
		      const char *value)
{
	(void)t;
	(void)row;
	(void)value;
	((struct parsed *)to)->o.sandbox.filter_asked = true;
	return 0;
}

static int set_id_map(void *to, const struct option_table *t, const struct option_row *row,
		      const char *value)
{
	struct sandbox_options *o = &((struct parsed *)to)->o.sandbox;

	if (!sandbox_add_map(value, *row->name == 'u' ? &o->uid_maps : &o->gid_maps))
		return 0;
	return option_refuse(t, row, value,
			     "up to 16 maps such as :0:100000:65536: (inside:host:count)");
}

static int set_translation(void *to, const struct option_table *t, const struct option_row *row,
			   const char *value)
{
	struct fs_options *o = &((struct parsed *)to)->o.fs;
	bool uids = row->name[strlen("translate-")] == 'u';

	if (!translate_add(uids ? &o->uids : &o->gids, value))
		return 0;
	return option_refuse(t, row, value,
			     "up to 16 of map:GUEST:HOST:COUNT, guest:, host:, squash-guest:, "
			     "squash-host:FROM:TO:COUNT, forbid-guest:FROM:COUNT");
}

#define AT(field) OPTION_FIELD(struct parsed, field)

/* clang-format off */
static const struct option_row rows[] = {
	{"shared-dir", OPTION_STRING, AT(o.fs.shared_dir), "DIR", "the directory to share"},
	{"socket-path", OPTION_STRING, AT(o.listen.path), "SOCK", "the Unix socket to listen on",
	 .alias = "socket"},
	{"fd", OPTION_NUMBER, AT(o.listen.fd), "N", "listen on this open socket instead", .max = INT_MAX, .rare = true},
	{"tag", OPTION_STRING, AT(tag), "NAME",
	 "the share's name in the guest, 36 bytes [vfsdax]", .set = set_tag},
	{"readonly", OPTION_FLAG, AT(o.fs.readonly), .help = "refuse every change"},
	{"cache-size", OPTION_SIZE, AT(o.vhost.cache_size_bytes), "SIZE",
	 "size of the DAX window; 0 for none [4G]",
	 .max = INT64_MAX, .set = check_window_size},
	{"dax", OPTION_CHOICE, AT(o.fs.dax), .names = dax_names,
	 .help = "which files the window is for [auto]"},
	{"dax-threshold", OPTION_SIZE, AT(o.fs.dax_threshold_bytes), "SIZE",
	 "with filesize: for files larger than this [32K]", .max = INT64_MAX, .rare = true},
	{"map-executables", OPTION_FLAG, AT(o.fs.map_executables),
	 .help = "the window for executable files, too", .rare = true},
	{"cache", OPTION_CHOICE, AT(o.fs.cache), .names = cache_names,
	 .help = "how long names and attributes are kept [auto]"},
	{"watch", OPTION_FLAG, AT(o.fs.watch), .help = "tell the driver what the host changes", .rare = true},
	{"no-watch", OPTION_NO, AT(o.fs.watch)},
	{"xattr", OPTION_FLAG, AT(o.fs.xattr)}, /* virtiofsd's; it is the default here */
	{"no-xattr", OPTION_NO, AT(o.fs.xattr), .help = "no extended attributes", .rare = true},
	{"posix-acl", OPTION_CHOICE, AT(o.fs.posix_acl), .names = acl_names, .without = "auto",
	 .help = "POSIX access control lists [never]", .rare = true},
	{"xattrmap", OPTION_STRING, AT(o.fs.xattrmap), "RULES",
	 "other names for xattrs on the host", .rare = true},
	{"security-label", OPTION_FLAG, AT(o.fs.security_label),
	 .help = "new files get labels from the guest", .rare = true},
	{"check-permissions", OPTION_FLAG, AT(o.fs.check_permissions),
	 .help = "do everything as the caller", .rare = true},
	{"num-request-queues", OPTION_NUMBER, AT(o.vhost.num_request_queues), "N",
	 "request queues, a thread each [CPUs, at most 4]", .min = 1, .max = VHOST_REQUEST_QUEUES_MAX},
	{"queue-size", OPTION_NUMBER, AT(o.vhost.queue_size_max), "N",
	 "entries of a queue, a power of two [1024]",
	 .min = 2, .max = VRING_QUEUE_SIZE_MAX, .set = check_queue_size, .rare = true},
	{"sandbox", OPTION_CHOICE, AT(o.sandbox.mode), .names = sandbox_names,
	 .help = "where the device lives [namespace for root]", .rare = true},
	{"seccomp", OPTION_CHOICE, AT(o.sandbox.filter), .names = filter_names,
	 .help = "what an unexpected system call gets [kill]", .set = set_filter, .rare = true},
	{"modcaps", OPTION_STRING, AT(o.sandbox.modcaps), "LIST",
	 "capabilities: +kept:-given_up", .rare = true},
	{"uid-map", OPTION_CALL, .argument = ":IN:HOST:N:", .help = "uids of a user namespace",
	 .set = set_id_map, .rare = true},
	{"gid-map", OPTION_CALL, .argument = ":IN:HOST:N:", .help = "gids of a user namespace",
	 .set = set_id_map, .rare = true},
	{"translate-uid", OPTION_CALL, .argument = "RULE", .set = set_translation,
	 .help = "other uids on the host: map:0:1000:1", .rare = true},
	{"translate-gid", OPTION_CALL, .argument = "RULE", .set = set_translation,
	 .help = "the same for gids", .rare = true},
	{"socket-group", OPTION_STRING, AT(o.listen.group), "GROUP",
	 "whose members may connect, too"},
	{"rlimit-nofile", OPTION_NUMBER, AT(o.rlimit_nofile), "N",
	 "most open files [the hard limit]", .max = INT_MAX, .rare = true},
	{"inode-file-handles", OPTION_CHOICE, AT(o.fs.file_handles), .names = handle_names,
	 .help = "handles when descriptors run short [prefer]",
	 .set = set_handles, .rare = true},
	{"announce-submounts", OPTION_CALL, .set = set_init_flag},
	{"no-announce-submounts", OPTION_CALL, .set = set_init_flag,
	 .help = "do not tell what is a mount of its own", .rare = true},
	{"readdirplus", OPTION_CALL, .set = set_init_flag},
	{"no-readdirplus", OPTION_CALL, .set = set_init_flag,
	 .help = "list names without attributes", .rare = true},
	{"killpriv-v2", OPTION_CALL, .set = set_init_flag},
	{"no-killpriv-v2", OPTION_CALL, .set = set_init_flag,
	 .help = "the guest clears set-id bits by itself", .rare = true},
	{"syslog", OPTION_FLAG, AT(o.syslog), .help = "messages to the system's log"},
	{"print-capabilities", OPTION_LAST, AT(capabilities),
	 .help = "as QEMU's vhost-user.json describes them", .rare = true},
	/* virtiofsd's, see compat.c */
	{"writeback", OPTION_CALL, .set = compat_set},
	{"allow-direct-io", OPTION_CALL, .set = compat_set},
	{"allow-mmap", OPTION_CALL, .set = compat_set},
	{"preserve-noatime", OPTION_CALL, .set = compat_set},
	{"thread-pool-size", OPTION_CALL, .argument = "N", .set = compat_set, .rare = true},
	{"migration-mode", OPTION_CALL, .argument = "MODE", .set = compat_set, .rare = true},
	{"migration-on-error", OPTION_CALL, .argument = "MODE", .set = compat_set, .rare = true},
	{"migration-verify-handles", OPTION_CALL, .set = compat_set},
	{"migration-confirm-paths", OPTION_CALL, .set = compat_set},
	{"o", OPTION_CALL, .argument = "LIST", .letter = 'o', .set = compat_set, .rare = true},
	{"f", OPTION_CALL, .letter = 'f', .set = compat_set},
	{"d", OPTION_CALL, .letter = 'd', .set = set_debug},
	{"log-level", OPTION_CHOICE, AT(log_level), .names = level_names, .help = "[info]",
	 .set = set_log_level},
	{"no-event-idx", OPTION_FLAG, AT(o.vhost.no_event_idx)}, /* for tests of drivers */
	{"no-indirect", OPTION_FLAG, AT(o.vhost.no_indirect)},	 /* for tests of drivers */
	{"help", OPTION_LAST, AT(help), .help = "", .letter = 'h'},
	{"help-all", OPTION_LAST, AT(help_all), .help = "and what is rarely needed"},
	{"version", OPTION_LAST, AT(version), .help = "", .letter = 'V'},
};
/* clang-format on */

static const struct option_table table = {
	.program = "vfsdax-device", .prefix = "--", .rows = rows, .count = ARRAY_SIZE(rows)};

static void print_help(bool all)
{
	puts("Usage: vfsdax-device --shared-dir DIR --socket-path SOCK [OPTION]...\n"
	     "Serves DIR as a virtio-fs device with a DAX window, to one vhost-user front end\n"
	     "at a time: a virtual machine (QEMU 11.1 or newer), or vfsdax-mount unix:SOCK.");
	if (all)
		options_print(&table);
	else
		options_print_common(&table);
	puts("See vfsdax-device(8).");
}

static struct device_options default_options(void)
{
	cpu_set_t cpus;
	int n_cpus = sched_getaffinity(0, sizeof(cpus), &cpus) ? 1 : CPU_COUNT(&cpus);

	struct device_options o = {
		.fs = {.dax = DAX_AUTO,
		       .dax_threshold_bytes = 32 * KIB,
		       .cache = CACHE_AUTO,
		       .xattr = true},
		.vhost = {.tag = "vfsdax",
			  .num_request_queues = (unsigned)MIN(MAX(n_cpus, 1), 4),
			  .queue_size_max = 1024,
			  .cache_size_bytes = 4 * GIB},
		.listen = {.fd = -1},
		.rlimit_nofile = UINT64_MAX,
	};
	sandbox_defaults(&o.sandbox);
	return o;
}

static bool translates(const struct translate *t)
{
	return t->n_to_host || t->n_to_guest;
}

static int check_options(struct device_options *o)
{
	if (!o->listen.path && o->listen.fd < 0)
		o->listen.fd = listen_activated();
	if (!o->fs.shared_dir)
		log_error("--shared-dir is missing: which directory is to be shared?");
	else if (!o->listen.path == (o->listen.fd < 0))
		log_error("give one of --socket-path and --fd: where is the front end to connect?");
	else if (o->fs.security_label && !o->fs.xattr)
		log_error("--security-label and --no-xattr exclude each other: labels are extended "
			  "attributes");
	else if (o->fs.xattrmap && !o->fs.xattr)
		log_error("--xattrmap and --no-xattr exclude each other: leave one out");
	else if (o->fs.posix_acl && !o->fs.xattr)
		log_error("--posix-acl and --no-xattr exclude each other: access control lists are "
			  "extended attributes");
	else if (o->fs.posix_acl && (translates(&o->fs.uids) || translates(&o->fs.gids)))
		log_error("--posix-acl and --translate-uid or -gid exclude each other: the ids in "
			  "access control lists are not translated; --uid-map does it");
	else
		return sandbox_check(&o->sandbox);
	return -EINVAL;
}

int device_options_read(struct device_options *o, int argc, char **argv)
{
	struct parsed p = {.o = default_options()};
	int first = options_read(&table, &p, argc, argv);

	if (first < 0)
		return first;
	*o = p.o;
	o->vhost.notifications = o->fs.watch;
	if (p.help || p.help_all)
		print_help(p.help_all);
	else if (p.version)
		puts("vfsdax-device " VFSDAX_VERSION);
	else if (p.capabilities)
		compat_print_capabilities();
	if (p.help || p.help_all || p.version || p.capabilities)
		return 1;
	if (first < argc) {
		log_error("unexpected argument %s; see vfsdax-device --help", argv[first]);
		return -EINVAL;
	}
	return check_options(o);
}
