/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * direct_share: how the part of the window that may stay pinned is shared between clients, in
 * bytes of it. A client, and a user other than root and the mount's, may pin twice as much as
 * nobody has pinned: one alone two thirds of it, two of them two fifths each, and so on. So
 * something is left for whoever comes next, though no pin is ever taken back. What counts is the
 * ranges, each once for each client.
 */
#ifndef VFSDAX_MOUNT_DIRECT_SHARE_H
#define VFSDAX_MOUNT_DIRECT_SHARE_H

#include "direct_map.h"

/* Before the map, whose pin is there, is on the client's list: counts it if that is fair. */
bool share_take(const struct peer *peer, struct direct_map *map);
/* The map goes, and is on no list any more; `peer` NULL: the client is gone. */
void share_give(const struct peer *peer, const struct direct_map *map);

#endif
