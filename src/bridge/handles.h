/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bridge/handles: which files the kernel has open, for what, and what the device calls them. Its
 * numbers are the kernel's until another device follows, which has numbers of its own.
 */
#ifndef VFSDAX_BRIDGE_HANDLES_H
#define VFSDAX_BRIDGE_HANDLES_H

#include <stdbool.h>
#include <stdint.h>

#include "bridge/records.h"

struct handles;

/* They are kept in `ledger`; *last, which is 0 at first, is the last number that we have given. */
int handles_create(struct ledger *ledger, _Atomic uint64_t *last, struct handles **out);
void handles_destroy(struct handles *h);

/*
 * The device has opened a file, for the request `by`: the kernel's number for it; `open_flags` as
 * of open(2). A device
 * may give the same handle for several open files: then what counts is what all of them may do.
 * Where there is no memory it is the device's number, and not noted. Any thread.
 */
uint64_t handles_add(struct handles *h, uint64_t nodeid, uint64_t fh, uint32_t open_flags,
		     uint64_t by);
void handles_drop(struct handles *h, uint64_t nodeid, uint64_t number);
/* False: not known. */
bool handles_find(struct handles *h, uint64_t nodeid, uint64_t number, bool *reads, bool *writes);
/* What the device calls it: 0; -EBADF: not known; else why this device does not have it. */
int handles_device(struct handles *h, uint64_t nodeid, uint64_t number, uint64_t *fh);

/* All handles of the node are worth this error from now on. */
void handles_lose(struct handles *h, uint64_t nodeid, int err);

/*
 * Another device: each handle is opened again, by open(), which returns 0 and *fh, or -errno, which
 * is what it is worth from then on. A negative result that is `fatal` ends it, and is returned. No
 * other thread is here.
 */
int handles_reopen(struct handles *h, int fatal,
		   int (*open)(void *ctx, uint64_t nodeid, uint32_t open_flags, uint64_t *fh),
		   void *ctx);

/* Another driver begins, with what is in the ledger; each is told to opened(). 0 or -errno. */
int handles_load(struct handles *h, const struct records_unanswered *unanswered,
		 void (*opened)(void *ctx, uint64_t nodeid, bool writes), void *ctx);

#endif
