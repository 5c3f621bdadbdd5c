/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* options: the command line of vfsdax-mount, as a table. */
#ifndef VFSDAX_MOUNT_OPTIONS_H
#define VFSDAX_MOUNT_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "bridge/bridge.h"

/* Whom the kernel lets in. The default is all users for a mount of root's, else its owner. */
enum mount_allow { ALLOW_DEFAULT, ALLOW_OWNER, ALLOW_ROOT, ALLOW_OTHER };

struct options {
	const char *source; /* NULL: the only virtio-fs function of this machine */
	const char *mountpoint;
	bool foreground, list, json, nonempty, help, version;
	bool upgrade; /* of a mount whose driver lives */
	int log_level; /* -1: the default */
	unsigned timeout_s;
	unsigned reconnect_s; /* how long callers wait for a device that is gone; 0: not at all */
	bool hard;	      /* for ever */
	enum mount_allow allow;
	bool others;		     /* allow_other was given: direct maps are for all, too */
	bool default_permissions;    /* the kernel checks rights; else the device must */
	unsigned no_direct_maps;     /* 0 or 1 */
	int64_t share_device;	     /* a uid; -1: nobody */
	struct bridge_params bridge; /* dax, cache, workers, queues, readonly, polling, window_* */
	char kernel[1024];	     /* what libfuse3 and the kernel get, comma-separated */
};

/* 0, or -EINVAL after one log line. */
int options_parse(int argc, char **argv, struct options *o);
/* The same, but what is not given stays, and source and mountpoint do. */
int options_parse_over(int argc, char **argv, struct options *o);
void options_help(void);

#endif
