/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * compat: options of virtiofsd that mean nothing here, or cannot be had. A command line that was
 * written for it starts this device as well, or says what is in the way.
 */
#ifndef VFSDAX_DEVICE_COMPAT_H
#define VFSDAX_DEVICE_COMPAT_H

#include "base/options.h"

/* For `set` of their rows: says why it changes nothing (0), or why it is refused (-EINVAL). */
int compat_set(void *to, const struct option_table *t, const struct option_row *row,
	       const char *value);

/* What vhost-user.json of QEMU wants to know of a back end. */
void compat_print_capabilities(void);

#endif
