/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* options: the command line of vfsdax-mount, as a table. */
#ifndef VFSDAX_MOUNT_OPTIONS_H
#define VFSDAX_MOUNT_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "bridge/bridge.h"
#include "fuse/mount.h"

/* Whom the kernel lets in. The default is all users for a mount of root's, else its owner. */
enum mount_allow { ALLOW_DEFAULT, ALLOW_OWNER, ALLOW_ROOT, ALLOW_OTHER };

/* The default is what is true, but where the share is this kernel's alone (cache=always). */
enum mount_shared_mmap {
	SHARED_MMAP_DEFAULT,
	SHARED_MMAP_COHERENT,
	SHARED_MMAP_CACHED,
	SHARED_MMAP_DENY
};

struct options {
	const char *source; /* NULL: the only virtio-fs function of this machine */
	const char *mountpoint;
	bool foreground, list, json, nonempty, help, help_all, version;
	bool upgrade; /* of a mount whose driver lives */
	/* As a helper of mount(8), by the name mount.vfsdax or mount.fuse.vfsdax. */
	bool helper;
	bool fake;   /* all but mounting */
	bool sloppy; /* unknown options of -o are skipped */
	bool unused; /* what is of no use */
	const char *mount_namespace, *type;
	bool remount;  /* of what is mounted there */
	int log_level; /* -1: the default */
	unsigned timeout_s;
	unsigned reconnect_s; /* how long callers wait for a device that is gone; 0: not at all */
	bool hard;	      /* for ever */
	enum mount_allow allow;
	bool others;		  /* allow_other was given: direct maps are for all, too */
	bool default_permissions; /* the kernel checks rights; else the device must */
	unsigned no_direct_maps;  /* 0 or 1 */
	enum mount_shared_mmap shared_mmap; /* what comes of it is in bridge.shared_mmap */
	unsigned no_passthrough;	    /* 0 or 1; what comes of it is in bridge.passthrough */
	int64_t share_device;		    /* a uid; -1: nobody */
	struct bridge_params bridge; /* dax, cache, workers, queues, readonly, polling, window_* */
	const char *fsname;	     /* NULL: the source, as it was given */
	bool auto_unmount;
	uint32_t max_read;
	const char *context, *fscontext, *defcontext, *rootcontext;
	const struct option_row *foreign_owner; /* user_id= or group_id= of another user; NULL */
	struct fusemnt_flags flags;
	char given[1024]; /* of -o, as they came */
	char words[2048]; /* the same cut up, to which text points; and once more in a remount */
	size_t words_used;
	char kernel[1024]; /* what libfuse3 and the kernel get, comma-separated */
};

/* 0, or -EINVAL after one log line. */
int options_parse(int argc, char **argv, struct options *o);
/* Those of another driver's mount, which was mounted with the list `given`, and on top of them what
 * is in o->given. Likewise. */
int options_over(struct options *o, const char *given);
/* What a mount has that was mounted with the list `given`; and a list on top. Likewise. */
int options_of_mount(struct options *o, const char *given);
int options_read_mount(struct options *o, const char *given);
void options_help(bool all);

#endif
