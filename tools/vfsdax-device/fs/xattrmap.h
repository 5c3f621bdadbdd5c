/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xattrmap: rules by which names of extended attributes differ between guest and host
 * (--xattrmap), in virtiofsd's language:
 *
 *   :type:scope:key:prepend:    any character for ":"; rules follow one another, spaces between
 *
 * type prefix, ok, bad, unsupported; scope client (what the guest names), server (what a list of
 * the host has), all; and :map:key:prepend: as the last, which stands for several. The first rule
 * that matches counts, a name without one is refused or hidden. Pure; no file is touched.
 */
#ifndef VFSDAX_DEVICE_FS_XATTRMAP_H
#define VFSDAX_DEVICE_FS_XATTRMAP_H

#include <stddef.h>

struct xattrmap;

/* 0; -EINVAL and *why, -ENOMEM. xattrmap_free(NULL) is fine. */
int xattrmap_parse(const char *text, struct xattrmap **out, const char **why);
void xattrmap_free(struct xattrmap *map);

/*
 * The host's name for a guest's, in out[size] (with the 0). -EPERM: refused; -EOPNOTSUPP; -ERANGE:
 * it would be too long. `map` NULL: the same name.
 */
int xattrmap_to_host(const struct xattrmap *map, const char *name, char *out, size_t size);
/* The guest's name for one in a list of the host: the end of it. NULL: it is hidden. */
const char *xattrmap_to_guest(const struct xattrmap *map, const char *name);

#endif
