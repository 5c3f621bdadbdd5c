/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mount_options: the options of -o, as a table of struct options. */
#ifndef VFSDAX_MOUNT_MOUNT_OPTIONS_H
#define VFSDAX_MOUNT_MOUNT_OPTIONS_H

#include "base/options.h"
#include "options.h"

extern const struct option_table mount_table;

/* For libfuse3 and the kernel. -EINVAL after one log line. */
int add_kernel_option(struct options *o, const char *name, const char *value);

#endif
