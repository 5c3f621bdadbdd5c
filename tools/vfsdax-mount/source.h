/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* source: from what the user typed to an open transport. */
#ifndef VFSDAX_MOUNT_SOURCE_H
#define VFSDAX_MOUNT_SOURCE_H

#include "transport/transport.h"

struct source;

/* `shares`: the window is for other processes, too; `files`: the device may send open files. 0, or
 * -errno after log lines: what was typed names no device, or not exactly one (-ENOTUNIQ). */
int source_open(const char *name, unsigned timeout_ms, bool shares, bool files,
		struct source **out);
struct transport *source_transport(struct source *s);
/* Closes the transport and gives a PCI function back to the driver that it had. */
void source_close(struct source *s);
/* The same, but a PCI function stays with vfio-pci, and is given back by the next mount of it:
 * other processes have it open, for whom the kernel would wait. */
void source_leave(struct source *s);

/* Prints the virtio-fs functions of this machine. The exit status. */
int source_list(bool json);

#endif
