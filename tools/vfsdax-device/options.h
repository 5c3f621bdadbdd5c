/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * options: the command line of vfsdax-device. One table (options.c) says what there is; parsing and
 * --help come from it. A new option is a row there and a paragraph in vfsdax-device.8.
 */
#ifndef VFSDAX_DEVICE_OPTIONS_H
#define VFSDAX_DEVICE_OPTIONS_H

#include "listen.h"
#include "vfsdax-device/fs/request.h"
#include "vfsdax-device/sandbox/sandbox.h"
#include "vfsdax-device/vhost/vhost.h"

struct device_options {
	struct fs_options fs;
	struct vhost_options vhost;
	struct listen_options listen;
	struct sandbox_options sandbox;
	uint64_t rlimit_nofile; /* 0: as it is; UINT64_MAX: as high as it may be */
	bool syslog;
};

/*
 * 0; 1 when --help or --version was answered; -EINVAL after one line of log. Strings point into
 * argv.
 */
int device_options_read(struct device_options *o, int argc, char **argv);

#endif
