/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/passthrough: files of the host that the kernel reads, writes and maps by itself
 * (FOPEN_PASSTHROUGH, Linux 6.9): no request comes here, and a mapping is the host's page cache.
 *
 * The walk: start_open() asks the device for the file along with the OPEN -> the device opens as
 * ever, and sends the descriptor ahead of its answer (transport_ops.take_file) -> note_open() shows
 * it to the kernel, once while the node is open -> the kernel opens it once more for each handle,
 * as that was opened.
 *
 * The state of a node, of which the kernel keeps the same (its "iomode"), and refuses what is not
 * so with EIO. It changes only while nobody has the node open, nor opens it for what it has:
 *
 *              first open, with its file
 *     closed ----------------------------> passed through: every open is, or fails
 *       ^  \                                  |
 *       |   \ first open, without it          | last close
 *       |    `--> here: no open is passed     |
 *       `-----------------'-------------------'
 *
 * Rights. The kernel opens the path anew, as deep as the handle's own flags go, and asks nobody. So
 * a handle is passed through only if a descriptor was seen that has what the handle has: an access
 * mode that the device's process could open the file with.
 */
#ifndef VFSDAX_BRIDGE_PASSTHROUGH_H
#define VFSDAX_BRIDGE_PASSTHROUGH_H

#include "bridge/internal.h"

/* After INIT: is it used? */
void passthrough_begin(struct bridge *b, int fuse_fd);
/* The op opens `node`, or makes a file (NULL): asks for the host's, if that may be of use. Before
 * the op is sent. */
void passthrough_ask(struct op *op, struct node *node);
/* The node was opened, and counted. 1: the kernel is told so in *out; 0: the handle is not passed
 * through; -errno: it must be, and cannot. */
int passthrough_open(struct op *op, struct node *node, struct fuse_open_out *out);
/* Whatever came of it; before the answer. */
void passthrough_end(struct op *op);
/* What came for the op is not needed. */
void passthrough_discard(struct op *op);

#endif
