/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* linkname: what a link of sysfs says is its last component: a driver, a group, a device. */
#ifndef VFSDAX_BASE_LINKNAME_H
#define VFSDAX_BASE_LINKNAME_H

#include <stddef.h>

/* The last component of the link's target. 0 or -errno; -ENAMETOOLONG where it does not fit. */
int link_name(const char *path, char *out, size_t out_len);

#endif
