/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/handles: which open files the kernel has, and for what they were opened. A FUSE request on
 * an open file names its handle, but not what it may be used for.
 */
#ifndef VFSDAX_BRIDGE_HANDLES_H
#define VFSDAX_BRIDGE_HANDLES_H

#include <stdbool.h>
#include <stdint.h>

/* More open files than that are not noted: 4 MiB of memory. */
#define HANDLES_MAX 65536u

struct handles;

int handles_create(struct handles **out);
void handles_destroy(struct handles *h);

/* `open_flags` as of open(2). A device may give the same handle for several open files: then what
 * counts is what all of them may do. Any thread. */
void handles_add(struct handles *h, uint64_t nodeid, uint64_t fh, uint32_t open_flags);
void handles_drop(struct handles *h, uint64_t nodeid, uint64_t fh);
/* False: not known. */
bool handles_find(struct handles *h, uint64_t nodeid, uint64_t fh, bool *reads, bool *writes);

#endif
